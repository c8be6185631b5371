"""The Reason table: every way a request can fail, once.

Owns the vocabulary of failure. Page, JSON, text, headers, log field and metric label all render from a row of
`Reason`; nothing else in the program spells a status code for a failure. Imports nothing of ours but what a row is, so
every room may raise what stands here.

A row answers five questions: what do we answer (`status`), what does the field call it (`proxy_error`, RFC 9209
section 2.3, and `grpc_status`), who is to blame (`blame`), may the same request simply be sent again (`may_retry`; once
it was passed on, only if its method is idempotent), and what do we tell the person (`title`, `explanation`, `checks`).
Texts may use `{port}`, `{sandbox}`, `{address}`, `{host}` and `{domain}`, filled by `problems` from what is known of
the request.
"""

from __future__ import annotations

from enum import Enum

from gateway.reason_row import ASK_OPERATOR, Blame, GrpcStatus, Row

_SEND_VALID = "Look at what sent this request: a browser, curl and every common HTTP library send it correctly."


def _request_error(
    name: str, status: int, grpc_status: GrpcStatus, title: str, explanation: str, checks: tuple[str, ...]
) -> Row:
    """The row of an `http_request_error` (RFC 9209 section 2.3): the request fails here whenever it is sent."""
    return Row(name, status, grpc_status, Blame.DOWNSTREAM, False, "http_request_error", title, explanation, checks)


class Reason(Enum):
    """Every failure the gateway can name; the value is its table row."""

    # --- the hostname -------------------------------------------------------------------------------------------
    UNKNOWN_DOMAIN = _request_error(
        "unknown_domain",
        421,
        GrpcStatus.NOT_FOUND,
        "This gateway does not serve that domain",
        "The request names {host}, which is outside the domains this gateway serves.",
        ("Check the spelling of the domain.", "Check that DNS for this name is meant to point at this gateway."),
    )
    INVALID_HOSTNAME = _request_error(
        "invalid_hostname",
        400,
        GrpcStatus.INVALID_ARGUMENT,
        "The hostname does not name a sandbox",
        "A sandbox's public name is <port>-<sandbox-id>.{domain}, for example 5000-abc123.{domain}; this is {host}.",
        (
            "Put the port your app listens on first, then a hyphen, then the sandbox id.",
            "The id uses a-z, 0-9 and inner hyphens; port and id together are at most 63 characters.",
        ),
    )
    INVALID_PORT = _request_error(
        "invalid_port",
        400,
        GrpcStatus.INVALID_ARGUMENT,
        "The hostname does not carry a valid port",
        "The number before the first hyphen is the port: 1 to 65535, without leading zeros. This is {host}.",
        ("Use the port your app listens on, for example 5000-<sandbox-id>.{domain}.",),
    )
    PORT_DENIED = Row(
        "port_denied",
        403,
        GrpcStatus.PERMISSION_DENIED,
        Blame.DOWNSTREAM,
        False,
        "http_request_denied",
        "Port {port} is not exposed by this platform",
        "The operator of this gateway has closed port {port} for every sandbox.",
        ("Let your app listen on another port and use that one in the hostname.",),
    )

    # --- the request ---------------------------------------------------------------------------------------------
    BAD_REQUEST = _request_error(
        "bad_request",
        400,
        GrpcStatus.INVALID_ARGUMENT,
        "The request is not valid HTTP",
        "The request breaks a rule of HTTP that different servers read differently, so it was refused unread.",
        (_SEND_VALID,),
    )
    PLAIN_HTTP_ON_TLS_PORT = _request_error(
        "plain_http_on_tls_port",
        400,
        GrpcStatus.INVALID_ARGUMENT,
        "Plain HTTP was sent to an HTTPS port",
        "This port speaks HTTPS only, and the request came without encryption.",
        ("Use https:// instead of http:// in the address.",),
    )
    UNEXPECTED_PROXY_HEADER = _request_error(
        "unexpected_proxy_header",
        400,
        GrpcStatus.INVALID_ARGUMENT,
        "A load balancer sends a header that this gateway does not expect",
        "The connection began with a PROXY protocol header, which edge.proxy_protocol does not ask for.",
        (
            'Operator: set edge.proxy_protocol = "require" and name the load balancer, whose address the access log '
            "shows, in edge.trusted_proxies; or switch the PROXY protocol off there "
            "(HAProxy: send-proxy, nginx: proxy_protocol on, AWS: proxy_protocol_v2.enabled).",
            "Operator: a balancer that speaks HTTP can tell the visitor's address in X-Forwarded-For, believed "
            "from edge.trusted_proxies.",
            ASK_OPERATOR,
        ),
    )
    REQUEST_TIMEOUT = Row(
        "request_timeout",
        408,
        GrpcStatus.DEADLINE_EXCEEDED,
        Blame.DOWNSTREAM,
        True,
        "http_request_error",
        "The request did not arrive in time",
        "The connection was open, but the request (or the next part of its body) did not come within the time allowed.",
        ("Send the request again.",),
    )
    METHOD_NOT_ALLOWED = Row(
        "method_not_allowed",
        405,
        GrpcStatus.UNIMPLEMENTED,
        Blame.DOWNSTREAM,
        False,
        "http_request_denied",
        "CONNECT, PRI and TRACE are not forwarded",
        "This is a gateway to sandboxes, not a forward proxy; these end here, in any letter case.",
        ("Use any other method.",),
    )
    URI_TOO_LONG = _request_error(
        "uri_too_long",
        414,
        GrpcStatus.INVALID_ARGUMENT,
        "The request target is too long",
        "The path and query together are longer than this gateway accepts.",
        ("Send large data in the body of a POST instead of in the query.",),
    )
    EXPECTATION_FAILED = _request_error(
        "expectation_failed",
        417,
        GrpcStatus.INVALID_ARGUMENT,
        "The Expect field asks for something unknown",
        "The only expectation HTTP defines is 100-continue.",
        (_SEND_VALID,),
    )
    HEADER_SECTION_TOO_LARGE = _request_error(
        "header_section_too_large",
        431,
        GrpcStatus.INVALID_ARGUMENT,
        "The request's header section is too large",
        "The request carries more or larger fields than this gateway accepts; cookies are the usual cause.",
        ("Clear the cookies of this site and try again.", "Keep large values out of cookies and custom fields."),
    )
    NOT_IMPLEMENTED = _request_error(
        "not_implemented",
        501,
        GrpcStatus.UNIMPLEMENTED,
        "The request uses a method or transfer coding this gateway does not know",
        "Bodies travel with Content-Length or with Transfer-Encoding: chunked; a method has at most 128 octets.",
        (_SEND_VALID,),
    )
    HTTP_VERSION_NOT_SUPPORTED = _request_error(
        "http_version_not_supported",
        505,
        GrpcStatus.UNIMPLEMENTED,
        "This version of HTTP is not spoken here",
        "On this connection the gateway speaks HTTP/1.1 and HTTP/1.0.",
        (_SEND_VALID,),
    )
    PROXY_LOOP_DETECTED = Row(
        "proxy_loop_detected",
        502,
        GrpcStatus.INTERNAL,
        Blame.UPSTREAM,
        False,
        "proxy_loop_detected",
        "The request came back to this gateway again and again",
        "The app behind {host} sends its requests back to this gateway, which forwards them to the app again.",
        ("Look at the proxy or rewrite settings of the app on port {port}: its target must not be its public URL.",),
    )

    # --- finding the sandbox -------------------------------------------------------------------------------------
    DESTINATION_NOT_FOUND = Row(
        "destination_not_found",
        404,
        GrpcStatus.NOT_FOUND,
        Blame.DOWNSTREAM,
        False,
        "destination_not_found",
        "There is no sandbox “{sandbox}”",
        "The hostname is well formed, but no sandbox with the id {sandbox} is registered here.",
        (
            "Check the sandbox id for typing errors.",
            "The sandbox may have been stopped or deleted: start it, or create a new one and use its URL.",
        ),
    )
    DIRECTORY_UNAVAILABLE = Row(
        "directory_unavailable",
        503,
        GrpcStatus.UNAVAILABLE,
        Blame.DIRECTORY,
        True,
        "destination_unavailable",
        "The list of sandboxes cannot be read right now",
        "The gateway could not ask its directory where sandbox {sandbox} is, and has not seen it lately.",
        ("Try again in a few seconds.", ASK_OPERATOR),
    )
    DESTINATION_IP_PROHIBITED = Row(
        "destination_ip_prohibited",
        502,
        GrpcStatus.PERMISSION_DENIED,
        Blame.DIRECTORY,
        False,
        "destination_ip_prohibited",
        "The sandbox's address is not one this gateway may dial",
        "Sandbox {sandbox} is registered with the address [{address}]; what was observed says which rule forbids it.",
        (
            "The gateway's own port is never forwarded to itself: use the port of an app.",
            "Operator: correct the sandbox's record, or add the sandboxes' prefix to upstream.allow.",
            "Everybody else: give the request id below to whoever runs this gateway.",
        ),
    )

    # --- reaching the sandbox ------------------------------------------------------------------------------------
    CONNECTION_REFUSED = Row(
        "connection_refused",
        502,
        GrpcStatus.UNAVAILABLE,
        Blame.UPSTREAM,
        True,
        "connection_refused",
        "Nothing reachable listens on port {port}",
        "Connections to sandbox {sandbox} are answered, with a refusal: nothing accepts connections on "
        "[{address}]:{port}.",
        (
            "Bind to `::` (all IPv6 addresses), port {port}, not to 127.0.0.1, 0.0.0.0 or, if the sandbox has its own "
            "address, localhost (::1).",
            "Is the process running? In the sandbox: `ss -ltnp | grep {port}`",
            "Read the app's own log: it may have stopped, or chosen another port.",
            "Just started it? Wait until it is ready.",
            "Does it run, and does `ss` say `*:{port}`? Then a firewall refuses in its place: `nft list ruleset`.",
        ),
    )
    IPV4_ONLY_LISTENER = Row(
        "ipv4_only_listener",
        502,
        GrpcStatus.UNAVAILABLE,
        Blame.UPSTREAM,
        True,
        "connection_refused",
        "The app on port {port} listens on IPv4 only",
        "Sandboxes are reached over IPv6. Nothing accepts connections on [{address}]:{port}, but something does on the "
        "same port over IPv4: the app runs, bound to IPv4 alone.",
        (
            "Bind to `::` (all IPv6 addresses, and on Linux all IPv4 ones too), port {port}, and start the app again.",
            "Check with `ss -ltnp | grep {port}`: it should say `[::]:{port}` or `*:{port}`.",
        ),
    )
    CONNECTION_TIMEOUT = Row(
        "connection_timeout",
        504,
        GrpcStatus.UNAVAILABLE,
        Blame.UPSTREAM,
        True,
        "connection_timeout",
        "Sandbox {sandbox} does not answer",
        "Nothing came back from [{address}]:{port}, neither an answer nor a refusal.",
        (
            "Is the sandbox running, or paused?",
            "A firewall inside the sandbox that drops packets looks like this: allow TCP port {port}.",
            "So does an app that is stuck and accepts no more, if all other ports are dropped.",
        ),
    )
    DESTINATION_IP_UNROUTABLE = Row(
        "destination_ip_unroutable",
        502,
        GrpcStatus.UNAVAILABLE,
        Blame.UPSTREAM,
        True,
        "destination_ip_unroutable",
        "There is no route to sandbox {sandbox}",
        "The network reports that [{address}] cannot be reached.",
        ("Is the sandbox running? A stopped one loses its address.", ASK_OPERATOR),
    )
    CONNECTION_LIMIT_REACHED = Row(
        "connection_limit_reached",
        429,
        GrpcStatus.RESOURCE_EXHAUSTED,
        Blame.DOWNSTREAM,
        True,
        "connection_limit_reached",
        "Too many requests at once for sandbox {sandbox}",
        "As many requests as this gateway allows for one sandbox, or for one visitor, are already being answered.",
        ("Wait for some of them to finish and try again.",),
    )
    OVERLOADED = Row(
        "overloaded",
        503,
        GrpcStatus.UNAVAILABLE,
        Blame.GATEWAY,
        True,
        "connection_limit_reached",
        "This gateway is at its limit",
        "The gateway has run out of connections or file descriptors and could not reach the sandbox.",
        ("Try again in a few seconds.", ASK_OPERATOR),
    )

    # --- talking to the app --------------------------------------------------------------------------------------
    CONNECTION_TERMINATED = Row(
        "connection_terminated",
        502,
        GrpcStatus.UNAVAILABLE,
        Blame.UPSTREAM,
        True,
        "connection_terminated",
        "The app closed the connection without answering",
        "The request, or its beginning, was passed on to [{address}]:{port}, which closed the connection without an "
        "answer.",
        (
            "Read the app's log: did it crash, or was it restarted, while at work on the request?",
            "Is it an HTTP server that listens on port {port}, and does it expect no PROXY protocol header?",
            "Is it a forwarder (docker-proxy, `kubectl port-forward`, `ssh -L`)? Then see that the app behind it runs.",
        ),
    )
    HTTP_RESPONSE_INCOMPLETE = Row(
        "http_response_incomplete",
        502,
        GrpcStatus.UNKNOWN,
        Blame.UPSTREAM,
        False,
        "http_response_incomplete",
        "The app's answer broke off",
        "The app on port {port} closed the connection in the middle of the body it had announced.",
        ("Read the app's log: did it crash while answering?",),
    )
    HTTP_RESPONSE_TIMEOUT = Row(
        "http_response_timeout",
        504,
        GrpcStatus.DEADLINE_EXCEEDED,
        Blame.UPSTREAM,
        False,
        "http_response_timeout",
        "The app on port {port} did not answer in time",
        "The request was passed on to [{address}]:{port}, and no answer, or not its whole head, came in time.",
        ("Is the app stuck, or stopped in a debugger?", "Answer first, and do long work in the background."),
    )
    HTTP_RESPONSE_HEADER_SECTION_SIZE = Row(
        "http_response_header_section_size",
        502,
        GrpcStatus.INTERNAL,
        Blame.UPSTREAM,
        False,
        "http_response_header_section_size",
        "The app's header section is too large",
        "The answer of the app on port {port} carries more or larger fields than this gateway accepts.",
        ("Look for a cookie or a field that grows with every request.",),
    )
    HTTP_PROTOCOL_ERROR = Row(
        "http_protocol_error",
        502,
        GrpcStatus.INTERNAL,
        Blame.UPSTREAM,
        False,
        "http_protocol_error",
        "What answers on port {port} does not speak valid HTTP",
        "Something listens on [{address}]:{port} and answered, but not with valid HTTP/1.1.",
        (
            "Is the port right? Databases, SSH and other services listen on ports of their own.",
            "Does the app expect HTTPS on this port? Behind this gateway it must speak plain HTTP.",
            "Is it your own app? What was observed says what is wrong with its answer. In the sandbox, see all of it: "
            "`printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} {port}`",
        ),
    )
    UPSTREAM_SPEAKS_TLS = Row(
        "upstream_speaks_tls",
        502,
        GrpcStatus.INTERNAL,
        Blame.UPSTREAM,
        False,
        "tls_protocol_error",
        "The app on port {port} expects HTTPS",
        "Something listens on [{address}]:{port} and speaks TLS. The gateway has ended TLS already and speaks plain "
        "HTTP to sandboxes.",
        (
            "Start the app without TLS: without a certificate, a key, or an `--https` flag. Visitors still get https://.",
            "If the app also has a plain HTTP port, use that one in the hostname.",
        ),
    )
    UPSTREAM_SPEAKS_HTTP2 = Row(
        "upstream_speaks_http2",
        502,
        GrpcStatus.INTERNAL,
        Blame.UPSTREAM,
        False,
        "http_protocol_error",
        "The app on port {port} speaks HTTP/2 only",
        "Something listens on [{address}]:{port} and speaks HTTP/2 without TLS (h2c), but not HTTP/1.1, by which this "
        "request went there.",
        (
            "Send the request again: what the app speaks has been noticed, and the next one goes by HTTP/2.",
            'If it stays, the sandbox\'s record asks for HTTP/1.1: it should say `"protocol": "h2c"` or `"auto"`.',
            "Do browsers call it? A gRPC server needs a proxy for gRPC-Web or JSON (Envoy, grpc-gateway, Connect) "
            "before it, whose port is then the one in the hostname.",
        ),
    )
    UPSTREAM_SPEAKS_HTTP1 = Row(
        "upstream_speaks_http1",
        502,
        GrpcStatus.INTERNAL,
        Blame.UPSTREAM,
        False,
        "http_protocol_error",
        "The app on port {port} speaks HTTP/1.1 only",
        "Something listens on [{address}]:{port} and speaks HTTP/1.1, but not HTTP/2 without TLS (h2c), which gRPC is "
        "spoken by, or which the sandbox's record asks for.",
        (
            "Is the port right? A gRPC server often has one of its own, beside that of a web server.",
            "Let the server speak HTTP/2 without TLS: in Go h2c or `http.Protocols`, in Node.js `http2.createServer`, "
            "in nginx `http2 on;`, in ASP.NET Core `HttpProtocols.Http2`, hypercorn instead of uvicorn.",
            'Is it no gRPC? Then the sandbox\'s record should not say `"protocol": "h2c"`.',
        ),
    )

    # --- ourselves -----------------------------------------------------------------------------------------------
    DRAIN_TIMEOUT = Row(
        "drain_timeout",
        503,
        GrpcStatus.UNAVAILABLE,
        Blame.GATEWAY,
        True,
        "proxy_internal_error",
        "The gateway ended before the app answered",
        "A gateway that is stopped, or replaced, gives the requests under way some time. The app on port {port} had "
        "not answered when that was over.",
        (
            "Send the request again: it is harmless unless the app carries it out twice.",
            "Does the app need so long? Answer first, and do long work in the background.",
        ),
    )
    PROXY_INTERNAL_ERROR = Row(
        "proxy_internal_error",
        500,
        GrpcStatus.INTERNAL,
        Blame.GATEWAY,
        False,
        "proxy_internal_error",
        "Something went wrong inside the gateway",
        "This is a fault of the gateway, not of your app.",
        (ASK_OPERATOR,),
    )

    @property
    def row(self) -> Row:
        """The table row: `reason.row.status`, `reason.row.title`, …"""
        return self.value

    def __str__(self) -> str:
        return self.value.name

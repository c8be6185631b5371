"""How a reason reads in particular cases: what its row would say of all of them is not true of these.

A reason is what programs compare and counters count, so there are few. What a person reads must agree with what was
observed: an app that hung up before it was asked did not crash over the request. Owns such texts, a table like that of
the reasons, which must not know who meets them. Texts have the same placeholders as a row's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.reason_row import ASK_OPERATOR
from gateway.reasons import Reason


@dataclass(frozen=True, slots=True)
class Wording:
    """Stands in for the texts of the reason's row."""

    when: str
    """Completes "Where …": for the list of all reasons."""
    title: str
    explanation: str
    checks: tuple[str, ...]


HUNG_UP_UNASKED: Final = Wording(
    "the app hung up before it was asked",
    "The app on port {port} hung up before it was asked",
    "Something accepted the connection to [{address}]:{port} and closed it before the request was passed on: no "
    "app has read it.",
    (
        "Is port {port} a forwarder's (docker-proxy, `kubectl port-forward`, `ssh -L`, a TCP proxy)? One hangs up like "
        "this when nothing listens behind it: is the app there running, and on the right port?",
        "Read the app's log: does it refuse this address, or has it too many connections?",
    ),
)
HUNG_UP_IN_HEAD: Final = Wording(
    "the app hung up within its answer's head",
    "The app's answer broke off within its head",
    "The app on port {port} got the request, began to answer, and closed the connection before the head of its answer "
    "was complete.",
    (
        "Read the app's log: did it crash, or was it restarted, while answering?",
        "Does the app write the head itself? An empty line ends it.",
    ),
)
LOST: Final = Wording(
    "the connection was lost, which the app need not have closed",
    "The connection to port {port} was lost before the answer",
    "The request was passed on to [{address}]:{port}, and the connection was lost before the answer began in full.",
    (
        "Is the sandbox still running, or was it paused, stopped or moved?",
        "What was observed says how the connection ended. If it goes on, give the request id below to whoever runs "
        "this gateway.",
    ),
)
STREAM_RESET: Final = Wording(
    "the app speaks HTTP/2 and reset a request that is no gRPC call, as gRPC servers do",
    "The app on port {port} speaks HTTP/2 and refused this request",
    "The app behind [{address}]:{port} speaks HTTP/2. It reset the request without answering and kept the connection. "
    "Some gRPC servers do that to whatever is no gRPC call: a page, `curl`, gRPC-Web.",
    (
        "Is it a gRPC server? Then nothing is wrong: call it with a gRPC client.",
        "Is it an app for browsers? Read its log: what failed while it was at work on the request?",
    ),
)
REPLACED: Final = Wording(
    "the sandbox ended while its app was at work",
    "Sandbox {sandbox} ended before its app answered",
    "The app on port {port} got the request, and did not answer before the sandbox was replaced or removed, or its "
    "lifetime was over.",
    ("Send the request again if it is harmless to do it twice: the app may have carried it out.",),
)
ANOTHER_PROTOCOL: Final = Wording(
    "another service than a web server was recognised",
    "What listens on port {port} is not a web server",
    "Something listens on [{address}]:{port} and speaks another protocol than HTTP; what was observed says which.",
    (
        "Is the port right? Use the one your web app listens on: databases, SSH and other services have ports of their "
        "own.",
        "This gateway forwards HTTP and WebSocket only. Such a service is reached from inside of the sandbox, at port "
        "{port}.",
    ),
)
BROKEN_HEAD: Final = Wording(
    "the answer begins as one of HTTP and breaks a rule",
    "The app's answer on port {port} is not valid HTTP",
    "What listens on [{address}]:{port} answers in HTTP, and the head of its answer breaks a rule; what was observed "
    "says which.",
    (
        "Mend what was observed where the head is written: by the app, by its framework, or by a proxy before it.",
        "In the sandbox, see all of it: `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc {address} {port}`",
    ),
)
NEXT_REFUSES: Final = Wording(
    "the dev server of Next.js refused a WebSocket",
    "Next.js on port {port} refused this origin",
    "Its dev server answers a WebSocket of a page whose host it does not know with one word, which is not HTTP.",
    ("In next.config: `allowedDevOrigins: ['*.{domain}']`. Then start the dev server again.",),
)

NO_WEBSOCKET_BY_HTTP2: Final = Wording(
    "a WebSocket was asked for, which goes to apps by HTTP/1.1 only",
    "Port {port} has no WebSocket: its app speaks HTTP/2 only",
    "The record of sandbox {sandbox} says that the app on port {port} speaks HTTP/2 without TLS. WebSockets, and "
    "whatever else asks for another protocol by Upgrade, are passed on to apps by HTTP/1.1 only.",
    (
        'Does the app speak HTTP/1.1, too? Then its record should say `"protocol": "auto"`, or another protocol for '
        "port {port}.",
        "Use the port of an app that speaks HTTP/1.1.",
    ),
)

_PUBLISH: Final = (
    "Publish port {port} on `::` (all IPv6 addresses): the command that forwards it has to change, not the app.",
    "Check with `ss -ltnp | grep {port}`: it should say `[::]:{port}` or `*:{port}`.",
)
_FORWARDS: Final = "what listens there forwards to an app elsewhere (docker-proxy, rootlessport, `kubectl`, `ssh -L`)"
FORWARDED_ON_IPV4: Final = Wording(
    _FORWARDS,
    "Port {port} is published on IPv4 only",
    "Sandboxes are reached over IPv6. Nothing accepts connections on [{address}]:{port}; on the same port over IPv4 "
    "something does that passes them on to an app in a container, a cluster or on another machine.",
    _PUBLISH,
)
FORWARDED_ON_LOOPBACK: Final = Wording(
    _FORWARDS,
    "Over IPv6, port {port} is published on localhost only",
    "Nothing accepts connections on [{address}]:{port}; on the same port of ::1, where nobody outside can reach it, "
    "something does that passes them on to an app in a container, a cluster or on another machine.",
    _PUBLISH,
)
LOOPBACK_ONLY: Final = Wording(
    "the app listens on `::1` alone, as the books of the sandbox's machine say",
    "Over IPv6, port {port} listens on localhost only",
    "Nothing accepts connections on [{address}]:{port}, but something does on the same port of ::1: the app runs, "
    "bound to localhost, where nobody outside can reach it.",
    (
        "Bind to `::` (all IPv6 addresses), port {port}, and start the app again.",
        "Check with `ss -ltnp | grep {port}`: it should say `[::]:{port}` or `*:{port}`.",
    ),
)
ACCEPT_QUEUE_FULL: Final = Wording(
    "the app is known to be there and its queue to be full",
    "The queue of the app on port {port} is full",
    "Sandbox {sandbox} is up and something listens on [{address}]:{port}, but who connects waits there until the app "
    "takes somebody on, and the queue of those who wait is full.",
    (
        "Is the app stuck, or stopped in a debugger? Read its log, or start it again.",
        "In the sandbox, see its queue: `ss -ltn sport = :{port}`. Recv-Q is how many wait, Send-Q how many may.",
        "Is it only busy? Let it serve several at once (threads, workers), and listen with a larger backlog.",
    ),
)
QUEUE_SEEMS_FULL: Final = Wording(
    "the queue cannot be seen, and connections made before wait for an answer",
    "The app on port {port} seems stuck",
    "Sandbox {sandbox} is up. Connections that were made to [{address}]:{port} before wait for an answer, and new ones "
    "get none, as where an app takes nobody on and its queue is full.",
    (
        "Is the app stuck, or stopped in a debugger? Read its log, or start it again.",
        "In the sandbox, see its queue: `ss -ltn sport = :{port}`. It is full if Recv-Q is more than Send-Q.",
        "If it is not, a firewall drops new connections, perhaps beyond a rate: `nft list ruleset`.",
    ),
)
PORT_NOT_ANSWERING: Final = Wording(
    "the sandbox is known to be up",
    "Port {port} of sandbox {sandbox} does not answer",
    "Sandbox {sandbox} is up, but nothing came back from [{address}]:{port}, neither an answer nor a refusal. A "
    "firewall drops what is sent there or comes back, or something listens and is too stuck to accept anybody.",
    (
        "Is the app stuck, or stopped in a debugger? In the sandbox, see its queue: `ss -ltn sport = :{port}`. If "
        "Recv-Q is more than Send-Q, it is.",
        "A firewall that drops packets looks the same: allow TCP port {port}, in the sandbox and on the way there.",
    ),
)
REJECTED: Final = Wording(
    "a firewall or a route turns connections away",
    "A firewall or a route rejects connections to port {port}",
    "Connections to [{address}]:{port} are turned away on purpose, by a rule of a firewall or by a route. No app "
    "answers so; whether one listens there cannot be seen.",
    (
        "Was it [{address}] itself that answered? Then allow TCP port {port} in the sandbox's own firewall: "
        "`firewall-cmd --add-port={port}/tcp`, `ufw allow {port}/tcp`; all rules: `nft list ruleset`",
        "Was it another address? Then the rule stands there, or, if nobody is named, most likely on the gateway's own "
        "machine: `nft list ruleset`, `ip -6 route`. " + ASK_OPERATOR,
    ),
)
NOT_ON_THIS_MACHINE: Final = Wording(
    "it is asked of `gateway dev`",
    "There is no sandbox “{sandbox}” on this machine",
    "The hostname is well formed, but this `gateway dev` has no sandbox with the id {sandbox}.",
    (
        "Check the sandbox id for typing errors: those that exist are named above.",
        "Add it while the gateway runs: `gateway sandboxes add {sandbox} ::1`",
        "Or start the gateway with it: `gateway dev {sandbox}={port}`",
    ),
)

WORDINGS: dict[Reason, tuple[Wording, ...]] = {
    Reason.DESTINATION_NOT_FOUND: (NOT_ON_THIS_MACHINE,),
    Reason.CONNECTION_REFUSED: (LOOPBACK_ONLY, FORWARDED_ON_LOOPBACK, REJECTED),
    Reason.IPV4_ONLY_LISTENER: (FORWARDED_ON_IPV4,),
    Reason.CONNECTION_TIMEOUT: (ACCEPT_QUEUE_FULL, QUEUE_SEEMS_FULL, PORT_NOT_ANSWERING),
    Reason.DESTINATION_IP_UNROUTABLE: (REJECTED,),
    Reason.CONNECTION_TERMINATED: (HUNG_UP_UNASKED, HUNG_UP_IN_HEAD, LOST, STREAM_RESET),
    Reason.HTTP_RESPONSE_TIMEOUT: (REPLACED,),
    Reason.UPSTREAM_SPEAKS_HTTP2: (NO_WEBSOCKET_BY_HTTP2,),
    Reason.HTTP_PROTOCOL_ERROR: (ANOTHER_PROTOCOL, BROKEN_HEAD, NEXT_REFUSES),
}
"""Every one there is, under the reason it belongs to."""

"""What a head's fields mean: HARDENING's "Fields", "Upgrade" and the response rules, row by row.

These rows call the validator as any codec does, with pairs: what only a lenient parser would let through is here too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.errors import GatewayError, Reason
from gateway.http import serialize, validate
from gateway.http.hop import MAX_OPTIONS, OF_ANSWER, OF_REQUEST
from gateway.http.http1 import PROTOCOLS, Http1RequestHead, Http1ResponseHead
from gateway.http.message import Fields, FieldSection, Framing, RequestHead, ResponseSection
from tests.support.field_lines import judged

HOST = (b"Host", b"5000-a.example.dev")


def request(
    *pairs: tuple[bytes, bytes], method: bytes = b"GET", target: bytes = b"/", minor: int = 1, host: bool = True
) -> Http1RequestHead:
    section, hop = validate.request_section(OF_REQUEST[minor], judged([HOST, *pairs] if host else list(pairs)))
    head = Http1RequestHead(method, target, PROTOCOLS[minor], section)
    head.keep_alive = hop.keep_alive
    validate.check_request(head)
    return head


def response(
    *pairs: tuple[bytes, bytes], status: int = 200, minor: int = 1, request_method: bytes = b"GET"
) -> Http1ResponseHead:
    section, hop = validate.response_section(OF_ANSWER[minor], judged(pairs))
    return validate.response_head(status, b"", section, hop, request_method)


def reason_of(make: Callable[..., object], *pairs: tuple[bytes, bytes], **start: object) -> Reason:
    with pytest.raises(GatewayError) as error:
        make(*pairs, **start)
    assert error.value.detail
    return error.value.reason


# --- which fields go on -------------------------------------------------------------------------------------------

FIELDS = [
    # what is sent, what goes on in a request, what goes on in a response
    # --- hop by hop
    ((b"Connection", b"keep-alive"), False, False),
    ((b"Keep-Alive", b"timeout=5"), False, False),
    ((b"Proxy-Connection", b"keep-alive"), False, False),
    ((b"TE", b"trailers"), False, False),
    ((b"Upgrade", b"websocket"), False, False),
    ((b"HTTP2-Settings", b"AAMAAABkAAQAoAAAAAIAAAAA"), False, False),
    ((b"Proxy", b"http://evil.test"), False, False),
    # --- read, and passed all the same
    ((b"Date", b"Sun, 06 Nov 1994 08:49:37 GMT"), True, True),
    ((b"Max-Forwards", b"5"), True, True),
    # --- who asks: judged by the edge in a request, an app's own words in a response
    ((b"X-Forwarded-For", b"203.0.113.1"), False, True),
    ((b"x-forwarded-host", b"evil.test"), False, True),
    ((b"X-FORWARDED-PROTO", b"https"), False, True),
    ((b"X-Forwarded-Port", b"443"), False, True),
    ((b"X-Forwarded-Anything", b"1"), False, True),
    ((b"Forwarded", b"for=203.0.113.1"), False, True),
    ((b"X-Real-Ip", b"203.0.113.1"), False, True),
    ((b"Via", b"1.1 elsewhere"), False, True),
    # --- the same with underscores, as CGI and its heirs read them
    ((b"X_Forwarded_For", b"203.0.113.1"), False, True),
    ((b"x-forwarded_for", b"203.0.113.1"), False, True),
    ((b"X_Forwarded-Host", b"evil.test"), False, True),
    ((b"X_Real_Ip", b"203.0.113.1"), False, True),
    ((b"content_length", b"5"), False, False),
    ((b"Content_Length", b"x"), False, False),
    ((b"transfer_encoding", b"chunked"), False, False),
    ((b"Transfer_Encoding", b"gzip"), False, False),
    ((b"keep_alive", b"1"), False, False),
    ((b"proxy_connection", b"1"), False, False),
    ((b"http2_settings", b"1"), False, False),
    # --- the gateway's own marks
    ((b"X-Gateway-Error", b"connection_refused"), False, False),
    ((b"x-gateway-error", b"x"), False, False),
    ((b"X_Gateway_Error", b"x"), False, False),
    ((b"X-Gateway-Hint", b"x"), False, False),
    ((b"Proxy-Status", b"gateway; error=connection_refused"), False, False),
    ((b"Proxy_Status", b"x"), False, False),
    ((b"X-Request-Id", b"abc"), False, False),
    ((b"x_request_id", b"abc"), False, False),
    # --- everything else is between the app and its users
    ((b"Accept", b"*/*"), True, True),
    ((b"Cookie", b"a=b; c=d"), True, True),
    ((b"Set-Cookie", b"a=b"), True, True),
    ((b"Authorization", b"Bearer x"), True, True),
    ((b"Content-Encoding", b"br"), True, True),
    ((b"Content-Type", b""), True, True),
    ((b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="), True, True),
    ((b"Sec-WebSocket-Extensions", b"permessage-deflate; client_max_window_bits"), True, True),
    ((b"Origin", b"null"), True, True),
    ((b"Range", b"bytes=0-5,10-"), True, True),
    ((b"Trailer", b"X-Checksum"), True, True),
    ((b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), True, True),
    ((b"X_Custom_Field", b"1"), True, True),
    ((b"X-Forwarded", b"1"), False, True),
    ((b"X-Forwarding", b"1"), True, True),
    ((b"CF-Connecting-IP", b"1"), False, True),
    ((b"CF-IPCountry", b"XX"), True, True),
    ((b"Age", b"0"), True, True),
    ((b"Location", b"http://localhost:3000/"), True, True),
]


@pytest.mark.parametrize(("pair", "in_request", "in_response"), FIELDS)
def test_each_field_goes_on_or_ends_here(pair: tuple[bytes, bytes], in_request: bool, in_response: bool) -> None:
    around = ((b"A", b"1"), pair, (b"Z", b"2"))
    ends = [(b"A", b"1"), (b"Z", b"2")]
    assert request(*around).fields == (list(around) if in_request else ends)
    assert response(*around).fields == (list(around) if in_response else ends)


@pytest.mark.parametrize(
    "name", [b"X-Forwarded-For", b"x_forwarded_for", b"Forwarded", b"X-Real-Ip", b"X_Real_Ip", b"Via", b"X-Request-Id"]
)
def test_a_claim_about_the_origin_is_kept_apart(name: bytes) -> None:
    head = request((b"A", b"1"), (name, b"x"), (name, b"y"))
    assert head.fields == [(b"A", b"1")]
    assert head.forwarding == [(name, b"x"), (name, b"y")]


def test_order_duplicates_and_case_are_kept() -> None:
    pairs = [(b"b", b"1"), (b"A", b"2"), (b"B", b"1"), (b"b", b"1"), (b"SEC-websocket-KEY", b"x"), (b"a", b"")]
    assert request(*pairs).fields == pairs
    assert response(*pairs).fields == pairs


def test_what_a_head_says_can_be_asked_by_name() -> None:
    head = request((b"X-A", b"1"), (b"x-a", b"2"))
    assert (head.get(b"x-a"), head.get(b"x-b")) == (b"1", None)
    assert response((b"X-A", b"1")).get(b"x-a") == b"1"


# --- Connection ---------------------------------------------------------------------------------------------------

NOMINATIONS = [
    # Connection's values, the fields that are left
    ((b"X-Hop",), [b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"x-hop, X-OTHER",), [b"Cookie", b"Content-Length"]),
    ((b"x-hop", b"x-other"), [b"Cookie", b"Content-Length"]),
    ((b",, close ,X-Hop\t,,",), [b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"cookie",), [b"X-Hop", b"X-Other", b"Content-Length"]),
    ((b"x-absent",), [b"X-Hop", b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"x_hop",), [b"X-Hop", b"X-Other", b"Cookie", b"Content-Length"]),
    ((b'"X-Hop"',), [b"X-Hop", b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"",), [b"X-Hop", b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"close",), [b"X-Hop", b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"Content-Length",), [b"X-Hop", b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"content-length, x-hop",), [b"X-Other", b"Cookie", b"Content-Length"]),
    ((b"host, transfer-encoding, connection, te, upgrade",), [b"X-Hop", b"X-Other", b"Cookie", b"Content-Length"]),
]


@pytest.mark.parametrize(("values", "left"), NOMINATIONS)
@pytest.mark.parametrize("make", [request, response])
def test_connection_names_what_ends_here(
    make: Callable[..., RequestHead], values: tuple[bytes, ...], left: Fields
) -> None:
    fields = ((b"X-Hop", b"1"), (b"X-Other", b"2"), (b"Cookie", b"3"), (b"Content-Length", b"5"))
    head = make(*fields, *((b"Connection", value) for value in values))
    assert [name for name, _ in head.fields] == left
    assert head.framing is Framing.LENGTH


PROTECTED = [
    b"Host",
    b"Content-Length",
    b"X-Forwarded-For",
    b"X-Forwarded-Host",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Port",
]
PROTECTED += [b"Forwarded", b"X-Real-Ip", b"Via", b"X-Request-Id", b"Expect"]


@pytest.mark.parametrize("name", PROTECTED)
@pytest.mark.parametrize("spell", [bytes.lower, bytes.upper, lambda name: name.replace(b"-", b"_")])
def test_a_nomination_never_takes_what_routes_frames_or_tells_the_origin(
    name: bytes, spell: Callable[[bytes], bytes]
) -> None:
    """CVE-2024-45410. Seen in what goes upstream, with the fields that the edge adds."""
    added = [
        (forwarded, b"ours") for forwarded in PROTECTED if forwarded not in (b"Host", b"Content-Length", b"Expect")
    ]
    added.remove((b"X-Request-Id", b"ours"))
    claims = [(forwarded, b"theirs") for forwarded in PROTECTED[2:-1]]
    head = request((b"Content-Length", b"5"), (b"Expect", b"100-continue"), *claims, (b"Connection", spell(name)))
    written = serialize.request_head(head, head.authority, FieldSection.of(added), b"ours")
    assert b"\r\n%b: " % name in written
    assert b"theirs" not in written
    assert (head.framing, head.section.content_length) == (Framing.LENGTH, 5)


@pytest.mark.parametrize("option", [b"x-hop", b"", b" "])
def test_connection_has_so_many_options(option: bytes) -> None:
    """Members, empty ones too: each takes time, and a head has room for fifteen thousand."""
    most = [(b"Connection", b",".join([option] * (MAX_OPTIONS // 2)))] * 2
    assert request(*most).keep_alive
    with pytest.raises(GatewayError) as error:
        request(*most, (b"Connection", b"close"))
    assert error.value.reason is Reason.BAD_REQUEST
    assert response(*most).hop.keep_alive
    with pytest.raises(GatewayError) as error:
        response(*most, (b"Connection", b"close"))
    assert error.value.reason is Reason.HTTP_PROTOCOL_ERROR


@pytest.mark.parametrize("name", [b"Expect", b"TE", b"Upgrade"])
def test_other_lists_have_so_many_members(name: bytes) -> None:
    assert request((name, b"," * (MAX_OPTIONS - 1)))
    assert reason_of(request, NAMED, (name, b"," * MAX_OPTIONS)) is Reason.BAD_REQUEST
    if name == b"Upgrade":
        assert reason_of(response, (name, b"," * MAX_OPTIONS), status=426) is Reason.HTTP_PROTOCOL_ERROR


PERSISTENCE = [
    # minor version, Connection's values, whether the connection may be used again
    (1, (), True),
    (1, (b"keep-alive",), True),
    (1, (b"close",), False),
    (1, (b"Close",), False),
    (1, (b"keep-alive, close",), False),
    (1, (b"keep-alive", b"close"), False),
    (1, (b"x-hop,close",), False),
    (1, (b"closed",), True),
    (0, (), False),
    (0, (b"keep-alive",), True),
    (0, (b"Keep-Alive",), True),
    (0, (b"close",), False),
    (0, (b"keep-alive, close",), False),
    (0, (b"upgrade",), False),
]


@pytest.mark.parametrize(("minor", "values", "keep_alive"), PERSISTENCE)
def test_a_connection_persists_as_its_version_says(minor: int, values: tuple[bytes, ...], keep_alive: bool) -> None:
    pairs = [(b"Connection", value) for value in values]
    assert request(*pairs, minor=minor).keep_alive is keep_alive
    assert response(*pairs, minor=minor).hop.keep_alive is keep_alive


TE = [
    ((), False),
    ((b"trailers",), True),
    ((b"Trailers",), True),
    ((b"gzip", b"trailers"), True),
    ((b"trailers", b"gzip"), True),
    ((b"trailers, deflate;q=0.5",), True),
    ((b"gzip;q=0.5 ,\t TRAILERS",), True),
    ((b",, trailers ,",), True),
    ((b"gzip, trailers",), True),
    ((b"trailers;q=0.5",), False),
    ((b"gzip trailers",), False),
    ((b"trailersx, xtrailers",), False),
    ((b'foo;x="a, trailers, b"',), False),
    ((b'foo;x="a\\", trailers',), False),
    ((b'foo;x="a\\"", trailers',), True),
    ((b"deflate",), False),
    ((b"",), False),
]


@pytest.mark.parametrize(("values", "trailers_ok"), TE)
def test_te_goes_on_only_as_trailers(values: tuple[bytes, ...], trailers_ok: bool) -> None:
    head = request(*((b"TE", value) for value in values))
    assert head.section.trailers_ok is trailers_ok
    written = serialize.request_head(head, head.authority, FieldSection.of([]), b"id")
    assert written.count(b"TE: ") == trailers_ok
    assert (b"\r\nConnection: TE\r\nTE: trailers\r\n" in written) is trailers_ok


# --- framing of requests ------------------------------------------------------------------------------------------

LENGTHS = [
    # Content-Length, the octets declared, None where it is refused
    (b"0", 0),
    (b"1", 1),
    (b"10", 10),
    (b"9" * 18, 10**18 - 1),
    (b"1" + b"0" * 18, None),
    (b"", None),
    (b"+01", None),
    (b"0 1", None),
    (b"01,1", None),
    (b"+1", None),
    (b"-1", None),
    (b" 1", None),
    (b"1 ", None),
    (b"1\t", None),
    (b"1,1", None),
    (b"1, 1", None),
    (b"0x1", None),
    (b"1_0", None),
    (b"1.0", None),
    (b"1e1", None),
    (b"\xd9\xa1", None),
    (b"\xb9", None),
    (b"one", None),
]


@pytest.mark.parametrize(("value", "length"), LENGTHS)
def test_content_length_is_a_plain_number(value: bytes, length: int | None) -> None:
    pair = (b"Content-Length", value)
    if length is None:
        assert reason_of(request, pair) is Reason.BAD_REQUEST
        assert reason_of(response, pair) is Reason.HTTP_PROTOCOL_ERROR
    else:
        framing = Framing.LENGTH if length else Framing.NONE
        asked, answered = request(pair), response(pair)
        assert (asked.framing, asked.section.content_length) == (framing, length)
        assert (answered.framing, answered.content_length) == (framing, length)
        assert asked.fields == answered.fields == [pair]


@pytest.mark.parametrize(
    ("value", "length"),
    [(b"0017", b"17"), (b"01", b"1"), (b"00", b"0"), (b"0" * 30 + b"9" * 18, b"9" * 18), (b"0" * 5000, b"0")],
)
def test_a_length_with_zeros_before_it_is_an_answers_and_written_anew(value: bytes, length: bytes) -> None:
    """RFC 9110 section 8.6 allows them; in a request another parser could take them for octal."""
    answered = response((b"content-Length", value))
    assert answered.content_length == int(length)
    assert answered.fields == [(b"content-Length", length)]
    assert reason_of(request, (b"Content-Length", value)) is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    "value", [b"0x17", b"0 17", b"00,17", b"0+17", b"0.0", b"0_1", b"0" * 5 + b"1" + b"0" * 18, b"0\xb2"]
)
def test_zeros_make_nothing_else_a_length(value: bytes) -> None:
    assert reason_of(response, (b"Content-Length", value)) is Reason.HTTP_PROTOCOL_ERROR


FRAMINGS = [
    # the fields, the minor version, the framing or the reason
    ([], 1, Framing.NONE),
    ([(b"Transfer-Encoding", b"chunked")], 1, Framing.STREAM),
    ([(b"TRANSFER-encoding", b"CHUNKED")], 1, Framing.STREAM),
    ([(b"Transfer-Encoding", b"chunked")], 0, Reason.BAD_REQUEST),
    ([(b"Transfer-Encoding", b"gzip")], 0, Reason.BAD_REQUEST),
    ([(b"Transfer-Encoding", b"")], 1, Reason.BAD_REQUEST),
    ([(b"Transfer-Encoding", b"gzip")], 1, Reason.NOT_IMPLEMENTED),
    ([(b"Transfer-Encoding", b"identity")], 1, Reason.NOT_IMPLEMENTED),
    ([(b"Transfer-Encoding", b"gzip, chunked")], 1, Reason.NOT_IMPLEMENTED),
    ([(b"Transfer-Encoding", b"chunked, chunked")], 1, Reason.NOT_IMPLEMENTED),
    ([(b"Transfer-Encoding", b"chunked ")], 1, Reason.NOT_IMPLEMENTED),
    ([(b"Transfer-Encoding", b"\tchunked")], 1, Reason.NOT_IMPLEMENTED),
    ([(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")], 1, Reason.BAD_REQUEST),
    ([(b"Transfer-Encoding", b"gzip"), (b"transfer-encoding", b"chunked")], 1, Reason.BAD_REQUEST),
    ([(b"Content-Length", b"5"), (b"Content-Length", b"5")], 1, Reason.BAD_REQUEST),
    ([(b"Content-Length", b"5"), (b"content-length", b"6")], 1, Reason.BAD_REQUEST),
    ([(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")], 1, Reason.BAD_REQUEST),
    ([(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"0")], 1, Reason.BAD_REQUEST),
    ([(b"Transfer-Encoding", b"gzip"), (b"Content-Length", b"5")], 1, Reason.BAD_REQUEST),
    ([(b"Content_Length", b"7"), (b"Content-Length", b"5")], 1, Framing.LENGTH),
    ([(b"Transfer_Encoding", b"chunked")], 1, Framing.NONE),
]


@pytest.mark.parametrize(("pairs", "minor", "outcome"), FRAMINGS)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"POST", b"DELETE", b"PROPFIND"])
def test_a_body_is_framed_whatever_the_method(pairs: Fields, minor: int, outcome: object, method: bytes) -> None:
    if isinstance(outcome, Reason):
        assert reason_of(request, *pairs, method=method, minor=minor) is outcome
    else:
        assert request(*pairs, method=method, minor=minor).framing is outcome


EXPECTATIONS = [
    # Expect, minor version, body; whether it is waited for, whether the app may read it
    (b"100-continue", 1, b"5", True, True),
    (b"100-Continue", 1, b"5", True, True),
    (b", 100-continue ,", 1, b"5", True, True),
    (b"100-continue, 100-CONTINUE", 1, b"5", True, True),
    (b"", 1, b"5", False, False),
    (b" , ,", 1, b"5", False, False),
    (b"", 0, b"5", False, False),
    (b"100-continue", 1, b"0", False, True),
    (b"100-continue", 0, b"5", False, False),
]


@pytest.mark.parametrize(("value", "minor", "length", "waited_for", "passed"), EXPECTATIONS)
def test_100_continue_is_an_expectation(
    value: bytes, minor: int, length: bytes, waited_for: bool, passed: bool
) -> None:
    head = request((b"Content-Length", length), (b"Expect", value), method=b"POST", minor=minor)
    assert head.section.expects_continue is waited_for
    assert head.get(b"expect") == (b"100-continue" if passed else None)


@pytest.mark.parametrize(
    "value",
    [b"100", b"continue", b"200-ok", b"100-continue, 200-ok", b"100-continue;x", b"100-continue=1", b'"100-continue"'],
)
@pytest.mark.parametrize("minor", [0, 1])
def test_there_is_no_other_expectation(value: bytes, minor: int) -> None:
    assert reason_of(request, (b"Expect", value), minor=minor) is Reason.EXPECTATION_FAILED


# --- Host and target ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", [0, 1])
def test_a_request_names_exactly_one_host(minor: int) -> None:
    assert request(minor=minor).authority == HOST[1]
    assert reason_of(request, host=False, minor=minor) is Reason.BAD_REQUEST
    assert reason_of(request, HOST, minor=minor) is Reason.BAD_REQUEST
    assert reason_of(request, (b"hOST", b"other.test"), minor=minor) is Reason.BAD_REQUEST


AUTHORITIES = [
    (b"a.test", True),
    (b"A.test:443", True),
    (b"a.test:", True),
    (b"192.0.2.1:80", True),
    (b"[2001:db8::1]:80", True),
    (b"[::1]", True),
    (b"a" * 255, True),
    (b"a" * 256, False),
    (b"", False),
    (b"a@b", False),
    (b"a/b", False),
    (b"a,b", False),
    (b"a b", False),
    (b"a\tb", False),
    (b'a"', False),
    (b"a;b", True),
    (b"a:80:80", False),
    (b"a:8o", False),
    (b"a:123456", False),
    (b"::1", False),
    (b"[::1%25lo]", False),
    (b"a\xe4", False),
    (b"a\n", False),
]


@pytest.mark.parametrize(("value", "is_one"), AUTHORITIES)
def test_an_authority_is_host_and_port(value: bytes, is_one: bool) -> None:
    assert validate.is_authority(value) is is_one
    if is_one:
        assert request((b"Host", value), host=False).authority == value
    else:
        assert reason_of(request, (b"Host", value), host=False) is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    ("octet", "allowed"), [(octet, 0x21 <= octet < 0x7F and octet != 0x23) for octet in range(256)]
)
def test_a_target_has_visible_ascii_without_a_fragment(octet: int, allowed: bool) -> None:
    target = b"/%c?%c" % (octet, octet)
    if allowed:
        assert request(target=target).target == target
    else:
        assert reason_of(request, target=target) is Reason.BAD_REQUEST


ONE_HOST = [
    # RFC 3986 section 6.2.3 and 3.2.2: the target's scheme and authority, the Host field, whether they are one
    (b"http://a.test", b"a.test", True),
    (b"http://a.test:80", b"a.test", True),
    (b"http://a.test", b"a.test:80", True),
    (b"https://a.test:443", b"a.test", True),
    (b"https://a.test", b"a.test:443", True),
    (b"HTTPS://A.Test:443", b"a.tEST", True),
    (b"http://a.test:", b"a.test", True),
    (b"http://a.test", b"a.test:", True),
    (b"http://a.test:", b"a.test:80", True),
    (b"http://a.test.", b"a.test", True),
    (b"http://a.test", b"a.test.", True),
    (b"https://a.test.:443", b"A.TEST:", True),
    (b"http://a.test:080", b"a.test", True),
    (b"https://a.test:8443", b"a.test:8443", True),
    (b"http://[2001:DB8::1]:80", b"[2001:db8::1]", True),
    (b"http://a.test:443", b"a.test", False),
    (b"https://a.test:80", b"a.test", False),
    (b"http://a.test", b"a.test:443", False),
    (b"http://a.test:8080", b"a.test:8081", False),
    (b"http://a.test:0", b"a.test", False),
    (b"http://a.test..", b"a.test", False),
    (b"http://b.test", b"a.test", False),
    (b"http://a.test.b.test", b"a.test", False),
    (b"http://me@a.test", b"a.test", False),
    (b"http://a.test:80:80", b"a.test", False),
    (b"http://a.test:http", b"a.test", False),
    (b"http://%61.test", b"a.test", False),
    (b"http://", b"a.test", False),
    (b"http://:80", b"a.test", False),
]


@pytest.mark.parametrize(("target", "host", "are_one"), ONE_HOST)
def test_a_target_and_host_that_mean_one_host_agree(target: bytes, host: bytes, are_one: bool) -> None:
    pair = (b"Host", host)
    if are_one:
        head = request(pair, target=target + b"/x", host=False)
        assert (head.target, head.authority) == (b"/x", host)
    else:
        assert reason_of(request, pair, target=target + b"/x", host=False) is Reason.BAD_REQUEST


# --- Upgrade ------------------------------------------------------------------------------------------------------

WEBSOCKET = (b"Upgrade", b"websocket")
NAMED = (b"Connection", b"Upgrade")

UPGRADES: list[tuple[bytes, int, Fields, bytes | None]] = [
    # method, minor version, fields, the protocol asked for
    (b"GET", 1, [NAMED, WEBSOCKET], b"websocket"),
    (b"GET", 1, [WEBSOCKET, NAMED], b"websocket"),
    (b"GET", 1, [(b"connection", b"keep-alive, uPGRADE"), WEBSOCKET], b"websocket"),
    (b"GET", 1, [(b"Connection", b"keep-alive"), NAMED, WEBSOCKET], b"websocket"),
    (b"GET", 1, [NAMED, (b"Upgrade", b"WebSocket")], b"WebSocket"),
    (b"GET", 1, [NAMED, (b"Upgrade", b"foo/1.1")], b"foo/1.1"),
    (b"GET", 1, [NAMED, WEBSOCKET, (b"Content-Length", b"0")], b"websocket"),
    # one half of the handshake is none
    (b"GET", 1, [WEBSOCKET], None),
    (b"GET", 1, [NAMED], None),
    (b"GET", 1, [(b"Connection", b"close"), WEBSOCKET], None),
    (b"GET", 1, [(b"Connection", b"upgraded"), WEBSOCKET], None),
    (b"GET", 1, [(b"Connection", b'"upgrade"'), WEBSOCKET], None),
    # RFC 9110 section 7.8: by any method, with or without a body
    (b"POST", 1, [NAMED, WEBSOCKET], b"websocket"),
    (b"HEAD", 1, [NAMED, WEBSOCKET], b"websocket"),
    (b"OPTIONS", 1, [NAMED, WEBSOCKET], b"websocket"),
    (b"POST", 1, [NAMED, (b"Upgrade", b"tcp"), (b"Content-Length", b"5")], b"tcp"),
    (b"PATCH", 1, [NAMED, (b"Upgrade", b"SPDY/3.1"), (b"Transfer-Encoding", b"chunked")], b"SPDY/3.1"),
    # but in HTTP/1.0 it is ignored
    (b"GET", 0, [NAMED, WEBSOCKET], None),
    # Upgrade = #protocol; what is none is not offered
    (b"GET", 1, [NAMED, WEBSOCKET, (b"upgrade", b"foo/2")], b"websocket, foo/2"),
    (b"GET", 1, [NAMED, (b"Upgrade", b", websocket ,\tfoo,")], b"websocket, foo"),
    (b"GET", 1, [NAMED, (b"Upgrade", b"web socket, foo")], b"foo"),
    (b"GET", 1, [NAMED, (b"Upgrade", b"")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b",")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b"web socket")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b"foo/1/2")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b"f\xf6\xf6")], None),
    # never cleartext HTTP/2 towards an app
    (b"GET", 1, [NAMED, (b"Upgrade", b"h2c")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b"H2C")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b"h2c-17")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b"h2C/2")], None),
    (b"POST", 1, [NAMED, (b"Upgrade", b"h2c"), (b"Content-Length", b"5")], None),
    (b"GET", 1, [NAMED, (b"Upgrade", b"h2c, websocket"), (b"Upgrade", b"H2c")], b"websocket"),
    (b"GET", 1, [NAMED, (b"Upgrade", b"h2cx")], b"h2cx"),
    (b"GET", 1, [(b"Connection", b"Upgrade, HTTP2-Settings"), (b"Upgrade", b"h2c"), (b"HTTP2-Settings", b"")], None),
]


def test_too_many_protocols_are_refused() -> None:
    assert reason_of(request, NAMED, (b"Upgrade", b"," * MAX_OPTIONS)) is Reason.BAD_REQUEST


@pytest.mark.parametrize(("method", "minor", "pairs", "protocol"), UPGRADES)
def test_an_upgrade_is_asked_for_properly_or_not_at_all(
    method: bytes, minor: int, pairs: Fields, protocol: bytes | None
) -> None:
    head = request(*pairs, (b"Sec-WebSocket-Key", b"x"), method=method, minor=minor)
    assert head.upgrade == protocol
    written = serialize.request_head(head, head.authority, FieldSection.of([]), b"id").lower()
    assert written.count(b"upgrade") == (0 if protocol is None else 2)
    assert b"http2-settings" not in written
    assert b"\r\nsec-websocket-key: x\r\n" in written


# --- methods ------------------------------------------------------------------------------------------------------

METHODS = [
    (b"GET", None),
    (b"A", None),
    (b"M-SEARCH", None),
    (b"RDG_OUT_DATA", None),
    (b"patch", None),
    (b"Head", None),
    (b"1GET", None),
    (b"CONNECTED", None),
    (b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", None),
    (b"A" * 128, None),
    (b"A" * 129, Reason.NOT_IMPLEMENTED),
    (b"CONNECT", Reason.METHOD_NOT_ALLOWED),
    (b"TRACE", Reason.METHOD_NOT_ALLOWED),
    (b"PRI", Reason.METHOD_NOT_ALLOWED),
    (b"connect", Reason.METHOD_NOT_ALLOWED),
    (b"Trace", Reason.METHOD_NOT_ALLOWED),
    (b"", Reason.BAD_REQUEST),
    (b"G T", Reason.BAD_REQUEST),
    (b"G,T", Reason.BAD_REQUEST),
    (b'"GET"', Reason.BAD_REQUEST),
    (b"GET\r\n", Reason.BAD_REQUEST),
    (b"GET\0", Reason.BAD_REQUEST),
    (b"\nGET", Reason.BAD_REQUEST),
    (b"G\xc9T", Reason.BAD_REQUEST),
]


@pytest.mark.parametrize(("method", "reason"), METHODS)
def test_a_method_is_a_token_and_goes_on_as_it_is(method: bytes, reason: Reason | None) -> None:
    """RFC 9110 section 9.1."""
    if reason is None:
        assert request(method=method).method == method
    else:
        assert reason_of(request, method=method) is reason


# --- Max-Forwards -------------------------------------------------------------------------------------------------

HOPS = [
    # RFC 9110 section 7.6.2: what came, what goes on; None: it ends here
    (b"5", b"4"),
    (b"1", b"0"),
    (b"007", b"6"),
    (b"10", b"9"),
    (b"999999999", b"999999998"),
    (b"1000000000", b"999999999"),
    (b"9" * 5000, b"999999999"),
    (b"0" * 5000 + b"1", b"0"),
    (b"0", None),
    (b"000", None),
]


@pytest.mark.parametrize(("came", "goes"), HOPS)
def test_a_request_for_options_has_one_hop_less(came: bytes, goes: bytes | None) -> None:
    head = request((b"A", b"1"), (b"max-Forwards", came), (b"B", b"2"), method=b"OPTIONS")
    assert head.ends_here is (goes is None)
    if goes is not None:
        assert head.fields == [(b"A", b"1"), (b"max-Forwards", goes), (b"B", b"2")]
        assert b"\r\nmax-Forwards: " + goes + b"\r\n" in serialize.request_head(
            head, HOST[1], FieldSection.of([]), b"id"
        )


def test_a_hop_is_counted_for_each_request() -> None:
    """The section is shared by all that carry it."""
    section, _ = validate.request_section(OF_REQUEST[1], judged([HOST, (b"Max-Forwards", b"5")]))
    for _ in range(2):
        head = RequestHead(b"OPTIONS", b"/", "HTTP/1.1", section)
        validate.check_request(head)
        assert head.get(b"max-forwards") == b"4"
    assert section.get(b"max-forwards") == b"5"


@pytest.mark.parametrize("value", [b"", b"-1", b"+5", b"5.0", b"5, 4", b"0x5", b"five", b"5 4", b"\xd9\xa5", b"5;q=1"])
def test_hops_that_cannot_be_counted_are_refused(value: bytes) -> None:
    pair = (b"Max-Forwards", value)
    assert reason_of(request, pair, method=b"OPTIONS") is Reason.BAD_REQUEST
    assert request(pair).fields == [pair]


def test_hops_said_twice_are_refused() -> None:
    assert reason_of(request, *[(b"Max-Forwards", b"5")] * 2, method=b"OPTIONS") is Reason.BAD_REQUEST


@pytest.mark.parametrize("method", [b"GET", b"POST", b"PROPFIND", b"options"])
def test_hops_of_other_methods_are_not_counted(method: bytes) -> None:
    """A recipient MAY ignore them."""
    head = request((b"Max-Forwards", b"0"), method=method)
    assert (head.fields, head.ends_here) == ([(b"Max-Forwards", b"0")], False)


def test_hops_are_counted_though_connection_names_them() -> None:
    pairs = (b"Connection", b"Max-Forwards"), (b"Max-Forwards", b"0")
    assert request(*pairs, method=b"OPTIONS").ends_here


# --- responses ----------------------------------------------------------------------------------------------------

CHUNKED = (b"Transfer-Encoding", b"chunked")
FIVE = (b"Content-Length", b"5")

RESPONSES = [
    # the request's method, status, minor version, fields; the framing, whether Content-Length goes on
    (b"GET", 200, 1, [FIVE], Framing.LENGTH, True),
    (b"GET", 200, 1, [CHUNKED], Framing.STREAM, False),
    (b"GET", 200, 1, [(b"transfer-encoding", b"Chunked")], Framing.STREAM, False),
    (b"GET", 200, 1, [], Framing.STREAM, False),
    (b"GET", 200, 0, [], Framing.STREAM, False),
    (b"GET", 200, 0, [FIVE], Framing.LENGTH, True),
    (b"GET", 404, 1, [(b"Content-Length", b"0")], Framing.NONE, True),
    (b"POST", 500, 1, [FIVE], Framing.LENGTH, True),
    (b"GET", 205, 1, [(b"Content-Length", b"0")], Framing.NONE, True),
    (b"GET", 599, 1, [FIVE], Framing.LENGTH, True),
    # no body, whatever the fields say
    (b"HEAD", 200, 1, [FIVE], Framing.NONE, True),
    (b"HEAD", 200, 1, [CHUNKED], Framing.NONE, False),
    (b"HEAD", 200, 1, [], Framing.NONE, False),
    (b"HEAD", 404, 0, [], Framing.NONE, False),
    (b"GET", 304, 1, [FIVE], Framing.NONE, True),
    (b"GET", 304, 1, [CHUNKED], Framing.NONE, False),
    (b"GET", 304, 1, [], Framing.NONE, False),
    (b"GET", 204, 1, [], Framing.NONE, False),
    (b"GET", 204, 1, [FIVE], Framing.NONE, False),
    (b"GET", 204, 1, [CHUNKED], Framing.NONE, False),
    (b"GET", 100, 1, [FIVE], Framing.NONE, False),
    (b"GET", 103, 1, [], Framing.NONE, False),
    (b"GET", 103, 1, [FIVE], Framing.NONE, False),
    (b"GET", 101, 1, [CHUNKED], Framing.TUNNEL, False),
]


@pytest.mark.parametrize(("method", "status", "minor", "pairs", "framing", "length_passes"), RESPONSES)
def test_a_response_ends_where_rfc_9112_says(
    method: bytes, status: int, minor: int, pairs: Fields, framing: Framing, length_passes: bool
) -> None:
    head = response((b"Link", b"</x>"), *pairs, status=status, minor=minor, request_method=method)
    assert head.framing is framing
    assert head.content_length == (5 if framing is Framing.LENGTH else 0)
    assert head.fields == [(b"Link", b"</x>"), *(pairs if length_passes else [])]


BAD_RESPONSES = [
    (200, 1, [FIVE, FIVE]),
    (200, 1, [FIVE, (b"Content-Length", b"6")]),
    (200, 1, [FIVE, CHUNKED]),
    (200, 1, [CHUNKED, FIVE]),
    (200, 1, [CHUNKED, CHUNKED]),
    (200, 0, [CHUNKED]),
    (200, 1, [(b"Transfer-Encoding", b"gzip")]),
    (200, 1, [(b"Transfer-Encoding", b"gzip, chunked")]),
    (200, 1, [(b"Transfer-Encoding", b"identity")]),
    (200, 1, [(b"Transfer-Encoding", b"")]),
    (204, 1, [FIVE, FIVE]),
    (304, 1, [FIVE, CHUNKED]),
    (101, 1, [FIVE, FIVE]),
    (99, 1, []),
    (0, 1, []),
    (600, 1, []),
    (999, 1, []),
]


@pytest.mark.parametrize(("status", "minor", "pairs"), BAD_RESPONSES)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_an_ambiguous_response_is_the_apps_fault(status: int, minor: int, pairs: Fields, method: bytes) -> None:
    reason = reason_of(response, *pairs, status=status, minor=minor, request_method=method)
    assert reason is Reason.HTTP_PROTOCOL_ERROR


SWITCHES = [
    (101, [NAMED, WEBSOCKET], b"websocket"),
    (101, [(b"connection", b"upgrade"), (b"upgrade", b"WebSocket")], b"WebSocket"),
    (101, [WEBSOCKET], None),
    (101, [NAMED], None),
    (101, [NAMED, WEBSOCKET, (b"Upgrade", b"other")], b"websocket, other"),
    (200, [NAMED, WEBSOCKET], None),
    (400, [NAMED, WEBSOCKET], None),
    # RFC 9110 section 15.5.22: what a 426 requires; whether Connection names it is ours to put right
    (426, [NAMED, WEBSOCKET], b"websocket"),
    (426, [WEBSOCKET, (b"Upgrade", b"foo/2, h2c")], b"websocket, foo/2"),
    (426, [NAMED, (b"Upgrade", b"h2c")], None),
    (426, [NAMED], None),
    (103, [NAMED, WEBSOCKET], None),
]


@pytest.mark.parametrize(("status", "pairs", "protocol"), SWITCHES)
def test_only_a_101_switches_protocols_and_a_426_asks_for_one(
    status: int, pairs: Fields, protocol: bytes | None
) -> None:
    head = response(*pairs, status=status)
    assert head.upgrade == protocol
    assert head.fields == []


@pytest.mark.parametrize(
    ("pairs", "wrong"),
    [
        ([WEBSOCKET], "has no “Connection: upgrade”"),
        ([NAMED], "has no Upgrade field"),
        ([], "has no Upgrade field"),
        ([NAMED, (b"Upgrade", b"h2c")], "another protocol"),
        ([NAMED, (b"Upgrade", b"websocket, h2c")], "another protocol"),
        ([NAMED, (b"Upgrade", b", ,")], "has no Upgrade field"),
        ([NAMED, (b"Upgrade", b",websocket, ,")], ""),
        ([NAMED, (b"Content-Length", b"0"), (b"Upgrade", b"h2")], "another protocol"),
        ([NAMED, (b"Content-Length", b"0"), (b"Upgrade", b"FOO/2, WebSocket")], ""),
    ],
)
def test_a_switch_is_refused_for_what_is_wrong_with_it(pairs: Fields, wrong: str) -> None:
    asked = request(NAMED, (b"Upgrade", b"websocket, foo/2"))
    answer = response(*pairs, status=101)
    if wrong:
        with pytest.raises(GatewayError, match=wrong):
            validate.check_switch(asked, answer)
    else:
        validate.check_switch(asked, answer)
    with pytest.raises(GatewayError, match="nobody asked"):
        validate.check_switch(request(), answer)


def test_an_answer_that_loses_its_length_still_sets_cookies() -> None:
    """They are confined to the sandbox by what the section says of them."""
    for status in (103, 204):
        section = response((b"Set-Cookie", b"a=b"), (b"Content-Length", b"0"), status=status).section
        assert isinstance(section, ResponseSection) and section.set_cookies
        assert section.lines == b"Set-Cookie: a=b\r\n"


@pytest.mark.parametrize(
    ("pairs", "has_some"), [([], False), ([(b"sEt-Cookie", b"a=b")], True), ([(b"Cookie", b"a=b")], False)]
)
def test_a_response_knows_whether_it_sets_cookies(pairs: Fields, has_some: bool) -> None:
    section, _ = validate.response_section(OF_ANSWER[1], judged(pairs))
    assert section.set_cookies is has_some
    assert section.fields == pairs


@pytest.mark.parametrize(
    ("pairs", "dated"),
    [
        ([], False),
        ([(b"dATE", b"Sun, 06 Nov 1994 08:49:37 GMT")], True),
        ([(b"Date", b"")], True),
        ([(b"Date", b"x"), (b"Connection", b"date")], False),
        ([(b"X-Date", b"x"), (b"Last-Modified", b"x")], False),
    ],
)
def test_an_answer_knows_whether_it_has_a_date(pairs: Fields, dated: bool) -> None:
    assert response(*pairs).dated is dated


def test_a_set_cookie_that_is_nominated_or_misspelt_is_gone() -> None:
    assert response((b"Set-Cookie", b"a=b"), (b"Connection", b"set-cookie")).fields == []
    assert response((b"Set_Cookie", b"a=b")).fields == []


def test_heads_show_what_they_are() -> None:
    assert repr(request((b"Content-Length", b"5"))) == "<RequestHead b'GET' b'/' at b'5000-a.example.dev' length>"
    assert repr(response(CHUNKED)) == "<ResponseHead 200 stream>"


@pytest.mark.parametrize(
    ("value", "grpc"),
    [
        (b"application/grpc", True),
        (b"Application/GRPC+proto", True),
        (b"application/grpc; charset=utf-8", True),
        (b"application/grpc ;x", True),
        (b"application/grpc-web", False),
        (b"application/grpc-web+proto", False),
        (b"application/grpcx", False),
        (b"text/plain; application/grpc", False),
    ],
)
def test_a_request_for_grpc_is_known_by_its_content_type(value: bytes, grpc: bool) -> None:
    section, _ = validate.request_section(OF_REQUEST[1], judged([HOST, (b"content-type", value)]))
    assert section.grpc is grpc
    assert (b"content-type", value) in section.fields
    assert not validate.request_section(OF_REQUEST[1], judged([HOST]))[0].grpc

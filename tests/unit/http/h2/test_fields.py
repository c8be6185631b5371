"""Each rule of RFC 9113 section 8 a row: which field lists are requests, and what becomes of them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hpack import Decoder

from gateway.errors import GatewayError, Reason
from gateway.http import serialize
from gateway.http.field_lines import REMEMBERED_SECTIONS
from gateway.http.h2 import fields as h2_fields
from gateway.http.h2.fields import (
    MalformedRequest,
    readable_head,
    request_head,
    response_block,
    trailers,
    trailers_block,
)
from gateway.http.head_parser import HeadLimits, parse_response_head
from gateway.http.message import (
    AS_TUNNEL,
    Field,
    Fields,
    FieldSection,
    Framing,
    RequestHead,
    ResponseHead,
    plain_line,
)
from gateway.http.validate import check_switch, offers
from gateway.http.websocket import accept
from gateway.problems.problem import RequestContext
from gateway.problems.reply import render
from gateway.problems.websocket import accept_and_close, asks_for_close
from tests.support.field_lines import decoded

LIMITS = HeadLimits()
AUTHORITY = b"5000-a.example.dev"
METHOD, SCHEME, NAME, PATH = PSEUDO = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", AUTHORITY),
    (b":path", b"/a?b"),
]
MALFORMED = "malformed"


def head_of(*fields: Field, ended: bool = True, limits: HeadLimits = LIMITS) -> RequestHead:
    return request_head(decoded(fields), ended, limits, 60)


def get(*pairs: Field, ended: bool = True, limits: HeadLimits = LIMITS) -> RequestHead:
    return head_of(*PSEUDO, *pairs, ended=ended, limits=limits)


def outcome(*fields: Field, ended: bool = True, limits: HeadLimits = LIMITS) -> Reason | str | None:
    try:
        head_of(*fields, ended=ended, limits=limits)
    except MalformedRequest as error:
        assert error.reason is Reason.BAD_REQUEST and error.detail
        return MALFORMED
    except GatewayError as error:
        assert error.detail
        return error.reason
    return None


def asked(**parts: bytes | None) -> Fields:
    """The pseudo-fields of a GET with others in the place of some; None: without it."""
    said: dict[str, bytes | None] = {name.decode()[1:]: value for name, value in PSEUDO}
    said |= parts
    return [(b":" + name.encode(), value) for name, value in said.items() if value is not None]


# --- pseudo-fields ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (PSEUDO, None),
        (PSEUDO[::-1], None),
        ([METHOD, NAME, SCHEME, PATH, (b"accept", b"*/*")], None),
        # 8.3: all of them, once, no others, and before the fields
        (asked(method=None), MALFORMED),
        (asked(scheme=None), MALFORMED),
        (asked(path=None), MALFORMED),
        (asked(authority=None), MALFORMED),
        ([], MALFORMED),
        ([(b"accept", b"*/*")], MALFORMED),
        *(([*PSEUDO, field], MALFORMED) for field in PSEUDO),
        *(([field, *PSEUDO], MALFORMED) for field in PSEUDO),
        ([*PSEUDO, (b":status", b"200")], MALFORMED),
        ([METHOD, (b":status", b"200"), SCHEME, NAME, PATH], MALFORMED),
        ([*PSEUDO, (b":extra", b"")], MALFORMED),
        ([(b":extra", b""), *PSEUDO], MALFORMED),
        ([*PSEUDO, (b":", b"")], MALFORMED),
        ([METHOD, SCHEME, NAME, (b"accept", b"*/*"), PATH], MALFORMED),
        ([(b"accept", b"*/*"), *PSEUDO], MALFORMED),
        ([*PSEUDO, (b"accept", b"*/*"), (b":path", b"/")], MALFORMED),
        ([*PSEUDO, (b":Path", b"/")], MALFORMED),
        ([*PSEUDO, (b":protocol", b"websocket")], MALFORMED),
        # :method
        (asked(method=b""), Reason.BAD_REQUEST),
        (asked(method=b"get"), None),
        (asked(method=b"G ET"), Reason.BAD_REQUEST),
        (asked(method=b"GET / HTTP/1.1\r\nX:"), Reason.BAD_REQUEST),
        (asked(method=b"X" * 129), Reason.NOT_IMPLEMENTED),
        (asked(method=b"TRACE"), Reason.METHOD_NOT_ALLOWED),
        (asked(method=b"PRI", path=b"*"), MALFORMED),
        (asked(method=b"PRI"), Reason.METHOD_NOT_ALLOWED),
        (asked(method=b"connect"), Reason.METHOD_NOT_ALLOWED),
        # :scheme
        (asked(scheme=b"http"), None),
        (asked(scheme=b"HTTPS"), None),
        (asked(scheme=b""), Reason.BAD_REQUEST),
        (asked(scheme=b"ftp"), Reason.BAD_REQUEST),
        (asked(scheme=b"https://a/"), Reason.BAD_REQUEST),
        # :path
        (asked(path=b""), MALFORMED),
        (asked(path=b"a"), MALFORMED),
        (asked(path=b"*"), MALFORMED),
        (asked(method=b"OPTIONS", path=b"*"), None),
        (asked(method=b"OPTIONS", path=b"*a"), MALFORMED),
        (asked(path=b"https://5000-a.example.dev/"), MALFORMED),
        (asked(path=b"?a"), MALFORMED),
        (asked(path=b"//a"), None),
        *((asked(path=b"/a%cb" % octet), Reason.BAD_REQUEST) for octet in b" \t\r\n\0#\x7f\x80\xff"),
        (asked(path=b"/" + b"a" * (LIMITS.target - 1)), None),
        (asked(path=b"/" + b"a" * LIMITS.target), Reason.URI_TOO_LONG),
        # :authority and Host
        (asked(authority=b"a.example.dev:8443"), None),
        (asked(authority=b"[2001:db8::1]:80"), None),
        (asked(authority=b""), Reason.BAD_REQUEST),
        *(
            (asked(authority=authority), Reason.BAD_REQUEST)
            for authority in (b"u@a.dev", b"u:p@a.dev", b"a.dev/", b"a.dev,b.dev", b"a.dev b", b"a.dev:x", b"a\r\nb: c")
        ),
        ([*PSEUDO, (b"host", AUTHORITY)], None),
        ([*PSEUDO, (b"host", AUTHORITY.upper() + b".:443")], None),
        ([*PSEUDO, (b"host", AUTHORITY + b":80")], None),
        ([*asked(authority=AUTHORITY + b":443"), (b"host", AUTHORITY + b":80")], Reason.BAD_REQUEST),
        ([*asked(authority=b"u@a"), (b"host", b"v@a")], Reason.BAD_REQUEST),
        ([*asked(scheme=b"http"), (b"host", AUTHORITY + b":80")], None),
        ([*PSEUDO, (b"host", AUTHORITY + b":8443")], Reason.BAD_REQUEST),
        ([*PSEUDO, (b"host", b"other.example.dev")], Reason.BAD_REQUEST),
        ([*PSEUDO, (b"host", b"")], Reason.BAD_REQUEST),
        ([*PSEUDO, (b"host", AUTHORITY), (b"host", AUTHORITY)], Reason.BAD_REQUEST),
        ([*asked(authority=None), (b"host", AUTHORITY)], None),
        ([*asked(authority=None), (b"host", b"u@a.dev")], Reason.BAD_REQUEST),
        ([*asked(authority=None), (b"host", b"")], Reason.BAD_REQUEST),
        ([*asked(authority=None), (b"host", AUTHORITY), (b"host", b"b.dev")], Reason.BAD_REQUEST),
    ],
)
def test_pseudo_fields(fields: Fields, expected: Reason | str | None) -> None:
    assert outcome(*fields) == expected
    assert outcome(*fields) == expected  # the section is remembered


def test_what_is_asked_for() -> None:
    head = head_of(*asked(method=b"get", authority=b"A.dev:8443", path=b"/%00?x=\\"), (b"X".lower(), b"y"))
    assert (head.method, head.authority, head.target, head.protocol) == (b"get", b"A.dev:8443", b"/%00?x=\\", "HTTP/2")
    assert (head.fields, head.octets, head.upgrade) == ([(b"x", b"y")], 60, None)
    assert head_of(*asked(authority=None), (b"host", AUTHORITY)).authority == AUTHORITY


# --- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        # 8.2.1: names
        *(((b"x%cy" % octet, b""), MALFORMED) for octet in (*range(0x21), *b'AZ:()/;<=>?@[\\]{}",', 0x7F, 0x80, 0xFF)),
        ((b"Accept", b"*/*"), MALFORMED),
        ((b"ACCEPT", b"*/*"), MALFORMED),
        ((b"", b"x"), Reason.BAD_REQUEST),
        ((b"x-!#$%&'*+-.^_`|~9", b""), None),
        # 8.2.1: values
        *(((b"x", b"a%cb" % octet), MALFORMED) for octet in b"\r\n\0"),
        *(((b"x", b"a%cb" % octet), Reason.BAD_REQUEST) for octet in (1, 8, 0x0B, 0x0C, 0x1F, 0x7F)),
        *(((b"x", b"a%cb" % octet), None) for octet in b" \t\x80\xff"),
        *(((b"x", value), MALFORMED) for value in (b" a", b"a ", b"\ta", b"a\t", b" ", b"a\r\n", b"\na", b"\x0ba")),
        ((b"x", b""), None),
        # 8.2.2: what is a connection's
        *(
            ((name, value), MALFORMED)
            for name, value in (
                (b"connection", b"keep-alive"),
                (b"connection", b""),
                (b"keep-alive", b"timeout=5"),
                (b"proxy-connection", b"close"),
                (b"transfer-encoding", b"chunked"),
                (b"transfer-encoding", b"identity"),
                (b"upgrade", b"websocket"),
                (b"upgrade", b"trailers"),
                (b"te", b"gzip"),
                (b"te", b"trailers, gzip"),
                (b"te", b""),
            )
        ),
        ((b"te", b"trailers"), None),
        ((b"te", b"Trailers"), None),
        ((b"http2-settings", b"AAMAAABkAARAAAAAAAIAAAAA"), None),
        # what validate says of every version
        ((b"content-length", b"x"), Reason.BAD_REQUEST),
        ((b"content-length", b"5, 5"), Reason.BAD_REQUEST),
        ((b"content-length", b"010"), Reason.BAD_REQUEST),
        ((b"expect", b"100-continue"), None),
        ((b"expect", b"200-ok"), Reason.EXPECTATION_FAILED),
        ((b"max-forwards", b"5"), None),
    ],
)
def test_a_field(pair: Field, expected: Reason | str | None) -> None:
    assert outcome(*PSEUDO, pair) == expected
    assert outcome(*PSEUDO, (b"accept", b"*/*"), pair, (b"x-last", b"1")) == expected


@pytest.mark.parametrize(
    ("pairs", "ended", "framing", "octets"),
    [
        ([], True, Framing.NONE, 0),
        ([], False, Framing.STREAM, 0),
        ([(b"content-length", b"0")], True, Framing.NONE, 0),
        ([(b"content-length", b"0")], False, Framing.NONE, 0),
        ([(b"content-length", b"5")], False, Framing.LENGTH, 5),
    ],
)
def test_framing(pairs: Fields, ended: bool, framing: Framing, octets: int) -> None:
    for method in (b"GET", b"POST", b"HEAD"):
        head = head_of(*asked(method=method), *pairs, ended=ended)
        assert (head.framing, head.section.content_length) == (framing, octets)


def test_a_length_without_content_is_malformed() -> None:
    assert outcome(*PSEUDO, (b"content-length", b"5"), ended=True) == MALFORMED
    assert outcome(*PSEUDO, (b"content-length", b"5"), ended=False) is None
    assert outcome(*PSEUDO, (b"content-length", b"5"), ended=True) == MALFORMED
    assert outcome(*PSEUDO, *[(b"content-length", b"5")] * 2, ended=False) is Reason.BAD_REQUEST


def test_expect_is_passed_on_where_content_follows() -> None:
    assert get((b"expect", b"100-continue"), ended=False).section.expects_continue
    assert not get((b"expect", b"100-continue")).section.expects_continue
    assert get((b"expect", b"100-Continue"), ended=False).get(b"expect") == b"100-continue"


def test_te_is_an_attribute() -> None:
    head = get((b"te", b"trailers"))
    assert head.section.trailers_ok and head.fields == []
    assert not get().section.trailers_ok


def test_fields_have_the_same_roles_as_over_http_1() -> None:
    head = get(
        (b"x-forwarded-for", b"1.2.3.4"),
        (b"x-request-id", b"abc"),
        (b"x-gateway-probe", b"1"),
        (b"x-gateway-error", b"forged"),
        (b"proxy", b"http://x"),
        (b"content_length", b"5"),
        (b"user-agent", b"curl/8"),
        (b"priority", b"u=1, i"),
        (b"authorization", b"Negotiate abc"),
    )
    assert head.forwarding == [(b"x-forwarded-for", b"1.2.3.4"), (b"x-request-id", b"abc")]
    section = head.section
    assert section.probes and section.named and section.binds
    assert (section.user_agent, section.urgency) == ("curl/8", 1)
    assert head.fields == [
        (b"user-agent", b"curl/8"),
        (b"priority", b"u=1, i"),
        (b"authorization", b"Negotiate abc"),
    ]


def test_max_forwards_is_counted() -> None:
    star = asked(method=b"OPTIONS", path=b"*")
    assert head_of(*star, (b"max-forwards", b"0")).ends_here
    head = head_of(*star, (b"max-forwards", b"2"))
    assert head.get(b"max-forwards") == b"1" and not head.ends_here


@pytest.mark.parametrize(
    ("crumbs", "joined"),
    [
        ([b"a=1"], b"a=1"),
        ([b"a=1", b"b=2", b"c=3"], b"a=1; b=2; c=3"),
        ([b"a=1; b=2", b"c=3"], b"a=1; b=2; c=3"),
        ([b"", b"a=1", b"", b"b=2", b""], b"a=1; b=2"),
        ([b"", b""], b""),
    ],
)
def test_crumbs_are_joined(crumbs: list[bytes], joined: bytes) -> None:
    """RFC 9113 section 8.2.3."""
    pairs = [(b"cookie", crumb) for crumb in crumbs]
    assert sorted(get((b"a", b""), *pairs, (b"d", b"")).fields) == [(b"a", b""), (b"cookie", joined), (b"d", b"")]
    between = [pair for crumb in pairs for pair in (crumb, (b"x", b"y"))]
    assert [pair for pair in get(*between).fields if pair[0] == b"cookie"] == [(b"cookie", joined)]


def test_sizes() -> None:
    limits = HeadLimits(head=1000, target=100, field=300, fields=10)
    assert outcome(*PSEUDO, *[(b"x", b"")] * 10, limits=limits) is None
    assert outcome(*PSEUDO, *[(b"x", b"")] * 11, limits=limits) is Reason.HEADER_SECTION_TOO_LARGE
    assert outcome(*PSEUDO, *[(b"cookie", b"")] * 11, limits=limits) is Reason.HEADER_SECTION_TOO_LARGE
    assert outcome(*PSEUDO, (b"x", b"y" * 299), limits=limits) is None
    assert outcome(*PSEUDO, (b"x", b"y" * 300), limits=limits) is Reason.HEADER_SECTION_TOO_LARGE
    assert outcome(*PSEUDO, *[(b"cookie", b"y" * 99)] * 3, limits=limits) is Reason.HEADER_SECTION_TOO_LARGE
    assert outcome(*PSEUDO, *[(b"x", b"y" * 249)] * 4, limits=limits) is None
    assert outcome(*PSEUDO, *[(b"x", b"y" * 249)] * 5, limits=limits) is Reason.HEADER_SECTION_TOO_LARGE
    assert outcome(*asked(path=b"/" * 100), limits=limits) is None
    assert outcome(*asked(path=b"/" * 101), limits=limits) is Reason.URI_TOO_LONG


# --- memory ----------------------------------------------------------------------------------------------------------


def test_a_section_is_remembered_by_all_that_it_depends_on() -> None:
    pair = (b"x-remembered", b"1")
    for _ in range(2):  # its lines are unseen: not worth it
        get(pair)
    first = get(pair).section
    assert get((b"x-remembered", b"1")).section is first
    assert head_of(*asked(path=b"/other", method=b"POST"), pair).section is first
    assert get(pair, ended=False).section is not first
    assert head_of(*asked(authority=b"b.example.dev"), pair).authority == b"b.example.dev"
    assert outcome(*PSEUDO, pair, limits=HeadLimits(fields=0)) is Reason.HEADER_SECTION_TOO_LARGE


def test_memory_is_bounded() -> None:
    remembered = h2_fields._remembered
    large = (b"x-large", b"y" * 2048)
    assert get(large).section is not get(large).section
    for number in range(REMEMBERED_SECTIONS + 10):
        for _ in range(3):
            get((b"x-number", b"%d" % number))
    assert REMEMBERED_SECTIONS // 2 < len(remembered) <= REMEMBERED_SECTIONS
    last = (b"x-number", b"%d" % (REMEMBERED_SECTIONS + 9))
    assert get(last).section is get(last).section


# --- CONNECT ---------------------------------------------------------------------------------------------------------

CONNECT = asked(method=b"CONNECT", protocol=b"websocket")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([(b":method", b"CONNECT"), (b":authority", b"a.dev:443")], Reason.METHOD_NOT_ALLOWED),
        ([(b":method", b"CONNECT"), *[(b":authority", b"a.dev:443")] * 2], MALFORMED),
        ([(b":method", b"CONNECT")], MALFORMED),
        (asked(method=b"CONNECT"), MALFORMED),
        (asked(method=b"CONNECT", scheme=None), MALFORMED),
        (asked(method=b"CONNECT", path=None), MALFORMED),
        (CONNECT, None),
        (CONNECT[::-1], None),
        (asked(method=b"CONNECT", protocol=b"WebSocket"), None),
        (asked(method=b"CONNECT", protocol=b"websocket", path=b"*"), MALFORMED),
        (asked(method=b"CONNECT", protocol=b"websocket", path=b""), MALFORMED),
        (asked(method=b"CONNECT", protocol=b"websocket", path=None), MALFORMED),
        (asked(method=b"CONNECT", protocol=b"websocket", scheme=None), MALFORMED),
        (asked(method=b"CONNECT", protocol=b"websocket", authority=None), MALFORMED),
        ([*asked(method=b"CONNECT", protocol=b"websocket", authority=None), (b"host", b"a.dev")], MALFORMED),
        (asked(method=b"CONNECT", protocol=b"websocket", authority=b"u@a.dev"), Reason.BAD_REQUEST),
        (asked(method=b"CONNECT", protocol=b"websocket", scheme=b"wss"), Reason.BAD_REQUEST),
        *(
            (asked(method=b"CONNECT", protocol=protocol), Reason.NOT_IMPLEMENTED)
            for protocol in (b"webtransport", b"connect-udp", b"", b"websocket, h2c", b"websocket\r\n")
        ),
        ([*CONNECT, (b"upgrade", b"websocket")], MALFORMED),
        ([*CONNECT, (b"connection", b"upgrade")], MALFORMED),
        ([*CONNECT, (b"te", b"gzip")], MALFORMED),
        ([*CONNECT, (b"Origin", b"x")], MALFORMED),
        ([*CONNECT, (b"x", b"a\r\nb")], MALFORMED),
        ([*CONNECT, (b"content-length", b"5")], MALFORMED),
        ([*CONNECT, *[(b"x", b"")] * 101], Reason.HEADER_SECTION_TOO_LARGE),
        (asked(method=b"GET", protocol=b"websocket"), MALFORMED),
    ],
)
def test_connect(fields: Fields, expected: Reason | str | None) -> None:
    assert outcome(*fields, ended=False) == expected


def websocket(*pairs: Field) -> RequestHead:
    return head_of(*CONNECT, (b"sec-websocket-version", b"13"), *pairs, ended=False)


def test_a_websocket_is_the_get_of_http_1() -> None:
    head = websocket((b"origin", b"https://a"), (b"sec-websocket-protocol", b"vite-hmr"), (b"sec-websocket-key", b"x"))
    assert head.key_is_ours
    assert (head.method, head.target, head.framing, head.protocol) == (b"GET", b"/a?b", Framing.NONE, "HTTP/2")
    assert offers(head.upgrade, b"websocket")
    key = head.fields[-1][1]
    assert len(base64.b64decode(key, validate=True)) == 16
    assert head.fields == [
        (b"Sec-WebSocket-Version", b"13"),
        (b"origin", b"https://a"),
        (b"Sec-WebSocket-Protocol", b"vite-hmr"),
        (b"Sec-WebSocket-Key", key),
    ]
    written = serialize.request_head(head, head.authority, FieldSection.of([]), b"id")
    assert written.startswith(b"GET /a?b HTTP/1.1\r\nHost: 5000-a.example.dev\r\n")
    assert written.endswith(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert websocket().get(b"sec-websocket-key") != websocket().get(b"sec-websocket-key")


def test_a_websocket_whose_stream_has_ended() -> None:
    assert outcome(*CONNECT, ended=True) is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    ("answered", "wrong"),
    [
        (lambda key: accept(key), ""),
        (lambda key: accept(b"x" + key), "does not fit the key"),
        (lambda key: key, "does not fit the key"),
        (lambda key: b"", "does not fit the key"),
        (lambda key: None, "does not fit the key"),
    ],
)
def test_the_apps_answer_fits_the_key(answered: Callable[[bytes], bytes | None], wrong: str) -> None:
    head = websocket()
    key = head.get(b"sec-websocket-key")
    assert key is not None
    value = answered(key)
    field = b"" if value is None else b"Sec-WebSocket-Accept: %b\r\n" % value
    start = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    answer = parse_response_head(start + field + b"\r\n", LIMITS, b"GET")
    if wrong:
        with pytest.raises(GatewayError, match=wrong) as error:
            check_switch(head, answer)
        assert error.value.reason is Reason.HTTP_PROTOCOL_ERROR
    else:
        check_switch(head, answer)


# --- what is refused, and answered -----------------------------------------------------------------------------------


def test_a_refused_head_is_read_as_far_as_its_reply_needs_it() -> None:
    pairs = [
        (b"accept", b"text/html"),
        (b"X", b"y"),
        (b"origin", b"a\r\nset-cookie: b"),
        (b"te", b"gzip"),
        (b"b d", b""),
    ]
    head = readable_head(decoded([*PSEUDO, *pairs]))
    assert head is not None
    assert (head.method, head.target, head.authority, head.protocol) == (b"GET", b"/a?b", AUTHORITY, "HTTP/2")
    assert head.fields == [(b"accept", b"text/html"), (b"X", b"y"), (b"te", b"gzip")]
    assert head.framing is Framing.NONE and not head.forwarding
    by_host = readable_head(decoded([*asked(authority=None), (b"host", b"b.dev")]))
    assert by_host is not None and by_host.authority == b"b.dev"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        asked(method=None),
        asked(path=None),
        asked(authority=None),
        asked(method=b"G ET"),
        asked(method=b"X" * 129),
        asked(path=b""),
        asked(path=b"/a b"),
        asked(path=b"/\xff"),
        asked(authority=b"u@a.dev"),
        asked(authority=b"a\r\nb"),
    ],
)
def test_nothing_that_a_log_or_a_reply_could_choke_on_is_read(fields: Fields) -> None:
    assert readable_head(decoded(fields)) is None


# --- answers ---------------------------------------------------------------------------------------------------------


def read_back(block: bytes) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in Decoder().decode(block, raw=True)]


def test_an_answer() -> None:
    section = FieldSection.of([(b"Content-Type", b"text/plain"), (b"Set-Cookie", b"a=b"), (b"Set-Cookie", b"c=d")])
    head = ResponseHead(404, section)
    fields = [
        (b":status", b"404"),
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d"),
        (b"x-request-id", b"id1"),
    ]
    assert read_back(response_block(head, b"id1")) == fields
    assert read_back(response_block(head, b"id1", 784111777.9)) == [
        *fields,
        (b"date", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    ]
    assert read_back(response_block(ResponseHead(200, section), b"id2"))[0] == (b":status", b"200")


def test_a_section_changed_is_written_anew() -> None:
    section = FieldSection.of([(b"a", b"1")])
    response_block(ResponseHead(200, section), b"id")
    added, other = section.with_added((b"b", b"2")), section.with_lines([plain_line(b"c", b"3")])
    assert read_back(response_block(ResponseHead(200, added), b"id"))[1:-1] == [(b"a", b"1"), (b"b", b"2")]
    assert read_back(response_block(ResponseHead(200, other), b"id"))[1:-1] == [(b"c", b"3")]
    assert read_back(response_block(ResponseHead(200, section), b"id"))[1:-1] == [(b"a", b"1")]


def test_nothing_of_an_apps_connection_is_in_an_answer() -> None:
    """RFC 9113 section 8.2.2, for what an app may say over HTTP/1.1."""
    start = b"HTTP/1.1 426 Upgrade Required\r\nConnection: close, X-Hop, Upgrade\r\nKeep-Alive: timeout=5\r\n"
    more = (
        b"Upgrade: foo\r\nProxy-Connection: x\r\nTransfer-Encoding: chunked\r\nTE: x\r\nX-Hop: 1\r\nServer: a\r\n\r\n"
    )
    head = parse_response_head(start + more, LIMITS, b"GET")
    assert read_back(response_block(head, b"id")) == [(b":status", b"426"), (b"server", b"a"), (b"x-request-id", b"id")]


def test_an_interim_answer() -> None:
    head = parse_response_head(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", LIMITS, b"GET")
    assert read_back(response_block(head, b"id"))[:2] == [(b":status", b"103"), (b"link", b"</a>")]


def test_a_tunnel_is_granted_with_200() -> None:
    fields = [
        (b"Sec-WebSocket-Accept", b"x"),
        (b"Sec-WebSocket-Protocol", b"vite-hmr"),
        (b"Content-Length", b"0"),
    ]
    head = ResponseHead(101, FieldSection.of(fields), AS_TUNNEL, upgrade=b"websocket")
    assert read_back(response_block(head, b"id")) == [
        (b":status", b"200"),
        (b"sec-websocket-protocol", b"vite-hmr"),
        (b"x-request-id", b"id"),
    ]


def test_a_problem_as_a_close_code() -> None:
    head = websocket((b"sec-websocket-protocol", b"a, b"))
    assert asks_for_close(head, always=True) and not asks_for_close(head, always=False)
    answer, _ = accept_and_close(GatewayError(Reason.CONNECTION_REFUSED, "x"), RequestContext("id", head))
    names = [name for name, _ in read_back(response_block(answer, b"id"))]
    assert names[:2] == [b":status", b"sec-websocket-protocol"] and b"sec-websocket-accept" not in names


def test_a_problem_of_a_call_is_trailers_only() -> None:
    """gRPC over HTTP2, Responses: one field block that ends its stream; HTTP's own status is 200."""
    call = [(b"content-type", b"application/grpc+proto"), (b"te", b"trailers")]
    head = head_of(*asked(method=b"POST"), *call, ended=False)
    answer, body = render(GatewayError(Reason.CONNECTION_REFUSED, "x"), RequestContext("id", head))
    assert answer.framing is Framing.NONE and not body
    fields = dict(read_back(response_block(answer, b"id")))
    assert fields[b":status"] == b"200"
    assert fields[b"content-type"] == b"application/grpc+proto"
    assert fields[b"grpc-status"] == b"14" and fields[b"grpc-message"]


def test_a_problem_of_a_handshake_grants_nothing() -> None:
    """Over HTTP/2 a 200 opens the tunnel, so none is in the form of a gRPC call's."""
    call = (b"content-type", b"application/grpc")
    for head in (websocket(call), readable_head(decoded([*asked(method=b"CONNECT", protocol=b"x"), call]))):
        answer, _ = render(GatewayError(Reason.CONNECTION_REFUSED, "x"), RequestContext("id", head))
        assert answer.status == 502


# --- trailers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], []),
        ([(b"grpc-status", b"0"), (b"x", b"y")], [(b"grpc-status", b"0"), (b"x", b"y")]),
        # RFC 9110 section 6.5.1
        (
            [(b"host", b"a"), (b"content-length", b"5"), (b"authorization", b"x"), (b"cookie", b"a=b"), (b"x", b"")],
            [(b"x", b"")],
        ),
        ([(b":path", b"/")], MALFORMED),
        ([(b"x", b""), (b":status", b"200")], MALFORMED),
        ([(b"X", b"")], MALFORMED),
        ([(b"x", b"a\r\nb")], MALFORMED),
        ([(b"x", b" a")], MALFORMED),
        ([(b"connection", b"close")], MALFORMED),
        ([(b"transfer-encoding", b"chunked")], MALFORMED),
        ([(b"x", b"a\x01")], Reason.BAD_REQUEST),
        ([(b"x", b"")] * 101, Reason.BAD_REQUEST),
    ],
)
def test_trailers(fields: Fields, expected: object) -> None:
    try:
        passed: object = trailers(decoded(fields), LIMITS)
    except MalformedRequest:
        passed = MALFORMED
    except GatewayError as error:
        passed = error.reason
    assert passed == expected


def test_trailers_share_the_limit_of_their_head() -> None:
    limits = HeadLimits(fields=10)
    pairs = [(b"x", b"")] * 4
    assert trailers(decoded(pairs), limits, 6) == pairs
    with pytest.raises(GatewayError, match="head and trailers have more than 10 fields"):
        trailers(decoded(pairs), limits, 7)


def test_trailers_are_written_in_lower_case() -> None:
    assert read_back(trailers_block([(b"Grpc-Status", b"0")])) == [(b"grpc-status", b"0")]

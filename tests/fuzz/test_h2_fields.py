"""No smuggling through the downgrade: what passes as an HTTP/2 request is the same one when it is read as HTTP/1.1."""

from __future__ import annotations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.http import serialize
from gateway.http.h2.fields import readable_head, request_head, trailers
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import Fields, FieldSection, Framing, RequestHead
from tests.support.field_lines import decoded

LIMITS = HeadLimits()
NOTHING = FieldSection.of([])
ID = b"id"

_PIECES = (
    *(bytes((octet,)) for octet in b'\r\n\0\t :;,/?#@*%\x7f\x80\xff\x0bAz0-_"'),
    b"\r\n",
    b"\r\n\r\n",
    b" HTTP/1.1\r\n",
    b"Host: b.dev",
    b"\r\nTransfer-Encoding: chunked",
    b"GET",
    b"https://",
    b"a.dev",
    b"..",
)
octets = st.lists(st.sampled_from(_PIECES), max_size=4).map(b"".join)
"""What splits a head, a line, a target or a name in two."""


PLAIN = (
    b"accept cookie priority user-agent x-a x-forwarded-for x-request-id proxy content_length sec-websocket-key".split()
)
CAREFUL = (
    b"connection content-length expect host keep-alive max-forwards te trailer transfer-encoding upgrade http2-settings"
).split()
NAMES = (*PLAIN, *PLAIN, *PLAIN, *CAREFUL)
VALUES = (b"0", b"5", b"chunked", b"trailers", b"100-continue", b"close", b"a.dev", b"a=b", b"x y", b"", b"websocket")

field = st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES))
PSEUDO = {
    b":method": (b"GET", b"POST", b"OPTIONS", b"CONNECT", b"HEAD", b"x"),
    b":scheme": (b"https", b"http"),
    b":authority": (b"a.dev", b"5000-a.example.dev:8443", b"[::1]"),
    b":path": (b"/", b"/a?b=c", b"*"),
}


@st.composite
def broken(draw: st.DrawFn, fields: Fields) -> Fields:
    """`fields` with something in a name or a value, or one that is gone, comes twice or elsewhere; or as they are."""
    what = draw(st.integers(0, 7))
    if what > 4 or not fields:
        return fields
    fields = fields[:]
    at = draw(st.integers(0, len(fields) - 1))
    name, value = fields.pop(at)
    if what <= 2:
        whole = (value, value, name)[what]
        cut = draw(st.integers(0, len(whole)))
        whole = whole[:cut] + draw(octets) + whole[cut:]
        fields.insert(at, (whole, value) if what == 2 else (name, whole))
    elif what == 3:
        fields.insert(draw(st.integers(0, len(fields))), (name, value))
        fields.insert(at, (name, value))
    return fields


@st.composite
def requests(draw: st.DrawFn) -> Fields:
    pseudo = [(name, draw(st.sampled_from(values))) for name, values in PSEUDO.items()]
    if pseudo[0][1] == b"CONNECT":
        pseudo.append((b":protocol", b"websocket"))
    return draw(broken([*pseudo, *draw(st.lists(field, max_size=4))]))


def lowered(fields: Fields) -> Fields:
    """Without what each reader counts down."""
    return [(name.lower(), value) for name, value in fields if name.lower() != b"max-forwards"]


def assert_same(head: RequestHead) -> None:
    block = serialize.request_head(head, head.authority, NOTHING, ID)
    again = parse_request_head(block, LIMITS)
    assert (again.method, again.target, again.authority) == (head.method, head.target, head.authority)
    assert (again.framing, again.upgrade) == (head.framing, head.upgrade)
    before, after = head.section, again.section
    assert after.content_length == before.content_length
    assert after.expects_continue == before.expects_continue
    assert after.binds == before.binds
    if head.upgrade is None:  # which Connection names instead
        assert after.trailers_ok == before.trailers_ok
    assert lowered(again.fields) == lowered(head.fields)
    assert again.forwarding == [(b"X-Request-Id", ID)]
    assert block.count(b"\r\n\r\n") == 1 and block.endswith(b"\r\n\r\n")


@settings(max_examples=300, deadline=None)
@given(requests(), st.booleans())
def test_what_passes_is_the_same_request_over_http_1(fields: Fields, ended: bool) -> None:
    try:
        head = request_head(decoded(fields), ended, LIMITS, 60)
    except GatewayError as error:
        event(type(error).__name__)
        assert error.detail
        return
    event("passes")
    assert_same(head)
    if ended:
        assert head.framing is Framing.NONE


@settings(max_examples=100, deadline=None)
@given(requests())
def test_what_can_be_read_of_a_request_can_be_shown(fields: Fields) -> None:
    head = readable_head(decoded(fields))
    if head is None:
        event("nothing")
        return
    assert head.method.isascii() and head.target.isascii()
    for text in (head.method, head.target, head.authority, *(value for _, value in head.fields)):
        assert not set(text) & {0, 10, 13}


@settings(max_examples=100, deadline=None)
@given(st.lists(field, max_size=4).flatmap(broken))
def test_trailers_that_pass_are_lines(fields: Fields) -> None:
    try:
        passed = trailers(decoded(fields), LIMITS)
    except GatewayError:
        return
    lines = serialize.last_chunk(passed)
    assert lines.count(b"\r\n\r\n") == 1
    assert lines.count(b"\r\n") == len(passed) + 2

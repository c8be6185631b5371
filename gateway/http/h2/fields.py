"""Field lists of HTTP/2 to heads, and heads to field blocks (RFC 9113 section 8).

What is HTTP/2's own stands here: pseudo-fields, names in lower case, crumbs of cookies, the fields it forbids, the
WebSocket handshake of RFC 8441. Every other rule is `validate`'s, which is the one gate for all versions of HTTP. What
passes both can be written as HTTP/1.1 and means the same there; upstream depends on that.

Knows no frames: lists come from the decoder, blocks are for whoever sends them.
"""

from __future__ import annotations

import base64
import secrets
from typing import Final, NoReturn

from gateway.counting import counted
from gateway.errors import GatewayError, Reason
from gateway.http import serialize, validate
from gateway.http.field_lines import REMEMBERED_SECTIONS
from gateway.http.fields import TOKEN
from gateway.http.h2.decoder import DecodedField
from gateway.http.h2.encoder import beginning, encode_field, encode_fields, encode_section, encode_status, length_of
from gateway.http.h2.field_lines import MalformedField, field_lines, recent
from gateway.http.head_parser import REMEMBERED_OCTETS, HeadLimits
from gateway.http.hop import Hop, HopField, HopReader
from gateway.http.message import (
    AS_TUNNEL,
    NO_BODY,
    FieldLine,
    Fields,
    RequestHead,
    RequestSection,
    ResponseHead,
    plain_line,
)
from gateway.http.octets import is_value
from gateway.http.roles import CONNECTION, COOKIE, HOP, TE
from gateway.memo import remember

HTTP_2: Final = "HTTP/2"

_PSEUDO_FIELDS: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_SCHEMES: Final = (b"https", b"http")
_NOT_IN_TUNNELS: Final = (b"sec-websocket-accept", b"content-length")
"""Of the app's 101. The first answers a key that the client has not sent; the other, RFC 9110 section 9.3.6 forbids."""
_KEY: Final = b"sec-websocket-key"
_CONTENT_TYPE: Final = b"content-type"
_DROPPED: Final = (_KEY, _CONTENT_TYPE)
"""Of an extended CONNECT. It has no content, and a failure told as gRPC does has status 200, which opens a tunnel."""
_SPELLED: Final = {
    spelled.lower(): spelled
    for spelled in (
        b"Sec-WebSocket-Key",
        b"Sec-WebSocket-Version",
        b"Sec-WebSocket-Protocol",
        b"Sec-WebSocket-Extensions",
    )
}
"""Some WebSocket servers look for no other spelling, and got it from every browser over HTTP/1.1."""


class MalformedRequest(GatewayError):
    """What RFC 9113 section 8.1.1 calls malformed: "a stream error of type PROTOCOL_ERROR", before which a server may
    answer. Every other GatewayError of this module is a request that can be answered, and its stream ends in order.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.BAD_REQUEST, detail)


def _malformed(detail: str) -> NoReturn:
    raise MalformedRequest(detail)


# --- requests --------------------------------------------------------------------------------------------------------


def request_head(fields: list[DecodedField], ended: bool, limits: HeadLimits, octets: int) -> RequestHead:
    """A validated request head; `ended` if its stream ended with it, `octets` as they came.

    Raises GatewayError as `head_parser.parse_request_head` does, and MalformedRequest.
    """
    method = target = authority = scheme = None
    for field in fields[:4]:
        name = field.name
        if name == b":method":
            method = field.value
        elif name == b":path":
            target = field.value
        elif name == b":authority":
            authority = field.value
        elif name == b":scheme":
            scheme = field.value
    # All four of them leave no room for others. As nearly every request begins.
    if method is None or target is None or authority is None or scheme is None or method == b"CONNECT":
        return _unusual_head(fields, ended, limits, octets)
    section = _section(authority, ended, limits, fields[4:])
    return _checked(RequestHead(method, target, HTTP_2, section), scheme, limits, octets)


def _checked(head: RequestHead, scheme: bytes, limits: HeadLimits, octets: int) -> RequestHead:
    target = head.target
    head.octets = octets
    if scheme not in _SCHEMES and scheme.lower() not in _SCHEMES:
        raise GatewayError(Reason.BAD_REQUEST, "“:scheme” is neither http nor https")
    # RFC 9113 section 8.3.1: it "MUST NOT be empty"; "http" or "https" URIs without a path have "/", and an OPTIONS
    # request without one has "*".
    if target[:1] != b"/" and (target != b"*" or head.method != b"OPTIONS"):
        _malformed("“:path” does not begin with a slash")
    if len(target) > limits.target:
        raise GatewayError(Reason.URI_TOO_LONG, f"the request target has more than {counted(limits.target, 'octet')}")
    validate.check_request(head)
    return head


def _unusual_head(fields: list[DecodedField], ended: bool, limits: HeadLimits, octets: int) -> RequestHead:
    """Without `:authority`, by CONNECT, or malformed."""
    pseudo: dict[bytes, bytes] = {}
    for field in fields:
        name = field.name
        if name[:1] != b":":
            break
        if name not in _PSEUDO_FIELDS:
            _malformed("an unknown pseudo-field")
        if name in pseudo:
            _malformed(f"two fields “{name.decode()}”")
        pseudo[name] = field.value
    fields = fields[len(pseudo) :]
    if pseudo.get(b":method") == b"CONNECT":
        return _connect(pseudo, fields, ended, limits, octets)
    if b":protocol" in pseudo:
        _malformed("“:protocol” without CONNECT")
    for each in (b":method", b":scheme", b":path"):
        if each not in pseudo:
            _malformed(f"no “{each.decode()}”")
    authority = pseudo.get(b":authority")
    if authority is None and not any(field.name == b"host" for field in fields):
        _malformed("neither “:authority” nor Host")
    section = _section(authority, ended, limits, fields)
    head = RequestHead(pseudo[b":method"], pseudo[b":path"], HTTP_2, section)
    return _checked(head, pseudo[b":scheme"], limits, octets)


def _connect(
    pseudo: dict[bytes, bytes], fields: list[DecodedField], ended: bool, limits: HeadLimits, octets: int
) -> RequestHead:
    protocol = pseudo.get(b":protocol")
    scheme, target, authority = pseudo.get(b":scheme"), pseudo.get(b":path"), pseudo.get(b":authority")
    if protocol is None:
        # RFC 9113 section 8.5: ":scheme" and ":path" MUST be omitted, ":authority" is the host and port to connect to.
        if scheme is not None or target is not None or authority is None:
            _malformed("CONNECT with other pseudo-fields than it has")
        raise GatewayError(Reason.METHOD_NOT_ALLOWED, "CONNECT is not forwarded")
    # RFC 8441 section 4: with ":protocol", ":scheme" and ":path" MUST be included.
    if scheme is None or target is None or authority is None:
        _malformed("an extended CONNECT without “:scheme”, “:path” or “:authority”")
    # RFC 9220 section 3: what is unknown or not supported SHOULD be answered with 501. Tokens of Upgrade, in any case.
    if protocol.lower() != b"websocket":
        raise GatewayError(Reason.NOT_IMPLEMENTED, "no other “:protocol” than websocket is known")
    if ended:
        raise GatewayError(Reason.BAD_REQUEST, "a WebSocket handshake whose stream has ended")
    lines, _ = _sound(_lines(fields, limits), limits)
    lines = [_spelled(line) for line in lines if line.pair[0] not in _DROPPED]
    # RFC 8441 section 5: Sec-WebSocket-Key and -Accept are not used. The app needs one, and its answer is looked at
    # when it comes (`validate.check_switch`).
    lines.append(plain_line(_SPELLED[_KEY], base64.b64encode(secrets.token_bytes(16))))
    section, _ = validate.request_section(_WEBSOCKET, lines, authority)
    if section.framing is not NO_BODY:
        _malformed("CONNECT with content")
    # RFC 8441 section 5: told as the GET that it is over HTTP/1.1.
    head = RequestHead(b"GET", target, HTTP_2, section)
    head.key_is_ours = True
    return _checked(head, scheme, limits, octets)


def _spelled(line: FieldLine) -> FieldLine:
    name, value = line.pair
    spelled = _SPELLED.get(name)
    return line if spelled is None else plain_line(spelled, value)


_remembered: Final[dict[tuple[object, ...], RequestSection]] = {}
"""A browser asks with the same fields, whatever for; the path is none of them."""


def _section(authority: bytes | None, ended: bool, limits: HeadLimits, fields: list[DecodedField]) -> RequestSection:
    unseen = recent.unseen
    lines = _lines(fields, limits)
    if recent.unseen != unseen:
        return _new_section(authority, ended, lines, limits)[0]
    # By the lines themselves: what comes again is the same objects.
    key = (authority, ended, limits, *lines)
    section = _remembered.get(key)
    if section is None:
        section, size = _new_section(authority, ended, lines, limits)
        if size <= REMEMBERED_OCTETS:
            remember(_remembered, key, section, REMEMBERED_SECTIONS)
    return section


def _new_section(
    authority: bytes | None, ended: bool, lines: list[FieldLine], limits: HeadLimits
) -> tuple[RequestSection, int]:
    """What the lines say, and how many octets they have."""
    lines, size = _sound(lines, limits)
    section, _ = validate.request_section(_ENDED if ended else _OPEN, lines, authority)
    # RFC 9113 section 8.1.1: malformed is also a content-length that is not the sum of the DATA frames.
    if ended and section.content_length:
        _malformed("content-length, and no content")
    return section, size


def _lines(fields: list[DecodedField], limits: HeadLimits) -> list[FieldLine]:
    """Well-formed, and not too many."""
    if len(fields) > limits.fields:
        raise GatewayError(
            Reason.HEADER_SECTION_TOO_LARGE, f"the request has more than {counted(limits.fields, 'field')}"
        )
    try:
        return field_lines(fields)
    except MalformedField as error:
        raise MalformedRequest(str(error)) from None


def _sound(lines: list[FieldLine], limits: HeadLimits) -> tuple[list[FieldLine], int]:
    """The lines within their limits, crumbs of cookies joined; and their octets."""
    size = 0
    crumbs: list[bytes] = []
    others: list[FieldLine] = []
    for line in lines:
        size += len(line.line) - 2
        if line.role == COOKIE:
            crumbs.append(line.pair[1])
        else:
            others.append(line)
    # RFC 9113 section 8.2.3: what was split "MUST be concatenated into a single octet string using the two-octet
    # delimiter of 0x3b, 0x20" before it goes anywhere else.
    if len(crumbs) > 1:
        others.append(plain_line(b"cookie", b"; ".join([crumb for crumb in crumbs if crumb])))
        lines = others
        size += 2 * len(crumbs)
    if size > limits.field:
        _check_sizes(lines, limits)
    return lines, size


def _check_sizes(lines: list[FieldLine], limits: HeadLimits) -> None:
    sizes = [len(line.line) - 2 for line in lines]
    if max(sizes) > limits.field:
        raise GatewayError(
            Reason.HEADER_SECTION_TOO_LARGE, f"the request has a field of more than {counted(limits.field, 'octet')}"
        )
    if sum(sizes) > limits.head:
        raise GatewayError(Reason.HEADER_SECTION_TOO_LARGE, f"the head has more than {counted(limits.head, 'octet')}")


def _hop_reader(hop: Hop) -> HopReader:
    """RFC 9113 section 8.2.2: "An endpoint MUST NOT generate an HTTP/2 message containing connection-specific header
    fields", with TE as the exception, which "MUST NOT contain any value other than "trailers"".
    """

    def read(fields: tuple[HopField, ...], has_length: bool) -> Hop:
        for role, value in fields:
            if role != TE:
                _malformed("a connection-specific field")
            if value.lower() != b"trailers":
                _malformed("TE is not “trailers”")
        # No content of a tunnel has trailers.
        return hop._replace(trailers_ok=hop.upgrade is None) if fields else hop

    return HopReader(read)


_ENDED: Final = _hop_reader(Hop(streams=False))
_OPEN: Final = _hop_reader(Hop(streams=True))
_WEBSOCKET: Final = _hop_reader(Hop(streams=False, upgrade=b"websocket"))


def readable_head(fields: list[DecodedField]) -> RequestHead | None:
    """What can be read of a request that `request_head` has refused, so that its reply has a form its sender can use;
    None if it does not even say what was asked for, and of whom. Not to be forwarded.
    """
    said = {field.name: field.value for field in reversed(fields)}  # of several the first
    method, target = said.get(b":method", b""), said.get(b":path", b"")
    authority = said.get(b":authority") or said.get(b"host", b"")
    if not (len(method) <= validate.MAX_METHOD and TOKEN.fullmatch(method) and validate.is_authority(authority)):
        return None
    if not target or not validate.is_target(target):
        return None
    unread = _CONTENT_TYPE if method == b"CONNECT" else b""
    readable = [each for each in fields if TOKEN.fullmatch(each.name) and is_value(each.value) and each.name != unread]
    lines = [plain_line(each.name, each.value) for each in readable]
    return RequestHead(method, target, HTTP_2, RequestSection(lines, [], authority))


# --- responses -------------------------------------------------------------------------------------------------------


def response_block(head: ResponseHead, request_id: bytes, now: float | None = None) -> bytes:
    """A response head as it goes downstream under its request's id, interim ones, too; `now`, in Unix time, is when it
    was made, if it has yet to say so. A tunnel is granted with 200 (RFC 8441 section 5).
    """
    section = head.section
    if head.framing is AS_TUNNEL:
        fields = [field for field in section.fields if field[0].lower() not in _NOT_IN_TUNNELS]
        return encode_status(200) + encode_fields(fields) + encode_field(b"x-request-id", request_id)
    parts = [encode_status(head.status), encode_section(section), _REQUEST_ID, length_of(request_id), request_id]
    if now is not None:
        parts.append(_date(int(now)))
    return b"".join(parts)


_REQUEST_ID: Final = beginning(b"x-request-id")


class _Date:
    """The field of this second, which all answers have that have none of their own."""

    __slots__ = ("block", "second")

    def __init__(self) -> None:
        self.second = -1
        self.block = b""


_last: Final = _Date()


def _date(now: int) -> bytes:
    date = _last
    if date.second != now:
        date.block = encode_field(b"date", serialize.date(now))
        date.second = now
    return date.block


def trailers_block(trailers: Fields) -> bytes:
    """Trailers, either way."""
    return encode_fields(trailers)


def trailers(fields: list[DecodedField], limits: HeadLimits, in_head: int = 0) -> Fields:
    """What of a trailer section goes on (RFC 9110 section 6.5.1), either way; it shares its limit with the fields
    `in_head`. Raises MalformedRequest, and GatewayError(bad_request).
    """
    if not fields:
        return []
    if in_head + len(fields) > limits.fields:
        raise GatewayError(Reason.BAD_REQUEST, f"head and trailers have more than {counted(limits.fields, 'field')}")
    lines = _lines(fields, limits)  # RFC 9113 section 8.1: "Trailers MUST NOT include pseudo-header fields"
    if any(CONNECTION <= line.role <= HOP for line in lines):
        _malformed("a connection-specific field in trailers")
    return validate.trailer_fields(lines)

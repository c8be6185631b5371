"""A request as a client of HTTP/2 writes it, and the answer that it reads (RFC 9113 section 8): the upstream half of
`fields`.

An app is not trusted to keep to the rules: what RFC 9113 section 8.1.1 calls malformed is a StreamFault, and what
`validate` refuses in an answer over HTTP/1.1 is refused here, too.
"""

from __future__ import annotations

from typing import Final

from gateway.counting import counted
from gateway.errors import GatewayError, Reason
from gateway.http import validate
from gateway.http.field_lines import REMEMBERED_SECTIONS
from gateway.http.h2.decoder import ENTRY_OVERHEAD, DecodedField
from gateway.http.h2.encoder import encode_field, encode_section
from gateway.http.h2.errors import ErrorCode, StreamFault
from gateway.http.h2.field_lines import MalformedField, field_lines, recent
from gateway.http.h2.fields import trailers
from gateway.http.head_parser import REMEMBERED_OCTETS, HeadLimits
from gateway.http.hop import Hop, HopField, HopReader
from gateway.http.message import (
    AS_STREAM,
    BY_LENGTH,
    NO_BODY,
    FieldLine,
    Fields,
    FieldSection,
    RequestHead,
    ResponseHead,
    ResponseSection,
)
from gateway.memo import remember

_SCHEME: Final = encode_field(b":scheme", b"http")
_TE: Final = encode_field(b"te", b"trailers")
_EMPTY: Final = (b"content-length", b"0")
_remembered: Final[dict[tuple[object, ...], ResponseSection]] = {}
"""An app answers with the same fields, but for a date."""


def request_block(head: RequestHead, host: bytes, added: FieldSection, request_id: bytes) -> bytes:
    """The request's field block: `head`'s end-to-end fields, then `added`, then the request id; `host` is its
    authority. No tunnel is ever asked for.
    """
    section = head.section
    parts = [
        encode_field(b":method", head.method),
        _SCHEME,
        encode_field(b":path", head.target),
        encode_field(b":authority", host),
        encode_section(section),
        encode_section(added),
        encode_field(b"x-request-id", request_id),
    ]
    # gRPC over HTTP/2: "TE" is "Used to detect incompatible proxies": servers refuse a call without it.
    if section.trailers_ok or section.grpc:
        parts.append(_TE)
    return b"".join(parts)


def answer_head(fields: list[DecodedField], ended: bool, request_method: bytes, limits: HeadLimits) -> ResponseHead:
    """An answer's head, interim ones too; `ended`: it has no content. Raises StreamFault and GatewayError."""
    if not fields or fields[0].name != b":status":
        raise _malformed("an answer that does not begin with “:status”")
    text = fields[0].value
    # RFC 9113 section 8.3.2: one pseudo-field "that carries the HTTP status code field"; 101 is none (section 8.6).
    if len(text) != 3 or not text.isdigit() or not b"100" <= text <= b"599" or text == b"101":
        raise _malformed("an answer with a “:status” that HTTP/2 does not have")
    status = int(text)
    if ended and status < 200:
        raise _malformed("an interim answer that ends the stream")
    section = _section(fields[1:], limits)
    framing = validate.answer_framing(status, section, request_method)
    shown = validate.forwarded_answer(status, section)
    if ended and framing is AS_STREAM:
        framing = NO_BODY
        shown = section.with_added(_EMPTY)  # over HTTP/1.1 its end would not be seen
    length = section.content_length or 0 if framing is BY_LENGTH else 0
    head = ResponseHead(status, shown, framing, length)
    head.dated = section.dated
    head.binds = section.binds
    return head


def answer_trailers(fields: list[DecodedField], limits: HeadLimits) -> Fields:
    """What of an answer's trailers goes on. Raises StreamFault."""
    try:
        return trailers(fields, limits)
    except GatewayError as error:
        raise _malformed(error.detail) from None


def _section(fields: list[DecodedField], limits: HeadLimits) -> ResponseSection:
    unseen = recent.unseen
    lines, octets = _lines(fields, limits)
    if recent.unseen != unseen:
        return validate.response_section(_HOP, lines)[0]
    # By the lines themselves: what comes again is the same objects.
    key = (limits, *lines)
    section = _remembered.get(key)
    if section is None:
        section, _ = validate.response_section(_HOP, lines)
        if octets <= REMEMBERED_OCTETS:
            remember(_remembered, key, section, REMEMBERED_SECTIONS)
    return section


def _lines(fields: list[DecodedField], limits: HeadLimits) -> tuple[list[FieldLine], int]:
    """The lines of `fields`, and the octets of all of it."""
    sizes = [field.size - ENTRY_OVERHEAD for field in fields]
    octets = sum(sizes)
    if len(sizes) > limits.fields or octets > limits.head or (octets > limits.field and max(sizes) > limits.field):
        raise GatewayError(
            Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, f"{counted(len(sizes), 'field')} of {counted(octets, 'octet')}"
        )
    try:
        return field_lines(fields), octets
    except MalformedField as malformed:
        raise _malformed(f"an answer with {malformed}") from None
    except GatewayError as error:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer has a bad head: {error.detail}") from None


def _read_hop(fields: tuple[HopField, ...], has_length: bool) -> Hop:
    """RFC 9113 section 8.2.2: no "connection-specific header fields"; TE is a request's."""
    if fields:
        raise GatewayError(Reason.BAD_REQUEST, "a field of HTTP/1.1's connections")
    return Hop(streams=True)


_HOP: Final = HopReader(_read_hop)


def _malformed(detail: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, detail)

"""A request as a client of HTTP/2 writes it, and the answer that it reads (RFC 9113 section 8): the upstream half of
`fields`.

An app is not trusted to keep to the rules: what RFC 9113 section 8.1.1 calls malformed is a StreamFault, and what
`validate` refuses in an answer over HTTP/1.1 is refused here, too.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError, Reason
from gateway.http import validate
from gateway.http.h2.encoder import encode_field, encode_fields
from gateway.http.h2.errors import ErrorCode, StreamFault
from gateway.http.h2.fields import NAME_OCTETS, trailers
from gateway.http.head_parser import REMEMBERED_OCTETS, REMEMBERED_SECTIONS, HeadLimits
from gateway.http.hop import Hop, HopField
from gateway.http.message import (
    AS_STREAM,
    BY_LENGTH,
    NO_BODY,
    Fields,
    FieldSection,
    RequestHead,
    ResponseHead,
    ResponseSection,
)

_SCHEME: Final = encode_field(b":scheme", b"http")
_TE: Final = encode_field(b"te", b"trailers")
_EMPTY: Final = (b"content-length", b"0")
_remembered: dict[tuple[object, ...], ResponseSection] = {}
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
        _block(section),
        _block(added),
        encode_field(b"x-request-id", request_id),
    ]
    # gRPC over HTTP/2: "TE" is "Used to detect incompatible proxies": servers refuse a call without it.
    if section.trailers_ok or section.grpc:
        parts.append(_TE)
    return b"".join(parts)


def _block(section: FieldSection) -> bytes:
    block = section.block
    if block is None:
        section.block = block = encode_fields(section.fields)
    return block


def answer_head(fields: Fields, ended: bool, request_method: bytes, limits: HeadLimits) -> ResponseHead:
    """An answer's head, interim ones too; `ended`: it has no content. Raises StreamFault and GatewayError."""
    if not fields or fields[0][0] != b":status":
        raise _malformed("an answer that does not begin with “:status”")
    text, pairs = fields[0][1], fields[1:]
    # RFC 9113 section 8.3.2: one pseudo-field "that carries the HTTP status code field"; 101 is none (section 8.6).
    if len(text) != 3 or not text.isdigit() or not b"100" <= text <= b"599" or text == b"101":
        raise _malformed("an answer with a “:status” that HTTP/2 does not have")
    status = int(text)
    if ended and status < 200:
        raise _malformed("an interim answer that ends the stream")
    section = _section(pairs, limits)
    framing = validate.answer_framing(status, section, request_method)
    shown = validate.forwarded_answer(status, section)
    if ended and framing is AS_STREAM:
        framing = NO_BODY
        shown = section.with_fields([*section.fields, _EMPTY])  # over HTTP/1.1 its end would not be seen
    length = section.content_length or 0 if framing is BY_LENGTH else 0
    head = ResponseHead(status, shown, framing, length)
    head.dated = section.dated
    head.binds = section.binds
    return head


def answer_trailers(fields: Fields, limits: HeadLimits) -> Fields:
    """What of an answer's trailers goes on. Raises StreamFault."""
    try:
        return trailers(fields, limits)
    except GatewayError as error:
        raise _malformed(error.detail) from None


def _section(pairs: Fields, limits: HeadLimits) -> ResponseSection:
    key = (limits, *pairs)
    section = _remembered.get(key)
    if section is None:
        octets = _check(pairs, limits)
        section, _ = validate.response_section(_read_hop, pairs)
        if octets <= REMEMBERED_OCTETS:
            if len(_remembered) >= REMEMBERED_SECTIONS:
                del _remembered[next(iter(_remembered))]
            _remembered[key] = section
    return section


def _check(pairs: Fields, limits: HeadLimits) -> int:
    """Refuses what is too large or malformed; returns the octets of all of it."""
    sizes = [len(name) + len(value) for name, value in pairs]
    octets = sum(sizes)
    if len(pairs) > limits.fields or octets > limits.head or (octets > limits.field and max(sizes) > limits.field):
        raise GatewayError(Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, f"{len(pairs)} fields of {octets} octets")
    for name, value in pairs:
        # RFC 9113 section 8.2.1: lower case, no colon (pseudo-fields come first, and there is but one), no white space
        # around a value. CR, LF and NUL are no octets of a value for `validate` either.
        if not name or name.translate(None, NAME_OCTETS):
            raise _malformed("an answer with a field name that is not allowed")
        if value != value.strip(b" \t"):
            raise _malformed("an answer with white space around a field value")
    return octets


def _read_hop(fields: tuple[HopField, ...], has_length: bool) -> Hop:
    """RFC 9113 section 8.2.2: no "connection-specific header fields"; TE is a request's."""
    if fields:
        raise GatewayError(Reason.BAD_REQUEST, "a field of HTTP/1.1's connections")
    return _HOP


_HOP: Final = Hop(streams=True)


def _malformed(detail: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, detail)

"""From bytes to heads: finds where a head ends, splits its start line, and lets llhttp read the field lines.

The start line is split here, because llhttp accepts targets and versions it should not and refuses extension methods
it need not. The field section goes through llhttp (httptools) in its strict mode: no obs-fold, no bare LF, no space
before a colon, no NUL. A parser object serves one head; a new one costs 0.4 µs, a reset of its body state is not
offered.

Neither function waits: `parse_*` takes a whole head, `check_partial_head` looks at an unfinished one so that a peer
who can no longer send a valid head is told at once and not after the deadline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import httptools

from gateway.errors import GatewayError, Reason
from gateway.http import hop, validate
from gateway.http.http1 import PROTOCOLS, Http1RequestHead, Http1ResponseHead
from gateway.http.message import Fields, RequestSection
from gateway.printable import printable_ascii

HEAD_END = b"\r\n\r\n"
_HEAD_OCTETS = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
_VERSION = re.compile(rb"HTTP/[0-9]+(?:\.[0-9]+)?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_FIELDS_PREFIX = b"HTTP/1.1 200 OK\r\n"
_SPACED_NAME = re.compile(rb"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+:")
_FRAMING = (b"content-length", b"transfer-encoding")


AROUND_TARGET = validate.MAX_METHOD + len("  HTTP/1.1")
"""Octets that a request line may have besides its target."""
MAX_STATUS_LINE = 1024
"""Octets of a status line; they are remembered, so a sandbox must not choose how much."""
REMEMBERED_SECTIONS = 1024
REMEMBERED_OCTETS = 2048
"""Sections of requests and heads of answers kept by their octets, and the largest that is: the same browser asks with
the same fields, the same app answers with the same head, and what was seen before costs 0.3 µs instead of 6. Measured,
a worker keeps 9 MiB of ordinary ones (750 octets, 15 fields), and 37 of the worst (2 KiB, 100 fields)."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadLimits:
    """Sizes of one head, in octets and fields; see `limits` in the configuration for their precedents.

    Compared by identity, so that it can be part of a cache's key for nothing.
    """

    head: int = 32 * 1024
    target: int = 8 * 1024
    field: int = 8 * 1024
    fields: int = 100


class _Collector:
    """What httptools calls for each field line."""

    __slots__ = ("pairs",)

    def __init__(self) -> None:
        self.pairs: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))


class FieldSectionError(Exception):
    """A field section that is not valid; the message is a clause without subject."""


class FieldSectionTooLarge(FieldSectionError):
    """A field section over its limits."""


def parse_field_section(block: bytes, limits: HeadLimits) -> Fields:
    """The pairs of a field section; `block` starts at the first field line and ends with the empty line.

    Serves requests, heads and trailers. Raises FieldSectionError; FieldSectionTooLarge past `limits.fields` or
    `limits.field`.
    """
    collector = _Collector()
    # Response mode: there llhttp leaves framing conflicts to us, and `validate` decides them for every codec alike.
    parser = httptools.HttpResponseParser(collector)
    try:
        parser.feed_data(_FIELDS_PREFIX + block)
    except httptools.HttpParserError as error:
        raise FieldSectionError(f"has a malformed field ({error})") from None
    pairs = collector.pairs
    if b" \r\n" in block or b"\t\r\n" in block:
        pairs = [(name, value.rstrip(b" \t")) for name, value in pairs]  # llhttp keeps white space after a value
    if len(pairs) > limits.fields:
        raise FieldSectionTooLarge(f"has more than {limits.fields} fields")
    if len(block) > limits.field:
        for name, value in pairs:
            if len(name) + len(value) > limits.field:
                raise FieldSectionTooLarge(f"has a field of more than {limits.field} octets")
    return pairs


def parse_answer_fields(block: bytes, limits: HeadLimits) -> Fields:
    """As `parse_field_section`, for what an app sends."""
    try:
        return parse_field_section(block, limits)
    except FieldSectionTooLarge:
        raise
    except FieldSectionError:
        # RFC 9112 section 5.1: a proxy MUST remove white space between a field name and colon from a response. Not
        # where the field frames the message: there one recipient would believe what another does not see.
        spaced = _SPACED_NAME.findall(block)
        for name in spaced:
            if name.lower() in _FRAMING:
                raise FieldSectionError(f"has white space between {name.decode()} and its colon") from None
        if not spaced:
            raise
        return parse_field_section(_SPACED_NAME.sub(rb"\1:", block), limits)


def parse_request_head(block: bytes, limits: HeadLimits) -> Http1RequestHead:
    """A validated request head; `block` ends with its empty line and is not longer than `limits.head`.

    Raises GatewayError with a downstream reason (400, 405, 414, 417, 431, 501 or 505).
    """
    line_end = block.find(b"\r\n")
    method, target, minor = _request_line(block[:line_end], limits)
    fields = block[line_end + 2 :]
    parse_section = _remembered_request if len(fields) <= REMEMBERED_OCTETS else _request_section
    section, keep_alive = parse_section(fields, minor, limits)
    head = Http1RequestHead(method, target, PROTOCOLS[minor], section)
    head.keep_alive = keep_alive
    validate.check_request(head)
    return head


def _request_section(block: bytes, minor: int, limits: HeadLimits) -> tuple[RequestSection, bool]:
    try:
        pairs = parse_field_section(block, limits)
    except FieldSectionTooLarge as error:
        raise GatewayError(Reason.HEADER_SECTION_TOO_LARGE, f"the request {error}") from None
    except FieldSectionError as error:
        raise GatewayError(Reason.BAD_REQUEST, f"the request {error}") from None
    section, hop_said = validate.request_section(hop.OF_REQUEST[minor], pairs)
    return section, hop_said.keep_alive


_remembered_request = lru_cache(maxsize=REMEMBERED_SECTIONS)(_request_section)


def _request_line(line: bytes, limits: HeadLimits) -> tuple[bytes, bytes, int]:
    """The method, the target and the minor version."""
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        raise GatewayError(Reason.BAD_REQUEST, "the request line is not “METHOD target HTTP/1.1”") from None
    if version == b"HTTP/1.1":
        minor = 1
    elif version == b"HTTP/1.0":
        minor = 0
    elif _VERSION.fullmatch(version):
        raise GatewayError(Reason.HTTP_VERSION_NOT_SUPPORTED, f"the request says {version[:16].decode()}")
    else:
        raise GatewayError(Reason.BAD_REQUEST, "the request line does not end in an HTTP version")
    if not method or not target:
        raise GatewayError(Reason.BAD_REQUEST, "the request line has an empty part")
    if len(target) > limits.target:
        raise GatewayError(Reason.URI_TOO_LONG, f"the request target has more than {limits.target} octets")
    return method, target, minor


def wrong_forever(received: bytes | bytearray) -> str:
    """What no continuation of an unfinished section of lines can put right: "a bare CR or LF"; empty if there is none.

    A CR at the very end may still get its LF.
    """
    # Looked at again with every packet of an unfinished head, so not with a regular expression (ten times slower).
    lines = received.removesuffix(b"\r").replace(b"\r\n", b"")
    if b"\n" in lines or b"\r" in lines:
        return "a bare CR or LF"
    if b"\r\n " in received or b"\r\n\t" in received:
        return "a folded line"
    return "a control character" if lines.translate(None, _HEAD_OCTETS) else ""


def check_partial_head(received: bytes | bytearray, limits: HeadLimits) -> None:
    """Raises GatewayError if no continuation can turn `received` (no empty line in it yet) into an acceptable head.

    A target that is too long is not refused before its fields have come, or `limits.head` octets: they say who asks,
    and so whether the refusal is to be a page. A browser sends them along, a TLS record of 16 KiB later.
    """
    wrong = wrong_forever(received)
    if wrong:
        raise GatewayError(Reason.BAD_REQUEST, f"the head has {wrong}")
    line_end = received.find(b"\r\n")
    whole = len(received) > limits.head
    if line_end >= 0:
        try:
            _request_line(bytes(received[:line_end]), limits)
        except GatewayError as error:
            if error.reason is not Reason.URI_TOO_LONG or whole:
                raise
    elif whole:
        raise GatewayError(Reason.URI_TOO_LONG, f"the request line has more than {limits.target} octets")
    if whole:
        raise GatewayError(Reason.HEADER_SECTION_TOO_LARGE, f"the head has more than {limits.head} octets")


def parse_response_head(block: bytes, limits: HeadLimits, request_method: bytes) -> Http1ResponseHead:
    """A validated response head; `block` ends with its empty line and is not longer than `limits.head`.

    Raises GatewayError: `http_protocol_error` or `http_response_header_section_size`.
    """
    return (_remembered_response if len(block) <= REMEMBERED_OCTETS else _response_head)(block, limits, request_method)


def _response_head(block: bytes, limits: HeadLimits, request_method: bytes) -> Http1ResponseHead:
    line_end = block.find(b"\r\n")
    minor, status, phrase = _status_line(block[:line_end])
    try:
        pairs = parse_answer_fields(block[line_end + 2 :], limits)
    except FieldSectionTooLarge as error:
        raise GatewayError(Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, f"the answer {error}") from None
    except FieldSectionError as error:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer {error}") from None
    section, hop_said = validate.response_section(hop.OF_ANSWER[minor], pairs)
    return validate.response_head(status, phrase, section, hop_said, request_method)


_remembered_response = lru_cache(maxsize=REMEMBERED_SECTIONS)(_response_head)


@lru_cache(maxsize=256)
def _status_line(line: bytes) -> tuple[int, int, bytes]:
    """The minor version, the status and the phrase of a status line; a handful serve all of a worker's life."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None or len(line) > MAX_STATUS_LINE:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer begins with {quote(line)}")
    minor, status, phrase = match.groups(b"")
    return int(minor), int(status), phrase


def check_partial_response(received: bytes | bytearray, limits: HeadLimits) -> None:
    """Raises GatewayError if `received` (no empty line in it yet) cannot become an acceptable response head."""
    start = bytes(received[:12])
    if not (b"HTTP/1.1 ".startswith(start[:9]) or b"HTTP/1.0 ".startswith(start[:9])):
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer begins with {quote(bytes(received[:64]))}")
    wrong = wrong_forever(received)
    if wrong:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer's head has {wrong}")
    line_end = received.find(b"\r\n")
    if line_end >= 0:
        _status_line(bytes(received[:line_end]))
    if len(received) > limits.head:
        raise GatewayError(
            Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, f"the answer's head has more than {limits.head} octets"
        )


_TEXT_LINE = re.compile(rb"[ -~]+\r?\n")


def quote(octets: bytes) -> str:
    """A short, printable rendering of foreign octets for a detail: never control characters, never long.

    Of lines of text the first: how much else has come by now is chance.
    """
    line = _TEXT_LINE.match(octets)
    octets = line[0] if line else octets
    shown = printable_ascii(octets[:48].decode("latin-1"), "·")
    return f"“{shown}{'…' if len(octets) > 48 else ''}”"

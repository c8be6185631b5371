"""From bytes to heads: finds where a head ends, splits its start line, and reads the field lines.

Lines end with CRLF and nothing else. A field line is a token, a colon, and a value: no obs-fold, no space before the
colon, no bare CR or LF, no other control character (RFC 9112 section 5). What was read of a line is remembered.

Neither function waits: `parse_*` takes a whole head, `check_partial_head` looks at an unfinished one so that a peer
who can no longer send a valid head is told at once and not after the deadline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.counting import counted
from gateway.errors import GatewayError, Reason
from gateway.http import hop, validate
from gateway.http.field_lines import REMEMBERED_SECTIONS, RecentLines, field_line
from gateway.http.fields import KNOWN_ROLES, TOKEN
from gateway.http.http1 import PROTOCOLS, Http1RequestHead, Http1ResponseHead
from gateway.http.message import FieldLine, RequestSection
from gateway.http.octets import is_value
from gateway.memo import remember
from gateway.printable import printable_ascii

HEAD_END: Final = b"\r\n\r\n"
_HEAD_OCTETS: Final = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
_VERSION: Final = re.compile(rb"HTTP/[0-9]+(?:\.[0-9]+)?")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_SPACED_NAME: Final = re.compile(rb"(?m)^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]+:")
_FRAMING: Final = (b"content-length", b"transfer-encoding")


AROUND_TARGET: Final = validate.MAX_METHOD + len("  HTTP/1.1")
"""Octets that a request line may have besides its target."""
MAX_STATUS_LINE: Final = 1024
"""Octets of a status line; they are remembered, so a sandbox must not choose how much."""
STATUS_LINES_REMEMBERED: Final = 256
REMEMBERED_OCTETS: Final = 2048
"""Of the largest section of a request, or head of an answer, that is kept by its octets: the same browser asks with the
same fields, the same app answers with the same head, and what was seen before costs 0.3 µs. Measured, a worker keeps 9
MiB of ordinary ones (750 octets, 15 fields), and 37 of the worst (2 KiB, 100 fields)."""


KEPT_LINES: Final = 32
"""Of a head, for the next one of the same connection. With `REMEMBERED_OCTETS` 10 KiB at worst; as a rule 1, since most
are everybody's."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadLimits:
    """Sizes of one head, in octets and fields; see `limits` in the configuration for their precedents.

    Compared by identity, so that it can be part of a cache's key for nothing.
    """

    head: int = 32 * 1024
    target: int = 8 * 1024
    field: int = 8 * 1024
    fields: int = 100


class FieldSectionError(Exception):
    """A field section that is not valid; the message is a clause without subject."""


class FieldSectionTooLarge(FieldSectionError):
    """A field section over its limits."""


_recent: Final = RecentLines[bytes]()
_SPACE: Final = 0x20
_NO_LINES: Final[list[FieldLine]] = []


def parse_field_lines(block: bytes, limits: HeadLimits) -> list[FieldLine]:
    """The lines of a field section; `block` starts at the first field line and ends with the empty line.

    Serves requests, heads and trailers. Raises FieldSectionError; FieldSectionTooLarge past `limits.fields` or
    `limits.field`.
    """
    return _field_lines(block.split(b"\r\n"), 0, len(block), limits, _NO_LINES)


def _field_lines(
    split: list[bytes], first: int, size: int, limits: HeadLimits, before: list[FieldLine]
) -> list[FieldLine]:
    """Of a block of `size` octets, split into lines: from its line `first` on.

    `before` are those of the same sender's last head, who says most of it again and in the same order: to compare is
    less than to look up, and where another value stands, the name is known.
    """
    end = len(split) - 2  # behind the last line end, and before it, there is nothing
    if end - first > limits.fields:
        raise FieldSectionTooLarge(f"has more than {counted(limits.fields, 'field')}")
    young = _recent.young
    lines: list[FieldLine] = []
    fresh = split[first:end]
    for octets, like in zip(fresh, before):  # noqa: B905 - with an argument the compiler makes a pair for each
        if like.line == octets:
            lines.append(like)
        else:
            line = young.get(octets)
            lines.append(_read_line(octets, like) if line is None else line)
    for octets in fresh[len(before) :]:
        line = young.get(octets)
        lines.append(_read_line(octets, None) if line is None else line)
    if size > limits.field:
        for line in lines:
            name, value = line.pair
            if len(name) + len(value) > limits.field:
                raise FieldSectionTooLarge(f"has a field of more than {counted(limits.field, 'octet')}")
    return lines


def _read_line(octets: bytes, like: FieldLine | None) -> FieldLine:
    """`like` is one that was read and may have the same name."""
    line = _recent.recall(octets)
    if line is None:
        # As nearly every line comes, it goes on: a name that was seen before, one space, and a value with none around.
        role: int | None = None
        if like is not None:
            name = like.pair[0]
            end = len(name)
            if octets.startswith(name) and octets[end : end + 2] == b": ":
                value = octets[end + 2 :]
                role = like.role
        if role is None:
            name, _, value = octets.partition(b": ")
            role = KNOWN_ROLES.get(name)
        if role is not None and value and value[0] > _SPACE and value[-1] > _SPACE and is_value(octets):
            line = FieldLine((name, value), role, octets)
        else:
            line = _respelled(octets)
        _recent.learn(octets, line)
    return line


def _respelled(octets: bytes) -> FieldLine:
    name, colon, value = octets.partition(b":")
    if not colon:
        raise FieldSectionError(f"has a malformed field ({_fault(octets)})")
    try:
        return field_line(name, value.strip(b" \t"))
    except GatewayError:
        raise FieldSectionError(f"has a malformed field ({_fault(octets)})") from None


def _fault(octets: bytes) -> str:
    if octets[:1] in (b" ", b"\t"):
        return "a folded line"
    name, colon, _ = octets.partition(b":")
    if not colon:
        return "no colon"
    if TOKEN.fullmatch(name) is not None:
        return "a control character in its value"
    return "white space before its colon" if name.rstrip(b" \t") != name else "a character not allowed in a name"


def _kept(lines: list[FieldLine], block: bytes) -> list[FieldLine]:
    """What a connection keeps of them while it is idle, as there may be ten thousand: all or nothing."""
    return lines if len(lines) <= KEPT_LINES and len(block) <= REMEMBERED_OCTETS else _NO_LINES


def parse_answer_lines(block: bytes, limits: HeadLimits) -> list[FieldLine]:
    """As `parse_field_lines`, for what an app sends."""
    return _answer_lines(block, block.split(b"\r\n"), 0, limits, _NO_LINES)


def _answer_lines(
    block: bytes, split: list[bytes], first: int, limits: HeadLimits, before: list[FieldLine]
) -> list[FieldLine]:
    try:
        return _field_lines(split, first, len(block), limits, before)
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
        return _field_lines(_SPACED_NAME.sub(rb"\1:", block).split(b"\r\n"), first, len(block), limits, _NO_LINES)


def parse_request_head(block: bytes, limits: HeadLimits, before: list[FieldLine] = _NO_LINES) -> Http1RequestHead:
    """A validated request head; `block` ends with its empty line and is not longer than `limits.head`. `before` is
    what was read of the same sender's last head.

    Raises GatewayError with a downstream reason (400, 405, 414, 417, 431, 501 or 505).
    """
    line_end = block.find(b"\r\n")
    method, target, minor = _request_line(block[:line_end], limits)
    key = block[line_end + 2 :], minor, limits
    said = _requests.get(key) or _request_section(key, before)
    head = Http1RequestHead(method, target, PROTOCOLS[minor], said[0])
    head.keep_alive = said[1]
    head.lines = said[2]
    validate.check_request(head)
    return head


_SectionKey = tuple[bytes, int, HeadLimits]
_Said = tuple[RequestSection, bool, list[FieldLine]]
"""What a section says, whether its connection may go on, and the lines that were read."""
_requests: Final[dict[_SectionKey, _Said]] = {}


def _request_section(key: _SectionKey, before: list[FieldLine]) -> _Said:
    block, minor, limits = key
    unseen = _recent.unseen
    try:
        lines = _field_lines(block.split(b"\r\n"), 0, len(block), limits, before)
    except FieldSectionTooLarge as too_large:
        raise GatewayError(Reason.HEADER_SECTION_TOO_LARGE, f"the request {too_large}") from None
    except FieldSectionError as error:
        raise GatewayError(Reason.BAD_REQUEST, f"the request {error}") from None
    section, hop_said = validate.request_section(hop.OF_REQUEST[minor], lines)
    said = section, hop_said.keep_alive, _kept(lines, block)
    if _recent.unseen == unseen and len(block) <= REMEMBERED_OCTETS:
        remember(_requests, key, said, REMEMBERED_SECTIONS)
    return said


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
        raise GatewayError(Reason.URI_TOO_LONG, f"the request target has more than {counted(limits.target, 'octet')}")
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
        raise GatewayError(Reason.URI_TOO_LONG, f"the request line has more than {counted(limits.target, 'octet')}")
    if whole:
        raise GatewayError(Reason.HEADER_SECTION_TOO_LARGE, f"the head has more than {counted(limits.head, 'octet')}")


def parse_response_head(
    block: bytes, limits: HeadLimits, request_method: bytes, before: list[FieldLine] = _NO_LINES
) -> Http1ResponseHead:
    """A validated response head; `block` ends with its empty line and is not longer than `limits.head`. `before` as of
    `parse_request_head`.

    Raises GatewayError: `http_protocol_error` or `http_response_header_section_size`.
    """
    key = block, limits, request_method
    return _answers.get(key) or _response_head(key, before)


_AnswerKey = tuple[bytes, HeadLimits, bytes]
_answers: Final[dict[_AnswerKey, Http1ResponseHead]] = {}


def _response_head(key: _AnswerKey, before: list[FieldLine]) -> Http1ResponseHead:
    block, limits, request_method = key
    split = block.split(b"\r\n")
    minor, status, phrase = _status_lines.get(split[0]) or _status_line(split[0])
    unseen = _recent.unseen
    try:
        lines = _answer_lines(block, split, 1, limits, before)
    except FieldSectionTooLarge as too_large:
        raise GatewayError(Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, f"the answer {too_large}") from None
    except FieldSectionError as error:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer {error}") from None
    section, hop_said = validate.response_section(hop.OF_ANSWER[minor], lines)
    head = validate.response_head(status, phrase, section, hop_said, request_method)
    head.lines = _kept(lines, block)
    if _recent.unseen == unseen and len(block) <= REMEMBERED_OCTETS:
        remember(_answers, key, head, REMEMBERED_SECTIONS)
    return head


_status_lines: Final[dict[bytes, tuple[int, int, bytes]]] = {}
"""A handful serve all of a worker's life."""


def _status_line(line: bytes) -> tuple[int, int, bytes]:
    """The minor version, the status and the phrase of a status line that is not among `_status_lines`."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None or len(line) > MAX_STATUS_LINE:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer begins with {quote(line)}")
    minor, status, phrase = match.groups(b"")
    read = int(minor), int(status), phrase
    remember(_status_lines, line, read, STATUS_LINES_REMEMBERED)
    return read


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
        line = bytes(received[:line_end])
        if line not in _status_lines:
            _status_line(line)
    if len(received) > limits.head:
        raise GatewayError(
            Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, f"the answer's head has more than {counted(limits.head, 'octet')}"
        )


_TEXT_LINE: Final = re.compile(rb"[ -~]+\r?\n")


def quote(octets: bytes) -> str:
    """A short, printable rendering of foreign octets for a detail: never control characters, never long.

    Of lines of text the first: how much else has come by now is chance.
    """
    line = _TEXT_LINE.match(octets)
    octets = line[0] if line else octets
    shown = printable_ascii(octets[:48].decode("latin-1"), "·")
    return f"“{shown}{'…' if len(octets) > 48 else ''}”"

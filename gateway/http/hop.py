"""What a head says of its own connection (RFC 9110 section 7.6.1): Connection and what it names, Transfer-Encoding,
Upgrade, TE.

Each version of HTTP has its own idea of these fields, and only HTTP/1.x needs them; everything else that a field may
mean is the same in all of them, and stands in `validate`. So the gate hands them to a `HopReader`, that of HTTP/1.x
stands here, and nothing but a `Hop` comes back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, NamedTuple

from gateway.errors import GatewayError, Reason
from gateway.http import roles
from gateway.http.lists import members

MAX_OPTIONS: Final = 100
"""Members of Connection, Expect, TE or Upgrade, empty ones included: as many as a head has fields. Fifteen thousand
take 2 ms."""
HOPS_REMEMBERED: Final = 32
"""Hardly two of them are to be seen in life, and each may be as large as a head."""

HopField = tuple[int, bytes]
"""One of the roles CONNECTION, TRANSFER_ENCODING, UPGRADE, TE and HOP, and the field's value."""

_NOT_NOMINATED: Final = frozenset(
    (b"close", b"keep-alive", b"upgrade", b"te", b"content-length", b"expect", b"max-forwards")
)
"""What Connection may say without removing a field.

The first four are its options. A nomination never reaches what routes or frames a message (CVE-2024-45410): most of
that is not among the plain fields, and what is stands here.
"""
_PROTOCOL: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]+)?")
_H2C: Final = re.compile(rb"(?i:h2c)(?:[-/].*)?")


class Hop(NamedTuple):
    """What was said."""

    streams: bool
    """Content follows whose end its sender will tell."""
    keep_alive: bool = True
    """The connection may go on."""
    interim: bool = True
    """Its sender reads interim answers."""
    nominated: frozenset[bytes] = frozenset()
    """Names (lower case) of fields that were meant for this connection only."""
    upgrade: bytes | None = None
    """A request's: the protocols asked for, a list without h2c. An answer's: the field as it came."""
    switches: bool = False
    """Connection names Upgrade."""
    trailers_ok: bool = False
    """TE: trailers."""


class HopReader:
    """How a version of HTTP reads the fields of a head that concern its connection."""

    __slots__ = ("none", "read")

    def __init__(self, read: Callable[[tuple[HopField, ...], bool], Hop]) -> None:
        """`read(fields, has_length)`: of the fields, in their order; the flag says whether there is a Content-Length,
        too. Raises GatewayError as `validate` does for a request.
        """
        self.read = read
        self.none = read((), False)
        """Of a head without such a field, as most are."""


def _bad(detail: str) -> GatewayError:
    return GatewayError(Reason.BAD_REQUEST, detail)


def check_count(value: bytes, name: str) -> None:
    # RFC 9110 section 5.6.1.2: a recipient MUST parse and ignore a reasonable number of empty list elements.
    if value.count(b",") >= MAX_OPTIONS:
        raise _bad(f"{name} has more than {MAX_OPTIONS} options")


def bounded_members(value: bytes, name: str) -> list[bytes]:
    """The members of a list that may have quoted strings."""
    check_count(value, name)
    return members(value)


def _tokens(value: bytes, name: str) -> list[bytes]:
    """The members of a list of tokens, in which a quote is no beginning of anything."""
    check_count(value, name)
    return [member for part in value.split(b",") if (member := part.strip(b" \t"))]


def protocols(upgrade: bytes) -> list[bytes]:
    """The protocols that an Upgrade field names (RFC 9110 section 7.8), without h2c and its drafts.

    That one is HTTP: it would carry requests past the validator (RFC 9113 deprecates it, too). Raises
    GatewayError(bad_request) if they are too many.
    """
    return [name for name in _tokens(upgrade, "Upgrade") if _PROTOCOL.fullmatch(name) and not _H2C.fullmatch(name)]


def _gathered(fields: tuple[HopField, ...], role: int) -> bytes | None:
    """The lines of one field as one list; None without any."""
    values = [value for each, value in fields if each == role]
    return b",".join(values) if values else None


def _coding(fields: tuple[HopField, ...]) -> bytes | None:
    values = [value for role, value in fields if role == roles.TRANSFER_ENCODING]
    if len(values) > 1:
        raise _bad("two Transfer-Encoding fields")
    if values == [b""]:
        raise _bad("an empty Transfer-Encoding field")
    return values[0] if values else None


def _options(fields: tuple[HopField, ...]) -> frozenset[bytes]:
    """The members of Connection, lower case."""
    return frozenset(_tokens((_gathered(fields, roles.CONNECTION) or b"").lower(), "Connection"))


def _persistent(options: frozenset[bytes], minor: int) -> bool:
    """RFC 9112 section 9.3: HTTP/1.1 persists unless told to close, HTTP/1.0 closes unless told to persist."""
    return b"close" not in options and (minor == 1 or b"keep-alive" in options)


def _of_request(minor: int, fields: tuple[HopField, ...], has_length: bool) -> Hop:
    options = _options(fields)
    coding = _coding(fields)
    if coding is not None:
        # RFC 9112 section 6.1: CL with TE is the classic smuggling vector; TE in HTTP/1.0 is faulty framing.
        if has_length:
            raise _bad("the request has both Content-Length and Transfer-Encoding")
        if minor == 0:
            raise _bad("an HTTP/1.0 request has Transfer-Encoding")
        if coding.lower() != b"chunked":
            raise GatewayError(Reason.NOT_IMPLEMENTED, "Transfer-Encoding is not exactly “chunked”")
    switches = b"upgrade" in options
    asked = _gathered(fields, roles.UPGRADE)
    # RFC 9110 section 7.8: an Upgrade in an HTTP/1.0 request is ignored, and so is one that Connection does not name.
    upgrade = b", ".join(protocols(asked)) or None if asked is not None and minor and switches else None
    # RFC 9110 section 10.1.4: a list of codings, and this keyword, which has no weight.
    trailers_ok = any(b"trailers" in bounded_members(value.lower(), "TE") for role, value in fields if role == roles.TE)
    return Hop(
        coding is not None,
        _persistent(options, minor),
        minor == 1,
        options - _NOT_NOMINATED,
        upgrade,
        switches,
        trailers_ok,
    )


def _of_answer(minor: int, fields: tuple[HopField, ...], has_length: bool) -> Hop:
    coding = _coding(fields)
    if coding is not None and (has_length or minor == 0 or coding.lower() != b"chunked"):
        raise _bad("Transfer-Encoding that contradicts Content-Length or HTTP/1.0, or is not “chunked”")
    options = _options(fields)
    upgrade = _gathered(fields, roles.UPGRADE)
    if upgrade is not None:
        check_count(upgrade, "Upgrade")
    return Hop(
        coding is not None,
        _persistent(options, minor),
        True,
        options - _NOT_NOMINATED,
        upgrade,
        b"upgrade" in options,
    )


def _remembering(read: Callable[[int, tuple[HopField, ...], bool], Hop], minor: int) -> HopReader:
    return HopReader(lru_cache(maxsize=HOPS_REMEMBERED)(partial(read, minor)))


OF_REQUEST: Final = (_remembering(_of_request, 0), _remembering(_of_request, 1))
"""By the minor version of an HTTP/1.x request."""
OF_ANSWER: Final = (_remembering(_of_answer, 0), _remembering(_of_answer, 1))

"""`<port>-<sandbox-id>.<domain>` to `Target` and back.

The parser is strict and anchored: it accepts exactly what `Target.host` produces, in any letter case, with at most
one trailing dot and an optional `:port` (the port of the public listener, which says nothing about the sandbox).
Knows nothing of sockets, directories or settings beyond the list of domains it is given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import GatewayError, Reason

PRESERVE: Final = "preserve"
"""The Host mask that is none: the Host field goes upstream as it came."""
MAX_LABEL: Final = 63
"""Octets of one DNS label (RFC 1035 section 2.3.4)."""
MAX_NAME: Final = 253
"""Octets of a whole name in text form, without the trailing dot (RFC 1035 section 2.3.4)."""

_SANDBOX_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_TARGET_LABEL: Final = re.compile(r"([0-9]+)-(.+)")
_DOTTED_QUAD: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


@dataclass(frozen=True, slots=True)
class Target:
    """What a hostname names: a port (1-65535) of a sandbox, under one configured domain."""

    port: int
    sandbox_id: str
    domain: str

    @property
    def host(self) -> str:
        """The public name, the inverse of `parse`: `5000-abc123.sandbox.example.dev`."""
        return f"{self.port}-{self.sandbox_id}.{self.domain}"

    def rewritten(self, mask: str, authority: bytes) -> bytes:
        """The Host field to send upstream: `mask` (see `upstream.host`) filled in, or `authority` where it is none."""
        return authority if mask == PRESERVE else mask.replace("{port}", str(self.port)).encode()


def is_sandbox_id(text: str) -> bool:
    """Whether `text` can be a sandbox id: `[a-z0-9]`, hyphens inside, short enough to stand behind a 5-digit port."""
    return len(text) <= MAX_LABEL - 6 and _SANDBOX_ID.fullmatch(text) is not None


class HostnameParser:
    """Parses authorities against a fixed list of domains; the longest matching domain wins."""

    __slots__ = ("_suffixes", "domains")

    def __init__(self, domains: Sequence[str]) -> None:
        self.domains = tuple(sorted((domain.lower() for domain in domains), key=len, reverse=True))
        self._suffixes = tuple((f".{domain}", domain) for domain in self.domains)

    def nearest(self, authority: str) -> str:
        """The domain that `authority` lies in, for texts that show what its names look like; the shortest otherwise."""
        name = _split_port(authority)[0].lower().removesuffix(".")
        return next(
            (domain for domain in self.domains if name == domain or name.endswith(f".{domain}")), self.domains[-1]
        )

    def parse(self, authority: str) -> Target:
        """The target that `authority` (a Host field's value) names.

        Raises GatewayError: `unknown_domain` when the name is outside our domains (an address literal always is),
        `invalid_hostname` when it is inside but not `<port>-<id>`, `invalid_port` when only the port is wrong.
        """
        if not authority.isascii():  # before lower(): U+212A would become an innocent "k"
            raise GatewayError(Reason.UNKNOWN_DOMAIN, "the host has characters outside ASCII")
        name, port = _split_port(authority)
        name = name.lower().removesuffix(".")
        for suffix, domain in self._suffixes:
            if name.endswith(suffix):
                _check_port(port)
                return _parse_label(name[: -len(suffix)], name, domain)
            if name == domain:
                raise GatewayError(Reason.INVALID_HOSTNAME, f"{name} is the domain itself, without port and sandbox")
        raise GatewayError(Reason.UNKNOWN_DOMAIN, _why_foreign(name))


def _split_port(authority: str) -> tuple[str, str | None]:
    """The name and what follows its colon, if there is one; an IPv6 literal stays whole."""
    if authority.startswith("["):
        return authority, None
    name, _, port = authority.partition(":")
    return name, port or None  # an empty port is allowed (RFC 3986 section 3.2.3)


def _check_port(port: str | None) -> None:
    if port is not None and not (port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise GatewayError(Reason.INVALID_HOSTNAME, "what follows the colon in the host is not a port")


def _parse_label(label: str, name: str, domain: str) -> Target:
    if len(name) > MAX_NAME:
        raise GatewayError(Reason.INVALID_HOSTNAME, f"the name has {len(name)} characters, more than {MAX_NAME}")
    if not label or "." in label:
        raise GatewayError(Reason.INVALID_HOSTNAME, f"exactly one label is expected before .{domain}")
    if len(label) > MAX_LABEL:
        raise GatewayError(
            Reason.INVALID_HOSTNAME, f"the first label has {len(label)} characters, more than {MAX_LABEL}"
        )
    match = _TARGET_LABEL.fullmatch(label)
    if match is None or _SANDBOX_ID.fullmatch(match[2]) is None:
        raise GatewayError(Reason.INVALID_HOSTNAME, f"“{_shorten(label)}” is not <port>-<sandbox-id>")
    digits = match[1]
    if digits[0] == "0" or len(digits) > 5 or int(digits) > 65535:
        raise GatewayError(Reason.INVALID_PORT, f"“{_shorten(digits)}” is not a port between 1 and 65535")
    return Target(int(digits), match[2], domain)


def _why_foreign(name: str) -> str:
    if not name:
        return "the host is empty"
    if name.startswith("["):
        return "the host is an IPv6 address, not a name"
    if _DOTTED_QUAD.fullmatch(name):
        return "the host is an IPv4 address, not a name"
    return f"{_shorten(name)} ends in none of the domains served here"


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"

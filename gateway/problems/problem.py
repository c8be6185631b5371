"""One failure of one request, with everything that is known about it: the document that every form of a reply is made
of. Knows neither forms nor how one looks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from gateway.addresses import literal
from gateway.errors import GatewayError, Reason, Wording
from gateway.hostname import Target
from gateway.http.message import RequestHead
from gateway.http.validate import IDEMPOTENT
from gateway.printable import shorten
from gateway.problems.frameworks import Fix, fixes
from gateway.wordings import REJECTED

TYPE_BASE = "urn:sandbox-gateway:problem:"
"""Prefix of the RFC 9457 `type`: an identifier that is not meant to be fetched (section 3.1.1)."""

_BIND_FIXES = (Reason.CONNECTION_REFUSED, Reason.IPV4_ONLY_LISTENER)
"""Cured by another line in the app; the first check of each introduces the lines."""
_NAMES_HOST = frozenset(
    reason for reason in Reason if "{host}" in "".join((reason.row.title, reason.row.explanation, *reason.row.checks))
)
_PLACEHOLDER = re.compile(r"\[\{address\}\]|\{(?:port|sandbox|address|domain|host)\}")
"""An address goes with its brackets: an IPv4 one has none."""
_MAX_HOST = 100
"""Characters of a host that a text names."""
_IPV4 = re.compile(r"[0-9]+(?:\.[0-9]+){3}")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What is known of the request when it fails; everything but the id may be missing."""

    request_id: str
    head: RequestHead | None = None
    target: Target | None = None
    address: str = ""
    domain: str = ""
    """A domain served here, for texts that show what a hostname looks like."""
    public_port: int = 443
    """For links to other ports."""
    received: bytes = b""
    """What came of a head that could not be read."""
    passed_on: bool = False
    """The app may have got the request, or part of it, and acted on it."""


class Problem(msgspec.Struct, frozen=True):
    """The JSON form (RFC 9457), and the source of the other forms."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    sandbox: str | None
    port: int | None
    request_id: str
    observed: list[str]
    fix: list[str]


class Case(NamedTuple):
    """Everything a reply depends on but its form and the request id."""

    reason: Reason
    detail: str
    observed: tuple[str, ...]
    process: str
    open_ports: tuple[int, ...]
    wording: Wording | None
    target: Target | None
    address: str
    domain: str
    public_port: int
    host: str
    """As asked for, where the texts name it."""
    method: str
    """Of a request answered with a page; GET for HEAD, whose answer has the length of a GET's."""
    may_retry: bool
    """This request may be sent again unchanged, by a program that asks nobody."""

    @property
    def checks(self) -> tuple[str, ...]:
        """What to look at, with placeholders."""
        checks = (self.wording or self.reason.row).checks
        return checks[1:] if self.reason in _BIND_FIXES and self._dialed_over_ipv4 else checks

    @property
    def fixes(self) -> list[Fix]:
        """Lines to paste; the first check introduces them."""
        if self.target is None or self.reason not in _BIND_FIXES or self.wording is REJECTED or self._dialed_over_ipv4:
            return []
        return fixes(self.target.port, self.process)

    @property
    def _dialed_over_ipv4(self) -> bool:
        # `gateway dev` on a machine without IPv6: 127.0.0.1 is reached however the app was bound, so that is not it.
        return _IPV4.fullmatch(self.address) is not None

    def problem(self, request_id: str) -> Problem:
        """The document, with its row's texts filled in."""
        row, target = self.reason.row, self.target
        words = self.wording or row
        known = {
            "{port}": str(target.port) if target else "?",
            "{sandbox}": target.sandbox_id if target else "?",
            "{address}": self.address or "?",
            "[{address}]": literal(self.address) if self.address else "[?]",
            "{domain}": (target.domain if target else self.domain) or "<domain>",
            "{host}": self.host or "?",
        }
        observed = [fact for fact in (self.detail, *self.observed) if fact]
        if self.open_ports:
            observed.append(accepting(self.open_ports))
        return Problem(
            type=f"{TYPE_BASE}{row.name}",
            title=_fill(words.title, known),
            status=row.status,
            detail=_fill(words.explanation, known),
            reason=row.name,
            sandbox=target.sandbox_id if target else None,
            port=target.port if target else None,
            request_id=request_id,
            observed=observed,
            fix=[_fill(check, known) for check in self.checks] + [f"{fix.framework}: {fix.line}" for fix in self.fixes],
        )


def describe(error: GatewayError, context: RequestContext) -> Problem:
    """The problem document for `error`."""
    return case_of(error, context, for_page=False).problem(context.request_id)


def case_of(error: GatewayError, context: RequestContext, *, for_page: bool) -> Case:
    """`error` as it is told; a page differs with the request's method, too."""
    head, reason = context.head, error.reason
    host, method = "", "GET" if for_page else ""
    if head is not None:
        if reason in _NAMES_HOST:
            host = shorten(head.authority.decode("latin-1"), _MAX_HOST)
        if for_page:
            method = "GET" if head.method == b"HEAD" else head.method.decode("latin-1")
    return Case(
        reason,
        error.detail,
        error.observed,
        error.process,
        error.open_ports,
        error.wording,
        context.target,
        context.address,
        context.domain,
        context.public_port,
        host,
        method,
        reason.row.may_retry and not (context.passed_on and (head is None or head.method not in IDEMPOTENT)),
    )


def accepting(ports: tuple[int, ...]) -> str:
    """The sentence about other ports of a sandbox, of which there is one at least."""
    if len(ports) == 1:
        return f"port {ports[0]} of this sandbox accepts connections"
    return f"ports {', '.join(map(str, ports[:-1]))} and {ports[-1]} of this sandbox accept connections"


def _fill(text: str, known: dict[str, str]) -> str:
    """In one pass: what is filled in may look like a placeholder itself."""
    return _PLACEHOLDER.sub(lambda found: known[found[0]], text) if "{" in text else text

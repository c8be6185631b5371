"""What an examination found: steps in the order of the road, and one line that sums them up. Its JSON is the API."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["ok", "failed", "warning", "skipped"]
"""`failed` ends the road; `warning` does not, and may be what somebody is looking for; `skipped` was not tried, or
says nothing against the URL."""

ROAD = ("parse", "listener", "directory", "policy", "dial", "http", "websocket")
"""The steps every report has; `ipv4` stands behind `dial` in the report of a refusal."""


class Step(msgspec.Struct, frozen=True):
    """One step; `detail` is what was observed, without a full stop."""

    name: str
    verdict: Verdict
    detail: str
    milliseconds: float


class Downstream(msgspec.Struct, frozen=True):
    """What a listener of this gateway agrees on with a client that offers what a browser does. The words are the access
    log's."""

    listener: str
    """Where it was asked: "[::1]:8443"."""
    protocol: str
    """"HTTP/2" or "HTTP/1.1"."""
    tls: str = ""
    """"TLSv1.3"; empty: none ends here."""
    alpn: str = ""
    """"h2" or "http/1.1"; empty: without TLS, or nothing was chosen."""
    prior_knowledge: bool = False
    """Whether HTTP/2 is taken without TLS, from who begins with it."""
    extended_connect: bool = False
    """Whether WebSockets are taken over HTTP/2 (RFC 8441)."""


class Upstream(msgspec.Struct, frozen=True):
    """What was spoken to the app, and answered by it."""

    target: str
    """"[fd00::5]:5000"."""
    protocol: str
    """"HTTP/1.1", or "HTTP/2", which is without TLS (h2c)."""
    websocket: str = ""
    """By which of them a WebSocket opened; empty: none did."""


class Negotiated(msgspec.Struct, frozen=True):
    """Which HTTP is spoken on either side of the gateway; None: not known, and the steps say why."""

    downstream: Downstream | None = None
    upstream: Upstream | None = None


class Report(msgspec.Struct, frozen=True):
    """`ok` says that the app behind the URL answered; `reason` names the row of the failure table otherwise."""

    url: str
    ok: bool
    conclusion: str
    reason: str | None
    steps: list[Step]
    fix: list[str]
    """What to do, the likeliest first; also hints about what works already."""
    negotiated: Negotiated = Negotiated()


def as_json(report: Report) -> bytes:
    """The API's JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2)

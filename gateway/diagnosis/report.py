"""What an examination found: steps in the order of the road, and one line that sums them up. Its JSON is the API."""

from __future__ import annotations

from typing import Literal

import msgspec

Verdict = Literal["ok", "failed", "warning", "skipped"]
"""`failed` ends the road; `warning` does not, and may be what somebody is looking for; `skipped` was not tried, or
says nothing against the URL."""

ROAD = ("parse", "directory", "policy", "dial", "http", "websocket")
"""The steps every report has; `ipv4` stands behind `dial` in the report of a refusal."""


class Step(msgspec.Struct, frozen=True):
    """One step; `detail` is what was observed, without a full stop."""

    name: str
    verdict: Verdict
    detail: str
    milliseconds: float


class Report(msgspec.Struct, frozen=True):
    """`ok` says that the app behind the URL answered; `reason` names the row of the failure table otherwise."""

    url: str
    ok: bool
    conclusion: str
    reason: str | None
    steps: list[Step]
    fix: list[str]
    """What to do, the likeliest first; also hints about what works already."""


def as_json(report: Report) -> bytes:
    """The API's JSON, indented for people."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2)

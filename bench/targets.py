"""What the gateway set out to reach, as ratios within one run; each is checked against what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from bench.samples import GATEWAY, Summary

RATIOS = ("ratio", "capacity_ratio")
_NAMES = {"go": "Go, tuned", "go_as_shipped": "Go, as shipped", "caddy": "Caddy"}


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway's `metric` in `workload`, divided by that of `peer` in `base` (both empty: as it stands).

    A metric that is a ratio already is `peer`'s, as it stands.
    """

    title: str
    workload: str
    metric: str
    """Attribute of `Summary`."""
    limit: float
    peer: str = ""
    base: str = ""
    """Workload of the divisor; empty: the same."""
    at_least: bool = False
    """The value has to reach the limit; otherwise it has to stay below."""
    unit: str = ""


TARGETS = (
    Target("small GET, TLS: CPU", "get_tls", "ratio", 0.55, peer="go_as_shipped"),
    Target("small GET, TLS: CPU", "get_tls", "ratio", 0.55, peer="go"),
    Target("small GET, TLS: CPU", "get_tls", "ratio", 0.35, peer="caddy"),
    Target("small GET, TLS: CPU", "get_tls", "ratio", 2.0, peer="nginx"),
    Target("1 MiB response, TLS: CPU", "resp_1m", "ratio", 1.15, peer="nginx"),
    Target("WebSocket echo 32 B: CPU", "ws_32", "ratio", 0.6, peer="go"),
    Target("WebSocket echo 32 B: CPU", "ws_32", "ratio", 1.8, peer="nginx"),
    Target("idle TLS connection", "idle_tls", "held_kib", 32.0, unit="KiB"),
    Target("new TLS connections per CPU second", "new_conn", "capacity_ratio", 0.9, peer="nginx", at_least=True),
    Target("refused target: CPU", "refused", "cpu_us", 1.5, peer=GATEWAY, base="get_tls"),
    Target("small GET, HTTP/2: CPU", "h2_get", "ratio", 0.35, peer="go"),
    Target("small GET, HTTP/2: CPU", "h2_get", "ratio", 2.0, peer="nginx"),
    Target("1 MiB response, HTTP/2: CPU", "h2_resp_1m", "ratio", 1.2, peer="nginx"),
    Target("gRPC unary call: CPU", "h2_grpc", "ratio", 0.5, peer="go"),
    Target("p99 at half load", "half_load_p99", "p99_us", 2.0, peer="nginx"),
)
"""Go is judged twice: as shipped, `httputil.ReverseProxy` keeps two idle connections per upstream and dials anew for
everybody else; tuned, it keeps 256. New connections are counted per CPU second, because the load's core is full before
nginx's is."""


class Verdict(msgspec.Struct, kw_only=True):
    """One target, judged."""

    title: str
    against: str
    """Whose figure the value is a multiple of; a unit where it is none."""
    value: float | None
    """None: not measured in this run."""
    limit: float
    at_least: bool

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} {self.against}"


def judge(summaries: Sequence[Summary], targets: Sequence[Target] = TARGETS) -> list[Verdict]:
    """A verdict on each target. A figure that came with errors is not judged."""
    found = {(summary.workload, summary.peer): summary for summary in summaries if not summary.errors}
    return [
        Verdict(
            title=target.title,
            against=_against(target),
            value=_value(target, found),
            limit=target.limit,
            at_least=target.at_least,
        )
        for target in targets
    ]


def _against(target: Target) -> str:
    if not target.peer:
        return target.unit
    return "× its own small GET" if target.peer == GATEWAY else f"× {_NAMES.get(target.peer, target.peer)}"


def _value(target: Target, found: dict[tuple[str, str], Summary]) -> float | None:
    ours = found.get((target.workload, GATEWAY))
    theirs = found.get((target.base or target.workload, target.peer or GATEWAY))
    if ours is None or theirs is None:
        return None
    if not target.peer:
        return float(getattr(ours, target.metric))
    divisor = float(getattr(theirs, target.metric))
    if target.metric in RATIOS:
        return divisor or None
    return float(getattr(ours, target.metric)) / divisor if divisor else None

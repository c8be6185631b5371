"""What the gateway set out to reach, as ratios within one run; each is checked against what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from bench.samples import BUILDS, COMPILED, GATEWAY, Summary

_NAMES = {"nginx": "nginx", "haproxy": "HAProxy", "go": "Go, tuned"}
_OF = {GATEWAY: "", COMPILED: ", compiled"}
CPU, CAPACITY = "ratio", "capacity"
"""Metrics that compare with a peer turn by turn: the build's CPU time divided by the peer's, and the inverse."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one build set out to reach in one workload."""

    title: str
    workload: str
    metric: str
    """`CPU`, `CAPACITY`, or an attribute of `Summary`, which is divided by that of `peer` in `base` if given."""
    limit: float
    peer: str = ""
    base: str = ""
    """Workload of the divisor; empty: the same."""
    unit: str = ""
    build: str = GATEWAY

    @property
    def at_least(self) -> bool:
        """Whether the value has to reach the limit; otherwise it has to stay below."""
        return self.metric == CAPACITY


def _rows(
    title: str, workload: str, metric: str, limits: dict[str, tuple[float, float]], unit: str = ""
) -> Iterator[Target]:
    """Targets of both builds, plain Python's before the compiled one's, against each peer; none where a limit is 0."""
    for number, build in enumerate(BUILDS):
        for peer, of_builds in limits.items():
            if limit := of_builds[number]:
                yield Target(title + _OF[build], workload, metric, limit, peer=peer, unit=unit, build=build)


TARGETS = (
    *_rows(
        *("small GET, all heads differ: CPU", "get_tls", CPU),
        {"nginx": (1.8, 1.2), "haproxy": (0, 1.1), "go": (0.6, 0.4)},
    ),
    *_rows("small GET, one head: CPU", "get_same", CPU, {"nginx": (1.4, 1.0), "haproxy": (0, 1.0)}),
    *_rows("16 KiB response: CPU", "resp_16k", CPU, {"nginx": (1.1, 0.9)}),
    *_rows("1 MiB response: CPU", "resp_1m", CPU, {"nginx": (1.0, 0.9)}),
    *_rows("WebSocket echo 32 B: CPU", "ws_32", CPU, {"nginx": (1.35, 1.1), "go": (0, 1.0)}),
    *_rows("new TLS connections per CPU second", "new_conn", CAPACITY, {"nginx": (0.76, 0.85)}),
    *_rows("HTTP/2 small GET, all heads differ: CPU", "h2_get", CPU, {"nginx": (2.0, 1.3), "go": (0.35, 0.2)}),
    *_rows("HTTP/2 1 MiB response: CPU", "h2_resp_1m", CPU, {"nginx": (1.2, 1.2)}),
    *_rows("gRPC unary call: CPU", "h2_grpc", CPU, {"go": (0.5, 0.5)}),
    Target("refused target: CPU", "refused", "cpu_us", 1.25, peer=GATEWAY, base="get_tls"),
    Target("refused target: CPU, compiled", "refused", "cpu_us", 1.25, peer=COMPILED, base="get_tls", build=COMPILED),
    *_rows("idle TLS connection", "idle_tls", "held_kib", {"": (17.0, 17.0)}, "KiB"),
    *_rows("p99 at half load", "half_load_p99", "p99_us", {"nginx": (2.0, 2.0)}),
)
"""New connections are counted per CPU second, because the load's core is full before nginx's is. Go, tuned, keeps 256
idle connections per upstream; as shipped, two, so that it is no measure."""


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
    return "× its own small GET" if target.peer in BUILDS else f"× {_NAMES[target.peer]}"


def _value(target: Target, found: dict[tuple[str, str], Summary]) -> float | None:
    ours = found.get((target.workload, target.build))
    theirs = found.get((target.base or target.workload, target.peer or target.build))
    if ours is None or theirs is None:
        return None
    if target.metric in (CPU, CAPACITY):
        ratio = theirs.ratio_of(target.build)
        return None if not ratio else 1 / ratio if target.metric == CAPACITY else ratio
    value = float(getattr(ours, target.metric))
    if not target.peer:
        return value
    divisor = float(getattr(theirs, target.metric))
    return value / divisor if divisor else None

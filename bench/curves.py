"""What grows: CPU per request and memory against connections, sandboxes, body size, fields and HTTP/2's streams.

Each point is a fresh proxy. The sandboxes' curve is the gateway's alone: it is about the directory, which no peer has.
All its sandboxes stand at one address, so that it shows looking up and not dialing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from bench import chart
from bench.machine import Machine
from bench.peers import PEERS
from bench.runner import measure
from bench.samples import GATEWAY, Sample
from bench.site import DOMAIN, FIRST, Site, Unable, write_sandboxes
from bench.workloads import HTTP2_CONNECTIONS, Kind, Load, Workload, client, http2, wrk

UNDER_WAY = 32
LARGE_BODY = 256 * 1024
"""From this size on fewer connections ask at a time."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One picture: what is varied, and how a proxy is loaded at a value of it."""

    name: str
    title: str
    axis: chart.Axis
    values: tuple[int, ...]
    kind: Kind
    command: Callable[[Load, int], list[str]]
    logarithmic_cost: bool = False
    gateway_only: bool = False
    """Also: the directory holds as many sandboxes as the value says."""

    def workload(self, value: int) -> Workload:
        return Workload(
            f"{self.name}={value}", self.title, "request", self.kind, lambda load: self.command(load, value)
        )


class Point(msgspec.Struct, kw_only=True):
    """Medians at one value; `error` instead of them where it could not be measured."""

    curve: str
    peer: str
    value: int
    cpu_us: float = 0.0
    pss_mib: float = 0.0
    error: str = ""


class Curves(msgspec.Struct, kw_only=True):
    """What `curves.json` holds."""

    machine: Machine
    points: list[Point]


def _connections(load: Load, value: int) -> list[str]:
    under_way = str(min(value, UNDER_WAY))
    return client(load, "steady", "--connections", str(value), "--under-way", under_way)


def _sandboxes(load: Load, value: int) -> list[str]:
    return wrk(load, f"sandboxes={value}", f"port={load.site.ports[0]}", f"domain={DOMAIN}")


def _body(load: Load, value: int) -> list[str]:
    connections = 8 if value >= LARGE_BODY else UNDER_WAY
    return wrk(load, f"host={load.site.host}", path=f"/bytes/{value}", connections=connections)


def _fields(load: Load, value: int) -> list[str]:
    return wrk(load, f"host={load.site.host}", f"fields={value}")


def _streams(load: Load, value: int) -> list[str]:
    # A sandbox for each connection: none has more than its share.
    return http2(load, "--unlike", "--hosts", ",".join(load.site.mixed_hosts[:HTTP2_CONNECTIONS]), streams=value)


CURVES = {
    curve.name: curve
    for curve in (
        Curve(
            "connections",
            "Open keep-alive connections, 32 requests under way",
            chart.Axis("connections", logarithmic=True),
            (10, 100, 1000, 3000, 10_000),
            Kind.STAGED,
            _connections,
        ),
        Curve(
            "sandboxes",
            "Sandboxes in the directory file, each asked for as often",
            chart.Axis("sandboxes", logarithmic=True),
            (10, 100, 1000, 10_000, 100_000, 1_000_000),
            Kind.WRK,
            _sandboxes,
            gateway_only=True,
        ),
        Curve(
            "body",
            "Size of the response's body",
            chart.Axis("octets", logarithmic=True),
            (64, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216),
            Kind.WRK,
            _body,
            logarithmic_cost=True,
        ),
        Curve(
            "fields",
            "Fields of the request",
            chart.Axis("fields"),
            (8, 16, 32, 64, 100),
            Kind.WRK,
            _fields,
        ),
        Curve(
            "streams",
            "HTTP/2 streams open on each of 8 connections, all heads differ",
            chart.Axis("streams", logarithmic=True),
            (1, 4, 16, 64, 128),
            Kind.STAGED,
            _streams,
        ),
    )
}


def run(
    names: Sequence[str], peers: Sequence[str], rounds: int, seconds: float, site: Site, tell: Callable[[Sample], None]
) -> list[Point]:
    """All points of the named curves."""
    points = []
    for name in names:
        curve = CURVES[name]
        for value in curve.values:
            sandboxes = _table(site, value) if curve.gateway_only else None
            for peer in (GATEWAY,) if curve.gateway_only else peers:
                points.append(_point(curve, peer, value, rounds, seconds, site, sandboxes, tell))
    return points


def _table(site: Site, value: int) -> Path:
    return write_sandboxes(site.directory / "many.toml", [FIRST, *(f"s{number}" for number in range(value))])


def _point(
    curve: Curve,
    peer: str,
    value: int,
    rounds: int,
    seconds: float,
    site: Site,
    sandboxes: Path | None,
    tell: Callable[[Sample], None],
) -> Point:
    samples = []
    for number in range(rounds):
        try:
            sample = measure(PEERS[peer], curve.workload(value), site, seconds, sandboxes)
        except Unable as error:
            return Point(curve=curve.name, peer=peer, value=value, error=str(error))
        sample.round = number
        tell(sample)
        if sample.errors:
            return Point(curve=curve.name, peer=peer, value=value, error=", ".join(sample.errors))
        samples.append(sample)
    return Point(
        curve=curve.name,
        peer=peer,
        value=value,
        cpu_us=median(sample.cpu_us for sample in samples),
        pss_mib=median(sample.pss_kib for sample in samples) / 1024,
    )


def save(result: Curves, directory: Path) -> list[Path]:
    """Writes curves.json and a picture per curve; returns what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / "curves.json"]
    written[0].write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    for name in dict.fromkeys(point.curve for point in result.points):
        path = directory / f"curve-{name}.svg"
        path.write_text(picture(CURVES[name], result))
        written.append(path)
    return written


def picture(curve: Curve, result: Curves) -> str:
    """CPU per request on the left, memory on the right."""
    points = [point for point in result.points if point.curve == curve.name and not point.error]

    def series(metric: str) -> dict[str, list[tuple[float, float]]]:
        lines: dict[str, list[tuple[float, float]]] = {}
        for point in points:
            lines.setdefault(point.peer, []).append((point.value, getattr(point, metric)))
        return lines

    plots = [
        chart.Plot("CPU µs per request", curve.axis, chart.Axis("", curve.logarithmic_cost), series("cpu_us")),
        chart.Plot("memory, MiB", curve.axis, chart.Axis(""), series("pss_mib")),
    ]
    return chart.curves(curve.title, plots, result.machine.sentence())

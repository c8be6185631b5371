"""Pictures of results, as SVG written by hand: bars that compare peers, and curves.

They bring their own background, so they look the same on a light page and on a dark one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.peers import PEERS
from bench.report import Result
from bench.samples import BUILDS, GATEWAY, Summary
from bench.workloads import WORKLOADS, Kind

BACKGROUND, PANEL, LINE, TEXT, FAINT = "#fbfaf8", "#ffffff", "#d8d4cc", "#1c2024", "#5b636b"
OURS = "#b3420f"
THEIRS = {
    "nginx": "#3f6f52",
    "haproxy": "#7aa88b",
    "go": "#2f6690",
    "go_as_shipped": "#5d8bb3",
    "caddy": "#81a4c4",
    "aiohttp": "#a39a8b",
}
WIDTH = 880
MARGIN = 24
_FONT = 'font-family="ui-sans-serif, system-ui, sans-serif"'


# --- bars -------------------------------------------------------------------------------------------------------

SHOWN = ("get_tls", "h2_get", "mixed_200", "resp_1m", "ws_32", "h2_grpc", "new_conn", "idle_tls")
"""Panels of the picture, those that were measured; two in a row."""
ROW = 24
HEAD = 40


def bars(result: Result) -> str:
    """One panel per workload with a bar per peer, shortest first: less is better everywhere."""
    panels = [panel for name in SHOWN if (panel := _rows(name, result.summaries))]
    panel_width = (WIDTH - 3 * MARGIN) / 2
    tallest = max((len(rows) for _, rows in panels), default=0)
    panel_height = HEAD + tallest * ROW + 12
    lines = math.ceil(len(panels) / 2)
    height = 64 + lines * (panel_height + 16) + 28
    parts = [
        _text(MARGIN, 34, "CPU time per request, and memory per connection: less is better", size=17, weight=600),
        _text(MARGIN, 54, "one core, everything on, same upstream and certificate, same run", fill=FAINT, size=12),
    ]
    for number, (title, rows) in enumerate(panels):
        x = MARGIN + (number % 2) * (panel_width + MARGIN)
        y = 72 + (number // 2) * (panel_height + 16)
        parts += _panel(x, y, panel_width, panel_height, title, rows)
    parts.append(_text(MARGIN, height - 14, result.machine.sentence(), fill=FAINT, size=11))
    return _document(height, "CPU time per request of the gateway beside other proxies", parts)


def _rows(name: str, summaries: Sequence[Summary]) -> tuple[str, list[tuple[str, float]]] | None:
    rows = [(each.peer, each.figure) for each in summaries if each.workload == name and each.figure and not each.errors]
    if not rows:
        return None
    workload = WORKLOADS[name]
    unit = "KiB" if workload.kind is Kind.IDLE else f"µs per {workload.unit}"
    return f"{workload.title} · {unit}", sorted(rows, key=lambda row: row[1])


def _panel(x: float, y: float, width: float, height: float, title: str, rows: list[tuple[str, float]]) -> Iterator[str]:
    yield f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{PANEL}" stroke="{LINE}"/>'
    yield _text(x + 14, y + 24, title, weight=600, size=14)
    label, value = 110, 60
    scale = (width - label - value - 24) / max(figure for _, figure in rows)
    for number, (peer, figure) in enumerate(rows):
        top = y + HEAD + number * ROW
        colour = OURS if peer in BUILDS else THEIRS.get(peer, FAINT)
        weight = 600 if peer in BUILDS else 400
        name = PEERS[peer].label or PEERS[peer].title.partition(" ")[0]
        length = max(1.0, figure * scale)
        yield _text(x + label, top + 14, name, anchor="end", weight=weight, fill=OURS if peer in BUILDS else TEXT)
        yield f'<rect x="{x + label + 8:g}" y="{top + 2}" width="{length:.1f}" height="16" rx="3" fill="{colour}"/>'
        yield _text(x + label + 14 + length, top + 14, compact(figure), weight=weight, fill=TEXT)


# --- curves -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """What one direction shows."""

    title: str
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """One panel: a line per peer."""

    title: str
    x: Axis
    y: Axis
    series: dict[str, list[tuple[float, float]]]


def curves(title: str, plots: Sequence[Plot], caption: str) -> str:
    """Plots side by side."""
    height = 380
    width = (WIDTH - MARGIN * (len(plots) + 1)) / len(plots)
    parts = [_text(MARGIN, 34, title, size=17, weight=600)]
    for number, plot in enumerate(plots):
        parts += _plot(MARGIN + number * (width + MARGIN), 52, width, height - 88, plot)
    parts.append(_text(MARGIN, height - 14, caption, fill=FAINT, size=11))
    return _document(height, title, parts)


class _Scale:
    """Values to pixels; linear ones start at zero."""

    def __init__(self, values: Iterable[float], start: float, end: float, *, logarithmic: bool) -> None:
        present = [value for value in values if value > 0] or [1.0]
        self._start, self._end, self._logarithmic = start, end, logarithmic
        if logarithmic:
            self.low, self.high = math.log10(min(present)), math.log10(max(present))
            self.ticks = [10.0**n for n in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)]
        else:
            step = nice_step(max(present))
            self.low, self.high = 0.0, step * math.ceil(max(present) / step)
            self.ticks = [step * n for n in range(round(self.high / step) + 1)]

    def __call__(self, value: float) -> float:
        place = math.log10(max(value, 10**self.low)) if self._logarithmic else value
        share = (place - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self._start + share * (self._end - self._start)


def nice_step(largest: float) -> float:
    """1, 2 or 5 times a power of ten, that divides `largest` into four to ten parts."""
    power = 10.0 ** math.floor(math.log10(largest / 4))
    return next(step * power for step in (5, 2, 1) if largest / (step * power) >= 4)


def _plot(x: float, y: float, width: float, height: float, plot: Plot) -> Iterator[str]:
    left, right, top, bottom = x + 52, x + width - 16, y + 36, y + height - 44
    points = [point for line in plot.series.values() for point in line]
    across = _Scale((px for px, _ in points), left, right, logarithmic=plot.x.logarithmic)
    up = _Scale((py for _, py in points), bottom, top, logarithmic=plot.y.logarithmic)
    yield f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" fill="{PANEL}" stroke="{LINE}"/>'
    yield _text(x + 14, y + 22, plot.title, weight=600)
    for tick in up.ticks:
        yield f'<path d="M{left:g} {up(tick):.1f}H{right:g}" stroke="{LINE}"/>'
        yield _text(left - 6, up(tick) + 4, compact(tick), anchor="end", fill=FAINT, size=11)
    for tick in across.ticks:
        yield _text(across(tick), bottom + 16, compact(tick), anchor="middle", fill=FAINT, size=11)
    yield _text((left + right) / 2, bottom + 34, plot.x.title, anchor="middle", fill=FAINT, size=12)
    for number, (peer, line) in enumerate(plot.series.items()):
        colour = OURS if peer == GATEWAY else THEIRS.get(peer, FAINT)
        places = [(across(px), up(py)) for px, py in line]
        path = "L".join(f"{px:.1f} {py:.1f}" for px, py in places)
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for px, py in places:
            yield f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>'
        name = PEERS[peer].title.partition(" ")[0]
        yield _text(right - 70 * (len(plot.series) - 1 - number), y + 22, name, anchor="end", fill=colour, weight=600)


# --- common -----------------------------------------------------------------------------------------------------


def compact(number: float) -> str:
    """Three digits at most: 0.5, 7.2, 33, 450, 1.2k, 64k, 1M."""
    for divisor, suffix in ((1e6, "M"), (1e3, "k")):
        if number >= divisor:
            return f"{number / divisor:.3g}{suffix}"
    return f"{number:.2g}" if number < 10 else f"{number:.0f}"


def _text(
    x: float, y: float, content: str, *, anchor: str = "start", fill: str = TEXT, size: int = 13, weight: int = 400
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{escape(content)}</text>'
    )


def _document(height: float, label: str, parts: Iterable[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" {_FONT} role="img"'
    rect = f'<rect width="{WIDTH}" height="{height:g}" rx="10" fill="{BACKGROUND}"/>'
    return "\n".join([f'{head} aria-label="{escape(label)}">', rect, *parts, "</svg>", ""])

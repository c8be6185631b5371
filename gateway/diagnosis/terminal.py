"""A report as lines for a terminal: a table of steps, the conclusion, what to do. Values in, text out."""

from __future__ import annotations

import textwrap

from gateway.diagnosis.report import Report, Step, Verdict
from gateway.printable import printable

MARKS: dict[Verdict, str] = {"ok": "✓", "failed": "✗", "warning": "!", "skipped": "–"}

NARROWEST, WIDEST = 60, 120
"""Columns that the text is wrapped to, whatever the terminal has: a table of one word per line helps nobody."""

MOST_FIXES = 7
"""Lines of advice shown; the likeliest come first, and a line for every framework there is helps nobody."""

_GREEN, _RED, _YELLOW, _DIM, _BOLD = "32", "31", "33", "2", "1"
_COLOURS: dict[Verdict, str] = {"ok": _GREEN, "failed": _RED, "warning": _YELLOW, "skipped": _DIM}


def render(report: Report, *, width: int, colour: bool) -> str:
    """The report in lines of at most `width` columns; `colour` adds ANSI sequences, which take up none."""
    width = max(NARROWEST, min(width, WIDEST))

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colour and text else text

    lines = [paint(printable(report.url), _BOLD), ""]
    times = [_time(step) for step in report.steps]
    names = [printable(step.name) for step in report.steps]
    names_width, times_width = max(map(len, names), default=0), max(map(len, times), default=0)
    for step, name, time in zip(report.steps, names, times, strict=True):
        tone = _COLOURS[step.verdict]
        start = f" {name:<{names_width}}  {time:>{times_width}}  "
        detail = _wrapped(step.detail, width - len(start) - 3)
        if step.verdict == "skipped":
            start, detail = paint(start, tone), [paint(line, tone) for line in detail]
        indent = " " * (3 + 1 + names_width + 2 + times_width + 2)
        lines.append(f"  {paint(MARKS[step.verdict], tone)}{start}{detail[0]}")
        lines += [indent + line for line in detail[1:]]
    lines.append("")
    lines += [paint(line, _GREEN if report.ok else _RED) for line in _wrapped(report.conclusion, width)]
    more = [fix for fix in report.fix if fix not in report.conclusion]  # which ends in the first of a failure's
    if more:
        lines.append("")
    for fix in more[:MOST_FIXES]:
        first, *rest = _wrapped(fix, width - 4)
        lines += [f"  - {first}", *(f"    {line}" for line in rest)]
    if len(more) > MOST_FIXES:
        lines.append(f"  … {len(more) - MOST_FIXES} more with --json")
    return "\n".join(lines)


def _time(step: Step) -> str:
    return "" if step.verdict == "skipped" and not step.milliseconds else f"{step.milliseconds:.1f} ms"


def _wrapped(text: str, width: int) -> list[str]:
    """At least one line. Addresses and URLs stay in one piece, so that they can be copied."""
    return textwrap.wrap(printable(text), max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]

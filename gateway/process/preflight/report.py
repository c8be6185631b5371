"""How findings are shown: for a terminal, and as values for JSON; and what there is to say where nothing is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import cpus
from gateway.counting import counted
from gateway.printable import printable
from gateway.process.preflight.finding import Finding, Level, Subject
from gateway.tls import effective
from gateway.tls.choice import describe_served
from gateway.tls.context import ContextOptions, make_context
from gateway.tls.inspect import costly_key

_COLOURS = {Level.ERROR: "31", Level.WARNING: "33"}


def as_lines(findings: Sequence[Finding], *, colour: bool) -> list[str]:
    """Three lines each: what kind, what it is, how it is mended."""
    lines: list[str] = []
    for finding in findings:
        level = f"{finding.level.value}:"
        strong = f"\x1b[1;{_COLOURS[finding.level]}m{level}\x1b[0m" if colour else level
        lines += [
            f"{strong} {finding.check}",
            printable(f"    {finding.text}"),
            printable(f"    mend: {finding.mend}"),
            "",
        ]
    return lines


def summary(findings: Sequence[Finding]) -> str:
    """How many there are; `ok` first, unless one is an error."""
    counts = [
        counted(count, level.value) for level in Level if (count := sum(finding.level is level for finding in findings))
    ]
    fine = all(finding.level is not Level.ERROR for finding in findings)
    return ", ".join(["ok", *counts] if fine else counts)


def as_json(findings: Sequence[Finding]) -> list[dict[str, str]]:
    return [
        {"check": each.check, "level": each.level.value, "finding": each.text, "mend": each.mend} for each in findings
    ]


def notes(subject: Subject) -> list[str]:
    """What is agreed to in handshakes, what is served for which name, how many workers there are, and of what
    directory. Raises UserError if OpenSSL has none of `tls.groups`.
    """
    settings, certificates, lines = subject.settings, subject.certificates, []
    if certificates:
        options = ContextOptions.of(settings)
        agreed, differences = effective.report(make_context(certificates[:1], options), settings.tls.groups)
        lines += [agreed, *differences, *describe_served(certificates, subject.now)]
        lines += filter(None, map(costly_key, certificates))
    if not settings.process.workers:
        limit = cpus.quota()
        quota = "" if limit is None else f", CPU quota {limit:g}"
        lines.append(f"workers: {cpus.usable()} ({counted(cpus.seen(), 'processor')}{quota})")
    if isinstance(subject.directory, str):
        lines.append(f"directory: {subject.directory}")
    return lines

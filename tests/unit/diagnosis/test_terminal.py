"""A report on a terminal: aligned, wrapped, and harmless whatever an app put into it."""

from __future__ import annotations

import re

import msgspec

from gateway.diagnosis.report import Report, Step
from gateway.diagnosis.terminal import render

LONG = (
    "connect to [fd00::5]:5000: Connection refused after 0.4 ms, "
    "which is what a machine says that runs but has no such app"
)
REFUSED = Report(
    "https://5000-box.example.dev/",
    False,
    "Nothing reachable listens on port 5000. Bind to `::`.",
    "connection_refused",
    [
        Step("parse", "ok", "port 5000 of sandbox box", 0.1),
        Step("dial", "failed", LONG, 12.34),
        Step("ipv4", "warning", "python3 (pid 7) listens on 127.0.0.1:5000", 103.0),
        Step("http", "skipped", "not reached", 0.0),
    ],
    ["Bind to `::`.", "Read the app's own log."],
)


def test_the_table_is_aligned() -> None:
    lines = render(REFUSED, width=70, colour=False).splitlines()
    assert lines[:8] == [
        "https://5000-box.example.dev/",
        "",
        "  ✓ parse    0.1 ms  port 5000 of sandbox box",
        "  ✗ dial    12.3 ms  connect to [fd00::5]:5000: Connection refused",
        "                     after 0.4 ms, which is what a machine says that",
        "                     runs but has no such app",
        "  ! ipv4   103.0 ms  python3 (pid 7) listens on 127.0.0.1:5000",
        "  – http             not reached",
    ]


def test_no_line_is_longer_than_the_terminal_is_wide() -> None:
    lines = render(REFUSED, width=72, colour=False).splitlines()
    assert max(map(len, lines)) <= 72
    assert LONG in " ".join(" ".join(lines).split())


def test_a_fix_that_the_conclusion_names_is_not_said_twice() -> None:
    text = render(REFUSED, width=80, colour=False)
    assert text.count("Bind to `::`.") == 1
    assert text.endswith("\n\n  - Read the app's own log.")


def test_of_many_fixes_the_first_are_shown() -> None:
    report = msgspec.structs.replace(REFUSED, fix=[f"Try {number}." for number in range(10)])
    lines = render(report, width=80, colour=False).splitlines()
    assert lines[-8:] == [*(f"  - Try {number}." for number in range(7)), "  … 3 more with --json"]


def test_colours_change_nothing_but_colours() -> None:
    coloured = render(REFUSED, width=72, colour=True)
    assert "\x1b[31m✗\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9]+m", "", coloured) == render(REFUSED, width=72, colour=False)


def test_an_app_cannot_write_to_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\r"
    report = Report(f"https://a/{evil}", True, evil, None, [Step("http", "ok", evil, 1.0)], [evil])
    text = render(report, width=80, colour=False)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "owned" in text

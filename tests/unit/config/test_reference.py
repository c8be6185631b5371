"""docs/settings.md: the schema as a page, complete, current, and readable once it is rendered."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.config import Settings, load, reference, render_effective

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"
DEFAULTS = [(path, value) for path, value, _ in render_effective(load(file=None, environ={}, serve=False))]


def test_the_page_is_current() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == reference.page(), f"docs/settings.md is out of date; rewrite it with: {reference.COMMAND}"


@pytest.mark.parametrize(("path", "default"), DEFAULTS, ids=[path for path, _ in DEFAULTS])
def test_every_setting_has_one_line_with_its_default_and_words(path: str, default: str) -> None:
    [line] = [line for line in reference.page().splitlines() if line.startswith(f"| `{path}` | ")]
    assert re.fullmatch(rf"\| `{re.escape(path)}` \| `{re.escape(default)}`(<br>of [^|]+)? \| [^|]{{20,}} \|", line)


def test_names_to_choose_from_are_all_there() -> None:
    assert '`"info"`<br>of `"debug"`, `"info"`, `"warning"`, `"error"` |' in reference.page()


def test_each_section_stands_once() -> None:
    assert re.findall(r"^## \[(.*)\]$", reference.page(), re.MULTILINE) == list(Settings.__struct_fields__)


def test_no_placeholder_is_taken_for_html() -> None:
    outside_code = re.sub(r"<!--.*?-->|`[^`\n]*`|<br>", "", reference.page())
    assert "<" not in outside_code

"""docs/threat-model.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line
    for line in (ROOT / "docs/threat-model.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| asset ")
]
_TEST = re.compile(r"(?:behaviour|deploy|fuzz|interop|unit)/[a-z0-9_/]+")


def test_there_are_rows() -> None:
    assert len(ROWS) > 30


@pytest.mark.parametrize("row", ROWS)
def test_a_row_has_five_cells_and_its_tests_exist(row: str) -> None:
    *_, tests = cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert len(cells) == 5
    assert all(cells)
    named = _TEST.findall(tests)
    assert named
    assert not [name for name in named if not (ROOT / "tests" / f"{name}.py").is_file()]

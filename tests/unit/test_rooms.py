"""The drawing of the rooms in docs/architecture.md has all of them, from the top down as imports may go."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_room_is_drawn_on_its_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = [set(re.findall(r"\w+", layer)) for each in contracts for layer in each.get("layers", ())]
    page = (ROOT / "docs/architecture.md").read_text()
    drawing = page[page.index("## Rooms") :].split("```")[1]
    drawn = [room for line in drawing.strip().split("\n") for room in re.findall(r"\w+", line[:47])]
    assert sorted(drawn) == sorted(set.union(*floors))
    heights = [next(number for number, floor in enumerate(floors) if room in floor) for room in drawn]
    assert heights == sorted(heights)

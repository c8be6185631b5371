"""A hint says the line that docs/frameworks.md has for that framework, which a test has run there."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.diagnosis.own_urls import FRAMEWORKS

ROWS = {
    line.split(" | ")[0].strip("| "): line.replace('"', "'").replace("\\|", "|")
    for line in (Path(__file__).parents[3] / "docs" / "frameworks.md").read_text().splitlines()
    if line.startswith("| ")
}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("Flask", "Flask"),
        ("Django", "Django"),
        ("uvicorn", "FastAPI, uvicorn"),
        ("Express", "Express"),
        ("PHP", "PHP"),
        ("Spring", "Spring"),
    ],
)
def test_the_hint_and_the_document_say_the_same(name: str, row: str) -> None:
    (each,) = (each for each in FRAMEWORKS if each.believe.startswith(f"{name}: "))
    line = each.believe.removeprefix(f"{name}: ").partition(" in ")[0]
    for part in line.removeprefix("--proxy-headers ").split(", "):
        assert part in ROWS[row]

"""docs/metrics.md: every metric that is told, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.admin import metrics_page
from gateway.admin.metrics import Sources, families

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_it_is_current() -> None:
    assert PAGE.read_text() == metrics_page.page(), f"rewrite it with: {metrics_page.COMMAND}"


def test_it_has_every_metric() -> None:
    told = {family.name + ("_total" if family.type == "counter" else "") for family in families(Sources(), ready=True)}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)) == told

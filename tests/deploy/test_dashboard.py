"""The Grafana dashboard: every query is one to Prometheus, and no panel lies on another."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.components import require

pytestmark = pytest.mark.interop

DASHBOARD = Path(__file__).resolve().parents[2] / "config" / "deploy" / "dashboard.json"
VARIABLES = {"$__rate_interval": "5m", "$__range": "3h", "$job": ".+", "$instance": ".+"}
"""What Grafana puts in: its own two, and the dashboard's."""


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_prometheus_understands_every_query(dashboard: dict[str, Any], tmp_path: Path) -> None:
    """Each stands in a rule, for `promtool` reads no query by itself."""
    require("promtool")
    rules = []
    for number, query in enumerate([*queries(dashboard), *(e["expr"] for e in dashboard["annotations"]["list"])]):
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        assert "$" not in query
        rules.append({"record": f"query:{number}", "expr": query})
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_asks_for_the_chosen_gateways(dashboard: dict[str, Any]) -> None:
    assert {each["name"] for each in dashboard["templating"]["list"]} == {"datasource", "job", "instance"}
    for query in queries(dashboard):
        for selector in re.findall(r"\b(?:gateway|process)_\w+(\{[^}]*\})?", query):
            assert 'job=~"$job"' in selector and 'instance=~"$instance"' in selector, query


def test_no_panel_lies_on_another(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken = set[tuple[int, int]]()
    for panel in panels:
        x, y, w, h = (panel["gridPos"][side] for side in "xywh")
        places = set(itertools.product(range(x, x + w), range(y, y + h)))
        assert x + w <= 24 and not places & taken, panel["title"]
        taken |= places
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"

"""The alert rules, by Prometheus's own tool: a night in which each is heard, and a page that says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.support.components import require

pytestmark = pytest.mark.interop

yaml: Any = import_module("yaml")  # which has no types

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "config" / "deploy"
NIGHTS = Path(__file__).with_name("bad_nights.yaml")


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    [group] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    return group["rules"]


def promtool(*arguments: str, folder: Path) -> str:
    require("promtool")
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules_and_the_example() -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", "alerts.yaml", folder=DEPLOY)
    assert "1 rule files found" in promtool("check", "config", "prometheus.yaml", folder=DEPLOY)


def test_each_bad_night_is_heard(tmp_path: Path) -> None:
    for file in (DEPLOY / "alerts.yaml", NIGHTS):
        shutil.copy(file, tmp_path)
    promtool("test", "rules", NIGHTS.name, folder=tmp_path)


def test_no_alert_is_without_its_night(rules: list[dict[str, Any]]) -> None:
    heard = {
        test["alertname"]
        for night in yaml.safe_load(NIGHTS.read_text())["tests"]
        for test in night.get("alert_rule_test", ())
        if test["exp_alerts"]
    }
    assert sorted(rule["alert"] for rule in rules) == sorted(heard)


def test_the_quiet_night_has_every_metric_of_the_rules(rules: list[dict[str, Any]]) -> None:
    """Else it would be quiet for want of numbers."""
    quiet = yaml.safe_load(NIGHTS.read_text())["tests"][0]
    there = {each["series"].partition("{")[0] for each in quiet["input_series"]}
    assert {name for rule in rules for name in re.findall(r"\bgateway_\w+|\bup\b", rule["expr"])} == there


def test_each_alert_has_its_page(rules: list[dict[str, Any]]) -> None:
    pages = re.findall(r"^### (Gateway\w+)$", (ROOT / "docs" / "operate.md").read_text(), re.MULTILINE)
    assert pages == [rule["alert"] for rule in rules], "in the same order"
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"docs/operate.md#{rule['alert'].lower()}"

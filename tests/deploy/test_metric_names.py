"""What alert rules, bad nights and the dashboard ask for is what the gateway tells: metrics, labels, values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.metrics import PREFIX, Sources, families
from gateway.metrics import METRICS, Kind
from gateway.tls.pair import CertificateFile

yaml: Any = import_module("yaml")  # which has no types

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "config" / "deploy"
OF_PROMETHEUS = {"job", "instance", "le"}
HISTOGRAM = ("_bucket", "_sum", "_count")
NAME = re.compile(r"\b((?:gateway|process)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')


def told() -> dict[str, dict[str, tuple[str, ...] | None]]:
    """By the name of each series the labels it has, each with all its values, if those are known beforehand."""
    series: dict[str, dict[str, tuple[str, ...] | None]] = {}
    for metric in METRICS:
        labels = dict(zip(metric.labels, metric.values, strict=True))
        for ending in HISTOGRAM if metric.kind is Kind.HISTOGRAM else ("",):
            series[f"{PREFIX}{metric.name}{ending}"] = dict(labels)
    sources = Sources(processes=lambda: [("worker 0", 1)], certificates=lambda: [CertificateFile("a", 1.0, "AB")])
    for sample in chain.from_iterable(family.samples for family in families(sources, True)):
        series.setdefault(sample.name, dict.fromkeys(sample.labels))
    return series


def expressions() -> Iterator[str]:
    [group] = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    yield from (rule["expr"] for rule in group["rules"])
    for night in yaml.safe_load(Path(__file__).with_name("bad_nights.yaml").read_text())["tests"]:
        yield from (each["series"] for each in night["input_series"])
    dashboard = json.loads((DEPLOY / "dashboard.json").read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))
    yield from (each["query"] for each in dashboard["templating"]["list"])
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()):
        if document["kind"] == "HorizontalPodAutoscaler":
            yield from (each["pods"]["metric"]["name"] for each in document["spec"]["metrics"])


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_the_gateway_tells_it(expression: str) -> None:
    known = told()
    asked = NAME.findall(expression)
    labels = set(OF_PROMETHEUS)
    for name, matchers in asked:
        assert name in known, name
        labels |= known[name].keys()
        for label, operator, value in MATCHER.findall(matchers):
            assert label in OF_PROMETHEUS | known[name].keys(), f"{name} has no label {label}"
            values = known[name].get(label)
            if values is not None:
                assert set(value.split("|") if "~" in operator else [value]) <= set(values), f"{name}: {label} {value}"
    for grouping in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(grouping.split(", ")) <= labels, grouping


def test_nothing_that_is_told_is_left_out_of_sight() -> None:
    """Every metric is on the dashboard or has an alert, but for those that explain another one."""
    seen = {name for expression in expressions() for name, _ in NAME.findall(expression)}
    for metric in METRICS:
        name = PREFIX + metric.name
        if metric.name not in ("plain_http_on_tls_total", "health_checks_total", "drain_tunnels_closed_total"):
            assert metric.name.startswith("process_") or seen & {name, name + "_bucket"}, name

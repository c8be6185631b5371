"""What a person sees of a run: tables and pictures; and that a saved result comes back whole."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench import chart, curves
from bench.machine import Machine
from bench.readme import PICTURE, PUBLISHED, README, figures, markdown
from bench.report import Result, load, save, terminal
from bench.samples import COMPILED, Sample, summarize
from bench.targets import judge

MACHINE = Machine(
    date="2026-01-02T03:04:05+00:00",
    processor="A <fast> & quiet CPU",
    cores=2,
    memory_gib=24,
    kernel="6.1",
    python="3.11.7",
    uvloop="0.23.0",
    openssl="OpenSSL 3.0",
    commit="abc123",
    load_average=0.1,
)


@pytest.fixture
def result() -> Result:
    samples = [
        Sample(peer="gateway", workload="get_tls", round=0, cpu_us=24.0, per_second=40_000.0, busy=1.0),
        Sample(peer=COMPILED, workload="get_tls", round=0, cpu_us=18.0, per_second=50_000.0, busy=1.0),
        Sample(peer="go", workload="get_tls", round=0, cpu_us=60.0, per_second=16_000.0, busy=1.0),
        Sample(peer="nginx", workload="get_tls", round=0, cpu_us=12.0, per_second=50_000.0, busy=0.6, foreign=0.2),
        Sample(peer="gateway", workload="idle_tls", round=0, held_kib=24.5),
        Sample(peer="go", workload="idle_tls", round=0, held_kib=36.0, errors={"timeout": 2}),
    ]
    summaries = summarize(samples)
    return Result(
        machine=MACHINE,
        versions={"gateway": "0"},
        turns=20,
        turn_seconds=0.05,
        missing=["haproxy"],
        gateway_config="log.access = true",
        summaries=summaries,
        verdicts=judge(summaries),
        samples=samples,
    )


def test_a_saved_result_comes_back_whole(result: Result, tmp_path: Path) -> None:
    save(result, tmp_path / "new" / "latest.json")
    assert load(tmp_path / "new" / "latest.json") == result


def test_a_ratio_is_the_gateways_figure_over_the_peers(result: Result) -> None:
    assert [summary.ratio for summary in result.summaries] == [
        1.0,
        pytest.approx(24 / 18),
        pytest.approx(0.4),
        pytest.approx(2.0),
        1.0,
        pytest.approx(24.5 / 36),
    ]
    assert [summary.compiled_ratio for summary in result.summaries] == [
        pytest.approx(0.75),
        1.0,
        pytest.approx(0.3),
        pytest.approx(1.5),
        0.0,
        0.0,
    ]


def test_the_terminal_shows_ratios_verdicts_errors_and_doubts(result: Result) -> None:
    text = terminal(result)
    assert "0.40 × ±0%   0.30 × ±0%" in text
    assert "2 × timeout" in text
    verdicts = [line for line in text.splitlines() if "× Go, tuned" in line and "small GET" in line]
    assert [verdict.split()[0] for verdict in verdicts] == ["reached", "reached"]
    assert "others used up to 20% of the proxy's core" in text
    assert "the load was the bottleneck" in text


def test_the_readme_shows_no_figure_that_came_with_errors(result: Result) -> None:
    table = markdown(result)
    assert "| small GET, TLS, all heads differ, µs | 24 | 18 | 60 | 12 |" in table
    assert "| idle TLS connection, KiB | 24 | – | failed | – |" in table
    assert "2026-01-02" in table


def test_the_bar_chart_is_well_formed_and_sorted(result: Result) -> None:
    texts = [element.text for element in ElementTree.fromstring(chart.bars(result)).iter() if element.text]
    peers = [text for text in texts if text in ("gateway", "compiled", "nginx", "Go")]
    assert peers == ["nginx", "compiled", "gateway", "Go", "gateway"]  # the failed one is not drawn
    assert any("A <fast> & quiet CPU" in text for text in texts)


@pytest.mark.parametrize("name", curves.CURVES)
def test_every_curve_can_be_drawn(name: str) -> None:
    curve = curves.CURVES[name]
    points = [
        curves.Point(curve=name, peer=peer, value=value, cpu_us=20.0 + number, pss_mib=50.0)
        for peer in ("gateway", "nginx")
        for number, value in enumerate(curve.values)
    ]
    points[-1].error = "did not start"
    svg = curves.picture(curve, curves.Curves(machine=MACHINE, points=points))
    circles = [element for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("circle")]
    assert len(circles) == 2 * (len(points) - 1)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.5, "0.5"), (7.25, "7.2"), (33.3, "33"), (450.0, "450"), (1234.0, "1.23k"), (1e6, "1M"), (0.0, "0")],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert chart.compact(number) == text


@pytest.mark.parametrize(("largest", "step"), [(10.0, 2.0), (33.0, 5.0), (99.0, 20.0), (0.7, 0.1), (1000.0, 200.0)])
def test_axis_steps_are_round(largest: float, step: float) -> None:
    assert chart.nice_step(largest) == pytest.approx(step)


def test_the_readmes_figures_are_those_of_the_published_run() -> None:
    published = load(PUBLISHED)
    rewrite = "python -m bench.readme --publish bench/published.json"
    assert figures(README.read_text(encoding="utf-8")) == markdown(published), rewrite
    assert PICTURE.read_text(encoding="utf-8") == chart.bars(published), rewrite

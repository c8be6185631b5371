"""What config/deploy/ says to systemd and Kubernetes fits the configuration and the program."""

from __future__ import annotations

import subprocess
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Process, Settings, load
from tests.support.components import require

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "config" / "deploy"
SPARE = 10.0
"""Seconds beyond what the gateway takes at the longest: its processes are killed 5 s after `drain_timeout`."""


def longest(process: Process) -> float:
    return process.drain_delay + process.drain_timeout + SPARE


# --- systemd --------------------------------------------------------------------------------------------------------


def unit(name: str) -> RawConfigParser:
    parser = RawConfigParser(strict=False, delimiters="=")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(DEPLOY / name)
    return parser


def test_systemd_waits_for_the_drain() -> None:
    assert float(unit("gateway.service")["Service"]["TimeoutStopSec"].removesuffix("s")) >= longest(Process())


def test_no_check_stands_between_a_machine_and_its_gateway() -> None:
    """What `gateway check` calls an error may be an outage of one domain only."""
    assert "ExecStartPre" not in unit("gateway.service")["Service"]


def test_the_socket_unit_opens_what_the_example_listens_on() -> None:
    settings = load(file=ROOT / "config" / "edge.toml", environ={}, serve=False).settings
    text = (DEPLOY / "gateway.socket").read_text()
    opened = [line.partition("=")[2] for line in text.splitlines() if line.startswith("ListenStream=")]
    assert sorted(opened) == sorted(map(str, (*settings.edge.listen, *settings.edge.listen_plain)))


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    require("systemd")
    for name in ("gateway.service", "gateway.socket"):
        text = (DEPLOY / name).read_text().replace("/opt/gateway/bin/gateway", "/bin/true")
        (tmp_path / name).write_text(text)
    command = [
        "systemd-analyze",
        "verify",
        "--man=no",
        *(str(tmp_path / f"gateway.{kind}") for kind in ("service", "socket")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "gateway." in line]  # other units of the machine are not
    assert (done.returncode, ours) == (0, []), done.stderr


# --- Kubernetes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def objects() -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


@pytest.fixture(scope="module")
def settings(objects: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("kubernetes") / "gateway.toml"
    file.write_text(objects["ConfigMap"]["data"]["gateway.toml"])
    return load(file=file, environ={}, serve=True).settings


def test_kubernetes_waits_for_the_drain(objects: dict[str, Any], settings: Settings) -> None:
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= longest(settings.process)


def test_probes_ask_for_what_is_answered(objects: dict[str, Any], settings: Settings) -> None:
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": settings.edge.listen_plain[0].port}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": settings.edge.health_path, "port": "http"}
    assert container["livenessProbe"]["tcpSocket"] == {"port": "http"}


def test_readiness_fails_before_the_delay_is_over(objects: dict[str, Any], settings: Settings) -> None:
    [container] = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * readiness.get("failureThreshold", 3) < settings.process.drain_delay

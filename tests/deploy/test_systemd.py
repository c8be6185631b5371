"""What config/deploy/ says to systemd: understood by its own tool, safe by its own count, and fit for the program."""

from __future__ import annotations

import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest

from gateway import cli
from gateway.config import Process, load
from tests.support.components import require

pytestmark = pytest.mark.interop

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "config" / "deploy"
EXPOSURE = 20
"""Of 100; systemd-analyze prints it as 2.0."""
SPARE = 10.0
"""Seconds beyond what the gateway takes at the longest: its processes are killed 5 s after `drain_timeout`."""


def longest(process: Process) -> float:
    return process.drain_delay + process.drain_timeout + SPARE


class Unit(RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        """Names of systemd's have capital letters."""
        return optionstr


def unit(name: str) -> Unit:
    parser = Unit(strict=False, delimiters="=")
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


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """With a program that is there."""
    require("systemd")
    copies = [tmp_path / name for name in ("gateway.service", "gateway.socket")]
    for copy in copies:
        copy.write_text((DEPLOY / copy.name).read_text().replace("/opt/gateway/bin/gateway", "/bin/true"))
    return copies


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--man=no", "--no-pager", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_systemd_understands_the_units(units: list[Path]) -> None:
    done = analyze("verify", *units)
    ours = [line for line in done.stderr.splitlines() if "gateway." in line]  # other units of the machine are not
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_service_is_exposed_as_little_as_a_gateway_can_be(units: list[Path]) -> None:
    """What is left is the network, the file system of the machine, and the capability for ports below 1024."""
    done = analyze("security", "--offline=true", f"--threshold={EXPOSURE}", units[0])
    assert done.returncode == 0, done.stdout


def test_what_is_run_exists() -> None:
    """The verbs and flags of the unit, and the configuration it names."""
    for line in ("ExecStart", "ExecReload"):
        program, verb, flag, config = unit("gateway.service")["Service"][line].split()
        assert (program, flag, config) == ("/opt/gateway/bin/gateway", "--config", "config/edge.toml")
        assert cli._parser().parse_args([verb, flag, config])
        assert (ROOT / config).exists()

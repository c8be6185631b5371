"""What config/deploy/compose.yaml says, by docker-compose itself, which needs no daemon for that."""

from __future__ import annotations

import re
import subprocess
from importlib import import_module
from typing import Any

import pytest

from gateway.config import Process, load
from tests.support.components import require
from tests.support.process import ROOT

pytestmark = pytest.mark.interop

yaml: Any = import_module("yaml")  # which has no types

FILE = ROOT / "config" / "deploy" / "compose.yaml"
SPARE = 10.0
"""Seconds beyond what the gateway takes at the longest."""


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """As docker-compose understands them."""
    require("docker-compose")
    command = ["docker-compose", "--file", str(FILE), "--profile", "monitoring", "config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    assert found.keys() == {"gateway", "prometheus"}
    return found


def test_it_waits_for_the_drain(services: dict[str, Any]) -> None:
    minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", services["gateway"]["stop_grace_period"]).groups("0")
    process = Process()
    assert int(minutes) * 60 + int(seconds) >= process.drain_delay + process.drain_timeout + SPARE


def test_ports_and_folders_are_those_of_the_configuration(services: dict[str, Any]) -> None:
    gateway = services["gateway"]
    settings = load(file=ROOT / gateway["command"][-1], environ={}, serve=False).settings
    published = set(re.findall(r'^ *- "(\d+):\1"', FILE.read_text(), re.MULTILINE))
    assert published == {str(each.port) for each in (*settings.edge.listen, *settings.edge.listen_plain)}
    for line in re.findall(r"^ *- \.(\S*?):/\S+:ro", FILE.read_text(), re.MULTILINE):
        assert (FILE.parent / f".{line}").resolve().exists(), line


def test_it_may_do_no_more_than_it_must(services: dict[str, Any]) -> None:
    gateway = services["gateway"]
    assert gateway["cap_drop"] == ["ALL"] and "cap_add" not in gateway
    assert gateway["read_only"] and gateway["security_opt"] == ["no-new-privileges:true"]
    assert gateway["sysctls"] == {"net.ipv4.ip_unprivileged_port_start": "0"}, "or it could not open its ports"

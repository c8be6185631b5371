"""What `make test` does where there is no IPv6, and on a compiled gateway."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests import run
from tests.support.components import require
from tests.support.network import WITH_IPV6, WITHOUT_INET6, prefix
from tests.support.process import ROOT, clean_environment

PYTEST = [sys.executable, "-m", "pytest", "tests/unit"]


def test_a_machine_with_ipv6_runs_the_tests_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "has_ipv6", lambda: True)
    assert run.command(["tests/unit"]) == PYTEST


def test_a_machine_without_gives_them_a_network_that_has_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "has_ipv6", lambda: False)
    monkeypatch.setattr(run, "prefix", lambda kind: ["enter", kind])
    assert run.command(["tests/unit"]) == ["enter", WITH_IPV6, *PYTEST]
    assert "network namespace" in capsys.readouterr().out
    monkeypatch.setattr(run, "prefix", lambda kind: None)
    assert run.command(["tests/unit"]) == PYTEST


@pytest.mark.ipv6
def test_such_a_network_has_ipv6() -> None:
    require("namespaces")
    code = "import socket; socket.create_server(('::1', 0), family=socket.AF_INET6)"
    subprocess.run([*(prefix(WITH_IPV6) or ()), sys.executable, "-c", code], check=True)


@pytest.mark.ipv6
def test_to_a_browser_such_a_network_is_online() -> None:
    """One that finds no link beside loopback says that it is offline."""
    require("namespaces")
    command = [*(prefix(WITH_IPV6) or ()), "ip", "-brief", "link", "show", "up"]
    links = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[1] for line in links if "LOOPBACK" not in line] == ["UP", "UP"]


def without_inet6(*arguments: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    """pytest on a machine that has no IPv6 and cannot make any."""
    require("socket filter")
    command = [sys.executable, "-m", "tests.run", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        [*(prefix(WITHOUT_INET6) or ()), *command],
        cwd=ROOT,
        env=clean_environment({"CI": ci}),
        capture_output=True,
        text=True,
        check=False,
    )


SOME = ("tests/unit/test_addresses.py", "tests/behaviour/test_keep_alive.py")


def test_what_can_be_run_is_run_and_the_rest_named() -> None:
    done = without_inet6(*SOME)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed, " in done.stdout
    assert "tests need IPv6, which this machine does not have, and did not run." in done.stdout
    assert "sysctl -w net.ipv6.conf.all.disable_ipv6=0" in done.stdout
    assert "docker run --sysctl" in done.stdout


def test_ci_leaves_nothing_out() -> None:
    done = without_inet6(*SOME, ci="true")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "no IPv6, and CI runs every test" in done.stderr


SAID = "import os, sys; sys.exit({} if os.environ.get('TESTS_OF_SOURCES') else {})"


@pytest.mark.parametrize(
    ("compiled", "sources", "status"),
    [(0, 0, 0), (1, 0, 1), (0, 1, 1), (2, 1, 2), (5, 0, 0), (0, 5, 0), (5, 1, 1), (1, 5, 1), (5, 5, 5)],
)
def test_a_compiled_gateway_passes_if_it_and_its_sources_do(compiled: int, sources: int, status: int) -> None:
    assert run.both([sys.executable, "-c", SAID.format(sources, compiled)]) == status


PURE_TEST = r"(?m)^@pytest\.mark\.pure\n(?:async )?def (\w+)"


def test_tests_with_fakes_are_chosen_where_sources_are_asked_for() -> None:
    folder = "tests/unit/directory"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", folder]
    chosen = subprocess.run(
        command, cwd=ROOT, env=clean_environment(run.ON_SOURCES), capture_output=True, text=True, check=True
    ).stdout.splitlines()
    marked = [mark for path in (ROOT / folder).glob("*.py") for mark in re.findall(PURE_TEST, path.read_text())]
    assert sorted(line.partition("::")[2] for line in chosen if "::" in line) == sorted(marked)
    assert "test_a_fault_while_asking_again_is_no_reason_not_to" in marked

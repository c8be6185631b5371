"""The line to paste: right for the port asked, likely ones first, and each of those that can be run here listens."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from gateway.problems.frameworks import fixes, is_forwarder
from tests.support.process import Child, accepts, free_port

PYTHON = ["Flask", "Flask, in code", "FastAPI", "Django", "Gunicorn", "Gradio, in code", "http.server"]
NODE = ["Vite", "Express", "Next"]


def frameworks(process: str) -> list[str]:
    return [fix.framework for fix in fixes(5000, process)]


def line_for(framework: str, port: int) -> str:
    [line] = [fix.line for fix in fixes(port) if fix.framework == framework]
    return line


def test_every_framework_is_offered_whatever_runs() -> None:
    assert set(PYTHON) | set(NODE) | {"Go"} == set(frameworks(""))
    for process in ("", "python3", "node", "uvicorn", "postgres", "\x1b[31m"):
        assert sorted(frameworks(process)) == sorted(frameworks(""))


def test_every_line_names_the_port_and_no_ipv4_address() -> None:
    for fix in fixes(54321):
        assert fix.line.count("54321") == 1
        assert "{" not in fix.line
        assert "\n" not in fix.line
        assert "0.0.0.0" not in fix.line


def test_an_unknown_process_changes_nothing() -> None:
    assert frameworks("a.out") == frameworks("")


@pytest.mark.parametrize("process", ["python", "python3", "python3.13", "Python"])
def test_python_means_its_frameworks(process: str) -> None:
    assert frameworks(process)[: len(PYTHON)] == PYTHON


def test_node_means_its_frameworks() -> None:
    assert frameworks("node")[: len(NODE)] == NODE


@pytest.mark.parametrize(
    ("process", "framework", "runtime"),
    [
        ("flask", "Flask", PYTHON),
        ("uvicorn", "FastAPI", PYTHON),
        ("fastapi", "FastAPI", PYTHON),
        ("gunicorn", "Gunicorn", PYTHON),
        ("manage.py", "Django", PYTHON),
        ("vite", "Vite", NODE),
        ("next-server (v1", "Next", NODE),
    ],
)
def test_a_framework_that_names_its_process_comes_first(process: str, framework: str, runtime: list[str]) -> None:
    offered = frameworks(process)
    assert offered[0] == framework
    assert set(offered[: len(runtime)]) == set(runtime)


PUBLISHES = {
    "docker-proxy": ["Docker", "Docker Compose"],
    "rootlesskit": ["Docker", "Docker Compose"],
    "rootlessport": ["Podman"],
    "pasta.avx2": ["Podman"],
    "kubectl": ["kubectl"],
    "ssh": ["ssh -L"],
    "sshd": ["ssh -R, with GatewayPorts clientspecified"],
}


@pytest.mark.parametrize("process", PUBLISHES)
def test_of_a_forwarder_the_fix_is_how_it_publishes(process: str) -> None:
    assert is_forwarder(process)
    assert frameworks(process) == PUBLISHES[process]
    for fix in fixes(54321, process):
        assert "54321:" in fix.line and "::" in fix.line
        assert "{" not in fix.line


@pytest.mark.parametrize("process", ["", "python3", "node", "my-ssh", "sshwifty", "proxy", "docker-registry"])
def test_who_only_sounds_like_one_is_no_forwarder(process: str) -> None:
    assert not is_forwarder(process)
    assert "Flask" in frameworks(process)


# --- the lines at work ---------------------------------------------------------------------------------------------


class Listening(Child):
    """A program that is up when it accepts on `[::1]:port`."""

    def __init__(self, arguments: list[str], port: int, cwd: Path) -> None:
        super().__init__(arguments, cwd=cwd)
        self._port = port

    def ready(self) -> None:
        self.wait_until(lambda: accepts("::1", self._port) or None, f"something accepts on [::1]:{self._port}")


@pytest.mark.ipv6
@pytest.mark.parametrize(
    ("framework", "file", "text"),
    [
        ("Flask", "app.py", "from flask import Flask\napp = Flask(__name__)\n"),
        ("Flask, in code", "run.py", "from flask import Flask\napp = Flask(__name__)\n"),
        ("FastAPI", "main.py", "from fastapi import FastAPI\napp = FastAPI()\n"),
        ("http.server", "index.html", "hello"),
    ],
)
def test_the_line_listens_where_the_gateway_dials(tmp_path: Path, framework: str, file: str, text: str) -> None:
    port = free_port()
    line = line_for(framework, port)
    if framework == "Flask, in code":
        text += line + "\n"
        line = f"python {file}"
    (tmp_path / file).write_text(text)
    command, *arguments = shlex.split(line)
    program = [] if command == "python" else ["-m", command]
    with Listening([sys.executable, *program, *arguments], port, tmp_path) as program_running:
        assert accepts("::1", port), program_running.log

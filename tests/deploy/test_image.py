"""The Dockerfile: without a daemon its build steps are done by hand, in a folder that stands for the image's root."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway import __version__, cli
from tests.support.components import require
from tests.support.process import ROOT, clean_environment

pytestmark = pytest.mark.interop

LINES = re.sub(r"\\\n\s*", " ", (ROOT / "Dockerfile").read_text()).splitlines()
"""Each whole."""
STEPS = [line.split(None, 1) for line in LINES if line and not line.startswith("#")]


def stage(number: int) -> list[list[str]]:
    """The steps behind the so many'th FROM."""
    begins = [position for position, (word, _) in enumerate(STEPS) if word == "FROM"]
    return STEPS[begins[number] : (*begins, None)[number + 1]]


def of(word: str, number: int = 1) -> str:
    return next(rest for name, rest in stage(number) if name == word)


def versions(file: Path) -> dict[str, str]:
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", file.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in pins}


def test_nothing_floats() -> None:
    """The base by its digest in both stages, everything else by hashes, of the versions that the tests have seen."""
    [base] = [rest for word, rest in STEPS[:1] if word == "ARG"]
    assert re.fullmatch(r"PYTHON=python:3\.\d+-slim@sha256:[0-9a-f]{64}", base)
    assert [of("FROM", number).split()[0] for number in (0, 1)] == ["${PYTHON}"] * 2
    for word, command in stage(0):
        if word == "RUN":
            for install in re.findall(r"pip(?: --python \S+)? (?:install|wheel) (.*?)(?:&&|$)", command):
                assert "--require-hashes" in install or "--no-deps" in install, install
    pinned = versions(ROOT / "config" / "deploy" / "requirements.txt")
    tested = versions(ROOT / "constraints.txt")
    assert pinned.items() <= tested.items(), "make constraints writes both"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[><=]", each)[0] for each in project["dependencies"]} <= pinned.keys()


def test_it_is_run_as_it_says() -> None:
    assert of("USER") == "10001:10001"
    assert of("STOPSIGNAL") == "SIGTERM"
    verb = json.loads(of("CMD"))
    assert cli._parser().parse_args(verb)
    assert (ROOT / verb[-1]).exists()
    assert f'org.opencontainers.image.version="{__version__}"' in of("LABEL")
    ports = set(of("EXPOSE").split())
    for file in ("edge.toml", "behind-l4-lb.toml", "behind-http-lb.toml"):
        edge = tomllib.loads((ROOT / "config" / file).read_text())["edge"]
        assert {each.rpartition(":")[2] for each in (*edge["listen"], *edge["listen_plain"])} <= ports


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_its_steps_make_a_compiled_gateway_that_runs(tmp_path: Path) -> None:
    require("package index")
    require("C compiler")
    arguments = dict(rest.split("=", 1) for word, rest in stage(0) if word == "ARG")
    source = tmp_path / "src"
    source.mkdir()

    def here(command: str) -> str:
        """Absolute paths of the image are in the folder; its Python is this one."""
        command = re.sub(r"(?<![\w/.])/(opt|wheels|src)\b", rf"{tmp_path}/\1", command)
        command = command.replace("--no-cache-dir ", "")  # what was downloaded before need not be again
        return re.sub(r"(^|&& )python ", rf"\1{shlex.quote(sys.executable)} ", command)

    # That what the compiler optimizes works is known from `make test-compiled`, and takes twice as long.
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\nexec cc "$@" -O0\n')
    compiler.chmod(0o755)
    quickly = {"CC": str(compiler), "PIP_NO_COMPILE": "1"}
    for word, rest in stage(0):
        if word == "COPY":
            *what, _ = rest.split()
            for name in what:
                ignored = shutil.ignore_patterns("*.so", "__pycache__")
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / name, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, source)
        elif word == "RUN" and not rest.startswith("apt-get"):  # the compiler, which is here
            environment = clean_environment({**arguments, **quickly})
            done = subprocess.run(
                here(rest), shell=True, cwd=source, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
    environment = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
    program = tmp_path / "opt" / "gateway" / "bin" / "gateway"
    for verb in (["--version"], ["serve", "--help"]):
        done = subprocess.run([program, *verb], cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert verb != ["--version"] or done.stdout.endswith(b"(compiled)\n")
    listed = subprocess.run([program.with_name("python"), "-m", "pip"], capture_output=True, check=False)
    assert listed.returncode != 0, "what installs is not there"


def test_the_context_has_what_is_copied_and_no_key() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert lines[0] == "*"
    for number in (0, 1):
        for word, rest in stage(number):
            if word == "COPY" and not rest.startswith("--from"):
                for name in rest.split()[:-1]:
                    assert name in kept or name.split("/")[0] in kept, name
    assert not {"certs", ".git", "tests"} & kept

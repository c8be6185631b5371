"""The port that was asked for, the next free one, or a sentence that says who has it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.dev.holders import holder, is_gateway
from gateway.dev.ports import PortChoice, listen
from gateway.errors import UserError
from tests.support.process import free_port

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def _runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((HOST, free_port())) as other:
        yield other.getsockname()[1]


def _listened(port: int, choice: PortChoice, hosts: tuple[str, ...] = (HOST,)) -> list[int]:
    sockets = listen(hosts, port, choice)
    found = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return found


def test_a_free_port_is_had() -> None:
    port = free_port()
    assert _listened(port, PortChoice(strict=True)) == [port]


def test_of_a_taken_one_the_next(taken: int) -> None:
    [port] = _listened(taken, PortChoice(strict=False))
    assert taken < port < taken + 100


def test_all_hosts_have_one_port(taken: int) -> None:
    # Free on the first of them: that does not help.
    ports = _listened(taken, PortChoice(strict=False), ("127.0.0.2", HOST))
    assert len(set(ports)) == 1
    assert taken not in ports


def test_an_apps_port_is_left_to_it(taken: int) -> None:
    avoided = set(range(taken + 1, taken + 20))
    [port] = _listened(taken, PortChoice(strict=False, avoid=avoided))
    assert port >= taken + 20
    with pytest.raises(UserError, match="is to be exposed"):
        listen([HOST], 65535, PortChoice(strict=True, avoid={65535}))


def test_strictly_it_is_an_error_that_names_who_has_it(taken: int) -> None:
    with pytest.raises(UserError) as refused:
        listen([HOST], taken, PortChoice(strict=True))
    assert f"(pid {os.getpid()}) has port {taken}" in str(refused.value)
    assert "--listen-port chooses another" in str(refused.value)


def test_nobody_has_a_free_one() -> None:
    assert holder(free_port()) == ""


@pytest.mark.parametrize(("words", "is_one"), [(["/x/bin/gateway", "dev"], True), (["gateway.py", "dev"], False)])
def test_a_gateway_of_another_installation_is_known(words: list[str], is_one: bool) -> None:
    program = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert is_gateway(child.pid) is is_one

"""Names that programs do not find, and the line that says what to add."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

from gateway.dev import names
from gateway.dev.names import NameLookup, what_to_add

HERE, FAR = "5000-a.sandbox.localhost", "5000-a.foo.test"
HOSTS = "echo '127.0.0.1 {}' | sudo tee -a /etc/hosts"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the resolver knows."""
    table: dict[str, list[str]] = {}

    def getaddrinfo(name: str, *arguments: object, **options: object) -> list[Any]:
        if name not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, 0)) for address in table[name]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian, and a user without rights."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(names.shutil, "which", lambda program: f"/usr/bin/{program}")


async def test_names_that_lead_here_are_no_strangers(known: dict[str, list[str]]) -> None:
    known |= {HERE: ["::1", "127.0.0.1"], FAR: ["127.0.0.1"]}
    assert await NameLookup([HERE, FAR, HERE]).strangers() == {}


async def test_names_that_lead_nowhere_or_elsewhere(known: dict[str, list[str]]) -> None:
    known |= {"5000-a.foo.dev": ["192.0.2.7"]}
    assert await NameLookup([HERE, "5000-a.foo.dev"]).strangers() == {HERE: [], "5000-a.foo.dev": ["192.0.2.7"]}


async def test_nobody_waits_for_a_name_server_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()
    monkeypatch.setattr(names, "PATIENCE", 0.05)
    monkeypatch.setattr(names, "look_up", lambda name: [] if answers.wait(10) else ["::1"])
    assert await NameLookup([HERE]).strangers() == {HERE: []}
    answers.set()


def test_a_label_that_is_too_long_for_a_resolver() -> None:
    assert names.look_up(f"{'a' * 64}.foo.test") == []


def test_what_to_add_for_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"browsers and curl find {HERE}, Python, Node and Go do not: "
    package = "sudo apt-get install libnss-myhostname  or  "
    assert what_to_add({HERE: []}) == line + package + HOSTS.format(HERE)
    monkeypatch.setattr(names.shutil, "which", lambda program: None)
    assert what_to_add({HERE: []}) == line + HOSTS.format(HERE)


def test_what_to_add_for_another_domain() -> None:
    assert what_to_add({FAR: []}) == f"{FAR} is not found on this machine: {HOSTS.format(FAR)}"
    both = {FAR: [], "80-b.foo.test": []}
    assert what_to_add(both) == (
        f"{FAR} and 1 more are not found on this machine: {HOSTS.format(f'{FAR} 80-b.foo.test')}"
    )
    assert what_to_add({FAR: ["192.0.2.7"]}) == f"{FAR} leads to 192.0.2.7, not here: {HOSTS.format(FAR)}"

"""A supervisor is found by who wants one of its addresses, and by nobody else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from gateway.config import Listen
from gateway.process import rendezvous
from gateway.process.rendezvous import BACKLOG, Rendezvous, find
from tests.support.process import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets")


@pytest.fixture(autouse=True)
def no_signals() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    yield
    while signal.sigtimedwait({signal.SIGIO}, 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.fixture
def here() -> Iterator[tuple[Rendezvous, Listen]]:
    address = Listen("::1", free_port())
    here = Rendezvous([address, Listen("127.0.0.1", 0)])
    yield here, address
    here.close()


def test_who_wants_one_of_the_addresses_comes(here: tuple[Rendezvous, Listen]) -> None:
    there, address = here
    assert list(find([address])) == []
    there.open()
    there.open()
    elsewhere = Listen("127.0.0.1", address.port)
    assert list(find([elsewhere, Listen("::1", 0)])) == []
    [ours] = find([elsewhere, address])
    assert signal.sigtimedwait({signal.SIGIO}, 10)
    [theirs] = there.accept()
    assert list(there.accept()) == []
    with ours, theirs:
        theirs.send(b"it is me")
        ours.settimeout(10)
        assert ours.recv(100) == b"it is me"
    there.close()
    assert list(find([address])) == []


def test_who_accepts_nobody_is_nobody(here: tuple[Rendezvous, Listen]) -> None:
    there, address = here
    there.open()
    waiting = [connection for _ in range(2 * BACKLOG) for connection in find([address])]
    assert BACKLOG <= len(waiting) < 2 * BACKLOG
    accepted = list(there.accept())
    for connection in (*waiting, *accepted):
        connection.close()


def test_a_name_that_another_process_has_is_told(
    here: tuple[Rendezvous, Listen], caplog: pytest.LogCaptureFixture
) -> None:
    there, address = here
    there.open()
    second = Rendezvous([address])
    second.open()
    assert f"a gateway that is started later will not find this one at {address}" in caplog.text


def test_another_users_process_is_not_spoken_to(
    here: tuple[Rendezvous, Listen], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there, address = here
    there.open()
    [asking] = find([address])
    uid, name = os.getuid(), rendezvous._name(address)
    monkeypatch.setattr(rendezvous, "_name", lambda _: name)
    monkeypatch.setattr(rendezvous.os, "getuid", lambda: uid + 1)
    assert list(there.accept()) == []
    with asking:
        asking.settimeout(10)
        assert asking.recv(1) == b""
    assert list(find([address])) == []
    assert "another user's process pretends to be a gateway" in caplog.text


def test_two_users_have_two_names(monkeypatch: pytest.MonkeyPatch) -> None:
    address = Listen("::1", 443)
    ours, uid = rendezvous._name(address), os.getuid()
    monkeypatch.setattr(rendezvous.os, "getuid", lambda: uid + 1)
    assert rendezvous._name(address) != ours
    assert len(rendezvous._name(Listen("ffff:" * 7 + "ffff", 65535))) < 100, "it fits into an address"

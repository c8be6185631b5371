"""When no new version is started, and who is offered what; the rest is in tests/interop/test_takeover.py."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import pytest

from gateway.config import Listen
from gateway.process import succession
from gateway.process.children import Children
from gateway.process.rendezvous import Rendezvous, find
from gateway.process.succession import MAX_OFFERS, Succession
from gateway.process.systemd import ServiceManager
from tests.support.process import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a handover needs Linux")


class Leaving:
    """A gateway with one listening socket, as far as its successor is concerned."""

    def __init__(self) -> None:
        self.address = Listen("::1", free_port())
        self.socket = socket.create_server(("127.0.0.1", 0))
        self._rendezvous = Rendezvous([self.address])
        self._rendezvous.open()
        children = Children([], 0.0, -1)
        self.succession = Succession(self._rendezvous, lambda: [self.socket], ServiceManager({}), children)
        self.asked: list[socket.socket] = []

    def come(self) -> socket.socket:
        """Somebody who has asked for the sockets already."""
        [connection] = find([self.address])
        connection.setblocking(True)
        self.asked.append(connection)
        return connection

    def close(self) -> None:
        self.succession.close()
        self._rendezvous.close()
        self.socket.close()
        for connection in self.asked:
            connection.close()


@pytest.fixture
def leaving() -> Iterator[Leaving]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    leaving = Leaving()
    yield leaving
    leaving.close()
    while signal.sigtimedwait({signal.SIGIO}, 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def answer(leaving: Leaving) -> str:
    """What is said to one more who asks for the sockets."""
    connection = leaving.come()
    connection.send(b'{"version": 1, "want": "sockets", "pid": 17}')
    leaving.succession.poll()
    connection.settimeout(10)
    told = json.loads(connection.recv(4096))
    assert told["pid"] == os.getpid()
    return str(told["state"])


def test_one_that_runs_refuses_and_one_that_stops_offers(leaving: Leaving) -> None:
    assert answer(leaving) == "running"
    leaving.succession.stop()
    assert not leaving.succession.under_way
    first = leaving.come()
    first.send(b'{"version": 1, "want": "sockets", "pid": 17}')
    leaving.succession.poll()
    assert leaving.succession.under_way
    assert answer(leaving) == "busy", "one at a time"
    first.close()
    leaving.succession.poll()
    assert not leaving.succession.under_way
    second = leaving.come()
    second.send(b'{"version": 1, "want": "sockets", "pid": 18}')
    leaving.succession.poll()
    second.send(b'{"version": 1, "want": "ready", "pid": 18}')
    leaving.succession.poll()
    assert leaving.succession.ready
    assert leaving.succession.release() == 18
    assert not leaving.succession.ready
    assert list(find([leaving.address])) == [], "its successor has the name now"


def test_so_many_may_ask_at_a_time(leaving: Leaving) -> None:
    for _ in range(2):
        for _ in range(MAX_OFFERS):
            leaving.come()
        leaving.succession.poll()
    assert [connection.recv(1) for connection in leaving.asked[MAX_OFFERS:]] == [b""] * MAX_OFFERS
    leaving.asked[0].send(b'{"version": 1, "want": "sockets"}')
    leaving.succession.poll()
    assert leaving.asked[0].recv(4096)


def test_what_is_in_the_way_of_a_new_version(
    leaving: Leaving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def start(*_: object) -> tuple[int, socket.socket]:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(succession, "start", start)
    leaving.succession.start_new_version()
    assert "no new version is started: Resource temporarily unavailable" in caplog.text
    assert not leaving.succession.under_way
    with monkeypatch.context() as patch:
        patch.setattr(succession.os, "getpid", lambda: 1)
        leaving.succession.start_new_version()
    assert "this is process 1 of a container, which ends with it: start a new container in its place" in caplog.text
    leaving.succession.succeeding = True
    leaving.succession.start_new_version()
    assert "no new version is started: this one has not taken over itself yet" in caplog.text
    leaving.succession.succeeding = False
    leaving.succession.stop()
    leaving.succession.start_new_version()
    assert "this gateway is stopping: whoever is started now takes over by itself" in caplog.text

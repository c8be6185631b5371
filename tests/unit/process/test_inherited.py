"""How listening sockets that were passed on are shared out among the workers: no queue is without a worker."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from gateway.config import Listen
from gateway.errors import UserError
from gateway.process import inherited
from gateway.process.inherited import Inherited
from gateway.process.sockets import AddressInUse, bind

HOST = "127.0.0.1"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def opened(stack: ExitStack, count: int, host: str = HOST) -> tuple[Listen, list[socket.socket]]:
    sockets = [stack.enter_context(sock) for sock in bind(Listen(host, 0), slots=count)]
    return Listen(host, sockets[0].getsockname()[1]), sockets


def same(sock: socket.socket, other: socket.socket) -> bool:
    return os.fstat(sock.fileno()).st_ino == os.fstat(other.fileno()).st_ino


@pytest.mark.parametrize(
    ("there", "slots", "shared_out"),
    [
        (1, 1, [[0]]),
        (2, 2, [[0], [1]]),
        (3, 2, [[0, 2], [1]]),
        (5, 2, [[0, 2, 4], [1, 3]]),
        (3, 1, [[0, 1, 2]]),
    ],
)
@pytest.mark.parametrize("host", [HOST, "::1", "::"])
def test_each_is_some_workers(stack: ExitStack, there: int, slots: int, shared_out: list[list[int]], host: str) -> None:
    listen, sockets = opened(stack, there, host)
    by_slot = Inherited(sockets).bind(listen, slots=slots)
    assert by_slot == [[sockets[number] for number in numbers] for numbers in shared_out]


@pytest.mark.parametrize("there", [1, 2])
def test_more_workers_get_sockets_of_their_own_beside(stack: ExitStack, there: int) -> None:
    listen, sockets = opened(stack, there)
    by_slot = Inherited(sockets).bind(listen, slots=4)
    made = [stack.enter_context(sock) for [sock] in by_slot[there:]]
    assert [sock for [sock] in by_slot[:there]] == sockets
    assert {sock.getsockname()[1] for sock in made} == {listen.port}
    assert not any(same(sock, other) for sock in made for other in sockets)
    clients = [stack.enter_context(socket.create_connection((HOST, listen.port))) for _ in range(100)]
    accepted = []
    for [sock] in by_slot:
        sock.setblocking(False)
        accepted.append(0)
        while True:
            try:
                connection, _ = sock.accept()
            except BlockingIOError:
                break
            connection.close()
            accepted[-1] += 1
    assert sum(accepted) == len(clients)
    assert all(accepted), "the kernel has spread them over all"


@pytest.mark.parametrize("why", ["systemd keeps them", "the kernel refuses that"])
def test_where_that_cannot_be_workers_share(stack: ExitStack, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    listen, sockets = opened(stack, 2)

    def refuse(listen: Listen, there: object) -> socket.socket:
        raise UserError("in use")

    if why == "the kernel refuses that":
        monkeypatch.setattr(inherited, "bind_beside", refuse)
    by_slot = Inherited(sockets, kept=why == "systemd keeps them").bind(listen, slots=5)
    for number in (2, 3, 4):
        [sock] = by_slot[number]
        assert same(stack.enter_context(sock), sockets[number % 2])


def test_what_nobody_wants_is_closed_and_said(stack: ExitStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    listen, sockets = opened(stack, 1)
    other, others = opened(stack, 2)
    there = Inherited([*sockets, *others])
    assert there.bind(listen) == [sockets]
    there.close()
    assert [sock.fileno() for sock in others] == [-1, -1]
    assert sockets[0].fileno() >= 0
    assert f"not listening on [{HOST}]:{other.port} any more (passed on: 2 sockets)" in caplog.text


def test_what_was_not_passed_on_is_bound(stack: ExitStack) -> None:
    listen, sockets = opened(stack, 1)
    with pytest.raises(AddressInUse) as error:
        Inherited().bind(listen)
    assert error.value.listen == listen
    assert "is in use by another program" in str(error.value)
    by_slot = Inherited(sockets).bind(Listen(HOST, 0), slots=2)
    assert [stack.enter_context(sock).getsockname()[1] != listen.port for [sock] in by_slot] == [True, True]

"""Options arrive where they are meant to, and a socket that is well is not taken for silent."""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from gateway.socket_options import PROBES, broken, keep_alive, no_delay, unanswered

linux = pytest.mark.skipif(sys.platform != "linux", reason="names and inheritance are Linux'")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
        yield sock


def tcp(sock: socket.socket, option: int) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, option)


@linux
@pytest.mark.parametrize(
    ("seconds", "interval", "probes"),
    [(60.0, 15, PROBES), (45.0, 11, PROBES), (1.0, 1, 1), (3.0, 1, 3), (300.0, 75, PROBES)],
)
def test_what_is_accepted_inherits_the_probes(
    listener: socket.socket, seconds: float, interval: int, probes: int
) -> None:
    no_delay(listener)
    keep_alive(listener, seconds)
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert tcp(accepted, socket.TCP_NODELAY)
        assert tcp(accepted, socket.TCP_KEEPIDLE) == seconds
        assert tcp(accepted, socket.TCP_KEEPINTVL) == interval
        assert tcp(accepted, socket.TCP_KEEPCNT) == probes
        assert not tcp(accepted, socket.TCP_USER_TIMEOUT), "it would end who is only slow"
        assert not client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@linux
@pytest.mark.parametrize("seconds", [60.0, 45.0, 10.0, 7.0, 3.0, 2.0, 1.0])
def test_gone_is_gone_after_twice_the_silence(listener: socket.socket, seconds: float) -> None:
    keep_alive(listener, seconds)
    probing = tcp(listener, socket.TCP_KEEPINTVL) * tcp(listener, socket.TCP_KEEPCNT)
    assert tcp(listener, socket.TCP_KEEPIDLE) + probing <= 2 * seconds


def test_zero_is_never(listener: socket.socket) -> None:
    keep_alive(listener, 10.0)
    keep_alive(listener, 0.0)
    assert not listener.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_an_idle_connection_is_not_silent(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0]:
        client.send(b"x")
        assert unanswered(client) == 0.0


def test_neither_is_a_reader_whose_window_is_closed(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0]:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                client.send(bytes(65536))
        assert unanswered(client) == 0.0


def test_a_socket_that_is_gone_says_nothing() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        pass
    assert unanswered(sock) == 0.0
    assert unanswered(None) == 0.0


@linux
def test_a_reset_is_known_without_reading(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as accepted:
        client.sendall(b"unread")
        assert broken(accepted) is None
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        error = broken(accepted)
        assert error is not None
        assert error.errno == errno.ECONNRESET


@linux
def test_an_orderly_end_is_not_broken(listener: socket.socket) -> None:
    """Both have ended their direction, the connection is over, and there is still something to read."""
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as accepted:
        accepted.shutdown(socket.SHUT_WR)
        client.sendall(b"unread")
        client.close()
        assert broken(accepted) is None
        assert accepted.recv(64) == b"unread"
    assert broken(accepted) is None
    assert broken(None) is None

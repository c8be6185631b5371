"""Whoever leaves requests unfinished at the admin listener keeps no health check out, however few descriptors it has."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.serving import App, Serving

DESCRIPTORS = 100
UNFINISHED = 120
KINDS = (
    b"",
    b"GET /livez HTTP/1.1\r\nHost: loc",
    b"PUT /v1/sandboxes/box HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\n{",
    b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Serving]:
    with App() as app, Serving(tmp_path, app) as gateway:
        yield gateway


@pytest.mark.parametrize("sends", KINDS, ids=("silent", "head", "body", "idle"))
def test_health_is_told_beside_unfinished_requests(gateway: Serving, sends: bytes) -> None:
    resource.prlimit(gateway.admin(), resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with ExitStack() as stack:
        for _ in range(UNFINISHED):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.admin_port)))
            connection.sendall(sends)
        for _ in range(5):
            assert gateway.health()[0] == 200
    assert "Too many open files" not in gateway.log


def test_a_head_that_is_never_complete_is_cut_off(gateway: Serving) -> None:
    with socket.create_connection(("127.0.0.1", gateway.admin_port), timeout=60) as connection:
        connection.sendall(KINDS[1])
        with suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
    assert gateway.health()[0] == 200

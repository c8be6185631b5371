"""gRPC that goes wrong through the gateway: what a client is told, and that a quiet conversation is nothing wrong."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import grpc
import pytest

from tests.interop.grpc_peers import PATIENCE, SERVERS, Route, Stub
from tests.interop.harness import ServeProcess, flask_app
from tests.support.process import free_port

pytestmark = [pytest.mark.interop]

STATUS = grpc.StatusCode
SHORT = "1s"
QUIET = 4.0
"""Several times as long as every deadline of the gateway that is not about conversations."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    names = ("GATEWAY_TIMEOUTS__BODY_IDLE", "GATEWAY_TIMEOUTS__IDLE", "GATEWAY_TIMEOUTS__HALF_CLOSED")
    directory = tmp_path_factory.mktemp("gateway")
    with ServeProcess({"local": "::1"}, directory=directory, env=dict.fromkeys(names, SHORT)) as gateway:
        yield gateway


def route(gateway: ServeProcess, port: int) -> Route:
    authority = f"{gateway.host(port)}:{gateway.tls_port}"
    return Route(f"ipv6:[::1]:{gateway.tls_port}", authority, gateway.ca)


@pytest.mark.parametrize("name", SERVERS)
def test_an_app_that_dies_in_the_middle_of_its_answer(gateway: ServeProcess, name: str) -> None:
    server = SERVERS[name]()
    server.start()
    try:
        server.ready()
        with route(gateway, server.port).channel() as channel:
            call = Stub(channel).die(b"2", timeout=PATIENCE)
            assert [next(call), next(call)] == [b"0", b"1"]
            with pytest.raises(grpc.RpcError) as caught:
                next(call)
    finally:
        server.stop()
    assert caught.value.code() is STATUS.UNAVAILABLE
    assert "The app's answer broke off" in caught.value.details()
    assert "http_response_incomplete" in caught.value.details()


def test_an_app_that_is_not_there(gateway: ServeProcess) -> None:
    port = free_port()
    channel = route(gateway, port).channel(("grpc.enable_retries", 0))
    with channel, pytest.raises(grpc.RpcError) as caught:
        Stub(channel).unary(b"hello", timeout=PATIENCE)
    assert caught.value.code() is STATUS.UNAVAILABLE
    assert f"Nothing reachable listens on port {port}" in caught.value.details()
    assert dict(caught.value.trailing_metadata())["x-gateway-error"] == "connection_refused"


def test_an_app_that_is_restarted_is_reached_again(gateway: ServeProcess) -> None:
    first = SERVERS["grpcio"]()
    with route(gateway, first.port).channel() as channel:
        stub = Stub(channel)
        with first:
            assert stub.unary(b"one", timeout=PATIENCE) == b"one"
        again = SERVERS["grpcio"]()
        again.port, again.env["PORT"] = first.port, str(first.port)
        with again:
            assert stub.unary(b"two", timeout=PATIENCE) == b"two"


def test_an_app_that_speaks_http1_only(gateway: ServeProcess) -> None:
    with flask_app() as app, route(gateway, app.port).channel() as channel, pytest.raises(grpc.RpcError) as caught:
        Stub(channel).unary(b"hello", timeout=PATIENCE)
    assert dict(caught.value.trailing_metadata())["x-gateway-error"] == "upstream_speaks_http1"


@pytest.mark.parametrize("name", SERVERS)
def test_a_quiet_conversation_outlives_every_other_deadline(gateway: ServeProcess, name: str) -> None:
    """Five minutes in life; here as many times longer than the deadlines as that is."""
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with SERVERS[name]() as server, route(gateway, server.port).channel() as channel:
        call = Stub(channel).talk(iter(said.get, None), timeout=2 * PATIENCE)
        said.put(b"before")
        assert next(call) == b"before"
        ended = threading.Event()
        call.add_callback(ended.set)
        assert not ended.wait(QUIET), call.details()
        said.put(b"after")
        assert next(call) == b"after"
        said.put(None)
        assert list(call) == []

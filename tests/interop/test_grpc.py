"""gRPC through the gateway: grpcio and @grpc/grpc-js as clients and as servers, every kind of call.

The services are `tests.interop.grpc_peers`: HTTP/2 without TLS, as a server in a sandbox listens.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Iterator

import grpc
import pytest

from tests.interop.grpc_peers import PATIENCE, SERVERS, Route, Stub, node_client
from tests.interop.harness import AppProcess, ServeProcess
from tests.support.process import poll

pytestmark = [pytest.mark.interop]

STATUS = grpc.StatusCode
LARGE = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess({"local": "::1"}, directory=tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[AppProcess]:
    with SERVERS[request.param]() as server:
        yield server


@pytest.fixture(scope="module")
def route(gateway: ServeProcess, server: AppProcess) -> Route:
    authority = f"{gateway.host(server.port)}:{gateway.tls_port}"
    return Route(f"ipv6:[::1]:{gateway.tls_port}", authority, gateway.ca)


@pytest.fixture
def echo(route: Route) -> Iterator[Stub]:
    with route.channel() as channel:
        yield Stub(channel)


def test_a_unary_call(echo: Stub) -> None:
    assert echo.unary(b"hello", timeout=PATIENCE) == b"hello"
    assert echo.unary(b"", timeout=PATIENCE) == b""


def test_metadata_goes_both_ways_before_and_after_the_message(echo: Stub) -> None:
    octets = bytes((0, 1, 254, 255))
    sent = (("x-request", "a value"), ("x-octets-bin", octets))
    answer, call = echo.unary.with_call(b"hello", metadata=sent, timeout=PATIENCE)
    assert answer == b"hello"
    assert dict(call.initial_metadata())["x-initial"] == "a value"
    assert dict(call.trailing_metadata())["x-trailing-bin"] == octets


def test_a_stream_of_answers(echo: Stub) -> None:
    assert list(echo.numbers(b"5", timeout=PATIENCE)) == [b"0", b"1", b"2", b"3", b"4"]
    assert list(echo.numbers(b"0", timeout=PATIENCE)) == []
    assert len(list(echo.numbers(b"5000", timeout=PATIENCE))) == 5000


def test_a_stream_of_requests(echo: Stub) -> None:
    sent = (bytes(1000) for _ in range(1000))
    assert echo.count(sent, timeout=PATIENCE) == b"1000 messages, 1000000 octets"
    assert echo.count(iter(()), timeout=PATIENCE) == b"0 messages, 0 octets"


def test_both_sides_speak_in_turns(echo: Stub) -> None:
    """The next word is said only when the last has come back: nothing on the road waits for more."""
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call = echo.talk(iter(said.get, None), timeout=PATIENCE)
    for word in (b"one", b"two", b"three"):
        said.put(word)
        assert next(call) == word
    said.put(None)
    assert list(call) == []
    assert call.code() is STATUS.OK


def test_a_refusal_keeps_its_status_message_and_metadata(echo: Stub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        echo.refuse(b"", timeout=PATIENCE)
    assert (caught.value.code(), caught.value.details()) == (STATUS.FAILED_PRECONDITION, "not today, café")
    assert dict(caught.value.trailing_metadata())["x-why"] == "closed"


def test_a_method_that_is_not_there(echo: Stub, route: Route) -> None:
    with route.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/peer.Echo/Missing")(b"", timeout=PATIENCE)
    assert caught.value.code() is STATUS.UNIMPLEMENTED


def test_a_deadline_reaches_the_server_and_ends_the_call_there(echo: Stub) -> None:
    before = int(echo.were_cancelled(b"", timeout=PATIENCE))
    call = echo.wait(b"", timeout=1.0)
    assert 0 < float(dict(call.initial_metadata())["x-left"]) < 2.0  # grpcio rounds it up
    assert call.code() is STATUS.DEADLINE_EXCEEDED
    poll(lambda: int(echo.were_cancelled(b"", timeout=PATIENCE)) > before, "the server has given up, too")


def test_a_client_that_cancels_ends_the_call_at_the_server(echo: Stub) -> None:
    before = int(echo.were_cancelled(b"", timeout=PATIENCE))
    call = echo.wait(b"", timeout=PATIENCE)
    assert "x-left" in dict(call.initial_metadata())  # it has arrived
    call.cancel()
    assert call.code() is STATUS.CANCELLED
    poll(lambda: int(echo.were_cancelled(b"", timeout=PATIENCE)) > before, "the server has heard of it")


def test_a_server_that_cancels_ends_the_call_at_the_client(echo: Stub) -> None:
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    call = echo.cancel(iter(said.get, None), timeout=PATIENCE)
    said.put(b"one")
    assert next(call) == b"one"
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    said.put(None)
    assert (caught.value.code(), caught.value.details()) == (STATUS.CANCELLED, "the server has had enough")


def test_messages_of_16_mib_both_ways(echo: Stub) -> None:
    message = os.urandom(LARGE)
    answer = echo.unary(message, timeout=2 * PATIENCE)
    assert hashlib.sha256(answer).digest() == hashlib.sha256(message).digest()


def test_a_thousand_calls_at_once_on_one_connection(echo: Stub) -> None:
    """While twenty conversations are open on it, which keep their places."""
    over = threading.Event()

    def words() -> Iterator[bytes]:
        yield b"here"
        over.wait(PATIENCE)

    conversations = [echo.talk(words(), timeout=2 * PATIENCE) for _ in range(20)]
    calls = [echo.unary.future(b"%d" % number, timeout=2 * PATIENCE) for number in range(1000)]
    assert [call.result(timeout=2 * PATIENCE) for call in calls] == [b"%d" % number for number in range(1000)]
    assert [next(each) for each in conversations] == [b"here"] * 20
    over.set()
    assert [list(each) for each in conversations] == [[]] * 20


def test_everything_again_with_grpc_js_as_the_client(route: Route) -> None:
    seen = node_client(route)
    assert seen == {
        "unary": [0, "hello"],
        "metadata": ["a value", [0, 1, 254, 255]],
        "serverStream": {"messages": ["0", "1", "2", "3", "4"], "code": 0, "details": "OK"} | _details(seen),
        "clientStream": "10 messages, 10000 octets",
        "bidirectional": [["one", "two", "three"], 0],
        "refused": [STATUS.FAILED_PRECONDITION.value[0], "not today, café", "closed"],
        "deadline": STATUS.DEADLINE_EXCEEDED.value[0],
        "cancelledByTheServer": {
            "messages": ["one"],
            "code": STATUS.CANCELLED.value[0],
            "details": "the server has had enough",
        },
        "cancelledByTheClient": [STATUS.CANCELLED.value[0], 1],
        "large": True,
        "thousand": [],
    }


def _details(seen: dict[str, dict[str, str]]) -> dict[str, str]:
    """What a server says beside OK is its own business."""
    return {"details": seen["serverStream"]["details"]}

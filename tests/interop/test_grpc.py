"""gRPC through the gateway, with grpcio on both sides: every kind of call, metadata, deadlines, cancels, failures."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.interop.harness import AppProcess, ServeProcess
from tests.support.grpc_app import LARGEST, SERVICE
from tests.support.process import free_port

pytestmark = pytest.mark.interop

PATIENCE = 60.0
UNAVAILABLE, CANCELLED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
MIB = 1024 * 1024


def app_process() -> AppProcess:
    return AppProcess([sys.executable, "-m", "tests.support.grpc_app"])


@pytest.fixture(scope="module")
def app() -> Iterator[AppProcess]:
    with app_process() as process:
        yield process


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    directory = tmp_path_factory.mktemp("grpc")
    with ServeProcess({"local": "::1"}, directory=directory, env={"GATEWAY_PROCESS__WORKERS": "1"}) as process:
        yield process


class Caller:
    """A channel to `port` of the sandbox."""

    def __init__(self, gateway: ServeProcess, port: int) -> None:
        host = gateway.host(port)
        self._channel = grpc.secure_channel(
            f"[::1]:{gateway.tls_port}",
            grpc.ssl_channel_credentials(gateway.ca.read_bytes()),
            options=[
                ("grpc.ssl_target_name_override", host),
                ("grpc.default_authority", host),
                ("grpc.max_receive_message_length", LARGEST),
                ("grpc.enable_http_proxy", 0),
            ],
        )

    def close(self) -> None:
        self._channel.close()

    def unary(self, method: str) -> Any:
        return self._channel.unary_unary(f"/{SERVICE}/{method}")

    def download(self, method: str) -> Any:
        return self._channel.unary_stream(f"/{SERVICE}/{method}")

    def upload(self, method: str) -> Any:
        return self._channel.stream_unary(f"/{SERVICE}/{method}")

    def chat(self, method: str) -> Any:
        return self._channel.stream_stream(f"/{SERVICE}/{method}")


@pytest.fixture
def caller(gateway: ServeProcess, app: AppProcess) -> Iterator[Caller]:
    caller = Caller(gateway, app.port)
    yield caller
    caller.close()


def test_a_unary_call_carries_metadata_both_ways(caller: Caller) -> None:
    answer, call = caller.unary("Unary").with_call(b"hello", metadata=(("x-sent", "a b"),), timeout=PATIENCE)
    assert answer == b"hello"
    assert dict(call.initial_metadata())["x-initial"] == "a b"
    trailing = dict(call.trailing_metadata())
    assert (trailing["x-trailing"], trailing["x-blob-bin"]) == ("a b", b"\0\xff")


def test_the_apps_own_status_passes(caller: Caller) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        caller.unary("Refuses")(b"", timeout=PATIENCE)
    error: Any = raised.value
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "no more “today”")


def test_the_app_streams(caller: Caller) -> None:
    assert [len(each) for each in caller.download("Download")(b"200 1000", timeout=PATIENCE)] == [1000] * 200


def test_the_caller_streams(caller: Caller) -> None:
    assert caller.upload("Upload")(iter([bytes(5000)] * 100), timeout=PATIENCE) == b"100 500000"


def test_both_stream_and_each_message_arrives_at_once(caller: Caller) -> None:
    asked = threading.Semaphore(0)
    done = threading.Event()

    def messages() -> Iterator[bytes]:
        for number in range(5):
            yield b"%d" % number
            assert asked.acquire(timeout=PATIENCE)
        done.set()

    answers = []
    for answer in caller.chat("Chat")(messages(), timeout=PATIENCE):
        answers.append(answer)
        asked.release()
    assert answers == [b"0", b"1", b"2", b"3", b"4"]
    assert done.is_set()


def test_messages_of_16_mib_pass_both_ways(caller: Caller) -> None:
    message = bytes(range(256)) * (16 * MIB // 256)
    assert caller.unary("Unary")(message, timeout=PATIENCE) == message


def test_a_deadline_ends_the_call_on_both_sides(caller: Caller) -> None:
    call = caller.download("Late")(b"", timeout=1.0)
    assert next(call) == b"began"
    with pytest.raises(grpc.RpcError) as raised:
        next(call)
    error: Any = raised.value
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert caller.unary("Ended")(b"", timeout=PATIENCE) == b"cancelled"


def test_a_cancel_reaches_the_app(caller: Caller) -> None:
    call = caller.download("Late")(b"", timeout=PATIENCE)
    assert next(call) == b"began"
    call.cancel()
    assert caller.unary("Ended")(b"", timeout=PATIENCE) == b"cancelled"


def test_a_thousand_calls_share_a_connection(caller: Caller) -> None:
    chat = caller.chat("Chat")
    over = threading.Event()

    def once() -> Iterator[bytes]:
        yield b"here"
        over.wait(PATIENCE)

    unary = [caller.unary("Unary").future(b"%d" % number, timeout=PATIENCE) for number in range(1000)]
    open_calls = [chat(once(), timeout=PATIENCE) for _ in range(20)]
    assert [each.result() for each in unary] == [b"%d" % number for number in range(1000)]
    assert [next(call) for call in open_calls] == [b"here"] * 20
    over.set()
    assert [list(call) for call in open_calls] == [[]] * 20


def test_an_app_that_dies_is_unavailable_and_says_why(gateway: ServeProcess) -> None:
    with app_process() as app:
        caller = Caller(gateway, app.port)
        call = caller.download("Dies")(b"", timeout=PATIENCE)
        assert next(call) == b"last words"
        with pytest.raises(grpc.RpcError) as raised:
            next(call)
        error: Any = raised.value
        assert error.code() is UNAVAILABLE
        assert "http_response_incomplete" in error.details()
        caller.close()


def test_an_app_that_is_not_there_is_unavailable_and_says_why(gateway: ServeProcess) -> None:
    caller = Caller(gateway, free_port())
    with pytest.raises(grpc.RpcError) as raised:
        caller.unary("Unary")(b"", timeout=PATIENCE)
    error: Any = raised.value
    assert error.code() is UNAVAILABLE
    assert "connection_refused" in error.details()
    caller.close()

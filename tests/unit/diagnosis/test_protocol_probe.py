"""A port that would not say what it speaks is asked: TLS, Redis, PostgreSQL; seldom, once for all who want to know."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest

from gateway.diagnosis import protocol_probe
from gateway.diagnosis.protocol_probe import (
    MAX_BACKOFF,
    MAX_RESULTS,
    PER_SANDBOX,
    PER_SECOND,
    RESULT_TTL,
    TLS,
    ProtocolProbe,
    Symptom,
)
from gateway.endpoint import Endpoint, Origin
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks
from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from gateway.upstream.stream import UpstreamFailure
from gateway.wordings import ANOTHER_PROTOCOL
from tests.support.clock import Clock

pytestmark = pytest.mark.ipv6

LOOPBACK = "::1"
SILENCE = Symptom.SILENCE
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Something that listens, and how often it was dialed."""

    def __init__(self, handler: Handler) -> None:
        self.dialed = 0
        self.port = 0
        self._handler = handler

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dialed += 1
        try:
            await self._handler(reader, writer)
        finally:
            writer.close()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(Origin("abc", "1", LOOPBACK), self.port)


Open = Callable[..., Awaitable[Server]]


@pytest.fixture
async def listen() -> AsyncIterator[Open]:
    """`await listen(handler)`, with `ssl=` for one that speaks TLS."""
    async with AsyncExitStack() as opened:

        async def open_one(handler: Handler, **options: Any) -> Server:
            server = Server(handler)
            listening = await asyncio.start_server(server.accepted, LOOPBACK, 0, **options)
            await opened.enter_async_context(listening)
            server.port = listening.sockets[0].getsockname()[1]
            return server

        yield open_one


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    assert len(tasks) == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    made = local_ca.ensure(tmp_path_factory.mktemp("certs"), "sandbox.localhost")
    return server_context([CertificatePair(made.certificate, made.key)])


async def until_eof(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def saying(octets: bytes) -> Handler:
    return answering({b"": octets})


def answering(answers: dict[bytes, bytes | None]) -> Handler:
    """Answers whatever begins with a key, the first that fits; it hangs up on what does not. None: not a word."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = await reader.read(1024)
        answer = next((answer for begins, answer in answers.items() if heard.startswith(begins)), b"")
        if answer:
            writer.write(answer)
        if answer is None or answer:
            await reader.read()

    return handler


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who keeps silent is not waited for longer than a test likes."""
    monkeypatch.setattr(protocol_probe, "STEP_TIMEOUT", 0.2)


# --- what is asked, and what it means ---------------------------------------------------------------------------------


async def test_a_tls_server(listen: Open, tasks: Tasks, certificate: ssl.SSLContext) -> None:
    server = await listen(until_eof, ssl=certificate)
    assert await ProtocolProbe(tasks).detect(server.endpoint, SILENCE) is TLS
    assert server.dialed == 0, "no handshake is ever completed"


HELLO, PING, SSL_REQUEST = b"\x16", b"PING\r\n", b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
REDIS = {HELLO: None, PING: b"+PONG\r\n"}
POSTGRESQL = {SSL_REQUEST: b"N"}
NO_HTTP = b"\x15\x03\x03\x00\x02\x02\x78"  # no_application_protocol
APPS: dict[str, tuple[dict[bytes, bytes | None], str, int]] = {
    # what each kind of app answers, what is said of it ("": nothing), connections that it costs
    "http": ({HELLO: b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"}, "", 1),
    "http-without-a-head": ({HELLO: b"<!DOCTYPE HTML>\n<html>"}, "", 1),
    "no-name-for-it": ({HELLO: b"\x15\x03\x01\x00\x02\x02\x70"}, "TLS", 1),  # unrecognized_name: nginx
    "echo": ({HELLO: b"\x16\x03\x01\x02\x00\x01"}, "", 1),
    "hangs-up": ({}, "", 2),
    "redis": (REDIS, "“+PONG” to a PING, as Redis does", 2),
    "redis-password": ({HELLO: None, PING: b"-NOAUTH Authentication required.\r\n"}, "to a PING, as Redis does", 2),
    "redis-aloud": ({HELLO: b"-ERR unknown command", PING: b"+PONG\r\n"}, "to a PING, as Redis does", 2),
    "silent": ({HELLO: None, PING: None}, "", 2),
    "another-pong": ({HELLO: None, PING: b"PONG\r\n"}, "", 2),
    "another-error": ({HELLO: None, PING: b"-ERR no such command\r\n"}, "", 2),
    "postgresql": (POSTGRESQL, "“N” to an SSLRequest, as PostgreSQL does", 2),
    "postgresql-17": ({HELLO: NO_HTTP, SSL_REQUEST: b"S"}, "“S” to an SSLRequest, as PostgreSQL does", 2),
    "no-http-in-tls": ({HELLO: NO_HTTP}, "", 2),
    "more-than-an-octet": ({SSL_REQUEST: b"No"}, "", 2),
    "h2c": ({HELLO: b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"}, "an HTTP/2 server's SETTINGS frame", 1),
    # It hangs up on what it has not read to the end, and its first frame is lost with that.
    "h2c-of-few-words": (
        {SSL_REQUEST: b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
        "an SSLRequest with an HTTP/2 server's SETTINGS frame",
        2,
    ),
    "ssh": ({HELLO: b"SSH-2.0-OpenSSH_9.2p1\r\n"}, "an SSH server's banner", 1),
}


@pytest.mark.parametrize(("answers", "said", "connections"), APPS.values(), ids=APPS.keys())
async def test_what_hung_up_is_asked(
    listen: Open,
    tasks: Tasks,
    monkeypatch: pytest.MonkeyPatch,
    answers: dict[bytes, bytes | None],
    said: str,
    connections: int,
) -> None:
    # Who answers has time to; only whoever keeps silent is not waited for longer than a test likes.
    monkeypatch.setattr(protocol_probe, "STEP_TIMEOUT", 0.5 if None in answers.values() else 10.0)
    monkeypatch.setattr(protocol_probe, "MAX_DURATION", 20.0)
    server = await listen(answering(answers))
    met = GatewayError(Reason.CONNECTION_TERMINATED, "the app closed the connection before answering")
    explained = await ProtocolProbe(tasks).explain(UpstreamFailure(met), server.endpoint)
    assert server.dialed == connections
    if not said:
        assert explained is met
    else:
        assert explained.detail.startswith(f"{met.detail}, and answers ")
        assert said in explained.detail
        if said == "TLS":
            assert (explained.reason, explained.wording) == (Reason.UPSTREAM_SPEAKS_TLS, None)
        elif "HTTP/2" in said:
            assert (explained.reason, explained.wording) == (Reason.UPSTREAM_SPEAKS_HTTP2, None)
        else:
            wording = ANOTHER_PROTOCOL
            assert (explained.reason, explained.wording) == (Reason.HTTP_PROTOCOL_ERROR, wording)


@pytest.mark.parametrize("answers", [REDIS, POSTGRESQL, {HELLO: NO_HTTP}], ids=["redis", "postgresql", "no-http"])
async def test_words_of_a_tls_server_are_no_reason_to_ask_for_more(
    listen: Open, tasks: Tasks, quick: None, answers: dict[bytes, bytes | None]
) -> None:
    server = await listen(answering(answers))
    assert await ProtocolProbe(tasks).detect(server.endpoint, Symptom.TLS) is None
    assert server.dialed == 1


async def test_an_error_as_redis_writes_it_is_asked_for_redis_only(listen: Open, tasks: Tasks) -> None:
    met = GatewayError(Reason.HTTP_PROTOCOL_ERROR, "the answer begins with “-ERR”")
    redis, another = await listen(answering({PING: b"+PONG\r\n"})), await listen(answering({PING: b"-ERR what?\r\n"}))
    asked = ProtocolProbe(tasks)
    explained = await asked.explain(UpstreamFailure(met, answered=True, received=b"-ERR what?\r\n"), redis.endpoint)
    assert (explained.reason, explained.wording) == (Reason.HTTP_PROTOCOL_ERROR, ANOTHER_PROTOCOL)
    assert await asked.explain(UpstreamFailure(met, answered=True, received=b"-ERR so\r\n"), another.endpoint) is met
    assert (redis.dialed, another.dialed) == (1, 1)


async def test_without_a_doubt_nobody_is_asked(listen: Open, tasks: Tasks) -> None:
    met = GatewayError(Reason.HTTP_PROTOCOL_ERROR, "the answer begins with “…”")
    server = await listen(saying(SERVER_HELLO))
    assert await ProtocolProbe(tasks).explain(UpstreamFailure(met, answered=True), server.endpoint) is met
    assert server.dialed == 0


async def test_nobody_is_there_any_more(tasks: Tasks) -> None:
    with socket.socket(socket.AF_INET6) as unused:
        unused.bind((LOOPBACK, 0))
        assert (
            await ProtocolProbe(tasks).detect(Endpoint(Origin("abc", "1", LOOPBACK), unused.getsockname()[1]), SILENCE)
            is None
        )


# --- how often --------------------------------------------------------------------------------------------------------


async def test_an_answer_is_remembered_for_a_moment(listen: Open, tasks: Tasks) -> None:
    clock = Clock()
    asked = ProtocolProbe(tasks, clock)
    server = await listen(saying(SERVER_HELLO))
    assert await asked.detect(server.endpoint, SILENCE)
    clock.now += RESULT_TTL * 0.9
    assert await asked.detect(server.endpoint, SILENCE)
    assert server.dialed == 1
    clock.now += RESULT_TTL
    assert await asked.detect(server.endpoint, SILENCE)
    assert server.dialed == 2


async def test_who_is_nothing_known_is_asked_less_and_less(listen: Open, tasks: Tasks) -> None:
    """A port under test for an hour: its app logs each of the odd connections."""
    clock = Clock()
    asked = ProtocolProbe(tasks, clock)
    server = await listen(answering({HELLO: b"HTTP/1.1 400 Bad Request\r\n\r\n"}))
    times: list[float] = []
    began = clock.now
    while clock.now < began + 100:
        dialed = server.dialed
        assert await asked.detect(server.endpoint, SILENCE) is None
        if server.dialed > dialed:
            times.append(clock.now - began)
        clock.now += 0.5
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses[:5] == [1.0, 2.0, 4.0, 8.0, MAX_BACKOFF]
    assert set(pauses[5:]) == {MAX_BACKOFF}
    clock.now += 2 * MAX_BACKOFF  # for as long as that nobody asked
    for expected in (1, 0, 1):
        dialed = server.dialed
        await asked.detect(server.endpoint, SILENCE)
        assert server.dialed - dialed == expected
        clock.now += 0.5


async def test_old_answers_are_not_kept(listen: Open, tasks: Tasks) -> None:
    clock = Clock()
    asked = ProtocolProbe(tasks, clock)
    for _ in range(3):
        server = await listen(saying(SERVER_HELLO))
        await asked.detect(server.endpoint, SILENCE)
        assert list(asked._results) == [server.endpoint]
        clock.now += 2 * RESULT_TTL


async def test_memory_is_bounded(listen: Open, tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_probe, "MAX_RESULTS", 2)
    asked = ProtocolProbe(tasks, Clock())
    assert MAX_RESULTS > 2
    server = await listen(saying(SERVER_HELLO))
    endpoints = [Endpoint(Origin(str(number), "1", LOOPBACK), server.port) for number in range(3)]
    for endpoint in endpoints:
        await asked.detect(endpoint, SILENCE)
    assert list(asked._results) == endpoints[1:]


async def test_it_answers_for_one_generation(listen: Open, tasks: Tasks) -> None:
    asked = ProtocolProbe(tasks, Clock())
    server = await listen(saying(SERVER_HELLO))
    await asked.detect(server.endpoint, SILENCE)
    await asked.detect(Endpoint(Origin("abc", "2", LOOPBACK), server.port), SILENCE)
    assert server.dialed == 2, "another machine under the same address"


async def test_many_ask_once_and_one_may_leave(listen: Open, tasks: Tasks) -> None:
    asked = ProtocolProbe(tasks)
    server = await listen(saying(SERVER_HELLO))
    asking = [tasks.spawn(asked.detect(server.endpoint, SILENCE), f"asker {number}") for number in range(20)]
    told: list[object] = []
    await asyncio.sleep(0)
    asked.detect_then(server.endpoint, Symptom.TLS, told.append)
    asking[0].cancel()
    assert [await each for each in asking[1:]] == [TLS] * 19
    assert asking[0].cancelled()
    assert server.dialed == 1
    asked.detect_then(server.endpoint, Symptom.TLS, told.append)
    assert told == [TLS], "never before it returns"
    await asyncio.sleep(0)
    assert told == [TLS, TLS]


async def test_a_few_per_second(listen: Open, tasks: Tasks) -> None:
    clock = Clock()
    asked = ProtocolProbe(tasks, clock)
    server = await listen(saying(SERVER_HELLO))
    endpoints = [Endpoint(Origin(str(number), "1", LOOPBACK), server.port) for number in range(PER_SECOND + 1)]
    assert [await asked.detect(endpoint, SILENCE) for endpoint in endpoints] == [TLS] * PER_SECOND + [None]
    assert server.dialed == PER_SECOND
    clock.now += 1.0
    assert await asked.detect(endpoints[-1], SILENCE) is TLS


async def test_one_sandbox_leaves_some_for_others(listen: Open, tasks: Tasks) -> None:
    clock = Clock()
    asked = ProtocolProbe(tasks, clock)
    servers = [await listen(saying(SERVER_HELLO)) for _ in range(PER_SANDBOX + 1)]
    assert [await asked.detect(each.endpoint, SILENCE) for each in servers] == [TLS] * PER_SANDBOX + [None]
    assert await asked.detect(Endpoint(Origin("another", "1", LOOPBACK), servers[-1].port), SILENCE) is TLS
    clock.now += 1.0
    assert await asked.detect(servers[-1].endpoint, SILENCE) is TLS


async def test_who_is_told_hears_of_an_end(listen: Open, tasks: Tasks) -> None:
    """Nobody waits for ever, whatever becomes of who asks."""
    asked = ProtocolProbe(tasks)
    server = await listen(until_eof)
    told: list[object] = []
    asked.detect_then(server.endpoint, Symptom.TLS, told.append)
    await tasks.cancel()
    await asyncio.sleep(0)
    assert told == [None]

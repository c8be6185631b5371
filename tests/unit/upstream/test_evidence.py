"""What is not HTTP is named where that is certain, quoted where it is not; a silent app is asked whether it is TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks
from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from gateway.upstream import evidence
from gateway.upstream.evidence import CHECKS_PER_SECOND, PLAIN_HTTP_REFUSED, REMEMBERED, TlsCheck
from tests.support.clock import Clock

pytestmark = pytest.mark.ipv6

LOOPBACK = "::1"
ERROR = GatewayError(Reason.HTTP_PROTOCOL_ERROR, "the answer begins with “…”")

# --- first octets -----------------------------------------------------------------------------------------------------

GREETINGS = {
    "ssh": (b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", "SSH"),
    "redis-error": (b"-ERR wrong number of arguments for 'get' command\r\n", "Redis"),
    "redis-password": (b"-NOAUTH Authentication required.\r\n", "Redis"),
    "redis-protected": (b"-DENIED Redis is running in protected mode because protected mode is enabled", "Redis"),
    "smtp": (b"220 mail.example.com ESMTP Postfix (Debian/GNU)\r\n", "SMTP"),
    "ftp": (b"220-Welcome\r\n220 (vsFTPd 3.0.3)\r\n", "FTP"),
    "pop3": (b"+OK Dovecot ready.\r\n", "POP3"),
    "imap": (b"* OK [CAPABILITY IMAP4rev1 SASL-IR] Dovecot ready.\r\n", "IMAP"),
    "mysql": (b"\x4a\x00\x00\x00\x0a8.0.36\x00\x08\x00\x00\x00", "MySQL"),
    "mariadb": (b"\x6e\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB-0+deb12u1\x00", "MariaDB"),
    "mysql-blocked": (b"\x45\x00\x00\x00\xff\x6a\x04Host '::1' is not allowed to connect", "MySQL"),
    "postgresql": (b"E\x00\x00\x00\x8eSFATAL\x00VFATAL\x00C0A000\x00Munsupported frontend protocol", "PostgreSQL"),
    "amqp": (b"AMQP\x00\x00\x09\x01", "AMQP"),
    "vnc": (b"RFB 003.008\n", "VNC"),
    "nats": (b'INFO {"server_id":"NCXMJZYQ","version":"2.10.7"}\r\n', "NATS"),
    # nginx 1.22 with `listen … http2` and no TLS; then the empty SETTINGS of a gRPC server written in Go.
    "h2c-nginx": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80", "HTTP/2"),
    "h2c-grpc": (b"\x00\x00\x00\x04\x00\x00\x00\x00\x00", "HTTP/2"),
    "next": (b"Unauthorized", "allowedDevOrigins"),
}


@pytest.mark.parametrize(("octets", "name"), GREETINGS.values(), ids=GREETINGS.keys())
def test_a_certain_signature_is_named(octets: bytes, name: str) -> None:
    judged = evidence.judged(ERROR, octets)
    assert judged.reason is Reason.HTTP_PROTOCOL_ERROR
    assert judged.detail.startswith(f"{ERROR.detail}: ")
    assert name in judged.detail


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"S",
        b"SSH is not spoken here",
        b"2200",
        b"-1\r\n",
        b"* OKTETT",
        b"Exception in thread main: StackOverflow",
        b"Unauthorized access is logged\r\n",
        b"ERROR\r\n",
        bytes(9),
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x01",  # SETTINGS belong to stream 0
        b"\x15",
        b"\x17\x03\x03\x00\x02\x02\x46",  # no TLS connection begins with application data
        b"http/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_is_not_certain_is_left_as_it_was(octets: bytes) -> None:
    assert evidence.judged(ERROR, octets) is ERROR


@pytest.mark.parametrize(
    ("octets", "kind"),
    [(b"\x15\x03\x01\x00\x02\x02\x46", "an alert"), (b"\x16\x03\x03\x00\x7a\x02", "a handshake")],
    ids=["alert", "handshake"],
)
def test_tls_records(octets: bytes, kind: str) -> None:
    judged = evidence.judged(ERROR, octets)
    assert judged.reason is Reason.UPSTREAM_SPEAKS_TLS
    assert kind in judged.detail


def test_other_failures_are_nobodys_protocol() -> None:
    too_large = GatewayError(Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE, "the answer's head is too large")
    assert evidence.judged(too_large, b"SSH-2.0-OpenSSH_9.2") is too_large


# --- words ------------------------------------------------------------------------------------------------------------

# As nginx 1.22, Go 1.19 (and Caddy 2.6, which stands on it), Apache httpd 2.4 and Tomcat 9 send them.
REFUSALS = {
    "nginx": b"<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n",
    "go": b"Client sent an HTTP request to an HTTPS server.\n",
    "apache": b'<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>400 Bad Request</title>\n'
    b"</head><body>\n<h1>Bad Request</h1>\n<p>Your browser sent a request that this server could not understand.<br />"
    b"\nReason: You're speaking plain HTTP to an SSL-enabled server port.<br />\n",
    "tomcat": b"Bad Request\r\nThis combination of host and port requires TLS.\r\n",
}


@pytest.mark.parametrize("beginning", REFUSALS.values(), ids=REFUSALS.keys())
def test_tls_servers_that_answer_in_http(beginning: bytes) -> None:
    failure = evidence.refusal_of_plain_http(400, beginning)
    assert failure is not None
    assert failure.reason is Reason.UPSTREAM_SPEAKS_TLS
    assert any(phrase.decode() in failure.detail for phrase in PLAIN_HTTP_REFUSED)
    assert evidence.refusal_of_plain_http(404, beginning) is None, "a page about the phrase"


def test_other_bad_requests_are_the_apps_own() -> None:
    assert evidence.refusal_of_plain_http(400, b"<h1>Bad Request</h1>") is None


# --- asking -----------------------------------------------------------------------------------------------------------

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Key = tuple[tuple[str, str, str], int]


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
    def key(self) -> Key:
        return (("abc", "1", LOOPBACK), self.port)


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
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(octets)
        await reader.read()

    return handler


async def test_a_tls_server(listen: Open, tasks: Tasks, certificate: ssl.SSLContext) -> None:
    server = await listen(until_eof, ssl=certificate)
    assert await TlsCheck().speaks_tls(server.key, tasks) is True


ANSWERS = {
    "http": (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", False),
    "nothing": (b"", False),
    "no-name-for-it": (b"\x15\x03\x01\x00\x02\x02\x70", True),  # unrecognized_name: nginx without a default
    "no-http": (b"\x15\x03\x03\x00\x02\x02\x78", False),  # no_application_protocol: PostgreSQL 17
}


@pytest.mark.parametrize(("octets", "is_tls"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_what_a_client_hello_gets_back(listen: Open, tasks: Tasks, octets: bytes, is_tls: bool) -> None:
    server = await listen(saying(octets))
    assert await TlsCheck().speaks_tls(server.key, tasks) is is_tls
    assert server.dialed == 1


async def test_nobody_is_there_any_more(tasks: Tasks) -> None:
    with socket.socket(socket.AF_INET6) as unused:
        unused.bind((LOOPBACK, 0))
        assert await TlsCheck().speaks_tls((("abc", "1", LOOPBACK), unused.getsockname()[1]), tasks) is False


async def test_an_answer_is_remembered_for_a_moment(listen: Open, tasks: Tasks) -> None:
    clock = Clock()
    check = TlsCheck(clock)
    server = await listen(saying(b"\x16\x03\x03\x00\x7a\x02"))
    assert await check.speaks_tls(server.key, tasks)
    clock.now += REMEMBERED * 0.9
    assert await check.speaks_tls(server.key, tasks)
    assert server.dialed == 1
    clock.now += REMEMBERED
    assert await check.speaks_tls(server.key, tasks)
    assert server.dialed == 2


async def test_old_answers_are_not_kept(listen: Open, tasks: Tasks) -> None:
    clock = Clock()
    check = TlsCheck(clock)
    for _ in range(3):
        server = await listen(saying(b"\x16\x03\x03\x00\x7a\x02"))
        await check.speaks_tls(server.key, tasks)
        assert list(check._known) == [server.key]
        clock.now += REMEMBERED


async def test_it_answers_for_one_generation(listen: Open, tasks: Tasks) -> None:
    check = TlsCheck(Clock())
    server = await listen(saying(b"\x16\x03\x03\x00\x7a\x02"))
    await check.speaks_tls(server.key, tasks)
    await check.speaks_tls((("abc", "2", LOOPBACK), server.port), tasks)
    assert server.dialed == 2, "another machine under the same address"


async def test_many_ask_once_and_one_may_leave(listen: Open, tasks: Tasks) -> None:
    check = TlsCheck()
    server = await listen(saying(b"\x16\x03\x03\x00\x7a\x02"))
    asking = [tasks.spawn(check.speaks_tls(server.key, tasks), f"asker {number}") for number in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    assert [await each for each in asking[1:]] == [True] * 19
    assert asking[0].cancelled()
    assert server.dialed == 1


async def test_a_few_per_second(listen: Open, tasks: Tasks) -> None:
    clock = Clock()
    check = TlsCheck(clock)
    server = await listen(saying(b"\x16\x03\x03\x00\x7a\x02"))
    keys = [((str(number), "1", LOOPBACK), server.port) for number in range(CHECKS_PER_SECOND + 1)]
    assert [await check.speaks_tls(key, tasks) for key in keys] == [True] * CHECKS_PER_SECOND + [False]
    assert server.dialed == CHECKS_PER_SECOND
    clock.now += 1.0
    assert await check.speaks_tls(keys[-1], tasks) is True


async def test_what_it_means(listen: Open, tasks: Tasks) -> None:
    closed = GatewayError(Reason.CONNECTION_TERMINATED, "the app closed the connection before answering")
    tls, plain = await listen(saying(b"\x16\x03\x03\x00\x7a\x02")), await listen(saying(b""))
    check = TlsCheck()
    explained = await check.explain(closed, tls.key, tasks)
    assert explained.reason is Reason.UPSTREAM_SPEAKS_TLS
    assert closed.detail in explained.detail
    assert await check.explain(closed, plain.key, tasks) is closed

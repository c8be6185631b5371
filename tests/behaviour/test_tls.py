"""TLS as browsers speak it today: 1.2 and 1.3, ALPN, resumption; nothing older."""

from __future__ import annotations

import asyncio
import ssl
import warnings

import pytest

from tests.behaviour.harness import LOOPBACK, OK, PATIENCE, Gateway, TlsSides, answering, get, until

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
versions = pytest.mark.parametrize("version", [V1_2, V1_3], ids=["1.2", "1.3"])


def browser_context(sides: TlsSides, version: ssl.TLSVersion, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.load_verify_locations(cadata="".join(map(ssl.DER_cert_to_PEM_cert, sides.client.get_ca_certs(True))))
    context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def ask(sock: ssl.SSLSocket, request: bytes) -> bytes:
    sock.sendall(request)
    received = b""
    while not received.endswith(b"\r\n\r\nok"):
        piece = sock.recv(65536)
        assert piece, received
        received += piece
    return received


@versions
async def test_both_versions(gateway: Gateway, tls_sides: TlsSides, version: ssl.TLSVersion) -> None:
    app = await gateway.app(answering(OK))
    context = browser_context(tls_sides, version)
    browser = await gateway.connect_to(gateway.tls_port, context=context)
    spoken = browser.transport.get_extra_info("ssl_object").version()
    assert spoken == {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}[version]
    browser.send(get(app))
    assert (await browser.answer()).body == b"ok"


async def test_nothing_older(gateway: Gateway, tls_sides: TlsSides) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of asking for TLS 1.1 at all
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):  # the alert says what is wrong
        await gateway.blocking_socket(context=context)
    await until(lambda: not gateway.edge.connections, "it is counted out")


@versions
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [((), None), (("http/1.1",), "http/1.1"), (("h3", "http/1.1"), "http/1.1"), (("http/1.0",), None)],
    ids=["none", "http-1.1", "several", "unknown"],
)
async def test_alpn(
    gateway: Gateway, tls_sides: TlsSides, version: ssl.TLSVersion, offered: tuple[str, ...], chosen: str | None
) -> None:
    app = await gateway.app(answering(OK))
    context = browser_context(tls_sides, version, offered)
    browser = await gateway.connect_to(gateway.tls_port, context=context)
    assert browser.transport.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
    browser.send(get(app))
    assert (await browser.answer()).body == b"ok"


@versions
async def test_sessions_are_resumed(gateway: Gateway, tls_sides: TlsSides, version: ssl.TLSVersion) -> None:
    app = await gateway.app(answering(OK))
    context = browser_context(tls_sides, version)
    session: ssl.SSLSession | None = None
    for resumed in (False, True, True):
        sock = await gateway.blocking_socket(context=context, session=session)
        assert isinstance(sock, ssl.SSLSocket)
        with sock:
            await asyncio.to_thread(ask, sock, get(app))
            assert sock.session_reused is resumed
            session = sock.session
            assert session.has_ticket


async def test_the_certificate_is_for_every_sandbox(gateway: Gateway, tls_sides: TlsSides) -> None:
    """Any name under the domain, verified; the name in the handshake and in Host may differ below it."""
    app = await gateway.app(answering(OK))
    for name in ("5000-abc123.sandbox.localhost", app.host.decode(), "1-x.sandbox.localhost"):
        sock = await gateway.blocking_socket(tls=True, server_hostname=name)
        assert isinstance(sock, ssl.SSLSocket)
        with sock:
            assert b"HTTP/1.1 200 OK" in await asyncio.to_thread(ask, sock, get(app))
    with pytest.raises(ssl.SSLCertVerificationError):
        await gateway.blocking_socket(tls=True, server_hostname="example.com")
    await until(lambda: not gateway.edge.connections, "all are counted out")


@versions
async def test_a_close_is_announced(gateway: Gateway, tls_sides: TlsSides, version: ssl.TLSVersion) -> None:
    """close_notify: without it the end of an answer could be an attacker's."""
    app = await gateway.app(answering(OK))
    sock = await gateway.blocking_socket(context=browser_context(tls_sides, version), suppress_ragged_eofs=False)
    assert isinstance(sock, ssl.SSLSocket)
    with sock:
        request = b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % app.host
        await asyncio.to_thread(ask, sock, request)
        assert await asyncio.to_thread(sock.recv, 1) == b""  # SSLEOFError if it were missing


async def test_a_truncation_is_not_announced_as_an_end(gateway: Gateway) -> None:
    app = await gateway.app()
    sock = await gateway.blocking_socket(tls=True, suppress_ragged_eofs=False)
    with sock:
        sock.sendall(b"GET / HTTP/1.0\r\nHost: %b\r\n\r\n" % app.host)
        upstream = await app.accept()
        await upstream.request()
        upstream.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        received = b""
        while not received.endswith(b"abc"):
            received += await asyncio.to_thread(sock.recv, 65536)
        upstream.reset()
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            await asyncio.to_thread(sock.recv, 1)


async def test_handshake_failures_make_no_noise_and_leave_nothing(gateway: Gateway) -> None:
    """A browser that does not trust the certificate, two hundred times."""
    distrusting = ssl.create_default_context()
    for _ in range(200):
        with pytest.raises(ssl.SSLCertVerificationError):
            await gateway.connect_to(gateway.tls_port, context=distrusting)
    await until(lambda: not gateway.edge.connections, "all are counted out")
    await until(lambda: not len(gateway.edge.tasks), "no task")
    assert gateway.log == []


async def test_keys_are_updated_under_way(gateway: Gateway) -> None:
    """A client that renews its keys and asks us to renew ours (RFC 8446 section 4.6.3), as OpenSSL's own does on “K”."""
    app = await gateway.app(answering(OK))
    command = ["openssl", "s_client", "-connect", f"[{LOOPBACK}]:{gateway.tls_port}", "-tls1_3"]
    client = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert client.stdin is not None and client.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                client.stdin.write(b"K\n")
                await client.stdout.readuntil(b"KEYUPDATE\n")
                client.stdin.write(get(app))
                await client.stdout.readuntil(b"\r\n\r\nok")
    finally:
        client.terminate()
        await client.wait()

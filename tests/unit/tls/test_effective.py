"""What a context agrees to, measured. This process has not configured OpenSSL: its defaults are there to be found."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

import pytest

from gateway.errors import UserError
from gateway.tls import effective, openssl
from gateway.tls.context import CertificatePair, server_context
from tests.support.tls_client import TlsClient

MakePair = Callable[..., CertificatePair]
CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1", "X25519": "X25519", "X448": "X448"}
FFDHE = [name for name in effective.GROUPS if name.startswith("ffdhe")]


@pytest.fixture
def server(make_pair: MakePair) -> ssl.SSLContext:
    return server_context([make_pair("a.example")])


def agreed(server: ssl.SSLContext, group: str) -> bool:
    """Whether a real client that knows only `group` gets through."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ecdh_curve(CURVES.get(group, group))
    client = TlsClient(context, "a.example")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.wrap_bio(incoming, outgoing, server_side=True)

    def exchange(octets: bytes) -> bytes:
        incoming.write(octets)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()

    try:
        client.shake_hands(exchange)
    except ssl.SSLError:
        return False
    return True


@pytest.mark.parametrize("only", [None, *CURVES])
def test_it_is_what_clients_meet(server: ssl.SSLContext, only: str | None) -> None:
    if only is not None:
        server.set_ecdh_curve(CURVES[only])
    found = effective.measure(server)
    if only is not None:
        assert found.groups == (only,)
    for group in (*CURVES, "ffdhe2048"):
        assert (group in found.groups) == agreed(server, group), group


def test_the_suite_is_the_one_chosen(server: ssl.SSLContext) -> None:
    assert effective.measure(server).suite == "AES-256-GCM", "the client's choice, since OpenSSL's order is the dearest"
    assert effective.measure(server).chacha_first
    server.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    assert effective.measure(server).suite == "AES-256-GCM"
    assert not effective.measure(server).chacha_first


def test_what_differs_is_reported_with_its_cause(server: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    agreed, differences = effective.report(server, ["X25519", "P-256"])
    assert agreed.startswith("TLS: groups ") and ssl.OPENSSL_VERSION.split()[1] in agreed
    assert all(name in differences[0] for name in FFDHE)
    assert "0.1 s of CPU" in differences[0] and openssl.obstacle in differences[0]
    server.set_ecdh_curve("prime256v1")
    assert effective.report(server, ["P-256"])[1] == [f"TLS: {openssl.obstacle}, not tls.groups"]
    monkeypatch.setattr(openssl, "obstacle", "")
    assert effective.report(server, ["P-256", "X25519MLKEM768"])[1] == []


def test_nothing_of_what_is_set_is_an_error(server: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the settings would say one thing, and OpenSSL's defaults be served."""
    server.set_ecdh_curve("prime256v1")
    monkeypatch.setattr(openssl, "obstacle", "")
    with pytest.raises(UserError, match=r"^tls\.groups: OpenSSL [0-9.]+ knows none of X25519MLKEM768$"):
        effective.report(server, ["X25519MLKEM768"])

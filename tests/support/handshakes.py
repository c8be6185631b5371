"""Real handshakes between two `ssl` objects in memory."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.tls.pair import CertificatePair


def anybody(version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client that believes every certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def handshake(
    server_side: ssl.SSLContext,
    client_side: ssl.SSLContext,
    name: str | None = None,
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """(client, server) after a handshake and one byte down, with which TLS 1.3 tickets arrive."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            break
    assert not waiting
    server.write(b"x")
    assert client.read(1) == b"x"
    return client, server


def shown(client: ssl.SSLObject) -> bytes:
    """The certificate the client was shown, as DER."""
    der = client.getpeercert(binary_form=True)
    assert der is not None
    return der


def chain(client: Any) -> list[Any]:
    """The certificates the client was shown, its own words for them. `ssl` has a public name for it from 3.13 on."""
    return list(client._sslobj.get_unverified_chain())


def der_of(pair: CertificatePair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.cert.read_text())

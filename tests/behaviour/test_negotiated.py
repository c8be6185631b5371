"""`gateway explain` says what clients and this gateway agree on, by asking its listeners; what cannot be asked is not
guessed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv6Address

import pytest

from gateway.diagnosis.explain import Context, explain
from gateway.diagnosis.listener_probe import Listener
from gateway.diagnosis.report import Downstream, Report, Step, Upstream
from gateway.process.explain import make_context
from gateway.tasks import Tasks
from gateway.tls.context import CertificatePair, server_context
from gateway.tls.local_ca import ensure
from tests.behaviour.harness import DOMAIN, OK, SANDBOX, App, Gateway, OpenGateway, Options, TlsSides, answering, until
from tests.behaviour.test_h2c import Server
from tests.support.h2_frames import Flag, Type, frame, literal

LOOPBACK = IPv6Address("::1")


def looking(gateway: Gateway) -> Context:
    """As `gateway explain` looks that is asked of this gateway."""
    listeners = [Listener((LOOPBACK, gateway.tls_port), True), Listener((LOOPBACK, gateway.plain_port), False)]
    context = make_context(gateway.settings, gateway.table, (), Tasks())
    return replace(context, listeners=listeners)


async def examined(gateway: Gateway, app: App, url: str = "https://{}:{}/", port: int = 0) -> Report:
    name = f"{app.port}-{SANDBOX}.{DOMAIN}"
    report = await explain(url.format(name, port or gateway.tls_port), looking(gateway))
    await until(lambda: not gateway.edge.connections, "the listener's connection is over")
    assert not gateway.log  # no request was made of it
    return report


def step(report: Report, name: str = "listener") -> Step:
    return next(step for step in report.steps if step.name == name)


async def test_over_tls(gateway: Gateway) -> None:
    report = await examined(gateway, await gateway.app(answering(OK)))
    where = f"[::1]:{gateway.tls_port}"
    assert report.negotiated.downstream == Downstream(where, "HTTP/2", tls="TLSv1.3", alpn="h2", extended_connect=True)
    assert step(report).verdict == "ok"
    assert step(report).detail == f"{where}: TLSv1.3, h2 by ALPN: HTTP/2, for WebSockets too (extended CONNECT)"


@pytest.fixture
async def http1_only(tls_sides: TlsSides, no_descriptor_is_left: None) -> AsyncIterator[Gateway]:
    """`edge.http2 = false`."""
    made = ensure(tls_sides.authority.parent, DOMAIN)
    server = server_context([CertificatePair(made.certificate, made.key)], alpn=("http/1.1",))
    gateway = Gateway(replace(tls_sides, server=server), Options(edge={"http2": False}))
    yield gateway
    await gateway.finish()


async def test_over_tls_without_http2(http1_only: Gateway) -> None:
    report = await examined(http1_only, await http1_only.app(answering(OK)))
    where = f"[::1]:{http1_only.tls_port}"
    assert report.negotiated.downstream == Downstream(where, "HTTP/1.1", tls="TLSv1.3", alpn="http/1.1")
    assert step(report).detail == f"{where}: TLSv1.3, http/1.1 by ALPN: HTTP/1.1"


async def test_without_tls(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    report = await examined(gateway, app, "http://{}:{}/", gateway.plain_port)
    where = f"[::1]:{gateway.plain_port}"
    assert report.negotiated.downstream == Downstream(where, "HTTP/1.1", prior_knowledge=True, extended_connect=True)
    assert step(report).detail == f"{where}: without TLS, HTTP/1.1; HTTP/2 with prior knowledge (h2c) is taken, too"


async def test_without_tls_and_without_http2(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge={"http2": False})
    app = await gateway.app(answering(OK))
    name = f"{app.port}-{SANDBOX}.{DOMAIN}"
    report = await explain(f"http://{name}:{gateway.plain_port}/", looking(gateway))
    assert report.negotiated.downstream == Downstream(f"[::1]:{gateway.plain_port}", "HTTP/1.1")
    assert step(report).detail.endswith("HTTP/2 with prior knowledge (h2c) is not")
    await until(lambda: bool(gateway.log), "the refusal is logged")
    assert gateway.log[0].reason == "http_version_not_supported"


async def test_the_public_port_is_not_ours_behind_a_balancer(gateway: Gateway) -> None:
    """What a balancer leads to is the TLS listener, where there is one."""
    report = await examined(gateway, await gateway.app(answering(OK)), "https://{}/")
    assert report.negotiated.downstream is not None
    assert report.negotiated.downstream.alpn == "h2"


async def test_a_port_where_nobody_listens_is_not_asked(gateway: Gateway) -> None:
    report = await examined(gateway, await gateway.app(answering(OK)), port=1)
    assert report.negotiated.downstream is None
    assert step(report).verdict == "skipped"
    assert step(report).detail == "what clients negotiate is not known: this gateway does not listen at port 1"
    assert report.ok


async def test_a_listener_that_is_for_a_balancer_alone_is_not_asked(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge={"proxy_protocol": "require"})
    report = await examined(gateway, await gateway.app(answering(OK)))
    assert report.negotiated.downstream is None
    assert step(report).detail.endswith("this gateway listens to a balancer only, by the PROXY protocol")


async def test_a_gateway_that_does_not_run_is_not_guessed_at(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    gateway.secure.close()
    gateway.secure_socket.close()
    report = await examined(gateway, app)
    assert report.negotiated.downstream is None
    assert step(report).verdict == "warning"
    nobody = f"nothing answers at [::1]:{gateway.tls_port}: Connection refused"
    assert step(report).detail == f"what clients negotiate is not known: {nobody}"
    assert report.ok  # what is behind it can be looked at all the same


async def test_what_the_app_speaks(gateway: Gateway) -> None:
    app = await gateway.app(answering(OK))
    report = await examined(gateway, app)
    assert report.negotiated.upstream == Upstream(f"[::1]:{app.port}", "HTTP/1.1")
    assert step(report, "http").detail == "GET / → 200 OK, by HTTP/1.1"


async def test_an_app_that_speaks_http2(gateway: Gateway) -> None:
    app = await gateway.app()
    box = gateway.table.table[SANDBOX]
    gateway.table.table[SANDBOX] = replace(box, protocol="h2c")
    examination = Tasks().spawn(examined(gateway, app), "examination")
    server = await Server.on(app)
    stream, _ = await server.asked()
    server.send(frame(Type.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, stream, literal((b":status", b"204"))))
    report = await asyncio.wait_for(examination, 20)
    assert report.negotiated.upstream == Upstream(f"[::1]:{app.port}", "HTTP/2")
    assert step(report, "dial").detail.endswith("and speaks HTTP/2 without TLS (h2c)")
    assert step(report, "http").detail == "GET / → 204 No Content, by HTTP/2 without TLS (h2c)"

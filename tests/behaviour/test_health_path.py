"""`edge.health_path`: readiness on the public listeners, for whoever asks with a Host that is none of ours."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest

from gateway.edge.local_reply import redirect_to_https
from gateway.http.greeting import PROXY_V2
from tests.behaviour.harness import DOMAIN, OK, Gateway, OpenGateway, Wire, answering, get

PATH = {"health_path": "/healthz"}
CHECKS = {
    "kubernetes": b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nUser-Agent: kube-probe/1.31\r\nConnection: close\r\n",
    "GKE": b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.7\r\nConnection: Keep-alive\r\nUser-Agent: GoogleHC/1.0\r\n",
    "ALB": b"GET /healthz HTTP/1.1\r\nHost: [fd00::7]:8080\r\nUser-Agent: ELB-HealthChecker/2.0\r\n",
    "HAProxy": b"GET /healthz HTTP/1.0\r\n",
    "HTTP/1.0 with fields": b"GET /healthz HTTP/1.0\r\nUser-Agent: check_http\r\n",
    "a name": b"GET /healthz HTTP/1.1\r\nHost: status.example.org\r\n",
    "a query": b"GET /healthz?from=here HTTP/1.1\r\nHost: localhost\r\n",
    "a URL": b"GET http://10.0.0.7/healthz HTTP/1.1\r\nHost: 10.0.0.7\r\n",
}
checks = pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
listeners = pytest.mark.parametrize("listener", ["tls", "plain", "redirect"])


async def asked(gateway: Gateway, request: bytes, *, tls: bool = False) -> tuple[int, bytes]:
    browser = await gateway.connect(tls=tls)
    browser.send(request + b"\r\n")
    answer = await browser.answer(request.partition(b" ")[0])
    browser.close()
    return answer.status, answer.body


async def listening(open_gateway: OpenGateway, listener: str) -> Gateway:
    redirect = redirect_to_https([DOMAIN], 443) if listener == "redirect" else None
    return await open_gateway(edge=PATH, local_reply=redirect)


@listeners
@checks
async def test_ready(open_gateway: OpenGateway, listener: str, check: bytes) -> None:
    gateway = await listening(open_gateway, listener)
    assert await asked(gateway, check, tls=listener == "tls") == (200, b"ok\n")
    assert gateway.edge.counters.health_checks == 1
    assert gateway.log == []


@listeners
async def test_the_answer(open_gateway: OpenGateway, listener: str) -> None:
    """The connection goes on as after every answer, and HEAD has the same head and no body."""
    gateway = await listening(open_gateway, listener)
    balancer = await gateway.connect(tls=listener == "tls")
    for method in (b"GET", b"HEAD", b"GET"):
        balancer.send(b"%b /healthz HTTP/1.1\r\nHost: 10.0.0.7\r\n\r\n" % method)
        answer = await balancer.answer(method)
        assert answer.start == b"HTTP/1.1 200 OK"
        assert answer.body == (b"" if method == b"HEAD" else b"ok\n")
        assert answer.get(b"Content-Length") == b"3"
        assert answer.get(b"Cache-Control") == b"no-store"
        assert answer.get(b"Content-Type") == b"text/plain"
        assert answer.get(b"Proxy-Status") == b"gateway"
        assert answer.get(b"X-Request-Id") == b"#"
        assert answer.get(b"Connection") is answer.reason is None
    assert gateway.edge.counters.health_checks == 3
    assert gateway.log == []


async def test_over_http_1_0_the_connection_ends(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge=PATH)
    balancer = await gateway.connect()
    balancer.send(CHECKS["HAProxy"] + b"\r\n")
    assert (await balancer.answer()).get(b"Connection") == b"close"
    assert await balancer.eof() == b""


@pytest.mark.parametrize("listener", ["tls", "plain"])
async def test_on_our_names_the_path_is_the_apps(open_gateway: OpenGateway, listener: str) -> None:
    gateway = await listening(open_gateway, listener)
    app = await gateway.app(answering(OK))
    browser = await gateway.connect(tls=listener == "tls")
    browser.send(get(app, b"/healthz"))
    assert (await browser.answer()).body == b"ok"
    assert app.received.startswith(b"GET /healthz HTTP/1.1\r\n")
    for name, status in ((DOMAIN, 400), (f"nothing.{DOMAIN}", 400), (f"5000-gone.{DOMAIN}", 404)):
        browser.send(b"GET /healthz HTTP/1.1\r\nHost: %b\r\n\r\n" % name.encode())
        assert (await browser.answer()).status == status
    assert gateway.edge.counters.health_checks == 0
    assert len(gateway.log) == 4


async def test_a_redirecting_listener_redirects_our_names(open_gateway: OpenGateway) -> None:
    gateway = await listening(open_gateway, "redirect")
    assert await asked(gateway, b"GET /healthz HTTP/1.1\r\nHost: 5000-box.%b\r\n" % DOMAIN.encode()) == (308, b"")


@listeners
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: 10.0.0.7\r\n", 421),
        (b"GET /healthz/ HTTP/1.1\r\nHost: 10.0.0.7\r\n", 421),
        (b"GET /HEALTHZ HTTP/1.1\r\nHost: 10.0.0.7\r\n", 421),
        (b"POST /healthz HTTP/1.1\r\nHost: 10.0.0.7\r\n", 421),
        (b"OPTIONS /healthz HTTP/1.1\r\nHost: 10.0.0.7\r\n", 421),
        (b"GET / HTTP/1.0\r\n", 400),
        (b"POST /healthz HTTP/1.0\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost:\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nHost: a b\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nFolded: a\r\n b\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
    ],
)
async def test_everything_else_is_refused_as_before(
    open_gateway: OpenGateway, listener: str, request_: bytes, status: int
) -> None:
    gateway = await listening(open_gateway, listener)
    assert (await asked(gateway, request_, tls=listener == "tls"))[0] == status
    assert gateway.edge.counters.health_checks == 0
    assert [record.status for record in gateway.log] == [status]


@checks
async def test_without_the_setting_nobody_is_told(gateway: Gateway, check: bytes) -> None:
    assert (await asked(gateway, check))[0] in (400, 421)
    assert gateway.edge.counters.health_checks == 0


async def test_plain_http_on_a_tls_listener_is_none(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge=PATH)
    for check in CHECKS.values():
        balancer = await gateway.connect_to(gateway.tls_port)
        balancer.send(check + b"\r\n")
        answer = await balancer.answer()
        assert answer.status == 400
        assert b"0.0.0.0" not in answer.body, "what stands in for a missing Host is nobody's business"
    assert gateway.edge.counters.health_checks == 0


@listeners
@checks
async def test_while_the_gateway_is_stopping(open_gateway: OpenGateway, listener: str, check: bytes) -> None:
    """And not while only this worker makes way for another."""
    gateway = await listening(open_gateway, listener)
    gateway.edge.announce_drain()
    assert await asked(gateway, check, tls=listener == "tls") == (200, b"ok\n")
    gateway.edge.health.stopping = True
    assert await asked(gateway, check, tls=listener == "tls") == (503, b"stopping\n")


async def test_while_a_domain_has_no_valid_certificate(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge=PATH)
    health = gateway.edge.health
    asking = []

    def unserved() -> list[str]:
        asking.append(True)
        return ["no valid certificate for *.sandbox.localhost: expired"]

    health.unserved = unserved
    for _ in range(5):
        status, body = await asked(gateway, CHECKS["kubernetes"])
        assert status == 503
        assert body == b"not ready\n", "a stranger is not told more"
    assert len(asking) <= 2, "once a second"


async def test_a_check_has_a_body_and_is_pipelined(open_gateway: OpenGateway) -> None:
    """Framing holds: octets behind a check are the next request, and those of its body are not."""
    gateway = await open_gateway(edge=PATH)
    app = await gateway.app(answering(OK))
    browser = await gateway.connect()
    browser.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + get(app))
    assert [(await browser.answer()).body for _ in range(2)] == [b"ok\n", b"ok"]
    browser.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n" + get(app)[:10])
    assert (await browser.answer()).get(b"Connection") == b"close"
    assert len(app.connections) == 1


async def test_behind_a_trusted_proxy_the_client_is_counted_out(open_gateway: OpenGateway) -> None:
    edge = {**PATH, "trusted_proxies": (IPv6Network("::1/128"),)}
    gateway = await open_gateway(edge=edge, limits={"connections_per_address": 1})
    browser: Wire = await gateway.connect()
    for _ in range(3):
        browser.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        assert (await browser.answer()).status == 200
    assert len(gateway.edge.limits.per_source) == 1, "the connection's own"


async def test_where_a_proxy_header_is_required_checks_need_one(open_gateway: OpenGateway) -> None:
    edge = {**PATH, "proxy_protocol": "require", "trusted_proxies": (IPv6Network("::1/128"),)}
    gateway = await open_gateway(edge=edge)
    for header in (b"PROXY UNKNOWN\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n", PROXY_V2 + b"\x20\0\0\0"):
        balancer = await gateway.connect()
        balancer.send(header + CHECKS["HAProxy"] + b"\r\n")
        assert (await balancer.answer()).status == 200
    probe = await gateway.connect()
    probe.send(CHECKS["kubernetes"] + b"\r\n")
    assert await probe.ended() == b""
    assert gateway.edge.counters.health_checks == 3


async def test_limits_go_before(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(edge=PATH, limits={"connections": 1})
    inside = await gateway.connect()
    newcomer = await gateway.connect()
    assert await newcomer.ended() == b""
    inside.close()

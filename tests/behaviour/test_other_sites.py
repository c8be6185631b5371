"""`Edge.withholds_from_other_sites`, as in `gateway dev`: a page of another site is told that its request failed, and nothing else."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import App, Gateway, Message

WEBSOCKET = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)

OTHERS = {
    "fetch": b"Origin: https://other.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n",
    "no-cors": b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n",
    "a site that is no word": b"Sec-Fetch-Site: elsewhere\r\n",
    "an older browser": b"Origin: https://other.example\r\n",
    "one that looks alike": b"Origin: https://xsandbox.localhost\r\n",
    "without TLS": b"Origin: http://5000-box.sandbox.localhost\r\n",
    "an opaque origin": b"Origin: null\r\n",
    "json": b"Origin: https://other.example\r\nAccept: application/json\r\n",
    "grpc-web": b"Origin: https://other.example\r\nContent-Type: application/grpc-web\r\n",
    "a WebSocket": b"Origin: https://other.example\r\n" + WEBSOCKET,
    "a preflight": b"Origin: https://other.example\r\nAccess-Control-Request-Method: GET\r\n"
    b"Access-Control-Request-Headers: x-gateway-probe\r\nAccess-Control-Request-Private-Network: true\r\n",
    "a probe": b"Origin: https://other.example\r\nX-Gateway-Probe: 1\r\n",
}
OWN = {
    "curl": b"",
    "a link on another site": b"Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
    "a form on another site": b"Origin: https://other.example\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n",
    "its own page": b"Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n",
    "a neighbour": b"Origin: https://3000-box.sandbox.localhost:8443\r\nSec-Fetch-Site: same-site\r\n",
    "a neighbour in an older browser": b"Origin: https://3000-box.sandbox.localhost:8443\r\n",
}


@pytest.fixture
async def dead(gateway: Gateway) -> App:
    gateway.edge.withholds_from_other_sites = True
    app = await gateway.app()
    app.stop()
    return app


async def answer_to(gateway: Gateway, app: App, fields: bytes) -> Message:
    method = b"OPTIONS" if b"Access-Control-Request-Method" in fields else b"GET"
    browser = await gateway.connect()
    browser.send(b"%b /?gateway_close=1 HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, app.host, fields))
    return await browser.answer()


@pytest.mark.parametrize("fields", OTHERS.values(), ids=OTHERS)
async def test_another_site_learns_that_it_failed(gateway: Gateway, dead: App, fields: bytes) -> None:
    answer = await answer_to(gateway, dead, fields)
    assert (answer.status, answer.reason, answer.body) == (502, b"withheld", b"")
    names = {name.lower() for name, _ in answer.fields}
    assert not any(name.startswith(b"access-control-") for name in names)
    assert answer.get(b"Proxy-Status") == b"gateway"
    assert (gateway.log[-1].status, gateway.log[-1].reason) == (502, "connection_refused")


@pytest.mark.parametrize("fields", OWN.values(), ids=OWN)
async def test_everybody_else_learns_why(gateway: Gateway, dead: App, fields: bytes) -> None:
    answer = await answer_to(gateway, dead, fields)
    assert (answer.status, answer.reason) == (502, b"connection_refused")
    assert answer.body


async def test_for_other_gateways_any_site_may_read_why(gateway: Gateway, dead: App) -> None:
    gateway.edge.withholds_from_other_sites = False
    answer = await answer_to(gateway, dead, OTHERS["fetch"])
    assert answer.reason == b"connection_refused"
    assert answer.get(b"Access-Control-Allow-Origin") == b"https://other.example"


async def test_whatever_the_failure_and_whatever_is_there(gateway: Gateway) -> None:
    """What fails before an app is looked for, and what a live port answers garbage to, read the same."""
    gateway.edge.withholds_from_other_sites = True
    garbage = await gateway.app()
    unknown = b"5000-nobody.sandbox.localhost"
    seen = []
    for host in (garbage.host, unknown):
        browser = await gateway.connect()
        browser.send(b"GET / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host, OTHERS["fetch"]))
        if host == garbage.host:
            app = await garbage.accept()
            await app.request()
            app.send(b"-ERR unknown command\r\n")
        seen.append((await browser.answer()).head)
    assert seen[0] == seen[1]

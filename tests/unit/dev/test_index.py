"""The index of `gateway dev`: what it says, in which form, and that only its own names are answered for."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from gateway.dev.front import Front
from gateway.dev.index.listing import Listing, LocalNetwork
from gateway.dev.index.pages import IndexPages
from gateway.dev.index.unknown import NAMED, Unknown
from gateway.diagnosis.port_line import PortLine
from gateway.edge.exchange import Exchange
from gateway.errors import Reason
from gateway.http.message import BY_LENGTH, NO_BODY, Fields, RequestHead, ResponseHead
from tests.support.seam import HOST, gateway, request, upload

TEMPLATE = "https://<port>-<id>.sandbox.localhost:8443/"
LINES = {5000: PortLine(True, "ready: python3 (pid 7)"), 3000: PortLine(False, "nothing listens here yet", "Start it")}
ADDRESSES = {"local": "::1", "added": "::1", "shop": "::1"}
DOMAIN = b"sandbox.localhost:8443"
HTML: Fields = [(b"Accept", b"text/html,*/*;q=0.8")]


def listing(lan: LocalNetwork | None = None) -> Listing:
    exposed = [("shop", 3000), ("local", 5000), ("local", 8000), ("gone", 1)]
    return Listing(lambda: ADDRESSES, exposed, LINES, TEMPLATE, lan)


def ask(
    path: bytes = b"/", method: bytes = b"GET", fields: Fields | None = None, lan: LocalNetwork | None = None
) -> tuple[ResponseHead, bytes]:
    head = request(method, fields, DOMAIN)
    head.target = path
    return IndexPages(listing(lan), "http://127.0.0.1:9090", "gateway").answer(head)


def test_sandboxes_come_in_the_order_of_the_command_line() -> None:
    listed = listing().all()
    assert [each.id for each in listed] == ["shop", "local", "added"]
    [shop], local, added = (each.ports for each in listed)
    assert (shop.url, shop.ready, shop.state, shop.advice) == (
        "https://3000-shop.sandbox.localhost:8443/",
        False,
        "nothing listens here yet",
        "Start it",
    )
    assert [(port.port, port.ready) for port in local] == [(5000, True), (8000, None)]
    assert added == []
    assert listed[2].template == "https://<port>-added.sandbox.localhost:8443/"


@pytest.mark.parametrize(
    ("path", "fields", "kind", "holds"),
    [
        (b"/", HTML, b"text/html", b"<script src="),
        (b"/?x=1", HTML, b"text/html", b"<script src="),
        (b"/", [(b"Accept", b"*/*")], b"text/plain", b"https://5000-local.sandbox.localhost:8443/  ready: python3"),
        (b"/", [], b"text/plain", b"https://<port>-added"),
        (b"/", [(b"Accept", b"application/json")], b"application/json", b'"sandboxes"'),
        (b"/index.json", HTML, b"application/json", b'"inspector":"http://127.0.0.1:9090"'),
        (b"/index.css", [], b"text/css", b"--paper"),
        (b"/index.js", [], b"text/javascript", b"use strict"),
    ],
)
def test_each_form_is_what_was_asked_for(path: bytes, fields: Fields, kind: bytes, holds: bytes) -> None:
    head, body = ask(path, fields=fields)
    assert head.status == 200
    assert (head.get(b"content-type") or b"").startswith(kind)
    assert holds in body
    assert head.get(b"content-length") == b"%d" % len(body)
    assert head.framing is BY_LENGTH


@pytest.mark.parametrize("path", [b"/index.json", b"/", b"/nothing"])
def test_nobody_else_reads_or_frames_it(path: bytes) -> None:
    head, _ = ask(path, fields=HTML)
    policy = head.get(b"content-security-policy") or b""
    assert policy.startswith(b"default-src 'none'")
    assert b"frame-ancestors 'none'" in policy
    assert b"unsafe" not in policy
    assert head.get(b"cross-origin-resource-policy") == b"same-origin"
    assert head.get(b"access-control-allow-origin") is None


def test_it_can_be_read_and_nothing_else() -> None:
    assert ask(b"/nothing")[0].status == 404
    head, _ = ask(method=b"POST")
    assert (head.status, head.get(b"allow")) == (405, b"GET, HEAD")
    head, body = ask(method=b"HEAD")
    assert (head.status, head.framing, body) == (200, NO_BODY, b"")
    assert head.get(b"content-length") != b"0"


class Network:
    """The local network, without `local`'s first app."""

    page_url = "http://192.168.7.1:8444/"

    def url(self, sandbox_id: str, port: int) -> str:
        return "" if port == 5000 else f"https://{port}-{sandbox_id}-anna.local:8443/"


def test_codes_are_of_what_a_phone_can_open(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def make(url: str, **_: Any) -> Any:
        drawn.append(url)
        return SimpleNamespace(save=lambda out, **_: out.write(b"<svg/>"))

    monkeypatch.setitem(sys.modules, "segno", SimpleNamespace(make=make))
    assert msgspec.json.decode(ask(b"/index.json")[1])["phone"] is None
    assert [ask(path)[0].status for path in (b"/qr/phone", b"/qr/8000-local")] == [404, 404]
    told = msgspec.json.decode(ask(b"/index.json", lan=Network())[1])
    assert told["phone"] == Network.page_url
    assert [port["lan"] for port in told["sandboxes"][1]["ports"]] == ["", "https://8000-local-anna.local:8443/"]
    for name in b"phone", b"8000-local":
        head, body = ask(b"/qr/" + name, lan=Network())
        assert (head.get(b"content-type"), body) == (b"image/svg+xml", b"<svg/>")
    assert ask(b"/qr/5000-local", lan=Network())[0].status == 404
    assert drawn == [Network.page_url, "https://8000-local-anna.local:8443/"]


def test_an_unknown_sandbox_is_told_with_those_that_exist() -> None:
    ids = ["local"]
    unknown = Unknown(lambda: ids, "https://sandbox.localhost:8443/")
    error = unknown.error("shp")
    assert (error.reason, error.detail) == (Reason.DESTINATION_NOT_FOUND, "no record for shp")
    assert error.observed == ("the only sandbox here is local; https://sandbox.localhost:8443/ shows all there is",)
    ids.append("shop")
    assert "the sandboxes here are local and shop;" in unknown.error("shp").observed[0]
    ids.extend(f"more{each}" for each in range(NAMED))
    assert "and 2 more;" in unknown.error("shp").observed[0]
    ids.clear()
    assert "no sandbox at all" in unknown.error("shp").observed[0]


@pytest.mark.pure
async def test_the_front_answers_for_its_names_alone() -> None:
    seen: list[RequestHead] = []
    pages = IndexPages(listing(), "http://127.0.0.1:9090", "gateway")

    async with gateway() as running:

        def behind(edge: Any, downstream: Any, head: RequestHead) -> Exchange:
            seen.append(head)
            return Exchange(edge, downstream, head)

        front = Front([DOMAIN], pages.answer, behind, None)
        for head in (request(host=DOMAIN), request(b"POST", [(b"Content-Length", b"3")], DOMAIN)):
            downstream = running.prepare()
            sink = front.look_on(running.edge, downstream, head)
            sink.begin()
            sink.request_body(b"abc")
            sink.request_end([])
            sink.downstream_lost("")
            assert downstream.ended == 1
            assert downstream.said == [200 if head.method == b"GET" else 405, "end"]
        assert seen == []
        assert isinstance(front.look_on(running.edge, running.prepare(), upload()), Exchange)
        assert [head.authority for head in seen] == [HOST]
        assert running.contract.broken == []

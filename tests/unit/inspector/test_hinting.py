"""Hints of what only a body says: seen at the end of an exchange, told once, and shown beside it."""

from __future__ import annotations

import gzip
from math import inf

import pytest

from gateway.diagnosis.hints import HintLog
from gateway.http.message import AS_TUNNEL, Fields
from gateway.inspector import views
from gateway.inspector.hinting import PAUSE, BodyHints
from tests.support.seam import answer, handshake, settle
from tests.unit.inspector.conftest import Watched

pytestmark = pytest.mark.pure

MIXED = b'<script src="http://localhost:3000/a.js"></script>'
DID = "the page loads http://localhost:3000, which is the visitor's own machine"
HTML = (b"Content-Type", b"text/html; charset=utf-8")


class Looking:
    """What is told of `watched`."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        self.told: list[str] = []
        log = HintLog(watched.gateway.edge.clock)
        log.say = self.told.append
        self.hints = BodyHints(log)
        watched.capture.look = self.hints.look

    async def page(self, body: bytes, *fields: tuple[bytes, bytes], status: int = 200) -> str:
        """The hint of an answer, as the inspector shows it."""
        self.watched.gateway.ask()
        await settle()
        described: Fields = [HTML, *fields]
        self.watched.gateway.stream.says(answer(status, fields=described), body, ends=True)
        seen = self.watched.last
        assert bool(views.summary(seen, 0.0)["hint"]) == bool(views.details(seen, 0.0)["hint"])
        return str(views.details(seen, 0.0)["hint"])


@pytest.fixture
def looking(watched: Watched) -> Looking:
    return Looking(watched)


async def test_mixed_content_is_told_and_shown(looking: Looking) -> None:
    assert (await looking.page(MIXED)).startswith(f"{DID}. ")
    (line,) = looking.told
    assert line.startswith(f"5000-demo.sandbox.localhost: {DID}. ")


async def test_a_page_that_came_compressed_is_read(looking: Looking) -> None:
    packed = gzip.compress(MIXED + b" " * 100)
    assert (await looking.page(packed, (b"Content-Encoding", b"gzip"))).startswith(DID)
    looking.hints._next = 0.0
    assert await looking.page(packed[::-1], (b"Content-Encoding", b"gzip")) == "", "and one that is none is let be"


async def test_of_many_pages_few_are_looked_into_and_a_hint_is_told_once(looking: Looking) -> None:
    assert await looking.page(MIXED)
    assert looking.hints._next == looking.watched.last.ended + PAUSE
    looking.hints._next = inf
    assert await looking.page(MIXED) == ""
    looking.hints._next = 0.0
    assert await looking.page(MIXED)
    assert len(looking.told) == 1


@pytest.mark.parametrize("status", [404, 500])
async def test_an_error_is_not_looked_into(looking: Looking, status: int) -> None:
    assert await looking.page(MIXED, status=status) == ""


async def test_what_is_no_page_is_not_looked_into(looking: Looking) -> None:
    looking.watched.gateway.ask()
    await settle()
    looking.watched.gateway.stream.says(answer(fields=[(b"Content-Type", b"text/plain")]), MIXED, ends=True)
    assert looking.told == []


async def test_webpack_4_refuses_with_a_good_status(looking: Looking) -> None:
    hint = await looking.page(b"Invalid Host header")
    assert hint == (
        "the app refused its public name. webpack-dev-server: devServer.allowedHosts: ['.sandbox.localhost'] in "
        "webpack.config"
    )


async def test_webpack_refuses_a_websocket_in_its_first_message(looking: Looking) -> None:
    watched = looking.watched
    asked = watched.gateway.ask(handshake())
    await settle()
    message = b'{"type":"error","data":"Invalid Host/Origin header"}'
    watched.gateway.stream.says(answer(101, AS_TUNNEL))
    watched.gateway.stream.says_body(b"\x81" + bytes([len(message)]) + message)
    assert asked.sink is not None
    watched.gateway.stream.ends()
    asked.sink.downstream_lost("left")
    await settle()
    assert watched.last.extras.hint.startswith("the app refused its public name. webpack-dev-server: ")


async def test_whatever_goes_wrong_the_exchange_ends(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.inspector.hinting.page_hints.find", lambda *_: 1 / 0)
    assert await looking.page(MIXED) == ""
    assert not looking.watched.last.is_live

"""Who reloads a page that does not come gives up all of its files at once, again and again: that is no attack."""

from __future__ import annotations

import pytest

from gateway.edge.exchange import Exchange
from gateway.edge.http2 import Http2Downstream
from gateway.http.h2.abuse import BURST, RESET_RECEIVED, YOUNG
from tests.behaviour.h2_wire import h2_browser
from tests.behaviour.harness import Gateway, until
from tests.support.h2_frames import Code

FILES = 100
RELOADS = 2 + 2 * int(BURST / RESET_RECEIVED) // FILES
"""Twice as many files as may be given up at once."""


@pytest.mark.parametrize("patient", [True, False])
async def test_who_has_waited_may_leave(gateway: Gateway, patient: bool) -> None:
    app = await gateway.app()
    browser = await h2_browser(gateway, app.host)
    await browser.wait(lambda: browser.peer.settings, "SETTINGS")
    [connection] = gateway.edge.downstreams
    assert isinstance(connection, Http2Downstream)
    for _ in range(RELOADS):
        asked = [browser.ask(more=[(b"sec-fetch-site", b"none")]) for _ in range(FILES)]
        await until(lambda: len(connection.session.streams) == FILES or browser.goaways, "all have been asked for")
        if patient:
            for exchange in connection.sinks():
                assert isinstance(exchange, Exchange)
                exchange.started -= YOUNG
        for stream in asked:
            browser.reset(stream)
        await until(lambda: not connection.session.streams, "all are given up")
    assert [goaway.code for goaway in browser.goaways] == ([] if patient else [Code.ENHANCE_YOUR_CALM])

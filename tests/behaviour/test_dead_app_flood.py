"""An app that is dead cannot be used as a lever: however often it is asked for, it is dialed now and then."""

from __future__ import annotations

import pytest

from gateway.endpoint import AppKey, Endpoint
from gateway.upstream.pool import Pool
from gateway.upstream.refusals import DIALS, WINDOW
from tests.behaviour.harness import OK, Gateway, get

REQUESTS = 600


@pytest.mark.pure
async def test_a_flood_dials_now_and_then(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    dialed: list[Endpoint] = []
    dial = Pool.dial

    async def counted(pool: Pool, key: AppKey) -> object:
        dialed.append(Endpoint(key[0], key[1]))
        return await dial(pool, key)

    monkeypatch.setattr(Pool, "dial", counted)
    app = await gateway.app()
    app.stop()
    browser = await gateway.connect()
    clock = gateway.edge.clock
    began = clock()
    browser.send(get(app) * REQUESTS)  # at once, or a slow machine's turns would be what takes the time
    for _ in range(REQUESTS):
        answer = await browser.answer()
        assert (answer.status, answer.reason) == (502, b"connection_refused")
    windows = 1 + int((clock() - began) / WINDOW)
    # The clock has steps of a millisecond, so a window may end one dial late.
    assert DIALS <= len(dialed) <= (DIALS + 1) * (windows + 1)
    assert len(dialed) < REQUESTS / 2
    ids = {record.request_id for record in gateway.log}
    assert len(ids) == REQUESTS, "every refusal is a request of its own in the log"


async def test_another_port_of_the_sandbox_is_not_concerned(gateway: Gateway) -> None:
    dead, alive = await gateway.app(), await gateway.app()
    dead.stop()
    browser = await gateway.connect()
    for _ in range(2 * DIALS):
        browser.send(get(dead))
        assert (await browser.answer()).status == 502
    browser.send(get(alive))
    upstream = await alive.accept()
    await upstream.request()
    upstream.send(OK)
    assert (await browser.answer()).status == 200

"""The one clock of a worker's deadlines goes on, whatever one of its connections does."""

from __future__ import annotations

import pytest

from tests.behaviour.harness import OK, OpenGateway, answering, get, until


class Broken:
    """A connection with a bug in its end, and a deadline long past."""

    deadline = 0.0

    def __init__(self) -> None:
        self.asked = 0

    def expire(self, now: float) -> None:
        self.asked += 1
        raise LookupError("a bug of ours")

    def end_if_dead(self, patience: float) -> None: ...

    def drain(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_one_connections_bug_keeps_no_other_alive(open_gateway: OpenGateway, tls: bool) -> None:
    gateway = await open_gateway(timeouts={"idle": 0.2}, upstream={"idle_timeout": 0.2})
    app = await gateway.app(answering(OK))
    broken = Broken()
    gateway.edge.downstreams.add(broken)
    try:
        first = await gateway.connect(tls=tls)
        first.send(get(app))
        assert (await first.answer()).body == b"ok"
        browsers = [first, *[await gateway.connect(tls=tls) for _ in range(19)]]
        for browser in browsers:
            assert await browser.eof() == b""
        await until(lambda: not gateway.edge.pool.connections, "the idle connection to the app expires, too")
        asked = broken.asked
        await until(lambda: broken.asked > asked, "the sweeper comes again")
    finally:
        gateway.edge.downstreams.discard(broken)
    gateway.expect_complaint("a bug of ours")

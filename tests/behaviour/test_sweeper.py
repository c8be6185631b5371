"""The one clock of a worker's deadlines goes on, whatever one of its connections does."""

from __future__ import annotations

from math import inf

import pytest

from gateway.turns import PORTION
from tests.behaviour.harness import OK, Gateway, OpenGateway, answering, get, until


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


class Late(Broken):
    """A connection that is late; what it does about it is no more than to be there no longer."""

    def __init__(self, gateway: Gateway) -> None:
        super().__init__()
        self._all = gateway.edge.downstreams
        self._all.add(self)

    def expire(self, now: float) -> None:
        self.asked += 1
        self._all.discard(self)


async def test_a_crowd_that_is_late_is_ended_in_portions(gateway: Gateway) -> None:
    """Whoever goes on, or ends, before it is told has nothing to hear."""
    crowd = [Late(gateway) for _ in range(5 * PORTION)]
    gateway.edge.sweeper.sweep()
    assert sum(each.asked for each in crowd) == PORTION
    goes_on, has_ended = [each for each in crowd if not each.asked][:2]
    goes_on.deadline = inf
    gateway.edge.downstreams.discard(has_ended)
    await until(lambda: len(gateway.edge.downstreams) == 1, "all others are ended")
    assert [each for each in crowd if each.asked != 1] == [goes_on, has_ended]
    gateway.edge.downstreams.discard(goes_on)

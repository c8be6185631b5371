"""The schedule of a drain: when who is ended, and what is said of it.

    begin --------------------------------------> goodbye --------------> ends
    idle connections close, each at a random        event streams end,      what is left is cut off
    moment of `drain_spread`; requests, streams     WebSockets are closed   (whoever runs the drain does it)
    and tunnels go on

Requests have all the time there is: no answer is shortened before the end. Whoever has no end of its own is told a few
seconds before, so that there is time to say goodbye. Of what is no HTTP and no WebSocket nobody knows how to end it.

Whatever looks at every connection does so in slices, and lets the event loop turn between them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TypeVar

from gateway.counting import counted
from gateway.edge.drained import Drained, DrainedEventStream, Kind, kind_of
from gateway.edge.edge import Downstream, Edge
from gateway.edge.exchange import Exchange
from gateway.edge.stream import RequestSink
from gateway.edge.websocket_drain import WebSocketDrain
from gateway.errors import GatewayError, Reason

log = logging.getLogger("gateway.process")

T = TypeVar("T")

GOODBYE = 5.0
"""Seconds before the end at which event streams and WebSockets are ended; of a short drain, half of it."""
SILENCE = 1.0
"""Seconds without an octet that stand between two frames, or events: longer than most networks hold back a part."""
REPORT_INTERVAL = 5.0
"""Seconds between two log lines that say who is left."""
LOOK_INTERVAL = 0.1
"""Seconds between two looks at what is being ended."""
LOOKS = 5
"""So many of them before the next look around."""
SLICE = 64
"""Connections looked at in one turn of the event loop; saying goodbye to one takes 20 to 100 µs."""
IDLE = "idle"


class Drain:
    """One drain of one worker."""

    def __init__(self, edge: Edge, timeout: float, spread: float = 0.0, name: str = "") -> None:
        """`timeout` and `spread` in seconds, from `begin` on; `name`: the process's, for the log."""
        self.edge = edge
        self._who = f"{name} is draining" if name else "draining"
        self.timeout = timeout
        grace = min(GOODBYE, timeout / 2)
        self._spread = min(spread, timeout - grace)
        self._grace = grace
        self._silence = min(SILENCE, grace / 2)
        self._drained: list[Drained] = []
        self._begun = self._goodbye = self._ends = 0.0

    def begin(self) -> None:
        """Every connection finishes what is under way."""
        edge = self.edge
        self._begun = edge.clock()
        self._ends = self._begun + self.timeout
        self._goodbye = self._ends - self._grace
        edge.drain_grace = min(edge.drain_grace, self.timeout - self._grace)
        edge.drain(self._spread)

    async def run(self) -> None:
        """Does what is due, for ever: its caller knows when everybody has gone, and when time is up."""
        clock, report_due = self.edge.clock, self._begun
        while True:
            count = await self.look_around()
            if clock() >= report_due:
                report_due = clock() + REPORT_INTERVAL
                self._report(count)
            left = self._goodbye - clock()
            if left > 0:
                await asyncio.sleep(min(left, REPORT_INTERVAL))
            else:
                await self.say_goodbye()

    async def say_goodbye(self) -> None:
        """Everybody who has no end of its own is told, and seen off for a moment."""
        for look in range(LOOKS):
            async for each in sliced(self._drained):
                try:
                    each.look() if look else each.say_goodbye()
                except Exception:  # one connection's bug must not keep all others from being told
                    log.exception("ending %r failed", each)
            await asyncio.sleep(LOOK_INTERVAL)

    def end(self) -> None:
        """Cuts off what is left, and counts it. Who has no answer yet, or reads trailers, is told whose end that is."""
        self._forget_ended()
        counters = self.edge.counters
        cut = counters.tunnels_cut
        for connection in list(self.edge.downstreams):
            for sink in sinks_of(connection):
                if isinstance(sink, Exchange) and (sink.answer is None or sink.is_call):
                    sink.fail(GatewayError(Reason.DRAIN_TIMEOUT, "the gateway is shutting down"))
                    continue
                if isinstance(sink, Drained) and sink.was_closed:
                    counters.websockets_closed += 1
                elif kind_of_sink(sink) in (Kind.WEBSOCKET, Kind.TUNNEL):
                    counters.tunnels_cut += 1
        if counters.websockets_closed or counters.tunnels_cut > cut:
            closed, cut = counters.websockets_closed, counters.tunnels_cut - cut
            ends = f"{counted(closed, 'WebSocket')} closed (1001), {counted(cut, 'tunnel')} cut off"
            log.info("%s: %s", self._who, ends)

    # --- who is there --------------------------------------------------------------------------------------------

    async def look_around(self) -> Counter[str]:
        """How many connections of each kind there are; from now on whatever has no end of its own is followed."""
        count: Counter[str] = Counter()
        async for connection in sliced(list(self.edge.downstreams)):
            count.update(self._look_at(connection))
        self._forget_ended()
        return count

    def _look_at(self, connection: Downstream) -> Iterable[str]:
        kinds = []
        for sink in sinks_of(connection):
            kind = kind_of_sink(sink)
            kinds.append(kind.value)
            if isinstance(sink, Exchange) and sink.streams is not None:
                self._follow(sink, kind)
        return kinds or (IDLE,)

    def _follow(self, exchange: Exchange, kind: Kind) -> None:
        clock = self.edge.clock
        if kind is Kind.WEBSOCKET:
            self._drained.append(WebSocketDrain(exchange, clock, self._silence))
        elif kind is Kind.EVENT_STREAM:
            self._drained.append(DrainedEventStream(exchange, clock, self._silence))

    def _forget_ended(self) -> None:
        self.edge.counters.websockets_closed += sum(each.is_over and each.was_closed for each in self._drained)
        self._drained = [each for each in self._drained if not each.is_over]

    def _report(self, count: Counter[str]) -> None:
        if not count:
            return
        left = [counted(count[kind.value], kind.value) for kind in Kind if count[kind.value]]
        if count[IDLE]:
            left.append(f"{count[IDLE]} {IDLE}")
        now = self.edge.clock()
        log.info("%s: %s; what is left is cut off in %.0f s", self._who, ", ".join(left), self._ends - now)


def sinks_of(connection: Downstream) -> Iterable[RequestSink]:
    """Who answers its requests, whoever looks on."""
    return [sink.behind for sink in connection.sinks()]


def kind_of_sink(sink: RequestSink) -> Kind:
    if isinstance(sink, Drained):
        return sink.kind
    return kind_of(sink) if isinstance(sink, Exchange) else Kind.REQUEST


async def sliced(items: Sequence[T]) -> AsyncIterator[T]:
    """`items`, with a turn of the event loop after each `SLICE` of them."""
    for number, item in enumerate(items, 1):
        yield item
        if not number % SLICE:
            await asyncio.sleep(0)

"""Requests over many keep-alive connections, one after another: as fast as a fixed number under way allows, or at a
fixed rate.

    python -m bench.load.steady --port P --host H --connections 10000 --under-way 32
    python -m bench.load.steady --port P --host H --connections 64 --rate 5000

The first shows what the number of open connections costs. The second is an open loop: requests come as visitors do,
whether or not earlier ones are answered (Poisson, the same sequence every time), and latency counts from the moment a
request was due, so a stall is felt by everybody who came during it. It goes on for `--seconds` whenever it is told, and
each time until the last answer is there. `late_p99_us` says how far behind the plan the client itself sent: latencies
near it are the client's.
"""

from __future__ import annotations

import random
import time
from collections import deque

from bench.load.engine import Connection, Engine, arguments, browser_request
from bench.load.opening import Opening
from bench.load.result import each_turn, percentile, ready, say
from bench.upstream import BODY

SEED = 20_260_101
DRAIN = 5.0
"""Seconds to wait for the last answers."""


class Steady:
    """Connections without a request stand in `free`, the longest unused first."""

    def __init__(self, engine: Engine, host: str, connections: list[Connection]) -> None:
        self._engine = engine
        self._request = browser_request(host)
        self._free = deque(connections)
        for connection in connections:
            connection.handler = self
        self._busy = 0
        self._waiting: deque[float] = deque()  # due moments for which there was no free connection
        self._gap = random.Random(SEED).expovariate
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.errors: dict[str, int] = {}

    def closed_loop(self, under_way: int, seconds: float) -> None:
        """Keeps `under_way` requests on the way for `seconds`."""
        deadline = time.perf_counter() + seconds
        while (now := time.perf_counter()) < deadline and (self._free or self._busy):
            while self._busy < under_way and self._free:
                self._send(now)
            self._engine.turn(0.1)
        self._drain()

    def open_loop(self, rate: float, seconds: float) -> None:
        """Sends `rate` requests per second on average for `seconds`."""
        gap = self._gap
        now = time.perf_counter()
        deadline = now + seconds
        due = now + gap(rate)
        while due < deadline:
            now = time.perf_counter()
            while due <= now:
                if self._free:
                    self.late.append(now - due)
                    self._send(due)
                else:
                    self._waiting.append(due)
                due += gap(rate)
            self._engine.turn(max(0.0, due - time.perf_counter()))
        self._drain()

    def _drain(self) -> None:
        self._engine.run(lambda: self._busy == 0, DRAIN)
        if self._busy:
            self.errors["unanswered"] = self.errors.get("unanswered", 0) + self._busy

    def _send(self, due: float) -> None:
        connection = self._free.popleft()
        connection.started = due
        self._busy += 1
        connection.send(self._request)

    def received(self, connection: Connection, data: bytes) -> None:
        if not data.endswith(BODY):
            connection.buffer += data
            if not connection.buffer.endswith(BODY):
                return
            connection.buffer = b""
        self.latencies.append(time.perf_counter() - connection.started)
        self._busy -= 1
        self._free.append(connection)
        if self._waiting:
            self._send(self._waiting.popleft())

    def opened(self, connection: Connection) -> None: ...

    def lost(self, connection: Connection, why: str) -> None:
        self.errors[why] = self.errors.get(why, 0) + 1
        if connection in self._free:
            self._free.remove(connection)
        else:
            self._busy -= 1


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--under-way", type=int, default=32)
    parser.add_argument("--rate", type=float, help="requests per second; without it, as fast as --under-way allows")
    options = parser.parse_args()
    engine = Engine(options.port, options.host)
    requests = [browser_request(options.host)]
    connections = Opening(engine, options.connections, requests, lambda answer: answer.endswith(BODY)).run()
    steady = Steady(engine, options.host, connections)

    if options.rate:
        steady.open_loop(options.rate, options.warm)
        steady.latencies.clear()
        steady.late.clear()
        seconds = 0.0
        for _ in each_turn():
            started = time.perf_counter()
            steady.open_loop(options.rate, options.seconds)
            seconds += time.perf_counter() - started
        late = percentile(sorted(steady.late), 0.99)
        say(steady.latencies, seconds, steady.errors, late_p99_us=late * 1e6)
    else:
        steady.closed_loop(options.under_way, options.warm)
        steady.latencies.clear()
        started = ready()
        steady.closed_loop(options.under_way, options.seconds)
        say(steady.latencies, time.perf_counter() - started, steady.errors)


if __name__ == "__main__":
    main()

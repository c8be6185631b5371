"""A new connection for every request: connect, handshake, one GET, close.

    python -m bench.load.new_connections --port P --host H [--resume]

Without `--resume` every handshake is a full one. (wrk, asked to close, resumes its sessions.)
"""

from __future__ import annotations

import ssl
import time

from bench.load.engine import Connection, Deadline, Engine, arguments, browser_request
from bench.load.result import ready, say
from bench.upstream import BODY


class Visits:
    """As many slots as connections at a time; each opens the next one when its answer is there."""

    def __init__(self, engine: Engine, host: str, *, resume: bool) -> None:
        self._engine = engine
        self._request = browser_request(host, "Connection: close")
        self._resume = resume
        self._session: ssl.SSLSession | None = None
        self.latencies: list[float] = []
        self.errors: dict[str, int] = {}
        self.resumed = 0
        self.under_way = 0
        self._deadline = Deadline()

    def begin(self, slots: int, seconds: float) -> None:
        self._deadline.set(seconds)
        for _ in range(slots):
            self._visit()

    def _visit(self) -> None:
        self.under_way += 1
        self._engine.open(self, session=self._session)

    def opened(self, connection: Connection) -> None:
        connection.send(self._request)

    def received(self, connection: Connection, data: bytes) -> None:
        connection.buffer += data
        if not connection.buffer.endswith(BODY):
            return
        now = time.perf_counter()
        self.latencies.append(now - connection.started)
        self.resumed += bool(connection.tls.session_reused)
        if self._resume:
            self._session = connection.tls.session  # the newest ticket: it came before the answer
        connection.close()
        self._again(now)

    def lost(self, connection: Connection, why: str) -> None:
        self.errors[why] = self.errors.get(why, 0) + 1
        self._again(time.perf_counter())

    def _again(self, now: float) -> None:
        self.under_way -= 1
        if not self._deadline.passed(now):
            self._visit()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--resume", action="store_true")
    options = parser.parse_args()
    engine = Engine(options.port, options.host)
    visits = Visits(engine, options.host, resume=options.resume)

    def flow(seconds: float) -> None:
        visits.begin(options.connections, seconds)
        engine.run(lambda: visits.under_way == 0, seconds + 5)

    flow(options.warm)
    visits.latencies.clear()
    visits.resumed = 0
    started = ready()
    flow(options.seconds)
    seconds = time.perf_counter() - started
    say(visits.latencies, seconds, visits.errors, resumed=visits.resumed / max(1, len(visits.latencies)))


if __name__ == "__main__":
    main()

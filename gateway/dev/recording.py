"""Who is told of every exchange in `gateway dev`: the terminal, line by line; the inspector; the key `e`; and the file
that `log.path` names.
"""

from __future__ import annotations

import asyncio

from gateway.config import Settings
from gateway.dev.actions import LastFailure
from gateway.inspector.capture import Capture
from gateway.inspector.store import Store
from gateway.observe.access_log import AccessLog, AccessRecord, LineLog, text_line
from gateway.observe.sink import LogSink
from gateway.process.worker import make_access_log


class Recording:
    """One per gateway; made inside its event loop."""

    def __init__(self, settings: Settings, colour: bool) -> None:
        loop = asyncio.get_running_loop()
        self._colour = colour
        self.sink = LogSink(1)
        """Standard output."""
        self.sink.attach(loop, self.sink.pump)
        self.failure = LastFailure()
        self.store = Store()
        access_log: AccessLog = LineLog(self._lines, loop.call_later, self.sink)
        if settings.log.path is not None:
            access_log = Beside(access_log, make_access_log(settings, loop))
        self.capture = Capture(self.store, access_log, loop.call_soon)

    def _lines(self, records: list[AccessRecord]) -> bytes:
        self.failure.note(records)
        calls = self.capture.calls
        return b"".join([text_line(each, self._colour, calls.get(each.request_id)) for each in records])

    def close(self) -> None:
        self.capture.close()


class Beside:
    """The lines of the terminal, which are there whatever `[log]` says, and the access log that it asks for."""

    def __init__(self, terminal: AccessLog, file: AccessLog) -> None:
        self._both = (terminal, file)

    @property
    def dropped(self) -> int:
        return sum(each.dropped for each in self._both)

    def write(self, records: list[AccessRecord]) -> None:
        for each in self._both:
            each.write(records)

    def reopen(self) -> None:
        for each in self._both:
            each.reopen()

    def close(self) -> None:
        for each in self._both:
            each.close()

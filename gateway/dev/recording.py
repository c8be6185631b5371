"""Who is told of every exchange in `gateway dev`: the terminal, line by line; the inspector; and the key `e`."""

from __future__ import annotations

import asyncio

from gateway.dev.actions import LastFailure
from gateway.inspector.capture import Capture
from gateway.inspector.store import Store
from gateway.observe.access_log import AccessRecord, LineLog, text_line
from gateway.observe.sink import LogSink


class Recording:
    """One per gateway; made inside its event loop."""

    def __init__(self, colour: bool) -> None:
        loop = asyncio.get_running_loop()
        self._colour = colour
        self.sink = LogSink(1)
        """Standard output."""
        self.sink.attach(loop, self.sink.pump)
        self.failure = LastFailure()
        self.store = Store()
        self.capture = Capture(self.store, LineLog(self._lines, loop.call_later, self.sink), loop.call_soon)

    def _lines(self, records: list[AccessRecord]) -> bytes:
        self.failure.note(records)
        calls = self.capture.calls
        return b"".join([text_line(each, self._colour, calls.get(each.request_id)) for each in records])

    def close(self) -> None:
        self.capture.close()

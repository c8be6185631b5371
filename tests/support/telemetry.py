"""Telemetry for tests that look at the log right after a request."""

from __future__ import annotations

from gateway.observe.access_log import AccessRecord
from gateway.observe.telemetry import Telemetry


class AtOnce(Telemetry):
    """Logs and counts each exchange as it ends, and not many a moment later."""

    __slots__ = ()

    def exchange_ended(self, record: AccessRecord, kind: str) -> None:
        super().exchange_ended(record, kind)
        self.flush()

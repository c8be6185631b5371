"""The latest failure of each reason: as many as there are reasons, whatever happens.

What is kept comes from the access log's record, so nothing is told here that the log would not tell: no query, no
token, no cookie.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.observe.access_log import AccessRecord


class RecentFailure(msgspec.Struct, omit_defaults=True, gc=False):
    """One failed request."""

    reason: str
    time: float
    """Unix time of its end."""
    status: int
    method: str
    host: str
    path: str
    detail: str
    request_id: str
    sandbox: str = ""
    port: int = 0


class RecentFailures:
    """Of one process."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        self._latest: dict[str, AccessRecord] = {}

    def note(self, record: AccessRecord) -> None:
        """A record with a reason."""
        self._latest[record.reason] = record

    def all(self) -> list[RecentFailure]:
        """In no order."""
        return [msgspec.convert(each, RecentFailure, from_attributes=True) for each in self._latest.values()]


def latest(processes: Iterable[Iterable[RecentFailure]]) -> list[RecentFailure]:
    """The latest of each reason that any process has met, the latest first."""
    found: dict[str, RecentFailure] = {}
    for failures in processes:
        for each in failures:
            if each.reason not in found or found[each.reason].time < each.time:
                found[each.reason] = each
    return sorted(found.values(), key=lambda each: -each.time)

"""How the streams of one HTTP/2 connection are shared among the sandboxes that it asks.

Who asks one alone has all that were promised. Where several are asked, each has half of them, and what is beyond is
refused, so that whoever sends it again finds room (RFC 9113 section 8.7). Not everybody does: browsers give up after a
few times, gRPC after one, and a proxy's connection carries the requests of many. So those are not refused; but where a
browser's have all been taken for a while, and a page of another sandbox could not even ask, what lasts is cut down to a
half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING

from gateway.counting import counted
from gateway.errors import GatewayError, Reason

if TYPE_CHECKING:
    from gateway.edge.served_stream import ServedStream
    from gateway.hostname import Target
    from gateway.http.message import RequestHead

CROWDED, CROWDED_ALONE = 5.0, 30.0
"""Seconds for which all streams of a connection may be taken before the largest share of them is looked at; longer
where it has asked for one sandbox only, whose app may be slow to start. Ours: longer than most pages load."""


class StreamShares:
    """One per connection, which may have `limit` streams."""

    __slots__ = ("_beyond", "_is_shared", "_last", "_route", "_sandbox_id", "authority", "due", "limit", "share")

    def __init__(self, limit: int, route: Callable[[bytes], Target]) -> None:
        """`route` as `Edge.route`."""
        self.limit = limit
        self.share = max(limit // 2, 1)  # streams of one sandbox
        self.due = inf  # loop time: `make_room`
        self.authority = b""  # of the last request
        self._route = route
        self._sandbox_id = ""  # … whose it is
        self._is_shared = False  # requests for several sandboxes have come
        self._beyond = ""  # the sandbox that has its share, as counted since a stream last ended
        self._last = 0  # the last stream when all were taken

    def meet(self, authority: bytes) -> None:
        """A name is asked for that is not the last one."""
        try:
            sandbox_id = self._route(authority).sandbox_id
        except GatewayError:
            return
        self._is_shared = self._is_shared or self._sandbox_id not in ("", sandbox_id)
        self._sandbox_id, self.authority = sandbox_id, authority

    def are_taken_by(self, head: RequestHead, streams: Sequence[ServedStream]) -> bool:
        """Whether the sandbox that `head` asks has its share of `streams`, and its request is to be refused."""
        section = head.section
        if not self._is_shared or section.grpc or section.get(b"sec-fetch-site") is not None:
            return False
        try:
            sandbox_id = self._route(head.authority).sandbox_id
        except GatewayError:
            return False  # it will be answered at once
        if sandbox_id != self._beyond:  # else none has ended since it was counted, however often it is asked
            count = sum([each.sandbox_id == sandbox_id for each in streams])
            self._beyond = sandbox_id if count >= self.share else ""
        return sandbox_id == self._beyond

    def changed(self) -> None:
        """A stream may have ended."""
        self._beyond = ""

    def all_taken(self, last: int, now: float) -> None:
        """All streams are, `last` being the last of them; at `due` it is looked who has them."""
        if self.due == inf:
            self._last = last
            self.due = now + (CROWDED if self._is_shared else CROWDED_ALONE)

    def make_room(self, streams: Sequence[ServedStream]) -> None:
        """If still all are taken, a browser's sandboxes give back what they have beyond their share, youngest first."""
        self.due = inf
        if len(streams) < self.limit - 1:  # one may be just between two requests
            return
        theirs: dict[str, list[ServedStream]] = {}
        for stream in streams:
            if stream.is_browsers:
                theirs.setdefault(stream.sandbox_id, []).append(stream)
        for each in theirs.values():
            for stream in each[self.share :][::-1]:
                if stream.sink is not None and stream.id <= self._last:
                    detail = f"more than {counted(self.share, 'stream')} of a browser's one connection"
                    stream.sink.fail(GatewayError(Reason.CONNECTION_LIMIT_REACHED, detail))

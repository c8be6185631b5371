"""Sends a request again, as it was or edited: to the app it was for, and to nobody else.

It goes the road that every request goes, from the same check of its head on; only that what stands downstream is no
connection. Its answer is looked at like any other, and goes nowhere: a redirect is an answer, and nobody follows it.
The target is the first request's, whatever is edited.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.addresses import LOOPBACK
from gateway.edge.forwarded import Peer
from gateway.http.head_parser import parse_request_head
from gateway.http.message import NO_BODY
from gateway.inspector.captured import BODY_OCTETS
from gateway.inspector.replay_stream import ReplayStream
from gateway.inspector.views import why_not_replayable

if TYPE_CHECKING:
    from gateway.edge.edge import Edge
    from gateway.http.message import Fields
    from gateway.inspector.captured import Captured
    from gateway.inspector.store import Store

AT_ONCE: Final = 16
"""Replays under way."""
_OURS: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"te", b"upgrade", b"keep-alive")
)
"""Fields that say how a message is delimited, or where it goes: they are made anew, as are HTTP/2's pseudo-fields."""
_FORBIDDEN: Final = (b"\r", b"\n", b"\x00")


class NotReplayable(Exception):
    """A sentence that says why."""


class Edited(msgspec.Struct, forbid_unknown_fields=True):
    """What is to be sent instead; what is not said stays as it was."""

    method: str | None = None
    target: str | None = None
    """Path and query."""
    fields: list[tuple[str, str]] | None = None
    body: str | None = None


class Replays:
    """One per gateway."""

    def __init__(self, edge: Edge, store: Store) -> None:
        self._edge = edge
        self._store = store
        self._under_way: set[ReplayStream] = set()
        self._peer = Peer(ip_address(LOOPBACK), b"https")

    def send(self, captured: Captured, edited: Edited) -> Captured:
        """The new exchange, begun. Raises NotReplayable, or GatewayError for what is no valid request."""
        edge = self._edge
        if edge.look_on is None:
            raise NotReplayable("nobody looks on")
        if len(self._under_way) >= AT_ONCE:
            raise NotReplayable(f"{AT_ONCE} replays are under way")
        head, body = _request(captured, edited)
        parsed = parse_request_head(head, edge.head_limits)
        replay = ReplayStream(self._peer, None if parsed.framing is NO_BODY else body, self._under_way.discard)
        sink = edge.look_on(edge, replay, parsed)
        again = self._store.get(self._store.last_number)
        assert again is not None  # the store has begun it just now
        again.more.replay_of = captured.number
        self._under_way.add(replay)
        replay.begin(sink, edge.loop)
        return again


def _request(captured: Captured, edited: Edited) -> tuple[bytes, bytes]:
    """The head as HTTP/1.1 writes it, and the body. Raises NotReplayable."""
    head = captured.head
    why_not = why_not_replayable(captured)
    if head is None or (why_not and (edited.body is None or head.upgrade is not None)):
        raise NotReplayable(f"it cannot be sent again: {why_not}")
    method = head.method if edited.method is None else edited.method.encode()
    target = head.target if edited.target is None else edited.target.encode()
    body = bytes(captured.request.octets) if edited.body is None else edited.body.encode()
    if len(body) > BODY_OCTETS:
        raise NotReplayable(f"the body has {len(body)} octets, and a replay at most {BODY_OCTETS}")
    if not target.startswith(b"/") and target != head.target:
        raise NotReplayable("the target is a path, and begins with /")
    if edited.fields is None:
        fields: Fields = head.fields
    else:
        fields = [(name.encode(), value.encode()) for name, value in edited.fields]
    kept = [(name, value) for name, value in fields if name.lower() not in _OURS and name[:1] != b":"]
    for part in (method, target, *(octets for pair in kept for octets in pair)):
        if any(each in part for each in _FORBIDDEN):
            raise NotReplayable("a line of the head holds a line end, or a NUL")
    lines = [b"%b %b HTTP/1.1" % (method, target), b"Host: " + head.authority]
    lines += [name + b": " + value for name, value in kept]
    if body or captured.request.size:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]), body

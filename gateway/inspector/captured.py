"""One exchange as the inspector has seen it: heads, the beginnings of both bodies, messages, and when what happened.

Values only: who fills them (`capture`), keeps them (`store`) and shows them (`views`) is elsewhere.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from gateway.observe.grpc_call import WEB

if TYPE_CHECKING:
    from gateway.edge.forwarded import Peer
    from gateway.http.message import Fields, RequestHead, ResponseHead
    from gateway.observe.access_log import AccessRecord
    from gateway.observe.grpc_call import GrpcOutcome

BODY_OCTETS: Final = 64 * 1024
"""What is kept of a body, each way."""
MESSAGES: Final = 500
"""The latest of one exchange that are kept …"""
MESSAGE_OCTETS: Final = 16 * 1024
"""… so many octets of each …"""
MESSAGES_OCTETS: Final = 128 * 1024
"""… and so many of all of them."""
OWN_COST: Final = 16 * 1024
"""Octets of memory that an exchange is counted with besides what it holds: its own, and those of as many messages as
it may have, small as they are (each 200)."""
INTERIM_HEADS: Final = 8
"""Interim answers that are kept; an app may send any number."""


class Body:
    """How long a body is, and how it begins."""

    __slots__ = ("left", "octets", "size")

    def __init__(self, left: int = BODY_OCTETS) -> None:
        self.octets: bytes | bytearray = b""
        self.size = 0
        """Octets that have passed."""
        self.left = left
        """Octets that may still be kept."""

    def take(self, data: bytes) -> int:
        """The octets of `data` that are kept."""
        self.size += len(data)
        left = self.left
        if left <= 0:
            return 0
        kept = data if len(data) <= left else data[:left]
        if not self.octets:
            self.octets = kept  # most bodies come in one piece
        elif isinstance(self.octets, bytearray):
            self.octets += kept
        else:
            self.octets = bytearray(self.octets) + kept
        self.left = left - len(kept)
        return len(kept)

    def forget(self) -> None:
        """Keeps nothing, and nothing more."""
        self.octets = b""
        self.left = 0

    @property
    def is_whole(self) -> bool:
        return self.size == len(self.octets)


NO_CONTENT: Final = Body(0)
"""In place of a body where there is none; nobody adds to it."""


class Kind(Enum):
    """What a message is."""

    TEXT = "text"
    BINARY = "binary"
    PING = "ping"
    PONG = "pong"
    CLOSE = "close"
    EVENT = "event"
    NOTE = "note"
    """The inspector's own word, e.g. that it cannot follow any more."""


@dataclass(slots=True)
class Message:
    """A WebSocket message (or a fragment or control frame of one), or an event of an event stream."""

    number: int
    at: float
    """Monotonic time."""
    from_app: bool
    kind: Kind
    size: int
    """Octets of its payload, as sent; of it, `octets` are kept, unpacked."""
    octets: bytes
    note: str = ""


class Extras:
    """What most exchanges do not have."""

    __slots__ = (
        "call",
        "hint",
        "interim",
        "messages",
        "messages_octets",
        "replay_of",
        "request_trailers",
        "response_trailers",
        "total_messages",
        "trouble",
    )

    def __init__(self) -> None:
        self.interim: list[ResponseHead] = []
        self.request_trailers: Fields = []
        self.response_trailers: Fields = []
        self.call: GrpcOutcome | None = None
        """How a call of gRPC has ended."""
        self.trouble = ""
        """Why the answer was broken off."""
        self.hint = ""
        """What its body betrays of an app behind a proxy; what a head betrays is in X-Gateway-Hint."""
        self.replay_of = 0
        """Number of the exchange that this one repeats."""
        self.messages: deque[Message] = deque()
        self.messages_octets = 0
        self.total_messages = 0
        """Those that are not kept any more included."""


NO_EXTRAS: Final = Extras()
"""Nobody adds to it."""


class Captured:
    """An exchange. `store` adds what it costs, and takes it back when it lets go of it. Moments are monotonic time."""

    __slots__ = (
        "_extras",
        "began",
        "cost",
        "ended",
        "first_byte",
        "head",
        "is_waiting",
        "number",
        "opened",
        "peer",
        "record",
        "request",
        "request_complete",
        "request_id",
        "response",
        "response_head",
        "version",
    )

    def __init__(self, number: int, head: RequestHead | None, peer: Peer | None, began: float) -> None:
        self.number = number
        self.head = head
        """None: it could not be read, or nobody was to be asked; `record` says more."""
        self.peer = peer
        self.began = began
        self.opened = 0.0
        """When the request began to go upstream, if that had to wait."""
        self.is_waiting = False
        """It has to, and has not yet."""
        self.first_byte = 0.0
        """When the head of the answer went downstream."""
        self.ended = 0.0
        self.request = NO_CONTENT
        self.request_complete = False
        self.response = NO_CONTENT
        self.response_head: ResponseHead | None = None
        self.request_id = b""
        self.record: AccessRecord | None = None
        """What the access log says of it, a moment after its end."""
        self.cost = 0
        """Octets of memory, about; 0: nobody has it any more."""
        self.version = 0
        """Grows with each change: see `Store.version`."""
        self._extras: Extras | None = None

    def __repr__(self) -> str:
        what = f"{self.head.method.decode()} {self.head.target[:40]!r}" if self.head is not None else "no head"
        return f"<Captured {self.number} {what} {'ended' if self.ended else 'live'}>"

    @property
    def is_live(self) -> bool:
        return not self.ended

    @property
    def is_call(self) -> bool:
        """Of gRPC, or of gRPC-Web."""
        return self.head is not None and (self.head.section.grpc or self.is_web_call)

    @property
    def is_web_call(self) -> bool:
        content_type = self.head.get(b"content-type") if self.head is not None else None
        return content_type is not None and content_type.lower().startswith(WEB)

    @property
    def extras(self) -> Extras:
        """To be looked at."""
        return self._extras or NO_EXTRAS

    @property
    def more(self) -> Extras:
        """To be added to."""
        if self._extras is None:
            self._extras = Extras()
        return self._extras

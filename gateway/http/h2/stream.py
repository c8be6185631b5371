"""A stream as the session sees it: its state, its windows, and what waits for them.

What becomes of its content is its owner's business: the edge's and the upstream's streams derive from `Stream` and are
told by its abstract methods. They are called from within `Session.receive`, `drained` from within `Session.pump`, and
may call the session in turn. While the session reads they may raise StreamFault: the stream is reset, and told unless
it was over already. Anything else they raise is a bug.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from gateway.http.h2.errors import ErrorCode, StreamFault
from gateway.http.h2.states import IDLE, State
from gateway.http.priority import DEFAULT_URGENCY

if TYPE_CHECKING:
    from collections import deque

    from gateway.http.h2.decoder import DecodedField
    from gateway.http.h2.flow import ReceiveWindow
    from gateway.http.h2.outbox import Outbox


JOINED: Final = 1024
"""Octets up to which a piece that is held is made longer: by itself, one of two octets costs 60."""


def hold(held: list[bytes], data: bytes) -> None:
    """Keeps content for later, and of tiny frames not each by itself."""
    if held and len(held[-1]) < JOINED:
        held[-1] += data
    else:
        held.append(data)


@mypyc_attr(allow_interpreted_subclasses=True)
class Stream:
    """One stream of a session; a subclass knows what it is for.

    Whoever makes one gives it to the session, by `Session.adopt` or `Session.open_stream`, and says `Session.forget`
    when its own work for it has ended: exactly once, however the stream ended. Until then it counts.
    """

    __slots__ = (
        "content_window",
        "ending",
        "expected",
        "fault",
        "head_received",
        "id",
        "lane",
        "last_header",
        "outbox",
        "released",
        "send_window",
        "state",
        "trailers",
        "unprocessed",
        "urgency",
        "waiting",
    )

    def __init__(self, stream_id: int = 0) -> None:
        self.id = stream_id  # 0: ours, and not opened yet
        self.state: State = IDLE
        self.urgency = DEFAULT_URGENCY  # RFC 9218: 0 to 7, lower first; the owner sets it, PRIORITY_UPDATE later
        self.expected = -1  # octets of content declared and still to come, -1: not declared; see `expect`
        self.head_received = False  # the peer's last HEADERS was no interim response
        self.fault: str | None = None  # what the peer did, for which the session has reset it
        self.unprocessed = False  # the peer has not touched it: what was asked may be asked again elsewhere
        self.content_window: ReceiveWindow | None = None  # from the first DATA on
        self.send_window = 0  # octets the peer's window allows; negative after SETTINGS have shrunk it
        self.waiting = 0  # octets of content that have not become frames yet
        self.outbox: Outbox | None = None  # … and they, since there was the first of them
        self.lane: deque[Stream] | None = None  # where it waits for its turn to send, if it may send
        self.ending = False  # END_STREAM is sent, or follows what waits
        self.trailers = b""  # … on a field block instead of DATA
        self.last_header: bytes | None = None  # of the frame written last, to add END_STREAM to while it is in `out`
        self.released = False  # its owner has no more work with it

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.state!r} waiting={self.waiting} window={self.send_window}>"

    def expect(self, octets: int, ended: bool) -> None:
        """Of `octets` of content that the head declares; `ended`: none follows.

        Raises StreamFault(PROTOCOL_ERROR) if that is a contradiction (section 8.1.1).
        """
        if ended and octets > 0:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, f"content-length is {octets}, content is 0 octets")
        self.expected = octets

    @abstractmethod
    def headers_received(self, fields: list[DecodedField], ended: bool) -> None:
        """Client: a response's head, interim ones too. `ended`: nothing follows, `end_received` neither."""

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """Content, without padding. Say `Session.consumed` when it has been passed on."""

    @abstractmethod
    def end_received(self, trailer_fields: list[DecodedField]) -> None:
        """The peer is done, and has sent as much as it has declared."""

    @abstractmethod
    def reset_received(self, code: int) -> None:
        """The peer has reset it (`code` may be any number), or we for its fault (`fault`), or it was `unprocessed`.

        Nothing more comes, and nothing can be sent.
        """

    def is_young(self) -> bool:
        """Whether it was opened less than `abuse.YOUNG` ago; who does not know says yes."""
        return True

    @abstractmethod
    def drained(self) -> None:
        """`waiting` has become 0; also if nothing is to follow."""

    @abstractmethod
    def passable(self) -> int:
        """For the connection: how many more octets of content can be passed on at once, without being held here."""

    @abstractmethod
    def flush_received(self) -> None:
        """For the connection: what one read has brought was passed on, so it leaves, and its sender may go on."""

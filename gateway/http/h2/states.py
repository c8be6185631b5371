"""The states of a stream, as one table (RFC 9113 section 5.1).

    idle --HEADERS--> open --END_STREAM received--> half-closed (remote) --END_STREAM sent--.
                        |                                                                   |--> closed
                        '---END_STREAM sent------> half-closed (local) --END_STREAM received'

RST_STREAM, in either direction, leads to "closed" from everywhere. The two "reserved" states belong to server push,
which we neither do nor allow. "Closed" is three states here, because it matters how a stream came to be closed: whom we
have reset may not know it yet, and what it still sends is not its fault; and what was skipped was never a stream.

`received` judges the frames that come for a stream. Those that may come are not looked up at all (`State.receives`):
they are the hot path.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from gateway.http.h2.frames import DATA, HEADERS, RST_STREAM, WINDOW_UPDATE


class State:
    """What either side may do in it, and where that leads."""

    __slots__ = ("after_end_received", "after_end_sent", "name", "over", "receives", "sends")

    after_end_received: State
    after_end_sent: State

    def __init__(self, name: str, *, receives: bool = False, sends: bool = False, over: bool = False) -> None:
        self.name = name
        self.receives = receives  # the peer may send HEADERS and DATA
        self.sends = sends  # we may
        self.over = over  # nobody may, ever again
        self.after_end_received = self.after_end_sent = self

    def __repr__(self) -> str:
        return self.name


IDLE: Final = State("IDLE")
OPEN: Final = State("OPEN", receives=True, sends=True)
HALF_CLOSED_LOCAL: Final = State("HALF_CLOSED_LOCAL", receives=True)
HALF_CLOSED_REMOTE: Final = State("HALF_CLOSED_REMOTE", sends=True)
CLOSED: Final = State("CLOSED", over=True)
"""Both sides have ended it, or the peer has reset it."""
RESET: Final = State("RESET", over=True)
"""We have reset it, not long ago."""
SKIPPED: Final = State("SKIPPED", over=True)
"""Never opened, and too late for it: one with a higher number was (section 5.1.1)."""

OPEN.after_end_received = HALF_CLOSED_REMOTE
OPEN.after_end_sent = HALF_CLOSED_LOCAL
HALF_CLOSED_LOCAL.after_end_received = CLOSED
HALF_CLOSED_REMOTE.after_end_sent = CLOSED


class Verdict(Enum):
    """What becomes of a frame that came for a stream."""

    TAKEN = auto()
    IGNORED = auto()
    STREAM_CLOSED = auto()
    """A stream error of this type (section 5.4.2)."""
    ALL_CLOSED = auto()
    """A connection error of type STREAM_CLOSED (section 5.4.1)."""
    ALL_FAIL = auto()
    """A connection error of type PROTOCOL_ERROR."""


_TAKEN: Final = Verdict.TAKEN
_IGNORED: Final = Verdict.IGNORED
_STREAM: Final = Verdict.STREAM_CLOSED
_CLOSED: Final = Verdict.ALL_CLOSED
_FAIL: Final = Verdict.ALL_FAIL

# HEADERS for what is closed is the connection's end, by section 5.1 or, if it was skipped, by 5.1.1. DATA is not:
# section 6.1 has "MUST respond with a stream error of type STREAM_CLOSED" for every state in which it may not come,
# except idle. WINDOW_UPDATE and RST_STREAM may have crossed our END_STREAM on their way.
_COLUMNS: Final = {HEADERS: 0, DATA: 1, RST_STREAM: 2, WINDOW_UPDATE: 3}
_RECEIVED: Final = {
    # ------------------- HEADERS   DATA      RST_STREAM  WINDOW_UPDATE
    IDLE:               (_TAKEN,    _FAIL,    _FAIL,      _FAIL),
    OPEN:               (_TAKEN,    _TAKEN,   _TAKEN,     _TAKEN),
    HALF_CLOSED_LOCAL:  (_TAKEN,    _TAKEN,   _TAKEN,     _TAKEN),
    HALF_CLOSED_REMOTE: (_STREAM,   _STREAM,  _TAKEN,     _TAKEN),
    CLOSED:             (_CLOSED,   _STREAM,  _IGNORED,   _IGNORED),
    RESET:              (_IGNORED,  _IGNORED, _IGNORED,   _IGNORED),
    SKIPPED:            (_FAIL,     _STREAM,  _IGNORED,   _IGNORED),
}  # fmt: skip


def received(state: State, kind: int) -> Verdict:
    """What becomes of a frame of type `kind` for a stream in `state`."""
    return _RECEIVED[state][_COLUMNS[kind]]

"""The states of a stream, as one table (RFC 9113 section 5.1).

    idle --HEADERS--> open --END_STREAM received--> half-closed (remote) --END_STREAM sent--.
                        |                                                                   |--> closed
                        '---END_STREAM sent------> half-closed (local) --END_STREAM received'

RST_STREAM, in either direction, leads to "closed" from everywhere. The two "reserved" states belong to server push,
which we neither do nor allow. "Closed" is three states here, because it matters how a stream came to be closed: whom we
have reset may not know it yet, and what it still sends is not its fault.

A frame of any other kind, on a stream that is not open for it, is judged by `received`; frames that may come are not
looked up at all (`State.receives`), because they are the hot path.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from gateway.http.h2 import frames


class State:
    """One row: what either side may do in this state, and where that leads."""

    __slots__ = ("after_end_received", "after_end_sent", "name", "receives", "sends")

    after_end_received: State
    after_end_sent: State

    def __init__(self, name: str, *, receives: bool = False, sends: bool = False) -> None:
        self.name = name
        self.receives = receives  # the peer may send HEADERS and DATA
        self.sends = sends  # we may
        self.after_end_received = self.after_end_sent = self

    def __repr__(self) -> str:
        return self.name


IDLE: Final = State("IDLE")
OPEN: Final = State("OPEN", receives=True, sends=True)
HALF_CLOSED_LOCAL: Final = State("HALF_CLOSED_LOCAL", receives=True)
HALF_CLOSED_REMOTE: Final = State("HALF_CLOSED_REMOTE", sends=True)
CLOSED: Final = State("CLOSED")
"""Both sides have ended it, or the peer has reset it."""
RESET: Final = State("RESET")
"""We have, recently."""

OPEN.after_end_received, OPEN.after_end_sent = HALF_CLOSED_REMOTE, HALF_CLOSED_LOCAL
HALF_CLOSED_LOCAL.after_end_received = CLOSED
HALF_CLOSED_REMOTE.after_end_sent = CLOSED


class Verdict(Enum):
    """What becomes of a frame that came for a stream."""

    TAKEN = auto()
    IGNORED = auto()
    STREAM_CLOSED = auto()  # a stream error (section 5.4.2)
    CONNECTION_CLOSED = auto()  # a connection error of type STREAM_CLOSED
    CONNECTION_PROTOCOL = auto()  # a connection error of type PROTOCOL_ERROR


_TAKEN, _IGNORED, _STREAM, _CLOSED, _PROTOCOL = Verdict

_ALL_TAKEN = (_TAKEN, _TAKEN, _TAKEN, _TAKEN)
_RECEIVED = {
    # state              HEADERS    DATA       RST_STREAM WINDOW_UPDATE
    IDLE: (              _TAKEN,    _PROTOCOL, _PROTOCOL, _PROTOCOL),
    OPEN:                _ALL_TAKEN,
    HALF_CLOSED_LOCAL:   _ALL_TAKEN,
    HALF_CLOSED_REMOTE: (_STREAM,   _STREAM,   _TAKEN,    _TAKEN),
    CLOSED: (            _CLOSED,   _CLOSED,   _IGNORED,  _IGNORED),
    RESET: (             _IGNORED,  _IGNORED,  _IGNORED,  _IGNORED),
}  # fmt: skip
_COLUMNS = {frames.HEADERS: 0, frames.DATA: 1, frames.RST_STREAM: 2, frames.WINDOW_UPDATE: 3}


def received(state: State, kind: int) -> Verdict:
    """What becomes of a frame of type `kind` for a stream in `state`."""
    return _RECEIVED[state][_COLUMNS[kind]]

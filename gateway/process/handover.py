"""How listening sockets go from one supervisor to another, over a Unix socket of packets: one request, one reply.

    taker                                   offerer
    sockets, from number 0   ─────────────▶
                             ◀─────────────  offered: so many there are, and the first of them (SCM_RIGHTS)
    sockets, from number 64  ─────────────▶  … until all are there
    (binds what else it needs, starts its processes: both accept now)
    ready                    ─────────────▶
                             ◀─────────────  released: accepts no more, and drains
                                             or, at any time, withdrawn: goes on; the taker ends

The end of either process is the end of the connection, which the other one notices. A socket is known by what it is
bound to, which nobody can state wrongly. The offerer answers only, and never waits; the taker (takeover.py) waits for
each reply, at its start. A peer is a process of the same user, and may be stuck or of another version all the same.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from math import inf
from typing import Literal

import msgspec

VERSION = 1
PER_MESSAGE = 64
"""Sockets in a reply; the kernel allows 253."""
MAX_SOCKETS = 16_384
"""In all: 1,024 workers with as many addresses as anybody has."""
MAX_REQUESTS = MAX_SOCKETS // PER_MESSAGE + 2
"""Of one taker: all that it needs, and an end for one that asks without end."""
MAX_MESSAGE = 4096
TAKE_TIME = 10.0
"""Seconds from a taker's coming to its first question, and from its first to its last: it does nothing else then."""
READY_TIME = 60.0
"""Seconds it has to be ready: to open a large registry and start its processes."""


class State(StrEnum):
    """What an offerer says of itself."""

    RUNNING = "running"  # it serves, and is not about to end
    BUSY = "busy"  # another one takes over
    UNKNOWN_VERSION = "unknown version"  # it does not understand the request
    OFFERED = "offered"
    RELEASED = "released"
    WITHDRAWN = "withdrawn"  # it has waited too long, or was told to


class Request(msgspec.Struct):
    """Fields that this version does not know are skipped."""

    version: int
    want: Literal["sockets", "ready"]
    pid: int = 0
    start: int = 0
    """The first socket wanted, counted from 0."""


class Reply(msgspec.Struct):
    """Comes with up to `PER_MESSAGE` sockets, if `state` is OFFERED."""

    version: int
    state: State
    pid: int
    total: int = 0
    """How many sockets there are."""
    kept: bool = False
    """Whether the service manager holds them as well: they are not to be shut down, nor bound beside."""


class Stage(StrEnum):
    """How far an offer has come."""

    OPEN = "open"  # nothing asked yet
    REFUSED = "refused"
    OFFERED = "offered"  # the taker has some of the sockets, or all
    READY = "ready"  # the taker serves: to be released
    RELEASED = "released"
    FAILED = "failed"  # it has ended, broken the rules, or not come so far in time


_F_SETOWN_EX, _F_OWNER_TID = 15, 0
"""Of fcntl(2); Python has no names for them."""

Sockets = Callable[[], Sequence[socket.socket] | State]
"""What is to be had at this moment, or why nothing is."""


class Offer:
    """One connection, on the offerer's side. `poll` never waits; call it on SIGIO, and at `deadline`."""

    def __init__(
        self, connection: socket.socket, sockets: Sockets, *, kept: bool = False, patience: float = TAKE_TIME
    ) -> None:
        """`kept` as in `Reply`; `patience` is how long the taker may take until it asks."""
        self._connection = connection
        self._kept = kept
        self._available = sockets
        self._sockets: Sequence[socket.socket] = ()
        self._requests = 0
        self.stage = Stage.OPEN
        self.pid = 0  # as the taker says
        self.why = ""
        """Of a failure, for the log."""
        self.deadline = time.monotonic() + patience
        signal_when_readable(connection)

    def __repr__(self) -> str:
        return f"<Offer {self.stage} to {self.pid} sockets={len(self._sockets)}>"

    @property
    def under_way(self) -> bool:
        """Whether the taker holds sockets that are ours as well."""
        return self.stage in (Stage.OFFERED, Stage.READY)

    def poll(self) -> None:
        """Answers what has come; ends the connection if its time is over."""
        while self.stage in (Stage.OPEN, Stage.OFFERED):
            try:
                # Descriptors that come along are closed by the kernel: there is no room for them here.
                octets = self._connection.recv(MAX_MESSAGE)
            except BlockingIOError:
                break
            except OSError as error:
                self._fail(error.strerror or "it cannot be heard")
                return
            if not octets:
                self._fail("it has ended")
                return
            self._answer(octets)
        if time.monotonic() >= self.deadline and self.stage in (Stage.OPEN, Stage.OFFERED):
            self._fail(
                f"it was not ready within {READY_TIME:g} s" if self.stage is Stage.OFFERED else "it asked nothing"
            )

    def release(self) -> None:
        """Tells the taker that we accept no more; it goes on alone, even if it does not hear it."""
        self.stage, self.deadline = Stage.RELEASED, inf
        self._send(State.RELEASED)

    def withdraw(self, why: str) -> None:
        """The taker is to end, and leave the sockets as they are."""
        if self.stage in (Stage.OPEN, Stage.OFFERED, Stage.READY):
            self._send(State.WITHDRAWN)
            self._fail(why)

    def close(self) -> None:
        self._connection.close()
        self.deadline = inf

    def _answer(self, octets: bytes) -> None:
        self._requests += 1
        if self._requests > MAX_REQUESTS:
            self.withdraw("it asks without end")
            return
        try:
            request = msgspec.json.decode(octets, type=Request)
        except msgspec.MsgspecError as error:
            self._fail(f"it cannot be understood: {error}")
            return
        if request.version != VERSION:
            self._refuse(State.UNKNOWN_VERSION)
        elif request.want == "ready":
            if self.stage is Stage.OPEN:
                self._fail("it is ready without having asked for anything")
                return
            self.stage, self.deadline = Stage.READY, inf
        else:
            self._offer(request)

    def _offer(self, request: Request) -> None:
        if self.stage is Stage.OPEN:
            available = self._available()
            if isinstance(available, State):
                self._refuse(available)
                return
            self._sockets = available[:MAX_SOCKETS]
            self.stage, self.pid, self.deadline = Stage.OFFERED, request.pid, time.monotonic() + READY_TIME
        start = max(0, request.start)
        self._send(State.OFFERED, self._sockets[start : start + PER_MESSAGE])

    def _refuse(self, state: State) -> None:
        if self._send(state):
            self.stage = Stage.REFUSED
            self.close()

    def _send(self, state: State, sockets: Sequence[socket.socket] = ()) -> bool:
        reply = Reply(VERSION, state, os.getpid(), len(self._sockets), self._kept)
        try:
            # A reply is small, and the taker asks for one at a time: there is room, or it does not read.
            socket.send_fds(self._connection, [msgspec.json.encode(reply)], [each.fileno() for each in sockets])
        except OSError as error:
            if self.stage is not Stage.RELEASED:
                self._fail(f"nothing can be sent to it: {error.strerror or error}")
            return False
        return True

    def _fail(self, why: str) -> None:
        self.stage, self.why = Stage.FAILED, why
        self.close()


def signal_when_readable(sock: socket.socket) -> None:
    """Makes it non-blocking; SIGIO from now on, for this thread, when something comes. What came before is the caller's
    to look for.

    For this thread alone: one that does not block it would be the end of the process.
    """
    sock.setblocking(False)
    fcntl.fcntl(sock, _F_SETOWN_EX, struct.pack("ii", _F_OWNER_TID, threading.get_native_id()))
    fcntl.fcntl(sock, fcntl.F_SETFL, fcntl.fcntl(sock, fcntl.F_GETFL) | os.O_ASYNC)

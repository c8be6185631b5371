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
bound to, which nobody can state wrongly. The offerer answers only, and never waits; the taker waits at its start,
for `REPLY_TIME`. A peer is a process of the same user, and may be stuck or of another version all the same.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from math import inf
from typing import Literal

import msgspec

from gateway.process.systemd import listens
from gateway.socket_options import accept_new

VERSION = 1
PER_MESSAGE = 64
"""Sockets in a reply; the kernel allows 253."""
MAX_SOCKETS = 16_384
"""In all: 1,024 workers with as many addresses as anybody has."""
MAX_REQUESTS = MAX_SOCKETS // PER_MESSAGE + 2
"""Of one taker: all that it needs, and an end for one that asks without end."""
MAX_MESSAGE = 4096
REPLY_TIME = 5.0
"""Seconds a taker waits for a reply."""
TAKE_TIME = 10.0
"""Seconds a taker has until it has all sockets: it does nothing else meanwhile."""
READY_TIME = 60.0
"""Seconds it then has to be ready: to open a large registry and start its processes."""
SETTLE_TIME = 60.0
"""Seconds in which processes of one that has died may still make the sockets refuse connections."""


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


Sockets = Callable[[], Sequence[socket.socket] | State]
"""What is to be had at this moment, or why nothing is."""


class Offer:
    """One connection, on the offerer's side. `poll` never waits; call it on SIGIO, and at `deadline`."""

    def __init__(self, connection: socket.socket, sockets: Sockets, *, kept: bool = False) -> None:
        """`kept` as in `Reply`."""
        self._connection = connection
        self._kept = kept
        self._available = sockets
        self._sockets: Sequence[socket.socket] = ()
        self._requests = 0
        self.stage = Stage.OPEN
        self.pid = 0  # as the taker says
        self.why = ""
        """Of a failure, for the log."""
        self.deadline = time.monotonic() + TAKE_TIME
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


class Refusal(msgspec.Struct):
    """Who was asked gives nothing."""

    state: State
    pid: int


class Settling:
    """Has sockets accept again that orphans of the other gateway make refuse new connections, before they close them.

    They do as soon as they notice that it has died; on a machine that is short of everything that may take long.
    """

    def __init__(self) -> None:
        self._pause, self._due = inf, inf

    def begin(self) -> None:
        self._pause, self._due = 0.5, 0.0

    def timeout(self) -> float:
        """Seconds until `poll` is to be called."""
        return max(0.0, self._due - time.monotonic())

    def poll(self, sockets: Iterable[socket.socket]) -> None:
        """At growing intervals, for `SETTLE_TIME` in all."""
        now = time.monotonic()
        if now >= self._due:
            for sock in sockets:
                if sock.fileno() >= 0:
                    accept_new(sock)
            self._due = now + self._pause if self._pause < SETTLE_TIME else inf
            self._pause *= 2


class Takeover:
    """The taker's side, once it has the sockets."""

    def __init__(self, connection: socket.socket, sockets: list[socket.socket], reply: Reply) -> None:
        self._connection = connection
        self.sockets = sockets
        self.pid = reply.pid  # of the offerer
        self.kept = reply.kept
        self.alone = False
        """Whether the offerer accepts no more: until then the sockets are its own as well."""
        self.withdrawn = False
        """Whether the offerer goes on, so that this process has to end."""
        self._settling = Settling()
        self._said_ready = False
        connection.settimeout(0)
        signal_when_readable(connection)
        self._accept_again()  # the offerer may have been about to close them

    def __repr__(self) -> str:
        return f"<Takeover from {self.pid} sockets={len(self.sockets)}{' alone' * self.alone}>"

    def timeout(self) -> float:
        """Seconds until `poll` is to be called again, unless SIGIO comes."""
        return self._settling.timeout()

    def ready(self) -> None:
        """Everything serves here: the offerer may drain. Call again as long as `alone` is not set."""
        if self._said_ready or self.alone or self.withdrawn:
            return
        self._said_ready = True
        try:
            self._connection.send(msgspec.json.encode(Request(VERSION, "ready", os.getpid())))
        except OSError:
            self._left_alone()

    def close(self) -> None:
        """In a forked process: the connection is its parent's."""
        self._connection.close()

    def poll(self) -> None:
        """Hears what the offerer says, or that it has ended."""
        while self._connection.fileno() >= 0:
            try:
                octets = self._connection.recv(MAX_MESSAGE)
                state = msgspec.json.decode(octets, type=Reply).state if octets else None
            except BlockingIOError:
                break
            except (OSError, msgspec.MsgspecError):
                state = None
            if state is State.WITHDRAWN:
                self.withdrawn = True
            if state is not State.RELEASED:
                self._connection.close()
            if not self.withdrawn:
                self._left_alone()
        self._settling.poll(self.sockets)

    def _left_alone(self) -> None:
        if not self.alone:
            self.alone = True
            self._accept_again()

    def _accept_again(self) -> None:
        self._settling.begin()
        self._settling.poll(self.sockets)


def take(connection: socket.socket) -> Takeover | Refusal:
    """Asks for the sockets and takes those that listen; waits for each reply. Raises OSError: there is none."""
    connection.settimeout(REPLY_TIME)
    deadline = time.monotonic() + TAKE_TIME
    found: list[socket.socket] = []
    taken = 0
    try:
        while True:
            request = Request(VERSION, "sockets", os.getpid(), taken)
            connection.send(msgspec.json.encode(request))
            octets, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE, PER_MESSAGE)
            found += _listening(descriptors)
            if not octets:
                raise ConnectionResetError("it has ended")
            reply = msgspec.json.decode(octets, type=Reply)
            if reply.state is not State.OFFERED:
                connection.close()
                return Refusal(reply.state, reply.pid)
            taken += len(descriptors)
            if taken >= min(reply.total, MAX_SOCKETS):
                return Takeover(connection, found, reply)
            if not descriptors or time.monotonic() >= deadline:
                raise TimeoutError("it does not give what it has offered")
    except BaseException as error:
        connection.close()
        for sock in found:
            sock.close()
        if isinstance(error, msgspec.MsgspecError):
            raise OSError(f"it cannot be understood: {error}") from None
        raise


def _listening(descriptors: Sequence[int]) -> list[socket.socket]:
    """What of it listens; the rest is closed."""
    found = []
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            continue
        sock = socket.socket(fileno=descriptor)
        if listens(sock):
            found.append(sock)
        else:
            sock.close()
    return found


def signal_when_readable(sock: socket.socket) -> None:
    """Makes it non-blocking; SIGIO from now on when something comes. What came before is the caller's to look for."""
    sock.setblocking(False)
    fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sock, fcntl.F_SETFL, fcntl.fcntl(sock, fcntl.F_GETFL) | os.O_ASYNC)

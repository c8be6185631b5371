"""The one who takes listening sockets over from another supervisor: handover.py, seen from the other side.

Waits for each reply until it has them; after that nothing here waits any more.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterable, Sequence
from math import inf

import msgspec

from gateway.process.handover import (
    MAX_MESSAGE,
    MAX_SOCKETS,
    PER_MESSAGE,
    TAKE_TIME,
    VERSION,
    Reply,
    Request,
    State,
    signal_when_readable,
)
from gateway.process.systemd import listens
from gateway.socket_options import accept_new

REPLY_TIME = 5.0
"""Seconds a taker waits for a reply."""
SETTLE_TIME = 60.0
"""Seconds in which processes of one that has died may still make the sockets refuse connections."""


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

    def leave_sockets(self) -> None:
        """They refuse new connections from now on, because this gateway drains."""
        self._settling = Settling()

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

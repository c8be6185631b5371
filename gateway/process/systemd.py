"""What the supervisor and systemd, or whoever has its protocol, tell each other; libsystemd is not needed.

To it: READY, RELOADING, STOPPING, MAINPID, STATUS and WATCHDOG, as datagrams to $NOTIFY_SOCKET (sd_notify(3)). From it:
listening sockets it has opened or kept for us, from descriptor 3 on (sd_listen_fds(3)). Its variables are taken out of
the environment, for they are meant for this process alone. Nothing here waits: what cannot be told is dropped.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import time
from collections.abc import MutableMapping, Sequence
from math import inf

log = logging.getLogger("gateway.process")

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""
MAX_DESCRIPTORS = 4096
"""Handed over at most; more is a mistake in a variable."""
MAX_STATUS = 200
FDS_PER_MESSAGE = 253
"""SCM_MAX_FD, the kernel's limit."""
FD_NAME = "gateway"
"""FDNAME of what is stored. Sockets are told apart by what they are bound to, so one name is enough."""

_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


class ServiceManager:
    """Who has started us, if it wants to be told; otherwise every method does nothing."""

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables out of `environ`."""
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        usec, pid = _number(environ.pop("WATCHDOG_USEC", "")), environ.pop("WATCHDOG_PID", "")
        ours = usec > 0 and bool(self._address) and pid in ("", str(os.getpid()))
        self._interval = usec / 2_000_000 if ours else inf  # half of it, as sd_watchdog_enabled(3) advises
        self._due = 0.0 if ours else inf  # of the next WATCHDOG=1, in seconds of the monotonic clock
        self._store = _number(environ.pop("FDSTORE", ""))
        self._complained = False
        self.variables = {"NOTIFY_SOCKET": self._address.replace("\0", "@", 1)} if self._address else {}
        """What a new program that takes our place needs in its environment, beside WATCHDOG_PID."""
        if usec:
            self.variables["WATCHDOG_USEC"] = str(usec)
        if self._store:
            self.variables["FDSTORE"] = str(self._store)

    def __bool__(self) -> bool:
        return bool(self._address)

    # --- what it is told -----------------------------------------------------------------------------------------

    def ready(self, status: str) -> None:
        """At the start, and when a reload is over."""
        self._tell("READY=1", _status(status))

    def status(self, status: str) -> None:
        self._tell(_status(status))

    def reloading(self) -> None:
        """`ready` must follow, whether the reload succeeds or not."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        self._tell("STOPPING=1", _status(status))

    def main_pid(self, pid: int) -> None:
        """`pid` takes our place; what it says counts from now on, and what we say no more."""
        self._tell(f"MAINPID={pid}")
        self._due = inf

    # --- the watchdog --------------------------------------------------------------------------------------------

    def timeout(self) -> float:
        """Seconds until `alive` is to be called again."""
        return max(0.0, self._due - time.monotonic())

    def alive(self) -> None:
        """The caller's loop turns, and what it watches over works; otherwise it does not call."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + self._interval
            self._tell("WATCHDOG=1")

    # --- sockets -------------------------------------------------------------------------------------------------

    def keep(self, sockets: Sequence[socket.socket]) -> bool:
        """Has it keep these for the next start of the unit; whether it will: it has room (FileDescriptorStoreMax=).

        It drops by itself what is shut down, and knows a socket that it has already.
        """
        if not sockets or len(sockets) > self._store:
            return False
        return all(
            self._tell("FDSTORE=1", f"FDNAME={FD_NAME}", sockets=sockets[start : start + FDS_PER_MESSAGE])
            for start in range(0, len(sockets), FDS_PER_MESSAGE)
        )

    def forget(self) -> None:
        """Has it close what it keeps."""
        if self._store:
            self._tell("FDSTOREREMOVE=1", f"FDNAME={FD_NAME}")

    def _tell(self, *lines: str, sockets: Sequence[socket.socket] = ()) -> bool:
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.connect(self._address)
                socket.send_fds(channel, ["\n".join(lines).encode()], [each.fileno() for each in sockets])
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("the service manager cannot be told %s: %s", lines[0], error.strerror or error)
            return False
        self._complained = False
        return True


def inherited_sockets(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """The listening TCP sockets that were passed on to this process, in their order; all else is closed.

    Takes the variables out of `environ`.
    """
    pid, count, *_ = [environ.pop(name, "") for name in _LISTEN_VARIABLES]
    if pid != str(os.getpid()):
        return []
    found = []
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + min(_number(count), MAX_DESCRIPTORS)):
        try:
            is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
        except OSError:
            continue
        if not is_socket:
            log.warning("descriptor %d, which was passed on, is no socket: it is closed", descriptor)
            os.close(descriptor)
            continue
        sock = socket.socket(fileno=descriptor)
        sock.set_inheritable(False)
        if listens(sock):
            found.append(sock)
        else:
            log.warning("socket %d, which was passed on, does not listen on TCP: it is closed", descriptor)
            sock.close()
    return found


def listens(sock: socket.socket) -> bool:
    """Whether it is a TCP socket on which connections can be accepted."""
    return (
        sock.family in (socket.AF_INET, socket.AF_INET6)
        and sock.type == socket.SOCK_STREAM
        and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )


def _address(given: str) -> str:
    """As connect(2) wants it; empty: nobody is to be told."""
    if given.startswith("@"):
        return "\0" + given[1:]
    if given and not given.startswith("/"):
        log.warning("NOTIFY_SOCKET=%r is no address of a Unix socket: the service manager is told nothing", given)
        return ""
    return given


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:MAX_STATUS]}"

"""This machine's own sockets: which of them listen and who waits there, which are connected to somebody else's port,
and which process holds one.

From the kernel's socket diagnostics (sock_diag(7)), which walks the sockets that listen and no others: 0.1 ms. Where
there are none (gVisor, a kernel built without), from /proc/net/tcp, which walks a table as large as the machine's
memory allows: 10 ms with 24 GiB. Blocking; call it in a thread.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from gateway.printable import printable

NAMING_TIME = 0.2
"""Seconds of CPU spent on finding the process behind a socket: a machine may hold a million descriptors."""
NAMING_MOST = 2 * NAMING_TIME
NAMING_SHARE = 0.1
"""Seconds of CPU that all who search may spend at once, and the share of a core at which they get more: what they use
of the interpreter the event loop waits for."""
KERNEL_TIMEOUT = 0.2
"""Seconds to wait for the kernel's answer, which it gives at once."""

_PROC = Path("/proc")
_LISTEN = b" 0A "
"""The state column of a listening socket in /proc/net/tcp."""
_NODE_MAIN = ("MainThread", "node-MainThread")
"""What Node calls its main thread, and so its process, since it names its threads (nodejs/node 56416 and 61307)."""

# linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h; Python's socket module has none of these.
_SOCK_DIAG = 4
_BY_FAMILY, _ALL_OF_THEM = 20, 0x301
_ENDINGS = (2, 3)
"""NLMSG_ERROR and NLMSG_DONE; either may bring an error's number, made negative."""
_NUMBER = struct.Struct("=i")
_TCP, _IN_LISTEN, _IN_SYN_RECV, _ESTABLISHED = 6, 1 << 10, 1 << 3, 1 << 1
_MESSAGE = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port; its body follows, and the next one at a multiple of four."""
_REQUEST = struct.Struct("=BBBxI48x")
"""inet_diag_req_v2: family, protocol, extensions, states; no socket in particular."""
_SOCKET = struct.Struct("=Bxxx2s2s16s16s16xIIxxxxI")
"""inet_diag_msg: family; of the socket's id, both ports and the local address in network order; both queues; inode.
Of a socket that listens the queues are how many wait to be accepted, and how many may before others are turned away."""
_ATTRIBUTE = struct.Struct("=HH")
"""nlattr: length, type; its value follows, and the next one at a multiple of four."""
_FILTER, _INFO, _WITH_INFO = 1, 2, 1 << 1
"""INET_DIAG_REQ_BYTECODE of a request, INET_DIAG_INFO of an answer, and how the latter is asked for."""
_CONDITION = struct.Struct("=BBHBBxxi")
"""One instruction of the filter, inet_diag_bc_op and inet_diag_hostcond: code, where to go on if it holds and if not;
family, prefix length, port. An address follows."""
_TO_ADDRESS, _ANY_PORT = 8, -1
_TCP_INFO = struct.Struct("=44xI4xII60xQQ")
"""Of tcp_info: milliseconds since something was last sent, received and acknowledged; octets acknowledged, received."""
MOST_CONNECTIONS = 4096
"""Of one sandbox that are looked at; as many tell as much as all."""


class CpuBudget:
    """CPU time for searches, one at a time, whichever threads they run in. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left = NAMING_MOST
        self._counted = clock()

    @contextmanager
    def spend(self) -> Iterator[float]:
        """The seconds of this thread's own time that may be spent meanwhile; what was spent is counted."""
        with self._lock:
            now, began = self._clock(), time.thread_time()
            self._left = min(self._left + (now - self._counted) * NAMING_SHARE, NAMING_MOST)
            self._counted = now
            try:
                yield min(NAMING_TIME, self._left)
            finally:
                self._left -= time.thread_time() - began


_cpu_budget = CpuBudget()
"""Of this process."""


class Listening(NamedTuple):
    """A socket that listens."""

    address: IPv4Address | IPv6Address
    """An IPv4 address bound in a socket of both families is that IPv4 address: Java binds 127.0.0.1 this way."""
    port: int
    inode: int
    waiting: int = 0
    """Connections in its queue, which wait to be accepted."""
    room: int | None = None
    """The backlog in force; None: not told. Linux lets one more wait."""

    @property
    def is_full(self) -> bool:
        """Whether who connects now is left without an answer: an app that is stuck, or has too much to do."""
        return self.waiting > 0 if self.room is None else self.waiting > self.room


class Connection(NamedTuple):
    """A connection of this machine's to another, or to itself, as seen from the side that connected."""

    port: int
    """The other side's."""
    awaited: float
    """For how many seconds nothing has come although something was sent, or although nothing ever came; 0: answered."""
    acknowledged: float
    """Seconds since the other side's kernel last acknowledged something."""


def listening(ports: Collection[int]) -> list[Listening]:
    """What listens on one of `ports`, IPv4 first. Raises OSError where the machine does not tell (macOS)."""
    try:
        found = [*_ask_kernel(socket.AF_INET), *_ask_kernel(socket.AF_INET6)]
    except OSError:
        found = [*_read_table("tcp"), *_read_table("tcp6")]
    return [each for each in found if each.port in ports]


def connections(address: IPv4Address | IPv6Address) -> list[Connection]:
    """This machine's established connections to `address`. Raises OSError where the kernel does not tell.

    Walks all connections of the machine, and tells of those alone: 0.4 ms with 24 GiB and few of them.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    packed = address.packed
    length = _CONDITION.size + len(packed)
    condition = _CONDITION.pack(_TO_ADDRESS, length, length + 4, family, len(packed) * 8, _ANY_PORT) + packed
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + length, _FILTER) + condition
    with closing(_dump(family, _ESTABLISHED, _WITH_INFO, attribute)) as dump:
        told = map(_connection, islice(dump, MOST_CONNECTIONS))
        return [each for each in told if each is not None]


def shaking_hands(ports: Collection[int]) -> bool:
    """Whether somebody's TCP handshake with one of `ports` is under way. Raises OSError where the kernel does not tell.

    Walks all connections of the machine: 10 ms with 24 GiB.
    """
    families = (socket.AF_INET, socket.AF_INET6)
    return any(each.port in ports for family in families for each in _ask_kernel(family, _IN_SYN_RECV))


def holder(inode: int) -> int:
    """The process that has the socket open, or 0: another user's, in another namespace, or not found in time, or too
    many were searched for lately.

    Of this thread's own time: on a busy machine it stands still for long.
    """
    with _cpu_budget.spend() as seconds:
        return _search(f"socket:[{inode}]", time.thread_time() + seconds) if seconds > 0 else 0


def _search(link: str, deadline: float) -> int:
    try:
        pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    except OSError:  # not mounted
        return 0
    for pid in sorted(pids, reverse=True):  # the newest first: an app is younger than the system around it
        try:
            for descriptor in (_PROC / str(pid) / "fd").iterdir():
                if _target(descriptor) == link:
                    return pid
                if time.thread_time() > deadline:
                    return 0
        except OSError:  # not ours to see, or gone
            continue
    return 0


def program(pid: int) -> str:
    """The program of process `pid`, fit to be shown: its name is its own choice. Empty if it has gone."""
    process = _PROC / str(pid)
    try:
        name = (process / "comm").read_text(encoding="utf-8", errors="replace").rstrip("\n")
    except OSError:
        return ""
    if name in _NODE_MAIN:
        name = _target(process / "exe").rpartition("/")[2] or name
    return printable(name[:40])


def is_another_gateway(pid: int) -> bool:
    """Whether process `pid`, not this one, runs this very program: an older gateway, or one beside us. No app does."""
    if pid == os.getpid():
        return False
    ours = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]  # up to where the arguments begin
    try:
        theirs = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return theirs[: len(ours)] == [os.fsencode(word) for word in ours]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


# --- asked of the kernel --------------------------------------------------------------------------------------------


def _ask_kernel(family: int, states: int = _IN_LISTEN) -> Iterator[Listening]:
    """Sockets of `family` in one of the kernel's `states`. Raises OSError where there are no socket diagnostics."""
    return map(_listening, _dump(family, states))


def _dump(family: int, states: int, extensions: int = 0, attributes: bytes = b"") -> Generator[bytes]:
    """An inet_diag_msg for each. Raises OSError."""
    if sys.platform != "linux":
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))
    request = _REQUEST.pack(family, _TCP, extensions, states) + attributes
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.settimeout(KERNEL_TIMEOUT)
        kernel.send(_MESSAGE.pack(_MESSAGE.size + len(request), _BY_FAMILY, _ALL_OF_THEM, 1, 0) + request)
        while True:
            for kind, body in _messages(kernel.recv(65536)):
                if kind not in _ENDINGS:
                    yield body
                    continue
                (negative,) = _NUMBER.unpack_from(body)
                if negative:
                    raise OSError(-negative, os.strerror(-negative))
                return


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message."""
    start = 0
    while start < len(answer):
        length, kind, *_ = _MESSAGE.unpack_from(answer, start)
        yield kind, answer[start + _MESSAGE.size : start + length]
        start += (length + 3) & ~3


def _listening(message: bytes) -> Listening:
    family, port, _, packed, _, waiting, room, inode = _SOCKET.unpack_from(message)
    address = ip_address(packed[:4] if family == socket.AF_INET else packed)
    return Listening(_unmapped(address), int.from_bytes(port, "big"), inode, waiting, room)


def _connection(message: bytes) -> Connection | None:
    """None: a kernel that tells less of it (before 4.2)."""
    _, _, port, *_ = _SOCKET.unpack_from(message)
    start = _SOCKET.size
    while start + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, start)
        if kind == _INFO and length >= _ATTRIBUTE.size + _TCP_INFO.size:
            sent, received, acknowledged, _, octets = _TCP_INFO.unpack_from(message, start + _ATTRIBUTE.size)
            # Who has never heard anything has waited since it connected, and else since it last spoke.
            awaited = received if not octets else sent if sent < received else 0
            return Connection(int.from_bytes(port, "big"), awaited / 1000, acknowledged / 1000)
        start += max((length + 3) & ~3, _ATTRIBUTE.size)
    return None


# --- read from /proc ------------------------------------------------------------------------------------------------


def _read_table(name: str) -> Iterator[Listening]:
    # Line by line, so that this thread lets go of the interpreter in between: a table may have megabytes.
    with (_PROC / "net" / name).open("rb") as lines:
        for line in lines:
            if _LISTEN not in line:
                continue
            # sl, local, remote, state, queues, timer, retransmits, uid, timeout, inode, …
            columns = line.split()
            packed, _, port = columns[1].partition(b":")
            if columns[3] == b"0A":
                waiting = columns[4].partition(b":")[2]
                yield Listening(_address(packed), int(port, 16), int(columns[9]), int(waiting, 16))


def _address(text: bytes) -> IPv4Address | IPv6Address:
    """Eight digits per 32-bit word, each in the machine's own byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    return _unmapped(ip_address(struct.pack(f"={len(words)}I", *words)))


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or address

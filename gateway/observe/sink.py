"""A descriptor that somebody else reads: standard output, standard error, a log file. Writing to it never waits.

A pipe whose reader stands still, a terminal stopped with Ctrl-S: a process that waited for them would serve nobody.
O_NONBLOCK is no way out, because it is a flag of the *open file description*, which is shared with the shell that
started us and with whoever else writes there; so every kind of file has a writer of its own (`_writer_for`).

Only whole lines are handed over, at most `select.PIPE_BUF` octets of them at once: so much a pipe takes in one piece or
not at all (pipe(7)), and the lines of several processes never tear each other; where a part of a line may be taken,
the others wait for the rest (`_Locked`). What is not taken waits, within bounds, and goes on as soon as there is room
(`attach`); what has no room to wait is dropped and counted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

PIECE = select.PIPE_BUF
"""Octets handed over at once, at most: 4 KiB on Linux. A longer line is cut to fit."""
WAITING = 1024 * 1024
"""Octets that wait, at most: what a reader may fall behind in one burst without loss."""
LAST_WORDS = 1.0
"""Seconds that a process which ends gives its reader for what still waits."""
_KEPT_FREE = 64 * 1024
"""Octets of a disk that are left alone: a line begun and not finished for lack of room would tear the next one."""
_OTHERS_REST = 0.02
"""Seconds until it is asked again whether another process has ended its line."""
_CUT = "…\n".encode()
_UNREAD = "nobody reads it"
_NO_SPLICE = (errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""Of a system that has the call and not for such pipes, or forbids it."""


class LogSink:
    """Lines to one descriptor, which stays its owner's. Not for several threads at once.

    After a fork the child starts anew: what waited is the parent's to write.
    """

    def __init__(self, descriptor: int, limit: int = WAITING) -> None:
        self._descriptor = descriptor
        self._limit = max(limit, PIECE)
        self._waiting: deque[bytes] = deque()  # pieces, oldest first
        self._octets = 0  # of them
        self._watcher: _WritableWatcher | None = None  # while attached, where that can be
        self._attached: tuple[AbstractEventLoop, Callable[[], object]] | None = None
        self._begun = False  # the first piece that waits is the rest of a line
        self._pid = os.getpid()
        self._writer = _writer_for(descriptor)
        self.dropped = 0
        """Lines never handed over, ever."""
        self.trouble = ""
        """Why what waits is not taken; empty: nothing waits."""

    def __repr__(self) -> str:
        return f"<LogSink {self._descriptor} waiting={self._octets} dropped={self.dropped} {self.trouble}>"

    @property
    def is_full(self) -> bool:
        """Whether another piece might have no room to wait."""
        return self._octets + PIECE > self._limit

    def write(self, lines: bytes) -> None:
        """Hands over whole lines, each with its newline; what is not taken now waits, what finds no room is dropped."""
        if self._pid != os.getpid():
            self._begin_anew()
        for piece in _pieces(lines):
            self._waiting.append(piece)
            self._octets += len(piece)
        self.pump()
        while self._octets > self._limit:  # never the last one left, which may be the rest of a line begun
            self._forget_last()

    def pump(self) -> None:
        """Hands over what waits, as far as it is taken."""
        while self._waiting:
            pieces = list(islice(self._waiting, self._writer.at_once))
            try:
                taken = self._writer.write(pieces)
            except _Busy:
                self.trouble = _UNREAD
                if self._watcher is not None:
                    self._watcher.await_it(_OTHERS_REST)
                return
            except BlockingIOError:
                taken = 0
            except OSError as error:
                self.trouble = os.strerror(error.errno or errno.EIO)
                return
            self._advance(taken)
            if taken < sum(map(len, pieces)):
                self.trouble = _UNREAD
                if self._watcher is not None:
                    self._watcher.await_it()
                return
        self.trouble = ""

    def drop(self, count: int) -> None:
        """Counts lines that were not even made, because of `is_full`."""
        self.dropped += count

    def finish(self, patience: float = LAST_WORDS) -> None:
        """Gives the reader `patience` seconds for what waits; the rest is dropped. Nothing is written after this."""
        until = time.monotonic() + patience
        self.pump()
        while self.trouble == _UNREAD and (left := until - time.monotonic()) > 0:
            if _has_room(self._descriptor, left * 1000):
                time.sleep(min(left, 0.005))  # room perhaps, and not enough for the piece that is next
            self.pump()
        while self._waiting:
            self._forget_last()
        self._unwatch()
        self._writer.close()
        self._writer = _Closed(self._descriptor)

    def attach(self, loop: AbstractEventLoop, room: Callable[[], object]) -> None:
        """Has `room` called in `loop` when something waits and there is room; it is to call `pump`.

        Without (a regular file, which knows no waiting; a system without epoll) what waits goes with the next line.
        """
        if self._pid != os.getpid():
            self._begin_anew()
        self._attached = loop, room
        self._watch()
        self.pump()

    def redirect(self, descriptor: int, error: int = errno.EBADF) -> None:
        """What waits, and what comes, goes to `descriptor` from now on; -1: nowhere, because of `error`.

        A line that has begun ends where it is: nobody would find its rest.
        """
        if self._begun:
            self._octets -= len(self._waiting.popleft())
            self.dropped += 1
            self._begun = False
        self._unwatch()
        self._writer.close()
        self._descriptor = descriptor
        self._writer = _writer_for(descriptor) if descriptor >= 0 else _Closed(descriptor, error)
        self._watch()

    def reopen(self) -> None:
        """What has no name of its own is its owner's to open anew."""

    def _watch(self) -> None:
        if self._attached is not None and self._descriptor >= 0 and hasattr(select, "epoll"):
            with contextlib.suppress(PermissionError):  # what a file is that cannot be waited for
                self._watcher = _WritableWatcher(self._descriptor, *self._attached)

    def _unwatch(self) -> None:
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None

    # --- what waits ------------------------------------------------------------------------------------------------

    def _advance(self, taken: int) -> None:
        """Forgets the first `taken` octets. A line of which they were only a part becomes a piece of its own."""
        waiting = self._waiting
        self._octets -= taken
        if taken:
            self._begun = False
        while taken:
            first = waiting.popleft()
            if taken < len(first):
                end = first.find(b"\n", taken - 1) + 1
                if end < len(first):
                    waiting.appendleft(first[end:])
                if end > taken:
                    waiting.appendleft(first[taken:end])
                    self._begun = True
                return
            taken -= len(first)

    def _forget_last(self) -> None:
        last = self._waiting.pop()
        self._octets -= len(last)
        self.dropped += last.count(b"\n")

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._waiting.clear()
        self._octets = 0
        self._begun = False
        self._watcher = self._attached = None
        self._writer.close()
        self._writer = _writer_for(self._descriptor)


class _WritableWatcher:
    """Tells of room in a descriptor, once for each `await_it`.

    An epoll of our own inside the event loop's, because libuv sets O_NONBLOCK on what it watches itself.
    """

    def __init__(self, descriptor: int, loop: AbstractEventLoop, writable: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._loop = loop
        self._writable = writable
        self._epoll = select.epoll()
        try:
            self._epoll.register(descriptor, select.EPOLLONESHOT)  # asleep
        except BaseException:
            self._epoll.close()
            raise
        loop.add_reader(self._epoll.fileno(), self._wake)

    def await_it(self, pause: float = 0.0) -> None:
        """From any thread; first a pause of so many seconds, if something else than room is missing."""
        if pause and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(partial(self._loop.call_later, pause, self.await_it))
        elif not self._epoll.closed:
            self._epoll.modify(self._descriptor, select.EPOLLOUT | select.EPOLLONESHOT)

    def _wake(self) -> None:
        if self._epoll.poll(0):
            self._writable()

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()


# --- pieces ---------------------------------------------------------------------------------------------------------


def _pieces(lines: bytes) -> list[bytes]:
    """`lines` cut into pieces of whole lines; a line that is longer than a piece is cut to fit, and shows it."""
    pieces, start = [], 0
    while len(lines) - start > PIECE:
        end = lines.rfind(b"\n", start, start + PIECE) + 1
        if end > start:
            pieces.append(lines[start:end])
        else:
            end = lines.index(b"\n", start) + 1
            kept = lines[start : start + PIECE - len(_CUT)]
            pieces.append(kept.decode(errors="ignore").encode() + _CUT)
        start = end
    if start < len(lines):
        pieces.append(lines[start:])
    return pieces


# --- writers --------------------------------------------------------------------------------------------------------


class _Writer:
    """Writes to a kind of file without waiting: this one for files that never make anybody wait (/dev/null)."""

    at_once = 16
    """Pieces handed over by one call: what an ordinary pipe holds."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, pieces: Sequence[bytes]) -> int:
        """Hands over pieces, in order; returns how many octets were taken. Raises OSError; BlockingIOError: none."""
        return os.writev(self._descriptor, pieces)

    def close(self) -> None:
        """Closes what was opened for it. The descriptor itself is somebody else's."""


class _Polled(_Writer):
    """Asks first, then writes one piece. Somebody else may be faster and fill what room there was: the last resort."""

    def write(self, pieces: Sequence[bytes]) -> int:
        taken = 0
        for piece in pieces:
            if not _has_room(self._descriptor, 0):
                break
            taken += os.write(self._descriptor, piece)
        return taken


class _Pipe(_Writer):
    """Through a pipe of our own, from which the kernel moves pages into the other one, or refuses at once.

    splice(2) takes the wish not to wait as an argument, and needs no permission to open the pipe again, which a
    container that has changed its user may not have. 0.8 µs for 4 KiB, where a write that may wait costs 0.4.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._out, self._in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # empty between calls
        self._polled = _Polled(descriptor)

    def write(self, pieces: Sequence[bytes]) -> int:
        put = moved = 0
        try:
            for piece in pieces:  # in a page of its own or with others, never across two: a page moves whole
                put += os.write(self._in, piece)
        except BlockingIOError:
            if not put:
                raise
        try:
            moved = os.splice(self._out, self._descriptor, put, flags=os.SPLICE_F_NONBLOCK)
        except OSError as error:
            if error.errno in _NO_SPLICE:
                return self._polled.write(pieces)
            raise
        finally:
            if moved < put:
                os.read(self._out, put)  # they stay with the caller
        return moved

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)


class _Terminal(_Writer):
    """Opened again, it is a description of our own. Raises OSError: through `su` a terminal keeps its owner."""

    def __init__(self, descriptor: int) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        self.own = os.open(f"/proc/self/fd/{descriptor}", flags)
        super().__init__(self.own)

    def close(self) -> None:
        os.close(self.own)


class _Socket(_Writer):
    """systemd's journal is one. A piece at a time: a stream may take less than all of it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._socket = socket.socket(fileno=os.dup(descriptor))

    def write(self, pieces: Sequence[bytes]) -> int:
        taken = 0
        for piece in pieces:
            try:
                sent = self._socket.send(piece, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            taken += sent
            if sent < len(piece):
                break
        return taken

    def close(self) -> None:
        self._socket.close()


class _Busy(BlockingIOError):
    """Another process has begun a line and not ended it."""


class _Locked(_Writer):
    """Another writer that may take a line in part: then nobody else writes until the rest of it is taken, too.

    `lock` is flock(2) for a description of our own, or lockf(3) for one that all processes share. It ends with the
    process that has it.
    """

    def __init__(self, descriptor: int, writer: _Writer, lock: Callable[[int, int], object]) -> None:
        super().__init__(descriptor)
        self._writer = writer
        self._lock = lock
        self._begun = False  # a line, whose rest the caller will bring first; the lock is ours until then

    def write(self, pieces: Sequence[bytes]) -> int:
        if not self._begun:
            try:
                self._lock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # lockf(3) may say either
                raise _Busy from None
        try:
            taken = self._writer.write(pieces)
            if taken:
                self._begun = b"".join(pieces)[taken - 1 : taken] != b"\n"
        finally:
            if not self._begun:
                self._lock(self._descriptor, fcntl.LOCK_UN)
        return taken

    def close(self) -> None:
        self._writer.close()


class _File(_Writer):
    """A disk does not wait for a reader. What it does is be full."""

    at_once = 4
    """Five processes may look in the same moment and then write: there is room for all of it."""

    def write(self, pieces: Sequence[bytes]) -> int:
        disk = os.fstatvfs(self._descriptor)
        wanted = sum(map(len, pieces)) + _KEPT_FREE
        if disk.f_blocks and disk.f_bavail * disk.f_frsize < wanted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(pieces)


class _Closed(_Writer):
    """After the end, or before there is a file."""

    def __init__(self, descriptor: int, error: int = errno.EBADF) -> None:
        super().__init__(descriptor)
        self._error = error

    def write(self, pieces: Sequence[bytes]) -> int:
        raise OSError(self._error, os.strerror(self._error))


def _writer_for(descriptor: int) -> _Writer:
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return _Closed(descriptor)
    if stat.S_ISREG(mode):
        return _File(descriptor)
    if stat.S_ISSOCK(mode):
        return _locked(descriptor, _Socket(descriptor), fcntl.lockf)
    if stat.S_ISFIFO(mode):
        return _Pipe(descriptor) if hasattr(os, "splice") else _Polled(descriptor)
    if os.isatty(descriptor):
        try:
            terminal = _Terminal(descriptor)
            return _locked(terminal.own, terminal, fcntl.flock)
        except OSError:
            return _Polled(descriptor)
    return _Writer(descriptor)


def _locked(descriptor: int, writer: _Writer, lock: Callable[[int, int], object]) -> _Writer:
    """`writer` behind a lock that other processes respect, where the system has such locks for such files."""
    try:
        lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        lock(descriptor, fcntl.LOCK_UN)
    except (BlockingIOError, PermissionError):
        pass  # somebody has it just now
    except OSError:
        return writer
    return _Locked(descriptor, writer, lock)


def _has_room(descriptor: int, milliseconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(milliseconds))

"""Writing to what somebody else reads never waits, tears no line, and changes nothing that is shared."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from gateway.observe import sink as module
from gateway.observe.sink import PIECE, WAITING, LogSink
from tests.support.components import require
from tests.support.disk import on_small_disk

LINE = b"%06d " + b"x" * 292 + b"\n"
"""300 octets."""


class End:
    """What a sink writes to, and who reads it."""

    def __init__(self, writing: int, reading: int) -> None:
        self.writing, self.reading = writing, reading

    def read(self) -> bytes:
        """Everything that is there now."""
        octets = b""
        while select.select([self.reading], [], [], 0)[0] and (more := os.read(self.reading, 1 << 16)):
            octets += more
        return octets

    def close(self) -> None:
        for descriptor in {self.writing, self.reading}:
            if descriptor >= 0:
                os.close(descriptor)


def a_pipe() -> End:
    reading, writing = os.pipe()
    return End(writing, reading)


def a_terminal() -> End:
    master, slave = pty.openpty()
    tty.setraw(slave)
    return End(slave, master)


def a_socket() -> End:
    ours, theirs = socket.socketpair()
    return End(ours.detach(), theirs.detach())


def a_tcp_connection() -> End:
    """With buffers that take less than a line now and then."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        ours.connect(server.getsockname())
        return End(ours.detach(), server.accept()[0].detach())


@pytest.fixture(params=[a_pipe, a_terminal, a_socket])
def end(request: pytest.FixtureRequest) -> Iterator[End]:
    end: End = request.param()
    yield end
    end.close()


@pytest.fixture
def pipe() -> Iterator[End]:
    end = a_pipe()
    yield end
    end.close()


@pytest.fixture
def make() -> Iterator[Callable[..., LogSink]]:
    made: list[LogSink] = []

    def make(descriptor: int, **options: int) -> LogSink:
        made.append(LogSink(descriptor, **options))
        return made[-1]

    yield make
    for sink in made:
        sink.finish(0)


def lines(first: int, last: int) -> list[bytes]:
    return [LINE % number for number in range(first, last)]


def fill(sink: LogSink) -> int:
    """Writes lines that nobody reads until one is dropped; how many."""
    number = 0
    while not sink.dropped:
        sink.write(b"".join(lines(number, number + 10)))
        number += 10
    return number


# --- a reader that stands still -------------------------------------------------------------------------------------


def test_what_is_read_comes_at_once(end: End, make: Callable[..., LogSink]) -> None:
    sink = make(end.writing)
    sink.write(b"one\ntwo\n")
    sink.write(b"three\n")
    assert end.read() == b"one\ntwo\nthree\n"
    assert (sink.trouble, sink.dropped) == ("", 0)


def test_nobody_waits_for_a_reader_that_stands_still(end: End, make: Callable[..., LogSink]) -> None:
    sink = make(end.writing, limit=64 * 1024)
    written = fill(sink)
    assert sink.trouble == "nobody reads it"
    assert sink.is_full
    sink.write(b"".join(lines(written, written + 1000)))
    assert sink.dropped >= 1000


def test_what_waits_goes_on_in_order_once_it_is_read(end: End, make: Callable[..., LogSink]) -> None:
    sink = make(end.writing, limit=64 * 1024)
    written = fill(sink)
    octets = b""
    while sink.trouble:
        octets += end.read()
        sink.pump()
    octets += end.read()
    kept = octets.splitlines(keepends=True)
    assert kept == lines(0, len(kept)), "the oldest, whole, in order"
    assert len(kept) + sink.dropped == written
    sink.write(b"on\n")
    assert end.read() == b"on\n"


def test_a_burst_is_not_lost(end: End, make: Callable[..., LogSink]) -> None:
    """A reader that falls behind by as much as may wait loses nothing."""
    sink = make(end.writing)
    burst = lines(0, WAITING // 300 - PIECE // 300)
    octets = b""
    for start in range(0, len(burst), 400):
        sink.write(b"".join(burst[start : start + 400]))
    while sink.trouble:
        octets += end.read()
        sink.pump()
    assert octets + end.read() == b"".join(burst)
    assert sink.dropped == 0


def test_the_shared_description_stays_as_it_is(end: End, make: Callable[..., LogSink]) -> None:
    """Else the shell, or whoever started us, would get EAGAIN from its own writes."""
    before = fcntl.fcntl(end.writing, fcntl.F_GETFL)
    sink = make(end.writing, limit=PIECE)
    fill(sink)
    assert fcntl.fcntl(end.writing, fcntl.F_GETFL) == before
    assert not before & os.O_NONBLOCK


def test_a_terminal_that_may_not_be_opened_is_asked_first(
    make: Callable[..., LogSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = a_terminal()
    try:
        monkeypatch.setattr(module.os, "open", _refuse)
        sink = make(end.writing, limit=PIECE)
        monkeypatch.undo()
        termios.tcflow(end.writing, termios.TCOOFF)  # Ctrl-S
        fill(sink)
        assert sink.trouble == "nobody reads it"
    finally:
        end.close()


def _refuse(*_: object) -> int:
    raise PermissionError


def test_without_splice_a_pipe_is_asked_first(
    pipe: End, make: Callable[..., LogSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    def splice(*_: object, **__: object) -> int:
        raise OSError(module.errno.EINVAL, "no such pipes here")

    monkeypatch.setattr(module.os, "splice", splice)
    sink = make(pipe.writing, limit=PIECE)
    written = fill(sink)
    octets = pipe.read()
    sink.pump()
    kept = (octets + pipe.read()).splitlines(keepends=True)
    assert kept == lines(0, len(kept))
    assert len(kept) + sink.dropped == written


# --- being told of room ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_waits_goes_on_as_soon_as_there_is_room(
    end: End, make: Callable[..., LogSink], loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    sink = make(end.writing)
    flags = fcntl.fcntl(end.writing, fcntl.F_GETFL)
    wanted = b"".join(lines(0, 2000))
    turns = 0

    def room() -> None:
        nonlocal turns
        turns += 1
        sink.pump()

    async def read_all() -> bytes:
        sink.attach(asyncio.get_running_loop(), room)
        sink.write(wanted)
        assert sink.trouble
        octets = b""
        while len(octets) < len(wanted):
            octets += await asyncio.to_thread(os.read, end.reading, 1 << 16)
        sink.finish(0)
        return octets

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(asyncio.wait_for(read_all(), 30)) == wanted
    assert 0 < turns < 2000, "woken by room, not by a clock that never rests"
    assert fcntl.fcntl(end.writing, fcntl.F_GETFL) == flags


async def test_a_reader_that_is_gone_wakes_nobody_for_ever(pipe: End, make: Callable[..., LogSink]) -> None:
    sink = make(pipe.writing, limit=PIECE)
    wakes = 0

    def room() -> None:
        nonlocal wakes
        wakes += 1
        sink.pump()

    sink.attach(asyncio.get_running_loop(), room)
    fill(sink)
    os.close(pipe.reading)
    pipe.reading = -1
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert wakes == 1
    assert sink.trouble == "Broken pipe"
    sink.finish(0)


# --- whole lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("an_end", [a_pipe, a_terminal, a_socket, a_tcp_connection])
def test_the_lines_of_several_processes_never_tear_each_other(an_end: Callable[[], End]) -> None:
    """Many writers, one reader that takes little at a time: every octet belongs to a whole line."""
    end = an_end()
    writer = """
import sys
from gateway.observe.sink import LogSink
sink = LogSink(1)
name = sys.argv[1].encode()
for start in range(0, 2000, 50):
    sink.write(b"".join(b"%s %06d %s\\n" % (name, start + n, b"x" * (n * 37 % 600)) for n in range(50)))
sink.finish(60)
sys.stderr.write(str(sink.dropped))
"""
    children = [
        subprocess.Popen([sys.executable, "-c", writer, name], stdout=end.writing, stderr=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    os.close(end.writing)
    end.writing = -1
    octets = b""
    with suppress(OSError):  # a terminal's end
        while more := os.read(end.reading, 1000):
            octets += more
    end.close()
    assert [child.communicate()[1] for child in children] == ["0"] * 4
    for name in "abcd":
        own = [line for line in octets.splitlines() if line.startswith(name.encode())]
        assert own == [
            b"%s %06d %s" % (name.encode(), number, b"x" * (number % 50 * 37 % 600)) for number in range(2000)
        ]
    assert len(octets.splitlines()) == 8000


@pytest.mark.parametrize("an_end", [a_terminal, a_tcp_connection])
async def test_who_waits_for_anothers_rest_is_not_awake_all_the_time(
    an_end: Callable[[], End], make: Callable[..., LogSink]
) -> None:
    """The other process stands still in the middle of a line, although there is room for the rest."""
    end = an_end()
    wakes = 0

    def room() -> None:
        nonlocal wakes
        wakes += 1
        sink.pump()

    program = """
import sys
from gateway.observe.sink import LogSink
sink = LogSink(1)
while not sink.trouble:
    sink.write(b"x" * 2999 + b"\\n")
print(flush=True, file=sys.stderr)
input()
sink.finish(30)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=end.writing, stderr=subprocess.PIPE
    ) as other:
        assert other.stdin is not None and other.stderr is not None
        other.stderr.readline()
        octets = b""
        while not octets.rpartition(b"\n")[2]:
            octets += end.read()
        sink = make(end.writing)
        sink.attach(asyncio.get_running_loop(), room)
        sink.write(b"own\n")
        await asyncio.sleep(10 * module._OTHERS_REST)
        assert sink.trouble and wakes <= 11
        other.stdin.write(b"\n")
        other.stdin.close()
        while not octets.endswith(b"own\n"):
            octets += end.read()
            await asyncio.sleep(0.001)
        sink.finish(0)
    assert set(octets.splitlines()) == {b"x" * 2999, b"own"}
    end.close()


@pytest.mark.parametrize("length", [PIECE - 1, PIECE, PIECE + 1, 10 * PIECE])
def test_a_line_longer_than_a_piece_is_cut_to_fit(length: int, pipe: End, make: Callable[..., LogSink]) -> None:
    sink = make(pipe.writing)
    long = ("ä" * (length // 2) + "x" * (length % 2))[:length].encode()[: length - 1] + b"\n"
    sink.write(b"before\n" + long + b"after\n")
    before, line, after = pipe.read().splitlines(keepends=True)
    assert (before, after) == (b"before\n", b"after\n")
    assert len(line) <= PIECE
    if len(long) <= PIECE:
        assert line == long
    else:
        assert line.endswith("…\n".encode()) and line.decode()


@pytest.mark.parametrize("before", [b"", b"x", b"xx"])
def test_no_character_is_cut_in_two(before: bytes, pipe: End, make: Callable[..., LogSink]) -> None:
    make(pipe.writing).write(before + "€".encode() * PIECE + b"\n")
    line = pipe.read().decode()
    assert line.endswith("€…\n")
    assert "\ufffd" not in line


def test_what_was_begun_is_ended_before_anything_else(make: Callable[..., LogSink]) -> None:
    """A descriptor that takes a little at a time: the rest of a line is never dropped, and nothing comes between."""
    end = a_socket()
    try:
        sink = make(end.writing, limit=PIECE)
        small = Small(sink)
        sink.write(b"".join(lines(0, 13)))
        for number in range(13, 2000):
            sink.write(LINE % number)
        while sink.trouble:
            sink.pump()
        kept = small.taken.splitlines(keepends=True)
        assert sink.dropped and len(kept) + sink.dropped == 2000
        assert [len(line) for line in kept] == [300] * len(kept)
        assert [int(line[:6]) for line in kept] == sorted(int(line[:6]) for line in kept)
    finally:
        end.close()


class Small:
    """A way that takes seven octets at a time, every second time it is asked."""

    at_once = 16

    def __init__(self, sink: LogSink) -> None:
        self.taken = b""
        self._asked = 0
        sink._writer.close()
        sink._writer = cast("Any", self)

    def write(self, pieces: list[bytes]) -> int:
        self._asked += 1
        if self._asked % 2:
            raise BlockingIOError
        self.taken += pieces[0][:7]
        return len(pieces[0][:7])

    def close(self) -> None: ...


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_continued_where_it_is(tmp_path: Path, make: Callable[..., LogSink]) -> None:
    """Not opened again: that would begin at its start."""
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        file.write(b"before\n")
        make(file.fileno()).write(b"".join(lines(0, 1000)))
        file.write(b"after\n")
    assert path.read_bytes() == b"before\n" + b"".join(lines(0, 1000)) + b"after\n"


def test_a_full_disk_tears_no_line(tmp_path: Path) -> None:
    """Two processes' worth of sinks on one file: what does not fit is lost, and what comes after is whole."""
    require("small disk")
    program = """
import os, sys
from gateway.observe.sink import LogSink
descriptor = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
sinks = [LogSink(descriptor, limit=8192) for _ in range(2)]
number = 0
while not all(sink.dropped for sink in sinks):
    for sink in sinks:
        sink.write(b"".join(b"%06d " % n + b"x" * 292 + b"\\n" for n in range(number, number + 7)))
        number += 7
assert sinks[0].trouble == "No space left on device", sinks
os.truncate(descriptor, 0)  # as logrotate does
os.lseek(descriptor, 0, os.SEEK_SET)
for sink in sinks:
    sink.write(b"again\\n")
    assert sink.trouble == "", sinks
kept = os.pread(descriptor, 1 << 20, 0).splitlines(keepends=True)
assert kept.count(b"again\\n") == 2
assert {len(line) for line in kept} == {300, 6}, kept
"""
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    subprocess.run(on_small_disk(tmp_path, "256k", command), check=True, timeout=60)


@pytest.mark.parametrize(("left", "taken"), [(module._KEPT_FREE, False), (2 * module._KEPT_FREE, True)])
def test_the_last_of_a_disk_is_left_alone(
    left: int, taken: bool, tmp_path: Path, make: Callable[..., LogSink], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write there too: what looks like room for this line may not be when it is written, and half of it is."""
    with (tmp_path / "log").open("wb", buffering=0) as file:
        disk = list(os.statvfs(tmp_path))
        disk[1], disk[4] = 1, left  # f_frsize and f_bavail
        monkeypatch.setattr(os, "fstatvfs", lambda descriptor: os.statvfs_result(disk))
        sink = make(file.fileno(), limit=PIECE)
        sink.write(LINE % 1)
        assert sink.trouble == ("" if taken else "No space left on device")
    assert (tmp_path / "log").read_bytes() == (LINE % 1 if taken else b"")


def test_a_limit_of_the_files_size_is_a_full_disk(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the kernel takes a part; the rest follows when it may, and the file is whole."""
    program = """
import os, resource
from gateway.observe.sink import LogSink
sink = LogSink(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
line = b"%06d " + b"x" * 292 + b"\\n"
for number in range(10):
    sink.write(line % number)
assert sink.trouble == "File too large", sink.trouble
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.write(line % 10)
assert sink.trouble == "" and sink.dropped == 0
"""
    with (tmp_path / "log").open("wb") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
    assert (tmp_path / "log").read_bytes() == b"".join(lines(0, 11))


@pytest.mark.parametrize(("path", "trouble"), [("/dev/null", ""), ("/dev/full", "No space left on device")])
def test_devices(path: str, trouble: str, make: Callable[..., LogSink]) -> None:
    with Path(path).open("wb", buffering=0) as file:
        sink = make(file.fileno(), limit=PIECE)
        sink.write(b"line\n")
        assert sink.trouble == trouble


def test_a_closed_descriptor_is_trouble_and_no_exception(make: Callable[..., LogSink]) -> None:
    end = a_pipe()
    end.close()
    sink = make(end.writing, limit=PIECE)
    sink.write(b"line\n")
    assert sink.trouble == "Bad file descriptor"


def test_a_reader_that_is_gone_is_trouble_and_no_exception(end: End, make: Callable[..., LogSink]) -> None:
    sink = make(end.writing, limit=PIECE)
    os.close(end.reading)
    end.reading = end.writing
    written = fill(sink)
    assert sink.trouble
    sink.finish(0)
    assert sink.dropped == written


# --- forks and ends -------------------------------------------------------------------------------------------------


def test_a_child_does_not_write_what_waits_for_its_parent(pipe: End, make: Callable[..., LogSink]) -> None:
    sink = make(pipe.writing)
    written = 0
    while not sink.trouble:
        sink.write(b"".join(lines(written, written + 10)))
        written += 10
    pid = os.fork()
    if pid == 0:
        sink.write(b"child's\n")
        sink.finish(30)
        os._exit(sink.dropped)
    octets = b""
    while b"child's\n" not in octets:
        octets += os.read(pipe.reading, 1 << 16)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    while sink.trouble:
        sink.pump()
        octets += pipe.read()
    assert octets.count(b"child's\n") == 1
    assert octets.replace(b"child's\n", b"") == b"".join(lines(0, written))


def test_the_last_words_wait_for_a_reader_within_bounds(pipe: End, make: Callable[..., LogSink]) -> None:
    patient, hasty = make(pipe.writing), make(pipe.writing)
    patient.write(b"".join(lines(0, 1000)))
    hasty.write(b"unread\n")
    began = time.monotonic()
    hasty.finish(0.2)
    assert hasty.dropped == 1
    assert time.monotonic() - began < 10

    octets = b""

    def read() -> None:
        nonlocal octets
        while len(octets) < 300_000:
            octets += os.read(pipe.reading, 5000)

    reader = threading.Thread(target=read)
    reader.start()
    patient.finish(30)
    reader.join(30)
    assert octets == b"".join(lines(0, 1000))
    assert patient.dropped == 0


def test_after_the_end_lines_are_counted(pipe: End, make: Callable[..., LogSink]) -> None:
    sink = make(pipe.writing, limit=PIECE)
    sink.finish(0)
    sink.write(b"late\n")
    sink.finish(0)
    assert sink.dropped == 1
    assert pipe.read() == b""


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_is_left_open(pipe: End) -> None:
    before = _descriptors()
    for kind in (a_pipe, a_terminal, a_socket):
        end = kind()
        LogSink(end.writing).finish(0)
        end.close()
    assert _descriptors() == before

"""The file backend: what it reads, what it says about what it cannot read, and what survives a bad edit."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterable
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from gateway.directory import file as file_module
from gateway.directory.availability import Availability
from gateway.directory.file import FileDirectory, LastGood, read_table
from gateway.directory.sandbox import Sandbox
from gateway.errors import UserError
from gateway.tasks import Tasks
from tests.support.components import require
from tests.support.disk import on_small_disk
from tests.support.process import clean_environment

DEADLINE = 20.0
"""Seconds until a test that waits for something gives up."""

ONE = '[sandboxes.demo]\naddress = "fd00::5"\n'
TWO = '[sandboxes.demo]\naddress = "fd00::6"\n\n[sandboxes.other]\naddress = "fd00::7"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "sandboxes.toml"
    path.write_text(ONE)
    return path


# --- reading ------------------------------------------------------------------------------------------------------

GOOD = [
    # the file, the records: address, and generation where it is not the address
    ("", {}),
    ("[sandboxes]\n", {}),
    (ONE, {"demo": ("fd00::5", None)}),
    ('sandboxes.demo = { address = "FD00:0::5" }', {"demo": ("fd00::5", None)}),
    ('[sandboxes.a]\naddress = "::1"\ngeneration = "7"', {"a": ("::1", "7")}),
    ('[sandboxes.a]\naddress = "::1"\ngeneration = 7', {"a": ("::1", "7")}),
    ('[sandboxes.my-app-7]\naddress = "::"', {"my-app-7": ("::", None)}),
    ('[sandboxes."0"]\naddress = "::ffff:192.0.2.1"', {"0": ("::ffff:192.0.2.1", None)}),
    (f'[sandboxes.{"a" * 57}]\naddress = "::1"', {"a" * 57: ("::1", None)}),
]


@pytest.mark.parametrize(("text", "records"), GOOD)
async def test_a_table_is_read(path: Path, text: str, records: dict[str, tuple[str, str | None]]) -> None:
    path.write_text(text)
    table = read_table(path)
    directory = FileDirectory(path)
    assert table.keys() == records.keys()
    for name, (address, generation) in records.items():
        record = Sandbox(name, IPv6Address(address), generation or str(IPv6Address(address)))
        assert table[name] == record
        assert await directory.fetch(name) == record
    assert await directory.fetch("absent") is None


BROKEN = [
    # the file, what the sentence says after the file's name
    ("x", "not valid TOML"),
    ("[sandboxes.demo\n", "not valid TOML"),
    (ONE + ONE, "not valid TOML"),
    ("a = " + "[" * 5000, "not valid TOML"),
    ("a = " + "9" * 5000, "not valid TOML"),
    ("[sandbox.demo]\n", "sandbox: unknown key"),
    ("[sandboxes.demo]\naddress = 0x" + "9" * 5000, "number of thousands of digits"),
    (ONE + "generation = 0x" + "9" * 5000, "number of thousands of digits"),
    ("version = 1\n" + ONE, "version: unknown key"),
    ("sandboxes = 1", "sandboxes: expected a table"),
    ("[[sandboxes]]\n", "sandboxes: expected a table"),
    ("[sandboxes]\ndemo = 1", "sandboxes.demo: expected a table"),
    ('[sandboxes]\ndemo = "fd00::5"', "sandboxes.demo: expected a table"),
    ("[[sandboxes.demo]]\n", "sandboxes.demo: expected a table"),
    ('[sandboxes.Demo]\naddress = "::1"', "sandboxes.Demo: not a sandbox id"),
    ('[sandboxes.-demo]\naddress = "::1"', "sandboxes.-demo: not a sandbox id"),
    ('[sandboxes.demo-]\naddress = "::1"', "sandboxes.demo-: not a sandbox id"),
    ('[sandboxes."a.b"]\naddress = "::1"', "sandboxes.a.b: not a sandbox id"),
    ('[sandboxes.a_b]\naddress = "::1"', "sandboxes.a_b: not a sandbox id"),
    ('[sandboxes.""]\naddress = "::1"', "sandboxes.: not a sandbox id"),
    (f'[sandboxes.{"a" * 58}]\naddress = "::1"', "not a sandbox id"),
    ("[sandboxes.demo]\n", "sandboxes.demo.address: is required: the sandbox's IPv6 address"),
    ('[sandboxes.demo]\naddress = ""', "sandboxes.demo.address: expected an IPv6 address"),
    ('[sandboxes.demo]\naddress = "127.0.0.1"', "sandboxes.demo.address: expected an IPv6 address"),
    ('[sandboxes.demo]\naddress = "localhost"', "sandboxes.demo.address: expected an IPv6 address"),
    ('[sandboxes.demo]\naddress = "[::1]"', "sandboxes.demo.address: expected an IPv6 address"),
    ('[sandboxes.demo]\naddress = "::1/128"', "sandboxes.demo.address: expected an IPv6 address"),
    ('[sandboxes.demo]\naddress = "::1 "', "sandboxes.demo.address: expected an IPv6 address"),
    ('[sandboxes.demo]\naddress = "fe80::1%eth0"', "sandboxes.demo.address: expected an IPv6 address without zone"),
    ("[sandboxes.demo]\naddress = 1", "sandboxes.demo.address: expected an IPv6 address"),
    ("[sandboxes.demo]\naddress = true", "sandboxes.demo.address: expected an IPv6 address"),
    ("[sandboxes.demo]\naddress = 1.5", "sandboxes.demo.address: expected an IPv6 address"),
    ("[sandboxes.demo]\naddress = []", "sandboxes.demo.address: expected an IPv6 address"),
    ("[sandboxes.demo]\naddress = {}", "sandboxes.demo.address: expected an IPv6 address"),
    ("[sandboxes.demo]\naddress = 2020-01-01", "sandboxes.demo.address: expected an IPv6 address"),
    (ONE + "generation = true", "sandboxes.demo.generation: expected a string or a number"),
    (ONE + "generation = 1.5", "sandboxes.demo.generation: expected a string or a number"),
    (ONE + "generation = []", "sandboxes.demo.generation: expected a string or a number"),
    (ONE + "generation = 0x" + "9" * 5000, "sandboxes.demo.generation: expected a string or a number, got a number of"),
    (ONE + 'ipv4 = "::1"', "sandboxes.demo.ipv4: expected an IPv4 address"),
    (ONE + "ipv4 = 1", "sandboxes.demo.ipv4: expected an IPv4 address"),
    (ONE + "host = 1", "sandboxes.demo.host: expected a host such as"),
    (ONE + 'host = "a b"', "sandboxes.demo.host: expected"),
    (ONE + 'host = "{id}.example"', "sandboxes.demo.host: "),
    (ONE + 'protocol = "http3"', "sandboxes.demo.protocol: expected auto, http1 or h2c"),
    (ONE + 'protocol = { ports = { 70000 = "h2c" } }', "sandboxes.demo.protocol: expected ports from 1 to 65535"),
    (ONE + "port = 5000", "sandboxes.demo.port: unknown key"),
    (ONE + 'addres = "::1"', "sandboxes.demo.addres: unknown key"),
]


def test_a_record_may_say_how_its_machine_is_met_otherwise(path: Path) -> None:
    path.write_text(ONE + 'ipv4 = "10.0.0.5"\nhost = "localhost:{port}"\nprotocol = { ports = { 50051 = "h2c" } }\n')
    record = read_table(path)["demo"]
    assert (str(record.ipv4), record.host, record.protocol) == ("10.0.0.5", "localhost:{port}", "auto 50051=h2c")


@pytest.mark.parametrize(("text", "says"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_one_sentence_that_names_the_entry(path: Path, text: str, says: str) -> None:
    path.write_text(text)
    for read in (read_table, FileDirectory):
        with pytest.raises(UserError) as error:
            read(path)
        sentence = str(error.value)
        assert sentence.startswith(f"{path}: ")
        assert says in sentence
        assert "\n" not in sentence


def test_a_file_that_is_not_text_says_so(path: Path) -> None:
    path.write_bytes(b'[sandboxes.demo]\naddress = "\xff"\n')
    with pytest.raises(UserError, match="not valid TOML"):
        read_table(path)


def test_a_file_that_is_not_there_says_so(path: Path) -> None:
    path.unlink()
    for read in (read_table, FileDirectory):
        with pytest.raises(UserError) as error:
            read(path)
        assert str(error.value) == f"{path}: No such file or directory"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory"):
        read_table(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_has_no_end_is_no_file(path: Path, kind: str) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "socket":
                sock.bind(str(path))
            case "device":
                path.symlink_to("/dev/zero")
        with pytest.raises(UserError, match="is no file but a device, a pipe or a socket"):
            read_table(path)


# --- one process takes the place of another ---------------------------------------------------------------------------


@pytest.fixture
def last_good() -> LastGood:
    return LastGood()


@pytest.mark.parametrize("damage", ["x", "[sandboxes.demo]\n", None])
async def test_a_broken_file_is_no_end_of_who_comes_later(
    path: Path, last_good: LastGood, damage: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(ONE + 'generation = "7"\n')
    FileDirectory(path, last_good)
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)
    successor = FileDirectory(path, last_good)
    assert (record := await successor.fetch("demo")) is not None
    assert record.generation == "7"
    assert f"{path}: " in caplog.text and "keeping the 1 sandbox read before" in caplog.text


async def test_what_comes_later_begins_with_the_latest_table(path: Path, last_good: LastGood) -> None:
    """What was removed from it does not come back."""
    for text in ("# " + "x" * 5000 + "\n" + ONE, "[sandboxes]\n"):
        path.write_text(text)
        FileDirectory(path, last_good)
    path.write_text("x")
    assert FileDirectory(path, last_good).table == {}


def test_half_a_table_was_never_kept(path: Path, last_good: LastGood) -> None:
    path.write_text("x")
    last_good.keep(ONE)
    os.pwrite(last_good._descriptor, b"#", 40)
    with pytest.raises(UserError, match="not valid TOML"):
        FileDirectory(path, last_good)


# --- watching -----------------------------------------------------------------------------------------------------


class Watched:
    """A directory that is being watched, and what was heard of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = FileDirectory(path)
        self.changes: asyncio.Queue[set[str]] = asyncio.Queue()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def changed(self, names: Iterable[str]) -> None:
        self.changes.put_nowait(set(names))

    async def next_change(self) -> set[str]:
        return await asyncio.wait_for(self.changes.get(), DEADLINE)

    async def next_error(self) -> str:
        return await asyncio.wait_for(self.lines.get(), DEADLINE)

    def replace(self, text: str) -> None:
        """A whole new file in place of the old one, as careful editors do it."""
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)


@pytest.fixture
async def watched(path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(file_module, "POLL_INTERVAL", 0.005)
    watched = Watched(path)

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                watched.lines.put_nowait(record.getMessage())

    listener = Listener()
    tasks = Tasks()
    tasks.spawn(watched.directory.watch(watched.changed, Availability(watched.directory.where)), "watch")
    file_module.log.addHandler(listener)
    yield watched
    file_module.log.removeHandler(listener)
    assert len(tasks) == 1, "watching never ends by itself"
    await tasks.cancel()


async def test_a_changed_file_is_read_again(watched: Watched) -> None:
    watched.replace(TWO)
    assert await watched.next_change() == {"demo", "other"}
    record = await watched.directory.fetch("demo")
    assert record is not None
    assert record.address == IPv6Address("fd00::6")
    assert await watched.directory.fetch("other") is not None


async def test_a_file_written_over_is_read_again(watched: Watched) -> None:
    watched.path.write_text(TWO)
    assert await watched.next_change() == {"demo", "other"}


async def test_a_file_that_differs_in_nothing_but_what_it_is_is_read_again(watched: Watched) -> None:
    """Of the same size and time, as a restored one may be."""
    before = watched.path.stat()
    new = watched.path.with_suffix(".new")
    new.write_text(ONE.replace("fd00::5", "fd00::9"))
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(watched.path)
    assert await watched.next_change() == {"demo"}


async def test_a_file_that_differs_in_nothing_but_its_size_is_read_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written twice within one step of the file system's clock."""
    monkeypatch.setattr(file_module, "POLL_INTERVAL", 0.005)
    watched = Watched(path)
    before = path.stat()
    path.write_text(TWO)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    tasks = Tasks()
    tasks.spawn(watched.directory.watch(watched.changed, Availability(watched.directory.where)), "watch")
    assert await watched.next_change() == {"demo", "other"}
    await tasks.cancel()


CHANGES = [
    (TWO, {"demo", "other"}),
    ("", {"demo"}),
    (ONE + "generation = 2", {"demo"}),
    ("# a comment\n" + ONE, set()),
    (ONE + '[sandboxes.new]\naddress = "::1"', {"new"}),
]


@pytest.mark.parametrize(("text", "names"), CHANGES)
async def test_exactly_the_records_that_differ_are_reported(watched: Watched, text: str, names: set[str]) -> None:
    watched.replace(text)
    assert await watched.next_change() == names


@pytest.mark.parametrize(
    "text", ["x", "[sandboxes.demo]\n", '[sandboxes.demo]\naddress = "127.0.0.1"', "a = " + "[" * 5000]
)
async def test_a_broken_edit_keeps_the_last_good_table_and_says_so(watched: Watched, text: str) -> None:
    watched.replace(text)
    line = await watched.next_error()
    assert line.startswith(f"{watched.path}: ")
    assert line.endswith("keeping the 1 sandbox read before")
    assert await watched.directory.fetch("demo") is not None
    assert watched.changes.empty()
    watched.replace(TWO)
    assert await watched.next_change() == {"demo", "other"}
    assert watched.lines.empty(), "a broken file is one line, not one for each look"


async def test_a_deleted_file_keeps_the_last_good_table_and_says_so(watched: Watched) -> None:
    watched.path.unlink()
    assert "No such file" in await watched.next_error()
    assert await watched.directory.fetch("demo") is not None
    watched.replace(TWO)
    assert await watched.next_change() == {"demo", "other"}
    assert watched.lines.empty()


async def test_an_edit_between_the_first_read_and_the_first_look_is_not_missed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "POLL_INTERVAL", 0.005)
    watched = Watched(path)
    watched.replace(TWO)
    tasks = Tasks()
    tasks.spawn(watched.directory.watch(watched.changed, Availability(watched.directory.where)), "watch")
    assert await watched.next_change() == {"demo", "other"}
    await tasks.cancel()


async def test_a_file_that_is_still_being_written_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emptied, then written in pieces: each of these is a good table, and taken seriously it would be an outage."""
    monkeypatch.setattr(file_module, "POLL_INTERVAL", 0.0)
    watched = Watched(path)
    before = watched.directory._stamp
    assert before is not None
    number, _, time = before
    emptied, begun, finished = (number, 0, time + 1), (number, 60, time + 2), (number, 200, time + 3)
    looks = iter([before, before, emptied, begun, finished])
    read: list[object] = []
    now: object = before

    def stamp(_: Path) -> object:
        nonlocal now
        now = next(looks, finished)
        return now

    def table(_path: Path, _text: str) -> dict[str, Sandbox]:
        read.append(now)
        return {"other": Sandbox("other", IPv6Address("fd00::7"), "1")}

    monkeypatch.setattr(file_module, "_stamp", stamp)
    monkeypatch.setattr(file_module, "_table", table)
    tasks = Tasks()
    tasks.spawn(watched.directory.watch(watched.changed, Availability(watched.directory.where)), "watch")
    assert await watched.next_change() == {"demo", "other"}
    await tasks.cancel()
    assert read == [finished]


async def test_a_table_that_is_replaced_at_every_look_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform may write a whole new one for each of its sandboxes, many times a second and without end."""
    monkeypatch.setattr(file_module, "POLL_INTERVAL", 0.0)
    watched = Watched(path)
    stamp, kept = file_module._stamp, []  # open, so that each has an inode of its own

    def replaced(path: Path) -> object:
        watched.replace(TWO)
        kept.append(path.open())
        return stamp(path)

    monkeypatch.setattr(file_module, "_stamp", replaced)
    tasks = Tasks()
    tasks.spawn(watched.directory.watch(watched.changed, Availability(watched.directory.where)), "watch")
    try:
        async with asyncio.timeout(DEADLINE):
            while not (changes := watched.changes.qsize()) and len(kept) < 50:
                await asyncio.sleep(0.001)
        assert changes, "nothing was read"
    finally:
        await tasks.cancel()
        for file in kept:
            file.close()


async def test_a_file_is_read_once_however_often_it_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good or broken: a table may have a hundred thousand records."""
    monkeypatch.setattr(file_module, "POLL_INTERVAL", 0.0)
    looks = 0
    reads: list[int] = []
    stamp, read = file_module._stamp, file_module._text
    watched = Watched(path)

    def looking(path: Path) -> object:
        nonlocal looks
        looks += 1
        return stamp(path)

    def reading(path: Path) -> str:
        reads.append(looks)
        return read(path)

    monkeypatch.setattr(file_module, "_stamp", looking)
    monkeypatch.setattr(file_module, "_text", reading)
    tasks = Tasks()
    tasks.spawn(watched.directory.watch(watched.changed, Availability(watched.directory.where)), "watch")
    for text in (TWO, "x"):
        reads.clear()
        watched.replace(text)
        async with asyncio.timeout(DEADLINE):
            while not reads or looks < reads[0] + 10:
                await asyncio.sleep(0)
        assert len(reads) == 1
    await tasks.cancel()


# --- what befalls a real file ---------------------------------------------------------------------------------------


async def test_what_could_not_be_opened_is_read_when_it_can(watched: Watched) -> None:
    """Nothing in the file shows that a descriptor is to be had again."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    watched.replace(TWO)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        assert "Too many open files" in await watched.next_error()
        assert await watched.directory.fetch("demo") is not None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert await watched.next_change() == {"demo", "other"}
    assert watched.lines.empty(), "said once, however often it is tried"


async def test_who_is_killed_while_writing_takes_nothing_away(watched: Watched) -> None:
    text = "".join(f'[sandboxes.s{number}]\naddress = "fd00::{number:x}"\n' for number in range(1000))
    program = (
        "import sys, time; open(sys.argv[1], 'wb', 0).write(sys.argv[2].encode()); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, watched.path, text[:-9]], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline()
        writer.kill()
    assert writer.returncode == -signal.SIGKILL
    assert "not valid TOML" in await watched.next_error()
    assert await watched.directory.fetch("demo") is not None
    watched.path.write_text(text)
    assert await watched.next_change() == {"demo", *(f"s{number}" for number in range(1000))}


PREAMBLE = """
import asyncio, logging, os, subprocess, sys
from pathlib import Path
from gateway.directory import file
from gateway.directory.availability import Availability
from gateway.directory.file import FileDirectory
from gateway.tasks import Tasks

disk = Path(sys.argv[1])
path = disk / "sandboxes.toml"
file.POLL_INTERVAL = 0.01

def table(addresses):
    return "".join(f'[sandboxes.{name}]\\naddress = "{address}"\\n' for name, address in addresses.items())

async def main():
    path.write_text(table({"demo": "fd00::5"}))
    directory, changes, lines, tasks = FileDirectory(path), asyncio.Queue(), [], Tasks()
    file.log.addHandler(type("Lines", (logging.Handler,), {"emit": lambda _, line: lines.append(line.getMessage())})())
    observer = Availability(directory.where)
    tasks.spawn(directory.watch(lambda names: changes.put_nowait(set(names)), observer), "watch")

    async def told(what):
        async with asyncio.timeout(20):
            while not any(what in line for line in lines):
                await asyncio.sleep(0.01)
        assert sum(what in line for line in lines) == 1, lines

    async def changed(names):
        assert await asyncio.wait_for(changes.get(), 20) == names
"""


def on_disk(tmp_path: Path, program: str, *prefix: str) -> None:
    """Runs the rest of `main` where the table's folder is a small disk of its own."""
    require("small disk")
    body = textwrap.indent(program.strip(), "    ")
    source = f"{PREAMBLE}{body}\n    await tasks.cancel()\nasyncio.run(main())"
    command = on_small_disk(tmp_path, "256k", [*prefix, sys.executable, "-c", source, str(tmp_path)])
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_takes_nothing_away(tmp_path: Path) -> None:
    on_disk(
        tmp_path,
        """
def write(path, text):
    try:
        path.write_text(text)
    except OSError:
        return "full"

more = table({f"s{number}": f"fd00::{number:x}" for number in range(500)})
assert write(disk / "other", "x" * 1000000) == "full"
assert write(disk / "new", more) == "full"  # which is not put in place then
assert await directory.fetch("demo")
assert write(path, more) == "full"  # what is written over has lost its end
await told("not valid TOML")
assert await directory.fetch("demo") and not await directory.fetch("s0")
(disk / "other").unlink()
assert not write(path, more)
await changed({"demo", *(f"s{number}" for number in range(500))})
""",
    )


def test_a_read_only_file_system_is_read(tmp_path: Path) -> None:
    on_disk(
        tmp_path,
        """
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
assert await FileDirectory(path).fetch("demo")
assert await directory.fetch("demo")
subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
path.write_text(table({"other": "fd00::6"}))
await changed({"demo", "other"})
""",
    )


def test_a_file_that_this_user_may_not_read_is_read_when_it_may(tmp_path: Path) -> None:
    """Put in place with a narrow umask, then given the right mode: only its inode has changed."""
    on_disk(
        tmp_path,
        """
new = disk / "new"
new.write_text(table({"other": "fd00::6"}))
new.chmod(0)
new.replace(path)
await told("Permission denied")
assert await directory.fetch("demo")
path.chmod(0o644)
await changed({"demo", "other"})
""",
        *("setpriv", "--bounding-set", "-dac_override,-dac_read_search"),  # root may read everything
    )


def test_a_file_of_another_file_system_put_in_its_place_is_read(tmp_path: Path) -> None:
    """As a mounted ConfigMap does it: the name is a link to a folder that is another one at once."""
    on_disk(
        tmp_path,
        """
for number in (1, 2):
    (disk / str(number)).mkdir()
    (disk / str(number) / "table").write_text(table({f"s{number}": "fd00::6"}))
(disk / "now").symlink_to("1")
(disk / "link").symlink_to("now/table")
(disk / "link").replace(path)
await changed({"demo", "s1"})
(disk / "next").symlink_to("2")
(disk / "next").replace(disk / "now")
await changed({"s1", "s2"})
""",
    )

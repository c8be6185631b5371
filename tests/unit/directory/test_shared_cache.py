"""What all workers know: one table, several processes, and nothing believed that is not whole."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest

from gateway.directory import shared_cache as cache_module
from gateway.directory.sandbox import Sandbox
from gateway.directory.shared_cache import PAGES, WAYS, Lookup, SharedCache

TABLE = cache_module.PAGE


def sandbox(sandbox_id: str = "abc", generation: str = "1") -> Sandbox:
    return Sandbox(sandbox_id, IPv6Address("fd00::5"), generation)


@pytest.fixture
def known() -> SharedCache:
    return SharedCache.make("redis: test")


def in_a_child(job: Callable[[], None]) -> int:
    """Runs `job` in a forked process, which ends without this one's clean-up."""
    pid = os.fork()
    if pid == 0:
        try:
            job()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def ended_well(*pids: int) -> bool:
    return all(os.waitpid(pid, 0)[1] == 0 for pid in pids)


@pytest.mark.parametrize(
    "record",
    [
        sandbox(),
        Sandbox(
            "a" * 57,
            IPv6Address("fd00::ffff"),
            "vm-7f3a",
            IPv4Address("10.0.0.5"),
            "localhost:{port}",
            12.5,
            protocol="h2c",
        ),
        Sandbox("y", IPv6Address("fd00::1"), "7", lifetime=3.5),
        Sandbox("x", IPv6Address("fd00::1"), "Ω", None, "", 0.0),
    ],
)
def test_a_record_comes_back_as_it_was(known: SharedCache, record: Sandbox) -> None:
    known.note(record, 1000)
    found = known.find(record.id)
    assert found == Lookup(record, 1000)
    assert found.sandbox is not None and found.sandbox.ttl == record.ttl and not found.sandbox.stale
    assert found.sandbox.lifetime == record.lifetime
    assert known.find("other") is None


def test_what_another_process_notes_is_known_here(known: SharedCache) -> None:
    assert ended_well(in_a_child(lambda: known.note(sandbox(), 1000)))
    assert known.find("abc") == Lookup(sandbox(), 1000)
    assert ended_well(in_a_child(lambda: known.mark_gone("abc", 2000)))
    assert known.find("abc") == Lookup(None, 2000)


def test_what_is_gone_already_changes_nothing(known: SharedCache) -> None:
    """Whoever asks for it again and again would have the snapshot written again and again."""
    known.note(sandbox(), 10)
    known.mark_gone("abc", 20)
    counts = known.counts
    known.mark_gone("abc", 30)
    assert known.counts == counts
    known.note(sandbox(), 25)
    assert known.find("abc") == Lookup(None, 30)


def test_the_later_question_counts_in_whatever_order_answers_come(known: SharedCache) -> None:
    known.note(sandbox(generation="2"), 2000)
    known.note(sandbox(generation="1"), 1000)
    assert known.find("abc") == Lookup(sandbox(generation="2"), 2000)
    known.mark_gone("abc", 3000)
    known.note(sandbox(generation="2"), 2500)
    known.note(sandbox(generation="2"), 3000)
    assert known.find("abc") == Lookup(None, 3000)
    known.note(sandbox(generation="3"), 3001)
    assert known.find("abc") == Lookup(sandbox(generation="3"), 3001)


def test_a_record_too_large_is_not_shared_and_neither_is_the_one_before(known: SharedCache) -> None:
    known.note(sandbox(), 1000)
    known.note(sandbox(generation="g" * 300), 2000)
    assert known.find("abc") == Lookup(None, 2000)


def test_names_that_no_backend_knows_take_no_room(known: SharedCache) -> None:
    known.note(sandbox(), 1000)
    for number in range(20_000):
        known.mark_gone(f"unknown-{number}", 2000)
    assert known.find("abc") == Lookup(sandbox(), 1000)
    assert [found.sandbox and found.sandbox.id for found in known.records()] == ["abc"]
    assert os.fstat(known._descriptor).st_blocks * 512 <= 4 * cache_module.PAGE


def test_the_oldest_goes_when_a_page_is_full(known: SharedCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "PAGES", 1)
    order = list(range(WAYS + 1))
    random.Random(1).shuffle(order)
    for asked in order:
        known.note(sandbox(f"n{asked}"), 1000 + asked)
    found = {name for asked in order if known.find(name := f"n{asked}")}
    assert len(found) == WAYS
    last = order[-1]
    oldest = min(asked for asked in order if asked != last)
    assert found == {f"n{asked}" for asked in order} - {f"n{oldest}"}


def test_registries_never_meet(known: SharedCache) -> None:
    other = SharedCache(os.dup(known._descriptor), key=known._key, registry="redis: another")
    known.note(sandbox(), 1000)
    assert other.find("abc") is None
    other.note(sandbox(generation="other"), 2000)
    other.mark_gone("abc", 3000)
    assert known.find("abc") == Lookup(sandbox(), 1000)


def test_missed_changes_make_everything_before_unbelievable(known: SharedCache) -> None:
    known.note(sandbox(), known.now())
    known.forget()
    assert known.find("abc") is None
    assert list(known.records()) == []
    known.note(sandbox(), known.now())
    assert known.find("abc") is not None


def test_times_from_before_a_restart_of_the_machine_are_below_zero(known: SharedCache) -> None:
    known.note(sandbox(), -5_000_000_000)
    assert known.find("abc") == Lookup(sandbox(), -5_000_000_000)


def test_a_bookmark_is_kept_and_a_monstrous_one_is_not(known: SharedCache) -> None:
    assert known.bookmark == ""
    known.bookmark = "1795706674151980-0"
    assert known.bookmark == "1795706674151980-0"
    known.bookmark = "9" * 65
    assert known.bookmark == "1795706674151980-0"


# --- what is not whole --------------------------------------------------------------------------------------------


def test_every_single_octet_that_differs_makes_a_record_unbelievable(known: SharedCache) -> None:
    known.note(sandbox(), 1000)
    offset = cache_module._offset(known._hash("abc"))
    page = bytearray(known._page(offset))
    at = cache_module._position(bytes(page), known._hash("abc"))
    assert at is not None
    length = len(bytes(page[at : at + cache_module.SLOT]).rstrip(b"\0"))
    for position in range(at, at + length):
        for change in (0x01, 0x80):
            spoilt = bytearray(page)
            spoilt[position] ^= change
            os.pwrite(known._descriptor, spoilt, offset)
            found = known.find("abc")
            padding = position == at + cache_module._SLOT.size - 1
            assert found is None or padding, f"octet {position - at} of {length}"
            list(known.records())
    known.note(sandbox(generation="2"), 2000)
    assert known.find("abc") == Lookup(sandbox(generation="2"), 2000), "it is written over"


@pytest.mark.parametrize("junk", [b"\xff", b"\x00\x01", b"gateway", bytes(range(256))])
def test_a_table_full_of_junk_says_nothing_and_takes_records(known: SharedCache, junk: bytes) -> None:
    size = TABLE + PAGES * cache_module.PAGE
    os.pwrite(known._descriptor, (junk * (size // len(junk) + 1))[:size], 0)
    os.pwrite(known._descriptor, bytes(TABLE), 0)
    assert known.find("abc") is None
    known.note(sandbox(), 1000)
    assert known.find("abc") == Lookup(sandbox(), 1000)


def test_what_is_short_says_nothing(known: SharedCache) -> None:
    for size in (0, 10, TABLE, TABLE + 1000):
        os.truncate(known._descriptor, size)
        assert known.find("abc") is None
        assert list(known.records()) == []
        assert known.bookmark == ""


def test_what_cannot_be_shared_is_said_once_and_stops_nobody(
    known: SharedCache, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "pwrite", full)
    for number in range(10):
        known.note(sandbox(f"n{number}"), 1000)
    assert [record.getMessage() for record in caplog.records] == [
        "what is looked up is not shared between workers: No space left on device"
    ]


def test_writers_killed_in_the_middle_leave_nothing_half(known: SharedCache) -> None:
    """Four writers on few pages, killed again and again: every record that is found is one that was written."""
    names = [f"n{number}" for number in range(40)]

    def write() -> None:
        dice = random.Random(os.getpid())
        while True:
            name, generation = dice.choice(names), dice.randrange(1000)
            known.note(sandbox(name, f"{name}-{generation}-" + "x" * (generation % 80)), known.now())

    for _ in range(10):
        writers = [in_a_child(write) for _ in range(4)]
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            for name in names:
                found = known.find(name)
                if found is not None:
                    assert found.sandbox is not None
                    generation = found.sandbox.generation.split("-")
                    assert generation[0] == name
                    assert len(generation[2]) == int(generation[1]) % 80
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    asked = known.now()
    for name in names:
        known.note(sandbox(name), asked)
        assert known.find(name) == Lookup(sandbox(name), asked), "nobody's lock is left"


def test_nobody_waits_for_a_writer_that_was_stopped(known: SharedCache) -> None:
    known.note(sandbox(), 1000)
    ready, told = os.pipe()

    def hold() -> None:
        fcntl.lockf(known._descriptor, fcntl.LOCK_EX)  # every page
        os.write(told, b"x")
        signal.pause()

    holder = in_a_child(hold)
    try:
        os.read(ready, 1)
        os.kill(holder, signal.SIGSTOP)
        known.mark_gone("abc", 2000)
        assert known.find("abc") == Lookup(None, 2000)
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.close(ready)
        os.close(told)


def test_what_it_costs(known: SharedCache) -> None:
    """CPU time of one answer; measured 13 µs, and each sandbox is looked up once in `ttl`."""
    records = [sandbox(f"n{number}") for number in range(5000)]
    began = time.process_time()
    for record in records:
        known.note(record, known.now())
    assert (time.process_time() - began) / len(records) < 150e-6


def test_a_table_that_nobody_has_any_more_holds_no_memory() -> None:
    """A reload may make another one."""
    known = SharedCache.make("redis: one")
    descriptor = known._descriptor
    del known
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)

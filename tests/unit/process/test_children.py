"""Children as the supervisor keeps them, in a program of their own: real processes, and no gateway in them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile

PROGRAM = """
import ctypes, logging, os, signal, sys, time
from gateway.process import children
from gateway.process.children import Child, Children, Program
from gateway.process.heartbeat import CONTROL_SIGNALS, Stage

logging.basicConfig(format="%(message)s")
signal.pthread_sigmask(signal.SIG_BLOCK, CONTROL_SIGNALS)

def sleeps(heartbeat):
    while True:
        time.sleep(3600)

def beats(heartbeat):
    heartbeat.stage = Stage.SERVING
    while True:
        heartbeat.beat()
        time.sleep(0.02)

def computes(heartbeat):
    while True:
        pass

def in_c(heartbeat):
    heartbeat.stage = Stage.SERVING
    ctypes.PyDLL(None).sleep(3600)  # in C, and nobody else gets the interpreter

def poll(condition, timeout=30.0):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(min(0.02, children.timeout()))
        children.poll()

def keep(*runs, stuck=0.6):
    global children
    read, lifeline = os.pipe()
    table = [Child(run.__name__, Program(run, drain_timeout=1.0), frozenset()) for run in runs]
    children = Children(table, stuck, lifeline)
    children.poll()
    return table

def end():
    for each in table:
        for process in each.processes:
            os.kill(process.pid, signal.SIGKILL)
"""


def run(program: str) -> str:
    """What the program says on stderr; it must end by itself, and what it leaves behind is killed."""
    with tempfile.TemporaryFile("w+") as said:
        done = subprocess.Popen([sys.executable, "-c", PROGRAM + program], stderr=said, start_new_session=True)
        try:
            done.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(done.pid, signal.SIGKILL)
            done.wait()
        said.seek(0)
        text = said.read()
    assert done.returncode == 0, text
    return text


def test_one_that_is_stuck_in_c_shows_where_and_is_replaced() -> None:
    said = run("""
table = keep(in_c, beats)
stuck, sound = (each.process.pid for each in table)
poll(lambda: table[0].process and table[0].process.pid != stuck)
assert table[1].process.pid == sound
end()
""")
    assert "in_c (pid" in said
    assert "in in_c\n" in said, "the function in its stack"
    assert said.count("has not turned") == 1


def test_one_that_reads_a_large_registry_is_not() -> None:
    """No loop turns yet; working is a sign of life, for as long as it takes."""
    said = run("""
table = keep(computes, sleeps)
busy, idle = (each.process.pid for each in table)
for _ in range(3):
    # As long as it takes to notice one that does nothing.
    poll(lambda: table[1].process and table[1].process.pid != idle)
    idle = table[1].process.pid
assert table[0].process.pid == busy
end()
""")
    assert "computes (pid" not in said


def test_a_supervisor_that_was_asleep_judges_nobody() -> None:
    said = run("""
from gateway.process.heartbeat import CHECKS
table = keep(in_c)
process = table[0].process
poll(lambda: process.watchdog._still == CHECKS - 1)
assert not process.stuck
time.sleep(1)  # ten looks long: asleep
children.poll()
assert not process.stuck, "one more look, but not in time"
poll(lambda: process.stuck)
end()
""")
    assert said.count("has not turned") == 1


def test_zero_is_never() -> None:
    said = run("""
table = keep(sleeps, stuck=0.0)
pid = table[0].process.pid
for _ in range(1000):
    children.poll()
assert children.timeout() == 3600, "and nothing is due"
assert table[0].process.pid == pid
end()
""")
    assert said == ""


def test_one_that_not_even_a_kill_ends_is_not_waited_for() -> None:
    """Uninterruptible, in a dead disk: another takes its place, and the gateway's end does not hang."""
    said = run("""
kill = os.kill
def undying(pid, number):
    if pid != frozen or number == 0:
        kill(pid, number)
table = keep(sleeps, beats)
frozen = table[0].process.pid
children_os = sys.modules["gateway.process.children"].os
children_os.kill = undying
poll(lambda: table[0].process and table[0].process.pid != frozen)
assert children.lost == 1
children_os.kill = kill
kill(frozen, 0)
children_os.kill = kill
for each in table:
    children.stop(each, time.monotonic() + 0.1)
poll(lambda: not any(each.processes for each in table))
kill(frozen, signal.SIGKILL)
""")
    assert "does not even end when it is killed" in said


def test_short_lives_are_paused_between() -> None:
    said = run("""
def dies(heartbeat):
    return 3
table = keep(dies)
poll(lambda: table[0].failures >= 4)
""")
    assert [line for line in said.splitlines() if line.startswith("dies")] == [
        f"dies exited with status 3; starting it again in {pause} s" for pause in ("0.2", "0.4", "0.8", "1.6")
    ]


def test_a_long_life_is_followed_at_once() -> None:
    said = run("""
sys.modules["gateway.process.children"].SHORT_LIFETIME = 0.1
table = keep(beats)
for _ in range(3):
    pid = table[0].process.pid
    time.sleep(0.2)
    os.kill(pid, signal.SIGKILL)
    poll(lambda: table[0].process and table[0].process.pid != pid)
end()
""")
    assert said.splitlines() == ["beats was killed by SIGKILL; starting it again"] * 3


def test_a_signal_waits_until_the_child_can_handle_it() -> None:
    """A signal in the first moments of a process would end it, and what is queued with it."""
    run("""
import tempfile
proof = tempfile.NamedTemporaryFile()
def slow(heartbeat):
    from gateway.process.heartbeat import unblock_signals
    time.sleep(0.5)
    signal.signal(signal.SIGTERM, lambda *_: open(proof.name, "w").write("heard"))
    unblock_signals()
    return 0
table = keep(slow)
os.kill(table[0].process.pid, signal.SIGTERM)
poll(lambda: open(proof.name).read() == "heard")
end()
""")


def test_no_room_for_another_process_is_no_end() -> None:
    """A fork may fail for want of memory, or of numbers; the supervisor and the others go on."""
    said = run("""
import errno
table = keep(beats, beats)
fork, sound = os.fork, table[1].process.pid
def no_room():
    raise BlockingIOError(errno.EAGAIN, "no")
os.fork = no_room
os.kill(table[0].process.pid, signal.SIGKILL)
poll(lambda: table[0].failures > 2)
children.start_successor(table[1], Program(beats, 2))
assert table[1].successor is None and table[1].process.pid == sound
os.fork = fork
poll(lambda: table[0].process)
end()
""")
    assert "beats cannot be started: Resource temporarily unavailable; trying again in " in said


DRAINS = """
def drains(heartbeat):
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    heartbeat.stage = Stage.SERVING
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CONTROL_SIGNALS)
    while len(told) < 2:
        heartbeat.beat()
        time.sleep(0.02)
    return 7 if heartbeat.hurried else 8  # told twice without being hurried

def serves(heartbeat):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CONTROL_SIGNALS)
    beats(heartbeat)

def retired(drain_timeout):
    table = keep(drains, stuck=60)
    [child] = table
    child.process.program = Program(drains, 1, drain_timeout)
    poll(lambda: child.process.heartbeat.stage is Stage.SERVING)
    children.start_successor(child, Program(serves, 2, 0.1))
    poll(lambda: child.successor.heartbeat.stage is Stage.SERVING)
    children.install_successor(child)
    return table
"""


def test_a_predecessor_is_not_told_twice_when_the_gateway_ends() -> None:
    """It would cut off what it finishes."""
    run(
        DRAINS
        + """
table = retired(60.0)
[child], [predecessor] = table, table[0].retiring
children.stop(child, time.monotonic() + 60)
poll(lambda: child.process is None)
time.sleep(0.3)
children.poll()
assert child.retiring == [predecessor]
assert not predecessor.heartbeat.hurried
end()
"""
    )


def test_one_that_would_drain_for_longer_than_the_gateway_is_hurried() -> None:
    """The settings of its own generation said so; it closes what it has instead of being killed with it."""
    said = run(
        DRAINS
        + """
table = retired(3600.0)
[child] = table
children.stop(child, time.monotonic() + 0.5 + sys.modules[Children.__module__].KILL_GRACE)
poll(lambda: not child.retiring)
"""
    )
    assert "drains exited with status 7 while it finished" in said
    assert "killed" not in said


def test_a_successor_that_is_not_wanted_does_not_stay_for_long() -> None:
    """It has nothing to finish, and the next reload waits for what drains."""
    run("""
sys.modules[Children.__module__].KILL_GRACE = 0.2
table = keep(beats, stuck=60)
children.start_successor(table[0], Program(sleeps, 2, 3600.0))  # never handles a signal
children.retire_successor(table[0])
poll(lambda: not table[0].retiring)
end()
""")

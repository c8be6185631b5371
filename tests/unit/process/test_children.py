"""Children as the supervisor keeps them, in a program of their own: real processes, and no gateway in them."""

from __future__ import annotations

import subprocess
import sys

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
    """What the program says on stderr; it must end by itself."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


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

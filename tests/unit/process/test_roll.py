"""A roll of real processes, in a program of its own, with no gateway in them: who takes whose place, and when."""

from __future__ import annotations

from tests.unit.process.test_children import run

ROLL = """
import mmap
from gateway.process.children import Program
from gateway.process import roll as rolling
from gateway.process.roll import Roll

told = {}

def serves(heartbeat):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CONTROL_SIGNALS)
    beats(heartbeat)

gate = mmap.mmap(-1, 1)

def serves_when_let(heartbeat):
    while not gate[0]:
        time.sleep(0.01)
    serves(heartbeat)

def starts(heartbeat):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, CONTROL_SIGNALS)
    computes(heartbeat)

def fails(heartbeat):
    return 1

def serve(each):
    return each.process.heartbeat.stage is Stage.SERVING

def rolled(roll):
    children.poll()
    if not roll.done:
        roll.poll()
    return roll.done

table = keep(serves, serves, stuck=60)
poll(lambda: all(map(serve, table)))
before = [each.process.pid for each in table]
"""


def test_slot_by_slot_a_successor_serves_before_its_predecessor_ends() -> None:
    run(
        ROLL
        + """
roll = Roll(children, [(each, Program(serves_when_let, 2)) for each in table])
roll.poll()
assert table[0].successor and not table[1].successor, "one at a time"
assert [each.process.pid for each in table] == before
gate[0] = 1
poll(lambda: rolled(roll))
assert not roll.failure
assert all(serve(each) and each.process.program.generation == 2 for each in table)
poll(lambda: not any(each.retiring for each in table))
assert not children.draining_generations()
end()
"""
    )


def test_one_that_ends_before_it_serves_ends_the_roll() -> None:
    said = run(
        ROLL
        + """
roll = Roll(children, [(table[0], Program(serves, 2)), (table[1], Program(fails, 2))])
poll(lambda: rolled(roll))
assert roll.failure, "told"
assert table[0].process.program.generation == 2, "who has come up stays"
assert table[1].process.pid == before[1] and serve(table[1]), "the others go on"
assert table[1].program.generation == 1
end()
"""
    )
    assert "the successor of serves exited with status 1 before it served" in said


def test_one_that_never_serves_ends_it_too() -> None:
    run(
        ROLL
        + """
rolling.START_TIME = 0.3
roll = Roll(children, [(each, Program(starts, 2)) for each in table])
poll(lambda: rolled(roll))
assert "does not serve after" in roll.failure
assert [each.process.pid for each in table] == before
poll(lambda: not any(each.retiring for each in table))
end()
"""
    )


def test_abandoned_it_leaves_what_serves() -> None:
    run(
        ROLL
        + """
roll = Roll(children, [(each, Program(starts, 2)) for each in table])
roll.poll()
roll.abandon("told to stop")
assert roll.done and roll.failure == "told to stop"
assert [each.process.pid for each in table] == before
poll(lambda: not any(each.retiring for each in table))
end()
"""
    )


def test_a_predecessor_that_dies_meanwhile_is_no_obstacle() -> None:
    run(
        ROLL
        + """
roll = Roll(children, [(table[0], Program(serves_when_let, 2))])
roll.poll()
os.kill(before[0], signal.SIGKILL)
poll(lambda: table[0].process and table[0].process.pid != before[0])
gate[0] = 1
poll(lambda: rolled(roll))
assert table[0].process.program.generation == 2 and not roll.failure
end()
"""
    )


def test_generations_that_drain_are_told() -> None:
    run(
        ROLL
        + """
for each in table:
    os.kill(each.process.pid, signal.SIGSTOP)
roll = Roll(children, [(each, Program(serves, 2)) for each in table])
poll(lambda: rolled(roll))
assert children.draining_generations() == {1}
for each in table:
    os.kill(each.retiring[0].pid, signal.SIGCONT)
poll(lambda: not children.draining_generations())
end()
"""
    )


def test_no_room_for_a_successor_ends_it() -> None:
    said = run(
        ROLL
        + """
import errno
def no_room():
    raise BlockingIOError(errno.EAGAIN, "no")
os.fork = no_room
roll = Roll(children, [(each, Program(serves, 2)) for each in table])
roll.poll()
assert roll.done and "has not come up" in roll.failure
assert [each.process.pid for each in table] == before
end()
"""
    )
    assert "serves cannot be started: Resource temporarily unavailable" in said

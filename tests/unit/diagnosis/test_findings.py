"""What silence means, from what was found: no more is said than that shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.diagnosis.findings import RECENT, AppSocket, TimeoutFindings, awaiting
from gateway.diagnosis.own_sockets import Connection
from gateway.errors import Failure, Reason
from gateway.wordings import ACCEPT_QUEUE_FULL, PORT_NOT_ANSWERING, QUEUE_SEEMS_FULL

DETAIL = "connect to [fd00::5]:5000: no answer within 3 s"
UNANSWERED = Failure(Reason.CONNECTION_TIMEOUT, DETAIL)
FULL = AppSocket("::", 5000, "python3", 4711, 129, is_full=True)


def explain(silence: TimeoutFindings) -> Failure:
    return silence.explain(UNANSWERED, "fd00::5", 5000)


def test_where_nothing_was_found_nothing_is_said() -> None:
    assert explain(TimeoutFindings()) == UNANSWERED


def test_connections_from_before_do_not_prove_that_it_runs_now() -> None:
    told = explain(TimeoutFindings(connections=3, awaited=(42.4, 1.0)))
    assert (told.reason, told.wording, told.detail) == (Reason.CONNECTION_TIMEOUT, None, DETAIL)
    held = "the gateway's machine has 3 connections to [fd00::5]:5000"
    assert told.observed == (f"{held}; 2 of them without an answer, the longest for 42 s",)


@pytest.mark.parametrize(
    "alive",
    [
        TimeoutFindings(open_ports=(3000,)),
        TimeoutFindings(refusing_ports=(3000,)),
        TimeoutFindings(is_acknowledged=True),
    ],
)
def test_a_sandbox_that_answers_elsewhere(alive: TimeoutFindings) -> None:
    told = explain(alive)
    assert (told.wording, told.detail, told.open_ports) == (PORT_NOT_ANSWERING, DETAIL, alive.open_ports)
    stuck = explain(replace(alive, connections=1, awaited=(42.4,)))
    assert stuck.wording is QUEUE_SEEMS_FULL
    assert stuck.detail == (
        "the gateway's machine has 1 connection to [fd00::5]:5000; 1 of them without an answer, for 42 s"
    )
    assert stuck.observed[0] == DETAIL
    # An app that answers those it has is not stuck.
    assert explain(replace(alive, connections=1)).wording is PORT_NOT_ANSWERING


def test_one_port_that_refuses_is_told_in_the_singular() -> None:
    assert explain(TimeoutFindings(refusing_ports=(3000,))).observed == (
        "the sandbox is up: it refuses connections to port 3000",
    )
    assert explain(TimeoutFindings(refusing_ports=(3000, 8000))).observed == (
        "the sandbox is up: it refuses connections to ports 3000, 8000",
    )


def test_a_full_queue_here() -> None:
    told = explain(
        TimeoutFindings(is_here=True, is_listed=True, queue=FULL, connections=1, awaited=(3.0,), open_ports=(3000,))
    )
    assert told.wording is ACCEPT_QUEUE_FULL
    assert told.detail == ("python3 (pid 4711) listens on [::]:5000: 129 connections in its queue, which is full")
    assert told.observed == (
        DETAIL,
        "the gateway's machine has 1 connection to [fd00::5]:5000; 1 of them without an answer, for 3 s",
    )
    assert (told.process, told.open_ports) == ("python3", (3000,))


def test_a_queue_with_room_is_not_called_full() -> None:
    told = explain(
        TimeoutFindings(
            is_here=True, is_listed=True, queue=AppSocket("::1", 5000, waiting=1), awaited=(3.0,), connections=1
        )
    )
    assert told.wording is PORT_NOT_ANSWERING
    assert told.observed[0] == "something listens on [::1]:5000, with 1 connection in its queue"


def test_silence_here_where_nothing_listens_is_a_firewalls() -> None:
    told = explain(TimeoutFindings(is_here=True, is_listed=True))
    assert (told.wording, told.observed) == (PORT_NOT_ANSWERING, ("nothing listens on [fd00::5]:5000",))


def test_a_machine_that_does_not_tell_what_listens() -> None:
    assert explain(TimeoutFindings(is_here=True)).observed == ()


def test_connections_are_counted_by_port() -> None:
    found = [Connection(5000, 0.0, 9.0), Connection(5000, 2.0, 9.0), Connection(5000, 7.0, 9.0)]
    assert awaiting(found, 5000) == (3, (7.0, 2.0), False)
    assert awaiting([*found, Connection(22, 0.0, RECENT / 2)], 5000) == (3, (7.0, 2.0), True)
    assert awaiting([], 5000) == (0, (), False)

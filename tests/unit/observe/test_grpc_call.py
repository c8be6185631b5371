"""How a gRPC call has ended is read off its trailers, whatever an app writes there."""

from __future__ import annotations

import pytest

from gateway.observe.grpc_call import MOST_MESSAGE, GrpcOutcome, outcome_in
from gateway.reason_row import GrpcStatus


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ([(b"grpc-status", b"0")], GrpcOutcome(0)),
        ([(b"Grpc-Message", b"no such user"), (b"Grpc-Status", b"5")], GrpcOutcome(5, "no such user")),
        ([(b"grpc-status", b"13"), (b"grpc-message", b"gr%C3%B6%C3%9Fe %")], GrpcOutcome(13, "größe %")),
        ([(b"grpc-status", b"13"), (b"grpc-message", b"%ff%fe")], GrpcOutcome(13, "\ufffd\ufffd")),
        ([(b"grpc-status", b"")], GrpcOutcome(-1)),
        ([(b"grpc-status", b"-5")], GrpcOutcome(-1)),
        ([(b"grpc-status", b"9" * 5000)], GrpcOutcome(-1)),
        ([(b"grpc-message", b"alone"), (b"x-sum", b"1")], None),
        ([], None),
    ],
)
def test_fields(fields: list[tuple[bytes, bytes]], outcome: GrpcOutcome | None) -> None:
    assert outcome_in(fields) == outcome


def test_a_long_message_is_cut() -> None:
    outcome = outcome_in([(b"grpc-status", b"2"), (b"grpc-message", b"%41" * 100_000)])
    assert outcome is not None and outcome.message == "A" * MOST_MESSAGE


@pytest.mark.parametrize(
    ("outcome", "line", "like"),
    [
        (GrpcOutcome(0), "grpc-status 0 OK", 200),
        (GrpcOutcome(14, "nobody is there"), "grpc-status 14 UNAVAILABLE: nobody is there", 503),
        (GrpcOutcome(16), "grpc-status 16 UNAUTHENTICATED", 401),
        (GrpcOutcome(17, "\x1b[2J"), "grpc-status 17: ·[2J", 500),
        (GrpcOutcome(-1), "no valid grpc-status", 500),
    ],
)
def test_what_people_read(outcome: GrpcOutcome, line: str, like: int) -> None:
    assert (outcome.line(), outcome.like) == (line, like)


def test_the_names_are_those_of_our_own_failures() -> None:
    assert {GrpcOutcome(each.value).name for each in GrpcStatus} == {each.name for each in GrpcStatus}

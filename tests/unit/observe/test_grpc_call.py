"""How a gRPC call has ended is read off its trailers, whatever an app writes there."""

from __future__ import annotations

from base64 import b64encode

import pytest

from gateway.observe.grpc_call import MOST_MESSAGE, NOT_SAID, GrpcOutcome, outcome_in, outcome_in_body
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


def message(flags: int, payload: bytes) -> bytes:
    return bytes([flags]) + len(payload).to_bytes(4, "big") + payload


TRAILERS = message(0x80, b"grpc-status: 5\r\nGrpc-Message:no%20user\r\n")
PROTO, TEXT = b"application/grpc-web+proto", b"application/grpc-web-text"


@pytest.mark.parametrize(
    ("body", "content_type", "outcome"),
    [
        (message(0, b"hello") + TRAILERS, PROTO, GrpcOutcome(5, "no user")),
        (TRAILERS, PROTO, GrpcOutcome(5, "no user")),
        (b64encode(message(0, b"hello")) + b64encode(TRAILERS), TEXT, GrpcOutcome(5, "no user")),
        (b64encode(message(0, b"hello") + TRAILERS), TEXT, GrpcOutcome(5, "no user")),
        (message(0, b"hello"), PROTO, NOT_SAID),
        (message(0x80, b"x: 1\r\n"), PROTO, NOT_SAID),
        (b"", PROTO, NOT_SAID),
        (b"\x00\xff\xff\xff\xffx", PROTO, NOT_SAID),
        (b"A", TEXT, NOT_SAID),
        (message(0x81, b"\x1f\x8b"), PROTO, None),
    ],
)
def test_a_body_of_grpc_web(body: bytes, content_type: bytes, outcome: GrpcOutcome | None) -> None:
    assert outcome_in_body(body, content_type) == outcome


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

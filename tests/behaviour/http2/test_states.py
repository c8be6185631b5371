"""RFC 9113 section 5: what may be sent on a stream depends on how far it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.behaviour.harness import Gateway, OpenGateway, until
from tests.behaviour.http2.stage import (
    EndsOr,
    Ignored,
    Outcome,
    Play,
    Serves,
    Stage,
    ends,
    lives_on,
    open_stage,
    perform,
)
from tests.support.h2_frames import Code, Flag, Setting, Type, frame, literal, number, settings

BAD_PROTOCOL = ends(Code.PROTOCOL_ERROR)
CLOSED = EndsOr((Code.STREAM_CLOSED,), reaches=True)
WHOLE = Flag.END_STREAM | Flag.END_HEADERS


def idle(stage: Stage) -> None:
    stage.take()


def half_closed(stage: Stage) -> None:
    """The request is whole, and not answered yet."""
    stage.stream = stage.client.request(stage.host, path=b"/held")


def closed(stage: Stage) -> None:
    stage.stream = stage.client.request(stage.host, path=b"/before")
    stage.client.response(stage.stream)


def given_up(stage: Stage) -> None:
    """By our RST_STREAM."""
    stage.client.reset(stage.begin())


def passed_over(stage: Stage) -> None:
    """A later stream was begun instead: RFC 9113 section 5.1.1."""
    stage.take()
    stage.client.response(stage.client.request(stage.host, path=b"/before"))


def data(stage: Stage) -> bytes:
    return frame(Type.DATA, Flag.END_STREAM, stage.stream, b"a")


def headers(stage: Stage) -> bytes:
    return frame(Type.HEADERS, WHOLE, stage.stream, stage.head())


def trailers(stage: Stage) -> bytes:
    return frame(Type.HEADERS, WHOLE, stage.stream, literal((b"a", b"b")))


def continuation(stage: Stage) -> bytes:
    return frame(Type.CONTINUATION, Flag.END_HEADERS, stage.stream, stage.head())


def reset(stage: Stage) -> bytes:
    return frame(Type.RST_STREAM, 0, stage.stream, number(Code.CANCEL))


def window(stage: Stage) -> bytes:
    return frame(Type.WINDOW_UPDATE, 0, stage.stream, number(1))


def priority(stage: Stage) -> bytes:
    return frame(Type.PRIORITY, 0, stage.stream, bytes(5))


TABLE: dict[Callable[[Stage], None], dict[Callable[[Stage], bytes], Outcome]] = {
    idle: {
        data: BAD_PROTOCOL,
        continuation: BAD_PROTOCOL,
        reset: BAD_PROTOCOL,
        window: BAD_PROTOCOL,
        headers: Serves(),
        priority: Ignored(),
    },
    half_closed: {
        data: CLOSED,
        headers: CLOSED,
        trailers: CLOSED,
        continuation: ends(Code.PROTOCOL_ERROR),
        reset: Ignored(),
        window: Ignored(),
        priority: Ignored(),
    },
    closed: {
        data: CLOSED,
        headers: ends(Code.STREAM_CLOSED),
        continuation: BAD_PROTOCOL,
        reset: Ignored(),
        window: Ignored(),
        priority: Ignored(),
    },
    given_up: {
        data: CLOSED,
        headers: ends(Code.STREAM_CLOSED),
        continuation: BAD_PROTOCOL,
        reset: Ignored(),
        window: Ignored(),
        priority: Ignored(),
    },
    passed_over: {
        data: EndsOr((Code.STREAM_CLOSED, Code.PROTOCOL_ERROR), reaches=True),
        headers: ends(Code.PROTOCOL_ERROR, Code.STREAM_CLOSED),
        priority: Ignored(),
    },
}
ROWS = [
    pytest.param(state, octets, outcome, id=f"{state.__name__}-{octets.__name__}")
    for state, row in TABLE.items()
    for octets, outcome in row.items()
]


@pytest.mark.parametrize(("state", "octets", "outcome"), ROWS)
async def test_a_frame_in_a_state(
    gateway: Gateway, state: Callable[[Stage], None], octets: Callable[[Stage], bytes], outcome: Outcome
) -> None:
    def play(stage: Stage) -> None:
        state(stage)
        stage.client.send(octets(stage))

    stage = await open_stage(gateway)
    await perform(stage, play, outcome)
    assert len(stage.asked) <= 2, "the one that the state needed, and the one that proves life"


def even(stage: Stage) -> None:
    stage.client.send_frame(Type.HEADERS, WHOLE, 2, stage.head())


def no_window_for_a_settled_answer(stage: Stage) -> None:
    """Half of an answer, then a reset: nothing of it comes any more."""
    client = stage.client
    client.grants, client.initial = False, 1
    client.send_frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 1)))
    id = client.request(stage.host, path=b"/before")
    client.wait(lambda: client.stream(id).body == b"o", "an octet")
    client.reset(id)
    client.ping()
    client.grants, client.initial = True, 100
    client.send_frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 100)))
    client.ping()
    assert client.stream(id).body == b"o"


def our_goaway(stage: Stage) -> None:
    """RFC 9113 section 6.8: it is about streams of theirs; ours go on."""
    stage.client.send_frame(Type.GOAWAY, 0, 0, number(0) + number(Code.NO_ERROR) + b"so long")
    stage.client.ping()


def self_dependent(stage: Stage) -> None:
    """RFC 7540 section 5.3.1; priorities of that kind are not spoken here (RFC 9218)."""
    stage.client.send_frame(Type.PRIORITY, 0, stage.held, number(stage.held) + b"\x0f")


MORE: dict[str, tuple[Play, Outcome]] = {
    "an even id": (even, BAD_PROTOCOL),
    "a reset ends an answer": (no_window_for_a_settled_answer, Ignored()),
}


@pytest.mark.parametrize("row", MORE)
async def test_a_stream(gateway: Gateway, row: str) -> None:
    await perform(await open_stage(gateway), *MORE[row])


async def test_our_goaway_leaves_what_is_under_way(gateway: Gateway) -> None:
    stage = await open_stage(gateway)

    class Answered(Outcome):
        def prove(self, stage: Stage) -> None:
            stage.release()
            assert stage.client.response(stage.held).status == 200

    await perform(stage, our_goaway, Answered())


async def test_a_stream_that_depends_on_itself(gateway: Gateway) -> None:
    """Either a stream's fault, as RFC 7540 had it, or nothing."""
    stage = await open_stage(gateway)

    class Whatever(Outcome):
        reaches = True

        def prove(self, stage: Stage) -> None:
            client = stage.client
            client.ping()
            if client.stream(stage.held).reset is None:
                lives_on(stage)
            else:
                client.expect_reset(stage.held, Code.PROTOCOL_ERROR)
                assert client.response(client.request(stage.host)).status == 200

    await perform(stage, self_dependent, Whatever())


async def test_streams_beyond_the_limit_are_refused(open_gateway: OpenGateway) -> None:
    """RFC 9113 section 5.1.2; what is refused is safe to be sent again, and is not the fault of the others."""
    stage = await open_stage(
        await open_gateway(),
    )
    app = stage.gateway.apps[0]

    def play(stage: Stage) -> None:
        client = stage.client
        client.ping()
        limit = client.settings[Setting.MAX_CONCURRENT_STREAMS]
        ids = [client.request(stage.host, path=b"/held") for _ in range(limit + 10)]
        client.ping()
        refused = [id for id in ids if client.stream(id).reset is not None]
        assert {client.stream(id).reset for id in refused} == {Code.REFUSED_STREAM}
        served = [id for id in ids if id not in refused]
        assert len(served) == limit - 1  # and the one under way
        most.append(len(served))
        stage.release()
        for id in served:
            assert client.response(id).status == 200
        for _ in refused:
            assert client.response(client.request(stage.host)).status == 200

    most: list[int] = []
    await perform(stage, play, Ignored())
    assert app.received.count(b" HTTP/1.1\r\n") >= most[0]
    await until(lambda: not stage.gateway.edge.exchanges, "nothing is left")

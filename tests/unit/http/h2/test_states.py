"""The table of states, against section 5.1 and on a real session: each state, each frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.http.h2 import states
from gateway.http.h2.states import State
from tests.support.h2_frames import Code, Type
from tests.support.h2_session import Stage, data, headers, rst, update

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled


def idle(stage: Stage) -> None:
    pass


def opened(stage: Stage) -> None:
    stage.hear(headers(3, end=False))


def half_closed_local(stage: Stage) -> None:
    opened(stage)
    stage.session.end_stream(stage.streams[3])


def half_closed_remote(stage: Stage) -> None:
    stage.hear(headers(3))


def closed(stage: Stage) -> None:
    half_closed_remote(stage)
    stage.session.end_stream(stage.streams[3])


def closed_and_forgotten(stage: Stage) -> None:
    closed(stage)
    stage.session.forget(stage.streams[3])


def closed_by_peer(stage: Stage) -> None:
    opened(stage)
    stage.hear(rst(3))


def closed_by_peer_and_forgotten(stage: Stage) -> None:
    closed_by_peer(stage)
    stage.session.forget(stage.streams[3])


def reset(stage: Stage) -> None:
    opened(stage)
    stage.session.reset(stage.streams[3], Code.CANCEL)


def reset_and_forgotten(stage: Stage) -> None:
    opened(stage)
    stage.session.forget(stage.streams[3])


def skipped(stage: Stage) -> None:
    stage.hear(headers(5))


FRAMES = {
    "HEADERS": headers(3),
    "DATA": data(3, b"content", end=True),
    "RST_STREAM": rst(3),
    "WINDOW_UPDATE": update(3, 1),
    "PRIORITY": bytes([0, 0, 5, Type.PRIORITY, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0]),
}
TAKEN, IGNORED = None, "ignored"
STREAM = "RST_STREAM(STREAM_CLOSED)"
CLOSED = "GOAWAY(STREAM_CLOSED)"
FAIL = "GOAWAY(PROTOCOL_ERROR)"

EXPECTED: dict[Callable[[Stage], None], tuple[str | None, ...]] = {
    # ---------------------------- HEADERS  DATA     RST      UPDATE   PRIORITY
    idle:                         (TAKEN,   FAIL,    FAIL,    FAIL,    IGNORED),
    opened:                       (TAKEN,   TAKEN,   TAKEN,   TAKEN,   IGNORED),
    half_closed_local:            (TAKEN,   TAKEN,   TAKEN,   TAKEN,   IGNORED),
    half_closed_remote:           (STREAM,  STREAM,  TAKEN,   TAKEN,   IGNORED),
    closed:                       (CLOSED,  STREAM,  IGNORED, IGNORED, IGNORED),
    closed_and_forgotten:         (CLOSED,  STREAM,  IGNORED, IGNORED, IGNORED),
    closed_by_peer:               (CLOSED,  STREAM,  IGNORED, IGNORED, IGNORED),
    closed_by_peer_and_forgotten: (CLOSED,  STREAM,  IGNORED, IGNORED, IGNORED),
    reset:                        (IGNORED, IGNORED, IGNORED, IGNORED, IGNORED),
    reset_and_forgotten:          (IGNORED, IGNORED, IGNORED, IGNORED, IGNORED),
    skipped:                      (FAIL,    STREAM,  IGNORED, IGNORED, IGNORED),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("reach", EXPECTED, ids=lambda reach: reach.__name__)
def test_each_frame_in_each_state(reach: Callable[[Stage], None], name: str) -> None:
    stage = Stage()
    reach(stage)
    stage.said()
    stage.calls.clear()
    expected = EXPECTED[reach][[*FRAMES].index(name)]
    if expected in (CLOSED, FAIL):
        assert stage.ends(FRAMES[name]) == (Code.STREAM_CLOSED if expected == CLOSED else Code.PROTOCOL_ERROR)
        assert not stage.calls
        return
    window = stage.streams[3].send_window if 3 in stage.streams else 0
    stage.hear(FRAMES[name])
    said = [(frame.type, frame.stream, frame.code) for frame in stage.said()]
    if expected == STREAM:
        assert said == [(Type.RST_STREAM, 3, Code.STREAM_CLOSED)]
        assert [call[:2] for call in stage.calls] in ([], [("reset", 3)])
        stage.hear(FRAMES[name])
        assert not stage.said(), "one RST_STREAM for each stream"
    else:
        assert not said
    if expected == IGNORED:
        assert not stage.calls
    if expected is TAKEN:
        assert stage.calls or stage.streams[3].send_window == window + 1 or reach is half_closed_local
    stage.hear(headers(7, end=False), data(7, b"x"))
    assert stage.calls[-1] == ("data", 7, b"x"), "the connection lives"


@pytest.mark.parametrize("name", [*FRAMES][:4])
@pytest.mark.parametrize("server", [True, False])
def test_numbers_of_the_other_side_are_idle_for_ever(name: str, server: bool) -> None:
    """Section 5.1.1: a client's are odd; a server opens none, because it may not push."""
    stage = Stage(server=server)
    octets = FRAMES[name].replace(b"\x00\x00\x00\x03", b"\x00\x00\x00\x02", 1)
    assert stage.ends(octets) == Code.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("state", "end_received", "end_sent"),
    [
        (states.OPEN, states.HALF_CLOSED_REMOTE, states.HALF_CLOSED_LOCAL),
        (states.HALF_CLOSED_LOCAL, states.CLOSED, states.HALF_CLOSED_LOCAL),
        (states.HALF_CLOSED_REMOTE, states.HALF_CLOSED_REMOTE, states.CLOSED),
        (states.CLOSED, states.CLOSED, states.CLOSED),
    ],
    ids=repr,
)
def test_where_an_end_leads(state: State, end_received: State, end_sent: State) -> None:
    assert (state.after_end_received, state.after_end_sent) == (end_received, end_sent)

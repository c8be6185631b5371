"""What a session sends: how few frames, in whose turn, within which windows, and how it ends."""

from __future__ import annotations

import pytest

from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.sending import REMEMBERED_RESETS
from gateway.http.h2.settings import SessionLimits
from tests.support.h2_frames import WINDOW, Code, Flag, Frame, Setting, Type
from tests.support.h2_session import (
    BLOCK,
    EARLY_BLOCK,
    EVERYTHING,
    OK_BLOCK,
    TRAILERS_BLOCK,
    Call,
    RecordedStream,
    Stage,
    data,
    headers,
    rst,
    set,
    update,
)

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

FRAME = 16_384
END = Flag.END_STREAM
HEADERS = Flag.END_HEADERS


def serving(*streams: int, end: bool = True) -> Stage:
    """A server that has been asked on each of `streams`."""
    stage = Stage()
    for stream in streams:
        stage.hear(headers(stream, end=end))
    stage.calls.clear()
    return stage


def brief(frames: list[Frame]) -> list[tuple[int, int, int]]:
    """Type, flags and length."""
    return [(frame.type, frame.flags, len(frame.payload)) for frame in frames]


# --- small answers --------------------------------------------------------------------------------------------------


def test_a_small_answer_is_two_frames() -> None:
    stage = serving(1)
    session, stream = stage.session, stage.streams[1]
    session.send_headers(stream, OK_BLOCK, end=False)
    session.send_data(stream, b"content")
    session.end_stream(stream)
    assert brief(stage.said()) == [(Type.HEADERS, HEADERS, 1), (Type.DATA, END, 7)]
    assert stream.state.over
    assert not stage.calls


def test_an_answer_without_content_is_one() -> None:
    stage = serving(1, 3)
    session = stage.session
    session.send_headers(stage.streams[1], OK_BLOCK, end=True)
    session.send_headers(stage.streams[3], OK_BLOCK, end=False)
    session.end_stream(stage.streams[3])
    assert brief(stage.said()) == [(Type.HEADERS, HEADERS | END, 1)] * 2


def test_what_is_written_gets_no_end_any_more() -> None:
    stage = serving(1)
    session, stream = stage.session, stage.streams[1]
    session.send_headers(stream, OK_BLOCK, end=False)
    stage.said()
    session.end_stream(stream)
    assert brief(stage.said()) == [(Type.DATA, END, 0)]


def test_nor_does_another_streams_frame() -> None:
    stage = serving(1, 3)
    session = stage.session
    for stream in stage.streams.values():
        session.send_headers(stream, OK_BLOCK, end=False)
        session.send_data(stream, b"content")
    session.end_stream(stage.streams[1])
    assert [(frame.stream, frame.type, frame.flags) for frame in stage.said()][2:] == [
        (3, Type.HEADERS, HEADERS),
        (3, Type.DATA, 0),
        (1, Type.DATA, END),
    ]


def test_nor_a_frame_in_the_place_of_one_that_is_written() -> None:
    """The owner has taken `out`; the new one is as long, and holds somebody else's."""
    stage = serving(1)
    session, stream = stage.session, stage.streams[1]
    session.send_data(stream, b"content")
    stage.said()
    session.out = [b"\0\0\1\0\0\0\0\0\3", b"x"]
    session.end_stream(stream)
    assert brief(stage.said()) == [(Type.DATA, 0, 1), (Type.DATA, END, 0)]


def test_a_large_head_is_continued() -> None:
    stage = serving(1, 3, 5)
    session = stage.session
    session.send_headers(stage.streams[1], bytes(FRAME), end=True)
    session.send_headers(stage.streams[3], bytes(2 * FRAME + 1), end=True)
    session.send_headers(stage.streams[5], bytes(FRAME + 1), end=False)
    session.end_stream(stage.streams[5])
    assert brief(stage.said()) == [
        (Type.HEADERS, HEADERS | END, FRAME),
        (Type.HEADERS, END, FRAME),
        (Type.CONTINUATION, 0, FRAME),
        (Type.CONTINUATION, HEADERS, 1),
        (Type.HEADERS, 0, FRAME),
        (Type.CONTINUATION, HEADERS, 1),
        (Type.DATA, END, 0),
    ]


def test_interim_heads_and_trailers() -> None:
    stage = serving(1)
    session, stream = stage.session, stage.streams[1]
    session.send_headers(stream, EARLY_BLOCK, end=False)
    session.send_headers(stream, OK_BLOCK, end=False)
    session.send_data(stream, b"content")
    session.end_stream(stream, TRAILERS_BLOCK)
    assert [(frame.type, frame.flags, frame.payload) for frame in stage.said()] == [
        (Type.HEADERS, HEADERS, EARLY_BLOCK),
        (Type.HEADERS, HEADERS, OK_BLOCK),
        (Type.DATA, 0, b"content"),
        (Type.HEADERS, HEADERS | END, TRAILERS_BLOCK),
    ]


def test_nothing_follows_the_end() -> None:
    stage = serving(1)
    session, stream = stage.session, stage.streams[1]
    session.send_headers(stream, OK_BLOCK, end=True)
    stage.said()
    session.send_headers(stream, OK_BLOCK, end=True)
    session.send_data(stream, b"content")
    session.send_data(stream, bytes(100_000))
    session.end_stream(stream)
    session.end_stream(stream, TRAILERS_BLOCK)
    session.reset(stream, ErrorCode.CANCEL)
    assert not stage.said()
    assert (stream.waiting, session.stalled) == (0, 0)


def test_nothing_is_sent_of_nothing() -> None:
    stage = serving(1)
    stage.session.send_data(stage.streams[1], b"")
    assert not stage.said()


def test_a_request() -> None:
    stage = Stage(server=False)
    stream = stage.open(end=False)
    stage.session.send_data(stream, b"content")
    stage.session.end_stream(stream)
    assert [(frame.stream, frame.type, frame.flags) for frame in stage.said()] == [
        (1, Type.HEADERS, HEADERS),
        (1, Type.DATA, END),
    ]
    assert stage.open(end=True).id == 3
    assert [(frame.stream, frame.flags, frame.payload) for frame in stage.said()] == [(3, HEADERS | END, BLOCK)]


# --- windows --------------------------------------------------------------------------------------------------------


def test_content_goes_as_far_as_both_windows() -> None:
    stage = serving(1, 3)
    session, one, three = stage.session, stage.streams[1], stage.streams[3]
    stage.hear(update(1, 100))
    session.send_data(one, bytes(WINDOW + 50))
    assert [len(frame.payload) for frame in stage.said()] == [FRAME, FRAME, FRAME, FRAME - 1]
    assert (one.waiting, session.stalled, session.send_window) == (50, 50, 0)
    session.send_data(three, b"x")
    session.end_stream(three)
    assert not stage.said()
    assert session.pump(EVERYTHING) == 0
    stage.hear(update(0, 50))
    assert session.pump(EVERYTHING) == 50
    stage.hear(update(0, 50))
    assert session.pump(EVERYTHING) == 1
    assert stage.calls == [("drained", 1), ("drained", 3)]
    assert [(frame.stream, len(frame.payload), frame.flags) for frame in stage.said()] == [(1, 50, 0), (3, 1, END)]


def test_a_stream_with_a_closed_window_holds_up_nobody() -> None:
    stage = serving(1, 3)
    session = stage.session
    stage.hear(update(0, 100))
    session.send_data(stage.streams[1], bytes(WINDOW + 1))
    stage.said()
    session.send_data(stage.streams[3], b"x")
    assert brief(stage.said()) == [(Type.DATA, 0, 1)]
    assert session.pump(EVERYTHING) == 0
    stage.hear(update(1, 1))
    assert session.pump(EVERYTHING) == 1


def test_the_end_needs_no_window() -> None:
    """Section 6.9.1: an empty DATA frame with END_STREAM "MAY be sent if there is no available space"."""
    stage = serving(1, 3)
    session = stage.session
    session.send_data(stage.streams[1], bytes(WINDOW))
    stage.said()
    session.end_stream(stage.streams[1])
    session.send_headers(stage.streams[3], OK_BLOCK, end=False)
    session.end_stream(stage.streams[3], TRAILERS_BLOCK)
    assert [(frame.stream, frame.type, frame.flags) for frame in stage.said()] == [
        (1, Type.DATA, END),
        (3, Type.HEADERS, HEADERS),
        (3, Type.HEADERS, HEADERS | END),
    ]


def test_the_end_follows_what_waits() -> None:
    stage = serving(1, 3)
    session = stage.session
    session.paused = True
    session.send_data(stage.streams[1], b"ab")
    session.send_data(stage.streams[1], b"cd")
    session.end_stream(stage.streams[1])
    session.send_data(stage.streams[1], b"too late")
    session.send_data(stage.streams[3], b"ef")
    session.end_stream(stage.streams[3], TRAILERS_BLOCK)
    assert not stage.said()
    session.paused = False
    assert session.pump(EVERYTHING) == 6
    assert [(frame.stream, frame.flags, frame.payload) for frame in stage.said()] == [
        (1, END, b"abcd"),
        (3, 0, b"ef"),
        (3, HEADERS | END, TRAILERS_BLOCK),
    ]


# --- turns ----------------------------------------------------------------------------------------------------------


def test_streams_take_turns_of_a_frame() -> None:
    stage = serving(1, 3, 5)
    session = stage.session
    stage.hear(update(0, 10 * WINDOW), set((Setting.INITIAL_WINDOW_SIZE, 10 * WINDOW)))
    stage.said()
    session.paused = True
    for stream, size in ((1, 3 * FRAME), (3, FRAME + 1), (5, 10)):
        session.send_data(stage.streams[stream], bytes(size))
    session.pump(EVERYTHING)
    assert [(frame.stream, len(frame.payload)) for frame in stage.said()] == [
        (1, FRAME), (3, FRAME), (5, 10), (1, FRAME), (3, 1), (1, FRAME)
    ]  # fmt: skip


def test_urgent_streams_go_first() -> None:
    stage = serving(1, 3, 5)
    session = stage.session
    session.paused = True
    stage.streams[1].urgency = 7
    stage.streams[5].urgency = 0
    for stream in stage.streams.values():
        session.send_data(stream, bytes(FRAME + 1))
    session.set_urgency(stage.streams[3], 0)
    session.pump(EVERYTHING)
    assert [frame.stream for frame in stage.said()] == [5, 3, 5, 3, 1, 1]


def test_pump_stops_at_what_the_transport_takes() -> None:
    stage = serving(1)
    session = stage.session
    session.paused = True
    session.send_data(stage.streams[1], bytes(3 * FRAME))
    assert session.pump(1) == FRAME
    assert session.pump(FRAME + 1) == 2 * FRAME
    assert session.pump(EVERYTHING) == 0


def test_whoever_comes_while_others_wait_waits_too() -> None:
    stage = serving(1, 3)
    session = stage.session
    session.paused = True
    session.send_data(stage.streams[1], bytes(3 * FRAME))
    session.paused = False
    session.send_data(stage.streams[3], b"x")
    assert not stage.said()
    session.pump(EVERYTHING)
    assert [frame.stream for frame in stage.said()] == [1, 3, 1, 1]


def test_more_may_come_while_it_drains() -> None:
    stage = serving(1)
    session, stream = stage.session, stage.streams[1]
    rest = [b"b", b"c"]

    def more(call: Call) -> None:
        if rest:
            session.send_data(stream, rest.pop(0))
        else:
            session.end_stream(stream)

    stage.hook = more
    session.paused = True
    session.send_data(stream, b"a")
    session.pump(EVERYTHING)
    assert [frame.payload for frame in stage.said()] == [b"a", b"b", b"c"]
    assert stream.state.over


def test_a_stream_may_be_forgotten_while_others_are_pumped() -> None:
    stage = serving(1, 3)
    session = stage.session
    stage.hook = lambda call: session.forget(stage.streams[3])
    session.paused = True
    for stream in stage.streams.values():
        session.send_data(stream, b"abc")
    session.pump(EVERYTHING)
    assert brief(stage.said()) == [(Type.DATA, 0, 3), (Type.RST_STREAM, 0, 4)]
    assert session.stalled == 0


# --- ends -----------------------------------------------------------------------------------------------------------


def test_a_reset_drops_what_waits() -> None:
    stage = serving(1, 3)
    session = stage.session
    session.paused = True
    for stream in stage.streams.values():
        session.send_data(stream, bytes(100))
    session.reset(stage.streams[1], ErrorCode.INTERNAL_ERROR)
    stage.hear(rst(3))
    assert (session.stalled, session.pump(EVERYTHING)) == (0, 0)
    [sent] = stage.said()
    assert (sent.type, sent.stream, sent.code) == (Type.RST_STREAM, 1, Code.INTERNAL_ERROR)
    assert stage.calls == [("reset", 3, Code.CANCEL)], "its owner knows of the other"
    session.reset(stage.streams[1], ErrorCode.CANCEL)
    session.reset(1, ErrorCode.CANCEL)
    assert not stage.said()


@pytest.mark.parametrize(("server", "code"), [(True, Code.NO_ERROR), (False, Code.CANCEL)])
def test_who_is_forgotten_after_our_end_is_asked_to_stop(server: bool, code: int) -> None:
    """Section 8.1."""
    stage = serving(1, end=False) if server else Stage(server=False)
    stream = stage.streams[1] if server else stage.open(end=False)
    session = stage.session
    session.send_data(stream, b"content")
    session.end_stream(stream)
    session.forget(stream)
    said = stage.said()
    assert (said[-2].flags, said[-1].type, said[-1].code) == (END, Type.RST_STREAM, code)
    assert not session.streams


def test_who_is_forgotten_too_early_is_cancelled() -> None:
    stage = serving(1)
    stage.session.send_data(stage.streams[1], b"half")
    stage.session.forget(stage.streams[1])
    assert stage.said()[-1].code == Code.CANCEL
    assert not stage.session.streams


def test_what_waits_is_sent_after_it_is_forgotten() -> None:
    stage = serving(1, 3)
    stage.hear(headers(5, end=False))
    session = stage.session
    session.paused = True
    for stream in stage.streams.values():
        session.send_data(stream, b"abc")
        session.end_stream(stream)
        session.forget(stream)
    assert len(session.streams) == 3
    stage.hear(rst(3))
    assert len(session.streams) == 2
    session.pump(EVERYTHING)
    assert not session.streams
    assert [(frame.stream, frame.type) for frame in stage.said()] == [
        (1, Type.DATA),
        (5, Type.DATA),
        (5, Type.RST_STREAM),
    ]
    assert "reset" not in [call[0] for call in stage.calls]


def test_forgetting_is_idempotent_and_takes_what_was_never_opened() -> None:
    stage = serving(1)
    session = stage.session
    session.send_headers(stage.streams[1], OK_BLOCK, end=True)
    stage.said()
    session.forget(stage.streams[1])
    session.forget(stage.streams[1])
    session.forget(RecordedStream(stage))
    assert not stage.said()


def test_resets_are_remembered_and_not_for_ever() -> None:
    stage = Stage(limits=SessionLimits(concurrent_streams=2 * REMEMBERED_RESETS))
    for stream in range(1, 2 * REMEMBERED_RESETS + 3, 2):
        stage.hear(headers(stream, end=False))
        stage.session.forget(stage.streams[stream])
    stage.said()
    stage.hear(data(3, b"x"), data(2 * REMEMBERED_RESETS + 1, b"x"))
    assert not stage.said()
    stage.hear(data(1, b"x"))
    assert stage.said()[0].code == Code.STREAM_CLOSED


# --- credit for content ---------------------------------------------------------------------------------------------


def test_credit_is_given_a_frame_at_a_time() -> None:
    stage = Stage(consumes=False)
    stage.hear(headers(1, end=False), *[data(1, bytes(FRAME))] * 4)
    session, stream = stage.session, stage.streams[1]
    session.consumed(stream, 16_383)
    assert not stage.said()
    session.consumed(stream, 1)
    assert [(frame.type, frame.stream, frame.payload) for frame in stage.said()] == [
        (Type.WINDOW_UPDATE, 1, FRAME.to_bytes(4, "big"))
    ]
    stage.hear(data(1, bytes(FRAME)))
    assert not stage.said()


def test_padding_is_credited_at_once() -> None:
    stage = Stage(consumes=False)
    stage.hear(headers(1, end=False), *[data(1, bytes(64), padding=255)] * 64)
    [update] = stage.said()
    assert (update.stream, update.payload) == (1, FRAME.to_bytes(4, "big"))


def test_no_credit_for_what_is_over() -> None:
    stage = Stage(consumes=False)
    session = stage.session
    stage.hear(headers(1, end=False), data(1, bytes(FRAME)), data(1, bytes(FRAME)), data(1, bytes(FRAME), end=True))
    session.consumed(stage.streams[1], 3 * FRAME)
    stage.hear(headers(3, end=False), data(3, bytes(FRAME)), data(3, bytes(FRAME)), data(3, bytes(FRAME)), rst(3))
    session.consumed(stage.streams[3], 3 * FRAME)
    stage.hear(headers(5, end=False))
    session.consumed(stage.streams[5], 0)
    assert not stage.said()


def test_growth_ends_with_its_stream() -> None:
    stage = Stage(limits=SessionLimits(growth=64 * 1024))
    for stream in (1, 3):
        stage.hear(headers(stream, end=False), *[data(stream, bytes(FRAME))] * 16)
        window = stage.streams[stream].content_window
        assert window is not None
        assert window.size == 128 * 1024, "it has grown by all that there was"
        stage.session.forget(stage.streams[stream])

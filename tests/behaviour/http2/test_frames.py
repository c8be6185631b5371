"""RFC 9113 sections 4 and 6: what frames look like, and each type's own rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.behaviour.harness import Gateway
from tests.behaviour.http2.stage import EndsOr, Outcome, Resets, Serves, Stage, ends, open_stage, perform
from tests.support.h2_frames import Code, Flag, Setting, Type, frame, literal, number, settings

BAD_PROTOCOL, BAD_SIZE = ends(Code.PROTOCOL_ERROR), ends(Code.FRAME_SIZE_ERROR)
BAD_FLOW = ends(Code.FLOW_CONTROL_ERROR)
MAX = 16_384
UNKNOWN = 0xBE
RESERVED = 1 << 31
WHOLE = Flag.END_STREAM | Flag.END_HEADERS

Octets = Callable[[Stage], bytes]
"""What is sent; a function, for some of it is on `stage.take()`, a new stream, or on `stage.begin()`, half of a request."""


def setting(name: int, value: int) -> Octets:
    return lambda stage: frame(Type.SETTINGS, 0, 0, settings((name, value)))


def padded(content: bytes, padding: int, said: int | None = None) -> bytes:
    return bytes([padding if said is None else said]) + content + bytes(padding)


ROWS: dict[str, tuple[Octets, Outcome]] = {
    # --- 4.1: the format -----------------------------------------------------------------------------------------
    "an unknown type": (lambda stage: frame(UNKNOWN, 0xFF, 0, b"whatever"), Serves()),
    "an unknown type on an idle stream": (lambda stage: frame(UNKNOWN, 0, 99, b"whatever"), Serves()),
    "an unknown type on the open stream": (lambda stage: frame(UNKNOWN, 0xFF, stage.held, b""), Serves()),
    "unknown flags": (
        lambda stage: (
            frame(Type.HEADERS, WHOLE | 0x42, stage.take(), stage.head())
            + frame(Type.PING, 0xFE, 0, bytes(8))
            + frame(Type.SETTINGS, 0xFE)
            + frame(Type.WINDOW_UPDATE, 0xFF, 0, number(1))
            + frame(Type.PRIORITY, 0xFF, 1, bytes(5))
        ),
        Serves(),
    ),
    "the reserved bit of a stream's id": (
        lambda stage: frame(Type.HEADERS, WHOLE, stage.take() | RESERVED, stage.head()),
        Serves(),
    ),
    "the reserved bit of a window's increment": (
        lambda stage: frame(Type.WINDOW_UPDATE, 0, 0, number(1 | RESERVED)),
        Serves(),
    ),
    # --- 4.2: sizes ----------------------------------------------------------------------------------------------
    "DATA of the most that is allowed": (
        lambda stage: frame(Type.DATA, Flag.END_STREAM, stage.begin(), bytes(MAX)),
        Serves(),
    ),
    "DATA of one more": (
        lambda stage: frame(Type.DATA, Flag.END_STREAM, stage.begin(), bytes(MAX + 1)),
        EndsOr((Code.FRAME_SIZE_ERROR,), reaches=True),
    ),
    "HEADERS of one more": (
        lambda stage: frame(Type.HEADERS, WHOLE, stage.take(), stage.head((b"a", bytes(MAX).replace(b"\0", b"a")))),
        BAD_SIZE,
    ),
    "an unknown type of one more": (lambda stage: frame(UNKNOWN, 0, 0, bytes(MAX + 1)), BAD_SIZE),
    "a head that claims 16 MiB": (lambda stage: frame(UNKNOWN, 0, 0, b"", length=(1 << 24) - 1), BAD_SIZE),
    "SETTINGS that claim 16 MiB": (lambda stage: frame(Type.SETTINGS, 0, 0, b"", length=(1 << 24) - 6), BAD_SIZE),
    # --- 6.1: DATA -----------------------------------------------------------------------------------------------
    "DATA on stream 0": (lambda stage: frame(Type.DATA, 0, 0, b"a"), BAD_PROTOCOL),
    "DATA with padding": (
        lambda stage: (
            frame(Type.DATA, Flag.PADDED, stage.begin(), padded(b"content", 255))
            + frame(Type.DATA, Flag.PADDED | Flag.END_STREAM, stage.stream, padded(b"", 0))
        ),
        Serves(),
    ),
    "DATA of padding alone": (
        lambda stage: (
            frame(Type.DATA, Flag.PADDED, stage.begin(), padded(b"", 100))
            + frame(Type.DATA, Flag.END_STREAM, stage.stream, b"content")
        ),
        Serves(),
    ),
    "DATA with more padding than payload": (
        lambda stage: frame(Type.DATA, Flag.PADDED, stage.begin(), padded(b"content", 0, 8)),
        BAD_PROTOCOL,
    ),
    "DATA with as much padding as payload": (
        lambda stage: frame(Type.DATA, Flag.PADDED, stage.begin(), padded(b"", 4, 5)),
        BAD_PROTOCOL,
    ),
    "DATA without the length of its padding": (
        lambda stage: frame(Type.DATA, Flag.PADDED, stage.begin()),
        ends(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR),
    ),
    # --- 6.2: HEADERS --------------------------------------------------------------------------------------------
    "HEADERS on stream 0": (lambda stage: frame(Type.HEADERS, WHOLE, 0, stage.head()), BAD_PROTOCOL),
    "HEADERS with padding": (
        lambda stage: frame(Type.HEADERS, WHOLE | Flag.PADDED, stage.take(), padded(stage.head(), 20)),
        Serves(),
    ),
    "HEADERS with padding and a priority": (
        lambda stage: frame(
            Type.HEADERS,
            WHOLE | Flag.PADDED | Flag.PRIORITY,
            stage.take(),
            padded(bytes(4) + b"\x0f" + stage.head(), 20),
        ),
        Serves(),
    ),
    "HEADERS with more padding than payload": (
        lambda stage: frame(Type.HEADERS, WHOLE | Flag.PADDED, stage.take(), padded(stage.head(), 0, 255)),
        BAD_PROTOCOL,
    ),
    "HEADERS whose padding reaches into the priority": (
        lambda stage: frame(Type.HEADERS, WHOLE | Flag.PADDED | Flag.PRIORITY, stage.take(), padded(bytes(5), 4, 5)),
        ends(Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR),
    ),
    "HEADERS too short for the length of its padding": (
        lambda stage: frame(Type.HEADERS, WHOLE | Flag.PADDED, stage.take()),
        ends(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR),
    ),
    "HEADERS too short for its priority": (
        lambda stage: frame(Type.HEADERS, WHOLE | Flag.PRIORITY, stage.take(), bytes(4)),
        ends(Code.FRAME_SIZE_ERROR, Code.PROTOCOL_ERROR),
    ),
    # --- 6.3: PRIORITY -------------------------------------------------------------------------------------------
    "PRIORITY on an idle stream": (lambda stage: frame(Type.PRIORITY, 0, 99, bytes(4) + b"\x0f"), Serves()),
    "PRIORITY on stream 0": (lambda stage: frame(Type.PRIORITY, 0, 0, bytes(5)), BAD_PROTOCOL),
    "PRIORITY of four octets": (
        lambda stage: frame(Type.PRIORITY, 0, stage.begin(), bytes(4)),
        Resets((Code.FRAME_SIZE_ERROR,), reaches=True),
    ),
    # --- 6.4: RST_STREAM -----------------------------------------------------------------------------------------
    "RST_STREAM on stream 0": (lambda stage: frame(Type.RST_STREAM, 0, 0, number(8)), BAD_PROTOCOL),
    "RST_STREAM on an idle stream": (lambda stage: frame(Type.RST_STREAM, 0, 99, number(8)), BAD_PROTOCOL),
    "RST_STREAM of three octets": (lambda stage: frame(Type.RST_STREAM, 0, stage.held, bytes(3)), BAD_SIZE),
    "RST_STREAM of five octets": (lambda stage: frame(Type.RST_STREAM, 0, stage.held, bytes(5)), BAD_SIZE),
    # --- 6.5: SETTINGS -------------------------------------------------------------------------------------------
    "SETTINGS of nothing": (lambda stage: frame(Type.SETTINGS), Serves()),
    "an acknowledgement with a payload": (
        lambda stage: frame(Type.SETTINGS, Flag.ACK, 0, settings((1, 4096))),
        BAD_SIZE,
    ),
    "SETTINGS on a stream": (lambda stage: frame(Type.SETTINGS, 0, stage.held), BAD_PROTOCOL),
    "SETTINGS of five octets": (lambda stage: frame(Type.SETTINGS, 0, 0, bytes(5)), BAD_SIZE),
    "ENABLE_PUSH of 2": (setting(Setting.ENABLE_PUSH, 2), BAD_PROTOCOL),
    "INITIAL_WINDOW_SIZE of 2^31": (setting(Setting.INITIAL_WINDOW_SIZE, 1 << 31), BAD_FLOW),
    "MAX_FRAME_SIZE of 16383": (setting(Setting.MAX_FRAME_SIZE, MAX - 1), BAD_PROTOCOL),
    "MAX_FRAME_SIZE of 2^24": (setting(Setting.MAX_FRAME_SIZE, 1 << 24), BAD_PROTOCOL),
    "MAX_FRAME_SIZE of 2^24 - 1": (setting(Setting.MAX_FRAME_SIZE, (1 << 24) - 1), Serves()),
    "MAX_CONCURRENT_STREAMS of 0, which is about pushes": (setting(Setting.MAX_CONCURRENT_STREAMS, 0), Serves()),
    "HEADER_TABLE_SIZE of 0": (setting(Setting.HEADER_TABLE_SIZE, 0), Serves()),
    "HEADER_TABLE_SIZE of 2^32 - 1": (setting(Setting.HEADER_TABLE_SIZE, (1 << 32) - 1), Serves()),
    "NO_RFC7540_PRIORITIES of 2": (setting(Setting.NO_RFC7540_PRIORITIES, 2), BAD_PROTOCOL),
    "an unknown setting": (setting(0xFACE, 1), Serves()),
    "a setting twice, the second of which is right": (
        lambda stage: frame(
            Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, 0), (Setting.INITIAL_WINDOW_SIZE, 100))
        ),
        Serves(),
    ),
    "a setting twice, the first of which is wrong": (
        lambda stage: frame(Type.SETTINGS, 0, 0, settings((Setting.ENABLE_PUSH, 2), (Setting.ENABLE_PUSH, 0))),
        BAD_PROTOCOL,
    ),
    # --- 6.6: PUSH_PROMISE ---------------------------------------------------------------------------------------
    "PUSH_PROMISE": (
        lambda stage: frame(Type.PUSH_PROMISE, Flag.END_HEADERS, stage.held, number(2) + stage.head()),
        BAD_PROTOCOL,
    ),
    # --- 6.7: PING -----------------------------------------------------------------------------------------------
    "PING on a stream": (lambda stage: frame(Type.PING, 0, stage.held, bytes(8)), BAD_PROTOCOL),
    "PING of seven octets": (lambda stage: frame(Type.PING, 0, 0, bytes(7)), BAD_SIZE),
    "PING of nine octets": (lambda stage: frame(Type.PING, 0, 0, bytes(9)), BAD_SIZE),
    "an answer to no PING": (lambda stage: frame(Type.PING, Flag.ACK, 0, b"whatever"), Serves()),
    # --- 6.8: GOAWAY ---------------------------------------------------------------------------------------------
    "GOAWAY on a stream": (lambda stage: frame(Type.GOAWAY, 0, stage.held, bytes(8)), BAD_PROTOCOL),
    "GOAWAY of seven octets": (lambda stage: frame(Type.GOAWAY, 0, 0, bytes(7)), BAD_SIZE),
    # --- 6.9: WINDOW_UPDATE --------------------------------------------------------------------------------------
    "WINDOW_UPDATE of three octets": (lambda stage: frame(Type.WINDOW_UPDATE, 0, 0, bytes(3)), BAD_SIZE),
    "WINDOW_UPDATE of five octets on a stream": (
        lambda stage: frame(Type.WINDOW_UPDATE, 0, stage.held, bytes(5)),
        BAD_SIZE,
    ),
    "WINDOW_UPDATE by 0": (lambda stage: frame(Type.WINDOW_UPDATE, 0, 0, number(0)), BAD_PROTOCOL),
    "WINDOW_UPDATE by 0 on a stream": (
        lambda stage: frame(Type.WINDOW_UPDATE, 0, stage.begin(), number(0)),
        Resets((Code.PROTOCOL_ERROR,), reaches=True),
    ),
    "WINDOW_UPDATE beyond 2^31 - 1": (
        lambda stage: frame(Type.WINDOW_UPDATE, 0, 0, number((1 << 31) - 1)),
        BAD_FLOW,
    ),
    "WINDOW_UPDATE beyond 2^31 - 1 on a stream": (
        lambda stage: frame(Type.WINDOW_UPDATE, 0, stage.begin(), number((1 << 31) - 1)),
        Resets((Code.FLOW_CONTROL_ERROR,), reaches=True),
    ),
    "INITIAL_WINDOW_SIZE that lifts a stream's window beyond 2^31 - 1": (
        lambda stage: (
            frame(Type.WINDOW_UPDATE, 0, stage.held, number(1 << 30))
            + frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, (1 << 31) - 1)))
        ),
        BAD_FLOW,
    ),
    # --- 6.10: CONTINUATION --------------------------------------------------------------------------------------
    "CONTINUATIONs, some of nothing": (
        lambda stage: b"".join(
            [
                frame(Type.HEADERS, Flag.END_STREAM, stage.take(), stage.head()[:3]),
                frame(Type.CONTINUATION, 0, stage.stream, stage.head()[3:4]),
                frame(Type.CONTINUATION, 0, stage.stream, b""),
                frame(Type.CONTINUATION, Flag.END_HEADERS, stage.stream, stage.head()[4:]),
            ]
        ),
        Serves(),
    ),
    "CONTINUATION on stream 0": (
        lambda stage: (
            frame(Type.HEADERS, Flag.END_STREAM, stage.take(), b"")
            + frame(Type.CONTINUATION, Flag.END_HEADERS, 0, stage.head())
        ),
        BAD_PROTOCOL,
    ),
    "CONTINUATION of a finished block": (
        lambda stage: frame(Type.CONTINUATION, Flag.END_HEADERS, stage.begin(), stage.head()),
        BAD_PROTOCOL,
    ),
    "CONTINUATION after DATA": (
        lambda stage: (
            frame(Type.DATA, 0, stage.begin(), b"a") + frame(Type.CONTINUATION, Flag.END_HEADERS, stage.stream, b"")
        ),
        BAD_PROTOCOL,
    ),
    "CONTINUATION of another stream": (
        lambda stage: (
            frame(Type.HEADERS, Flag.END_STREAM, stage.take(), stage.head())
            + frame(Type.CONTINUATION, Flag.END_HEADERS, stage.held, b"")
        ),
        BAD_PROTOCOL,
    ),
} | {
    # --- 4.3: within a field block there is nothing else --------------------------------------------------------
    f"within a field block: {name}": (
        lambda stage, other=other: frame(Type.HEADERS, Flag.END_STREAM, stage.take(), stage.head()) + other(stage),
        BAD_PROTOCOL,
    )
    for name, other in {
        "DATA": lambda stage: frame(Type.DATA, 0, stage.stream, b"a"),
        "HEADERS": lambda stage: frame(Type.HEADERS, WHOLE, stage.stream, literal((b"a", b"b"))),
        "HEADERS of another stream": lambda stage: frame(Type.HEADERS, WHOLE, stage.client.next_stream(), stage.head()),
        "PRIORITY": lambda stage: frame(Type.PRIORITY, 0, stage.stream, bytes(5)),
        "RST_STREAM": lambda stage: frame(Type.RST_STREAM, 0, stage.stream, number(8)),
        "SETTINGS": lambda stage: frame(Type.SETTINGS),
        "PING": lambda stage: frame(Type.PING, 0, 0, bytes(8)),
        "GOAWAY": lambda stage: frame(Type.GOAWAY, 0, 0, bytes(8)),
        "WINDOW_UPDATE": lambda stage: frame(Type.WINDOW_UPDATE, 0, 0, number(1)),
        "an unknown type": lambda stage: frame(UNKNOWN, 0, 0, b""),
    }.items()
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_frame(gateway: Gateway, row: str) -> None:
    octets, outcome = ROWS[row]
    await perform(await open_stage(gateway), lambda stage: stage.client.send(octets(stage)), outcome)


async def test_a_ping_is_answered_with_what_it_said(gateway: Gateway) -> None:
    def play(stage: Stage) -> None:
        for word in (bytes(8), b"\xff" * 8, b"a word!!"):
            stage.client.ping(word)

    await perform(await open_stage(gateway), play, Serves())


async def test_settings_are_acknowledged_one_by_one(gateway: Gateway) -> None:
    def play(stage: Stage) -> None:
        client = stage.client
        client.wait(lambda: client.acknowledged == 1, "an acknowledgement of the first")
        client.send(frame(Type.SETTINGS) * 3)
        client.wait(lambda: client.acknowledged == 4, "three acknowledgements")

    await perform(await open_stage(gateway), play, Serves())


async def test_segmentation_means_nothing(gateway: Gateway) -> None:
    """A request with padding, CONTINUATIONs, unknown frames and trailers, in segments of one octet."""

    def play(stage: Stage) -> None:
        head, id = literal(*stage.post()), stage.take()
        stage.client.send_pieces(
            frame(UNKNOWN, 0, 0, b"whatever")
            + frame(Type.HEADERS, Flag.PADDED, id, padded(head[:10], 3))
            + frame(Type.CONTINUATION, Flag.END_HEADERS, id, head[10:])
            + frame(Type.DATA, Flag.PADDED, id, padded(b"con", 2))
            + frame(Type.PING, 0, 0, bytes(8))
            + frame(Type.DATA, 0, id, b"tent")
            + frame(Type.HEADERS, WHOLE, id, literal((b"x-sum", b"7")))
        )

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    assert (stage.asked[0].body, stage.asked[0].trailers.lower()) == (b"content", b"x-sum: 7\r\n")

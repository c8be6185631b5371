"""RFC 9218: PRIORITY_UPDATE and the field; nothing that is said of priorities breaks a request."""

from __future__ import annotations

import asyncio

import pytest

from tests.behaviour.harness import Gateway, Wire
from tests.behaviour.http2.stage import Ignored, Outcome, Serves, Stage, ends, open_stage, perform
from tests.support.h2_client import MAX_FRAME, H2Client
from tests.support.h2_frames import WINDOW, Code, Setting, Type, frame, number

BAD_PROTOCOL = ends(Code.PROTOCOL_ERROR)


def update(prioritized: int, value: bytes, stream: int = 0) -> bytes:
    return frame(Type.PRIORITY_UPDATE, 0, stream, number(prioritized) + value)


ROWS: dict[str, tuple[bytes, Outcome]] = {
    "of a stream that is yet to come": (update(99, b"u=1"), Ignored()),
    "of the open stream": (update(1, b"u=7, i"), Ignored()),
    "of no value": (update(1, b""), Ignored()),
    "of nonsense": (update(1, b"u=1, \xff\x00((("), Ignored()),
    "of a kilobyte": (update(1, b"a=1, " * 200), Ignored()),
    "on a stream": (update(1, b"u=1", stream=1), BAD_PROTOCOL),
    "of stream 0": (update(0, b"u=1"), BAD_PROTOCOL),
    "too short": (frame(Type.PRIORITY_UPDATE, 0, 0, b"\0\0\0"), ends(Code.FRAME_SIZE_ERROR)),
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_priority_update(gateway: Gateway, row: str) -> None:
    octets, outcome = ROWS[row]
    await perform(await open_stage(gateway), lambda stage: stage.client.send(octets), outcome)


@pytest.mark.parametrize("value", [b"u=0", b"u=7, i", b"u=9", b"i=?0", b"nonsense((", b"u", b'"', b"u=1;x=2, u=3"])
async def test_a_priority_field(gateway: Gateway, value: bytes) -> None:
    def play(stage: Stage) -> None:
        stage.stream = stage.client.request_of([*stage.pseudo, (b"priority", value)])

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    assert stage.asked[0].get(b"Priority") == value, "it is for the app, too"


async def test_what_is_urgent_goes_first(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two answers wait for the connection's window; the later one is more urgent, and gets what is granted."""
    body = b"x" * (2 * WINDOW)

    async def script(wire: Wire) -> None:
        while await wire.another():
            await wire.request()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    app = await gateway.app(script)
    sock = await gateway.blocking_socket()

    def play() -> None:
        with H2Client(sock, options=((Setting.INITIAL_WINDOW_SIZE, len(body)),)) as client:
            grant = client.grant
            monkeypatch.setattr(client, "grant", lambda id, octets: None)
            lazy = client.request(app.host, fields=[(b"priority", b"u=5")])
            client.wait(lambda: len(client.stream(lazy).body) == WINDOW, "the whole window")
            urgent = client.request(app.host, fields=[(b"priority", b"u=1")])
            client.head(urgent)
            for granted in (1, 2):
                grant(0, MAX_FRAME)
                client.flush()
                client.wait(lambda granted=granted: len(client.stream(urgent).body) == granted * MAX_FRAME, "a frame")
            assert len(client.stream(lazy).body) == WINDOW

    await asyncio.to_thread(play)

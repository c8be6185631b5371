"""RFC 9113 sections 5.2 and 6.9: nobody sends more than the other has room for, and who has none stops nobody else."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.behaviour.harness import Gateway, Wire
from tests.behaviour.http2.stage import Ignored, Serves, Stage, lives_on, open_stage, perform
from tests.support.h2_client import H2Client
from tests.support.h2_frames import WINDOW, Code, Flag, Setting, Type, frame, number, settings
from tests.support.stream import blocks

LARGE = 1_000_000
BODY = b"".join(blocks(LARGE))


def initial(octets: int) -> bytes:
    return frame(Type.SETTINGS, 0, 0, settings((Setting.INITIAL_WINDOW_SIZE, octets)))


async def test_an_answer_octet_by_octet(gateway: Gateway) -> None:
    """A window of one: each octet has to be asked for."""

    def play(stage: Stage) -> None:
        client = stage.client
        client.initial = 1
        client.send(initial(1))
        client.ping()
        id = client.request(stage.host)
        answer = client.response(id)
        assert [piece for piece in answer.pieces if piece] == [b"o", b"k"]
        client.initial = WINDOW
        client.send(initial(WINDOW))

    await perform(await open_stage(gateway), play, Ignored())


async def test_a_window_may_be_negative(gateway: Gateway) -> None:
    """6.9.2: what a change of INITIAL_WINDOW_SIZE takes back has to be granted anew before anything comes."""

    def play(stage: Stage) -> None:
        client = stage.client
        client.grants = False
        client.initial = 1
        client.send(initial(1))
        client.ping()
        id = client.request(stage.host)
        stream = client.stream(id)
        client.wait(lambda: stream.body == b"o", "one octet")
        client.initial = 0
        client.send(initial(0))  # the stream has -1 now
        client.send_frame(Type.WINDOW_UPDATE, 0, id, number(1))
        stream.granted += 1
        client.ping()
        assert stream.body == b"o", "a window of 0"
        client.grant(id, 1)
        client.flush()
        assert client.response(id).body == b"ok"
        client.send(initial(WINDOW))
        client.initial, client.grants = WINDOW, True

    await perform(await open_stage(gateway), play, Ignored())


async def test_no_window_at_all_keeps_nobody_from_a_head(gateway: Gateway) -> None:
    """Windows are for DATA: heads, and answers without content, are whole without one."""

    def play(stage: Stage) -> None:
        client = stage.client
        client.initial = 0
        client.send(initial(0))
        client.ping()
        assert client.response(client.request(stage.host, method=b"HEAD", path=b"/before")).status == 200
        id = client.request(stage.host, path=b"/before")
        assert client.head(id).status == 200
        assert not client.stream(id).over
        client.stream(id).granted += WINDOW
        client.initial = WINDOW
        client.send(initial(WINDOW))
        assert client.response(id).body == b"ok"

    await perform(await open_stage(gateway), play, Ignored())


async def test_more_than_was_granted(gateway: Gateway) -> None:
    """6.9.1: the app reads nothing, so nothing more is granted; who sends on all the same is stopped."""
    app = await gateway.app()
    sock = await gateway.blocking_socket()
    stalled = threading.Event()

    def play() -> None:
        with H2Client(sock) as client:
            id = client.request(app.host, method=b"POST", end=False)
            stream = client.stream(id)
            assert stalled.wait(client.patience)
            for _ in range(64 * 1024 * 1024 // 16_384):
                client.send_frame(Type.DATA, 0, id, bytes(16_384))
                client.read_some(time.monotonic() + 0.001)
                if stream.over or client.goaway or client.broken:
                    break
            client.wait(lambda: stream.reset is not None or client.goaway, "an end")
            code = client.goaway[0].code if client.goaway else stream.reset
            assert code == Code.FLOW_CONTROL_ERROR

    playing = asyncio.get_running_loop().run_in_executor(None, play)
    (await app.accept()).stop_reading()
    stalled.set()
    await playing


async def test_a_stream_that_is_not_read_stops_no_other(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three large answers, of which one is not granted anything: the others come whole."""

    async def script(wire: Wire) -> None:
        while await wire.another():
            await wire.request()
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + BODY)

    app = await gateway.app(script)
    sock = await gateway.blocking_socket()

    def play() -> None:
        with H2Client(sock, options=((Setting.INITIAL_WINDOW_SIZE, 32_768),)) as client:
            stalled = client.request(app.host)
            grant = client.grant
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(client, "grant", lambda id, octets: id == stalled or grant(id, octets))
                others = [client.request(app.host) for _ in range(2)]
                for id in others:
                    assert client.response(id).body == BODY
            assert len(client.stream(stalled).body) == 32_768
            client.grant(stalled, LARGE)
            client.flush()
            assert client.response(stalled).body == BODY

    await asyncio.to_thread(play)


async def test_padding_takes_its_part_of_the_window(gateway: Gateway) -> None:
    """And is granted again, though the app never sees it: a body ten times as long as all windows, most of it padding."""

    def play(stage: Stage) -> None:
        client, id = stage.client, stage.begin()
        stream = client.stream(id)
        padded = bytes([255]) + b"x" + bytes(255)
        for _ in range(10 * WINDOW // len(padded)):
            client.wait(lambda: min(client.window, stream.window) >= len(padded), "a window")
            client.window -= len(padded)
            stream.window -= len(padded)
            client.send_frame(Type.DATA, Flag.PADDED, id, padded)
        client.send_frame(Type.DATA, Flag.END_STREAM, id)

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    assert stage.asked[0].body == b"x" * (10 * WINDOW // 257)


async def test_an_upload_is_granted_as_the_app_takes_it(gateway: Gateway) -> None:
    def play(stage: Stage) -> None:
        stage.stream = stage.client.request_of(stage.post(), body=BODY)

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    assert stage.asked[0].body == BODY


async def test_given_up_streams_give_back_what_they_took(gateway: Gateway) -> None:
    """The connection's window does not shrink by what was sent on streams that were reset, or after their end."""

    def play(stage: Stage) -> None:
        client = stage.client
        for _ in range(60):
            id = client.request_of([*stage.post()[:3], (b":path", b"/before")], end=False)
            client.wait(lambda: client.window >= 16_384, "a window of the connection")
            client.window -= 16_384
            client.send_frame(Type.DATA, 0, id, bytes(16_384))
            client.reset(id)
        id = client.request_of([*stage.post()[:3], (b":path", b"/before")], body=BODY)
        assert client.response(id).status == 200
        lives_on(stage)

    await perform(await open_stage(gateway), play, Ignored())

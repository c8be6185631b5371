"""What the conformance tests stand on: a connection with one request under way, and what may come of a fault on it.

Every row breaks one rule, on a connection whose stream 1 is a request that the app has not answered yet. What it is
judged by is the same for all: who is to blame pays, a stream or the connection; nothing of it reaches the app; and after
a stream's fault everything else of the connection goes on, as if nothing had been.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.behaviour.harness import OK, Gateway, Message, Wire, until
from tests.support.h2_client import H2Client
from tests.support.h2_frames import Code, Fields, Flag, Type, literal

HELD = b"/held"


@dataclass(slots=True)
class Stage:
    """`client` is in the hands of the row; `stream` is the one that it may spoil."""

    gateway: Gateway
    client: H2Client
    host: bytes
    held: int
    asked: list[Message] = field(default_factory=list)
    """What the app was asked, whole, the held request excepted."""
    stream: int = 0
    good: bool = False
    """The head of the request was: the app may have it, whatever comes behind."""
    begun: Callable[[bytes], int] = lambda path: 0
    """How many requests for a path the app has seen the beginning of."""
    release: Callable[[], None] = lambda: None

    @property
    def pseudo(self) -> Fields:
        return [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", self.host), (b":path", b"/")]

    def post(self, *more: tuple[bytes, bytes]) -> Fields:
        return [(b":method", b"POST"), *self.pseudo[1:], *more]

    def head(self, *more: tuple[bytes, bytes]) -> bytes:
        """A block for a good request, that depends on no table."""
        return literal(*self.pseudo, *more)

    def begin(self, *more: tuple[bytes, bytes]) -> int:
        """A request on `stream` whose body is to follow."""
        self.good = True
        self.stream = self.client.request_of(self.post(*more), end=False)
        return self.stream

    def take(self) -> int:
        """`stream` is one that nothing was sent on yet."""
        self.stream = self.client.next_stream()
        return self.stream


Play = Callable[[Stage], None]


class Outcome:
    """What a row comes to; `prove` is called in the client's thread."""

    reaches = False
    """The app sees the beginning of the request, for it was right as far as it went."""

    def prove(self, stage: Stage) -> None:
        raise NotImplementedError


def lives_on(stage: Stage) -> None:
    """The connection answers, the request under way is answered, and a new one is."""
    client = stage.client
    client.ping()
    stage.release()
    held = client.response(stage.held)
    assert (held.status, bytes(held.body)) == (200, b"ok"), held
    again = client.response(client.request(stage.host, path=b"/again"))
    assert (again.status, bytes(again.body)) == (200, b"ok"), again


@dataclass(frozen=True)
class Ends(Outcome):
    """The connection, with GOAWAY and one of `codes`."""

    codes: tuple[Code, ...]

    def prove(self, stage: Stage) -> None:
        stage.client.expect_goaway(*self.codes)
        stage.release()


@dataclass(frozen=True)
class Resets(Outcome):
    """The stream, with RST_STREAM and one of `codes`."""

    codes: tuple[Code, ...]
    reaches: bool = False

    def prove(self, stage: Stage) -> None:
        stage.client.expect_reset(stage.stream, *self.codes)
        lives_on(stage)


@dataclass(frozen=True)
class EndsOr(Outcome):
    """The connection or the stream: the RFC leaves it open."""

    codes: tuple[Code, ...]
    reaches: bool = False

    def prove(self, stage: Stage) -> None:
        client, stream = stage.client, stage.client.stream(stage.stream)
        client.wait(lambda: client.goaway or stream.reset is not None, "an end of either")
        if client.goaway:
            client.expect_goaway(*self.codes)
            stage.release()
        else:
            client.expect_reset(stage.stream, *self.codes)
            lives_on(stage)


@dataclass(frozen=True)
class Refuses(Outcome):
    """The request, with a problem: its head could be read."""

    status: int = 400
    reason: bytes = b"bad_request"

    def prove(self, stage: Stage) -> None:
        answer = stage.client.response(stage.stream)
        assert (answer.status, answer.reason) == (self.status, self.reason), answer
        lives_on(stage)


@dataclass(frozen=True)
class Serves(Outcome):
    """Nothing is wrong with it."""

    reaches = True

    def prove(self, stage: Stage) -> None:
        if stage.stream:
            answer = stage.client.response(stage.stream)
            assert (answer.status, bytes(answer.body)) == (200, b"ok"), answer
        lives_on(stage)


@dataclass(frozen=True)
class Ignored(Outcome):
    """Nothing comes of it."""

    reaches = True

    def prove(self, stage: Stage) -> None:
        lives_on(stage)


def ends(*codes: Code) -> Outcome:
    return Ends(codes)


async def open_stage(gateway: Gateway, client_of: Callable[..., H2Client] = H2Client) -> Stage:
    """A stage whose request under way has arrived."""
    loop, released = asyncio.get_running_loop(), asyncio.Event()
    asked: list[Message] = []

    async def script(wire: Wire) -> None:
        while await wire.another():
            try:
                request = await wire.request()
            except AssertionError:
                if not wire.end:
                    raise
                return  # broken off, which is what a row is about
            if request.start.split(b" ")[1] == HELD:
                await released.wait()
            else:
                asked.append(request)
            wire.send(OK)

    app = await gateway.app(script)
    client = client_of(await gateway.blocking_socket())
    stage = Stage(gateway, client, app.host, 0, asked)
    stage.begun = lambda path: app.received.count(b" %b HTTP/1.1\r\n" % path)
    stage.release = lambda: loop.call_soon_threadsafe(released.set) and None
    try:
        stage.held = client.request(app.host, path=HELD)
        await until(lambda: stage.begun(HELD) == 1, "the request under way has arrived")
    except BaseException:
        client.close()
        raise
    return stage


async def perform(stage: Stage, play: Play, outcome: Outcome) -> None:
    """Plays, and proves what comes of it."""

    def run() -> None:
        with stage.client as client:
            client.wait(lambda: client.settings, "their SETTINGS")
            play(stage)
            outcome.prove(stage)
            first = client.frames[0]
            assert (first.type, first.flags & Flag.ACK) == (Type.SETTINGS, 0), f"RFC 9113 section 3.4: {first}"

    try:
        await asyncio.to_thread(run)
    finally:
        stage.release()
    if not (outcome.reaches or stage.good):
        assert not stage.begun(b"/"), f"it reached the app: {stage.asked}"

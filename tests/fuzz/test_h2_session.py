"""The gateway's HTTP/2 sessions with PyPI's h2 at the other end: a story of random steps, in random segments.

Each side keeps to the rules, so neither may find a fault, whatever the order; what one says the other hears, in order
and whole; and when all is said, both count the same windows. Both roles.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.h2.encoder import encode_fields
from gateway.http.h2.errors import ErrorCode
from gateway.http.message import Fields
from tests.support.h2_session import EVERYTHING, RecordedStream, Stage

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

REQUEST: Fields = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":authority", b"5000-abc.example.com"),
    (b":path", b"/a?b=c"),
    (b"cookie", b"d=e"),
]
RESPONSE: Fields = [(b":status", b"200"), (b"content-type", b"text/plain"), (b"etag", b'"f"')]
EARLY: Fields = [(b":status", b"103"), (b"link", b"</g>")]
TRAILERS: Fields = [(b"grpc-status", b"0")]
MOST_OPEN = 8


@dataclass
class Way:
    """What one side has sent on a stream, and what the other has heard of it."""

    said: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)
    heads_said: list[Fields] = field(default_factory=list)
    heads_heard: list[Fields] = field(default_factory=list)
    head_sent: bool = False
    ended: bool = False
    end_heard: bool = False


@dataclass
class Exchange:
    id: int
    out: Way = field(default_factory=Way)  # from the gateway's session
    into: Way = field(default_factory=Way)  # to it
    owed_by_us: int = 0  # octets of content that the gateway's owner holds
    owed_by_them: int = 0
    reset: bool = False
    told: bool = False  # of the reset, each side by its own
    forgotten: bool = False


class Story:
    """Both ends, what is between them, and the steps that a story is made of; each does nothing where it may not."""

    def __init__(self, *, server: bool) -> None:
        self.server = server
        self.stage = Stage(server=server, greeted=False, consumes=False)
        self.session = self.stage.session
        self.stage.hook = self.called
        self.peer = H2Connection(H2Configuration(client_side=server, header_encoding=None))
        self.to_us = bytearray()
        self.to_them = bytearray()
        self.exchanges: dict[int, Exchange] = {}
        self.octet = 0
        self.pings = 0
        self.our_pings = 0
        self.settings_open = True  # h2's own are not acknowledged yet; it takes any acknowledgement for the latest's
        self.peer.initiate_connection()
        self.session.start()
        self.collect()

    # --- between them --------------------------------------------------------------------------------------------

    def collect(self) -> None:
        self.to_us += self.peer.data_to_send()
        self.to_them += b"".join(self.session.out)
        self.session.out = []

    def carry_to_us(self, size: int, share: int) -> None:
        self.collect()
        piece = bytes(self.to_us[:size])
        del self.to_us[:size]
        stage = self.stage
        stage.hear(piece, share=share)
        while stage.rest and not self.session.unfinished:  # its share was used up
            stage.hear(share=share)
        self.collect()

    def carry_to_them(self, size: int) -> None:
        self.collect()
        piece = bytes(self.to_them[:size])
        del self.to_them[:size]
        for event in self.peer.receive_data(piece):
            self.event(event)
        self.collect()

    def called(self, call: tuple[Any, ...]) -> None:
        match call:
            case ("open", number, fields, ended):
                exchange = self.exchanges[number]
                exchange.into.heads_heard.append(fields)
                exchange.into.end_heard = ended
            case ("headers", number, fields, ended):
                exchange = self.exchanges[number]
                exchange.into.heads_heard.append(fields)
                exchange.into.end_heard |= ended
            case ("data", number, data):
                exchange = self.exchanges[number]
                exchange.into.heard += data
                exchange.owed_by_us += len(data)
            case ("end", number, trailers):
                exchange = self.exchanges[number]
                assert not exchange.into.end_heard
                exchange.into.end_heard = True
                if trailers:
                    exchange.into.heads_heard.append(trailers)
            case ("reset", number, _):
                exchange = self.exchanges[number]
                assert exchange.reset and not exchange.told
                exchange.told = True

    def event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived() | h2.events.InformationalResponseReceived():
                self.exchanges[event.stream_id].out.heads_heard.append(list(event.headers))
            case h2.events.TrailersReceived():
                self.exchanges[event.stream_id].out.heads_heard.append(list(event.headers))
            case h2.events.DataReceived():
                exchange = self.exchanges[event.stream_id]
                exchange.out.heard += event.data
                exchange.owed_by_them += event.flow_controlled_length
            case h2.events.StreamEnded():
                self.exchanges[event.stream_id].out.end_heard = True
            case h2.events.StreamReset():
                self.exchanges[event.stream_id].reset = True
            case h2.events.SettingsAcknowledged():
                self.settings_open = False
            case h2.events.PingAckReceived():
                self.pings -= 1
            case h2.events.ConnectionTerminated():
                raise AssertionError(event)

    def content(self, size: int) -> bytes:
        """Never the same twice in a row, so that nothing can be lost or turned round unseen."""
        self.octet += 1
        return b"%06d" % self.octet * (size // 6) + b"x" * (size % 6)

    def live(self, choice: int) -> Exchange | None:
        candidates = [exchange for exchange in self.exchanges.values() if not exchange.reset]
        return candidates[choice % len(candidates)] if candidates else None

    # --- steps of h2's side --------------------------------------------------------------------------------------

    def they_open(self, choice: int, size: int) -> None:
        busy = sum(not (e.reset or e.forgotten) for e in self.exchanges.values())
        if busy >= MOST_OPEN:
            return
        ended = size % 3 == 0
        if self.server:
            number = self.peer.get_next_available_stream_id()
            exchange = self.exchanges[number] = Exchange(number)
            self.peer.send_headers(number, REQUEST, end_stream=ended)
            way = exchange.into
        else:
            stream = RecordedStream(self.stage)
            if not self.session.can_open:
                return
            self.session.open_stream(stream, encode_fields(REQUEST), ended)
            self.stage.streams[stream.id] = stream
            exchange = self.exchanges[stream.id] = Exchange(stream.id)
            way = exchange.out
        way.head_sent = True
        way.heads_said.append(REQUEST)
        way.ended = ended

    def they_say_head(self, choice: int, size: int) -> None:
        exchange = self.live(choice)
        if self.server or exchange is None or not exchange.out.heads_heard or exchange.into.head_sent:
            return
        interim, ended = size % 4 == 0, size % 4 == 1
        fields = EARLY if interim else RESPONSE
        self.peer.send_headers(exchange.id, fields, end_stream=ended)
        exchange.into.heads_said.append(fields)
        exchange.into.head_sent = not interim
        exchange.into.ended = ended

    def they_say_data(self, choice: int, size: int) -> None:
        exchange = self.live(choice)
        if exchange is None or not exchange.into.head_sent or exchange.into.ended:
            return
        padding = size % 5 * 10 if size % 2 else None
        room = self.peer.local_flow_control_window(exchange.id) - (0 if padding is None else padding + 1)
        data = self.content(min(size, room, 16_000))
        if room > 0 and data:
            self.peer.send_data(exchange.id, data, pad_length=padding)
            exchange.into.said += data

    def they_end(self, choice: int, size: int) -> None:
        exchange = self.live(choice)
        if exchange is None or not exchange.into.head_sent or exchange.into.ended:
            return
        exchange.into.ended = True
        if size % 2:
            self.peer.end_stream(exchange.id)
        else:
            self.peer.send_headers(exchange.id, TRAILERS, end_stream=True)
            exchange.into.heads_said.append(TRAILERS)

    def they_reset(self, choice: int, size: int) -> None:
        exchange = self.live(choice)
        if exchange is None or size % 4 or not (exchange.out.head_sent and exchange.out.heads_heard):
            return  # h2 takes an interim response on a stream that it has reset for a fault
        if not (exchange.into.ended and exchange.out.end_heard):
            self.peer.reset_stream(exchange.id, error_code=8)
            exchange.reset = True

    def they_take(self, choice: int, size: int) -> None:
        exchange = self.live(choice)
        if exchange is not None and exchange.owed_by_them:
            octets = min(size, exchange.owed_by_them)
            self.peer.acknowledge_received_data(octets, exchange.id)
            exchange.owed_by_them -= octets

    def they_change_settings(self, choice: int, size: int) -> None:
        if self.settings_open:
            return
        self.settings_open = True
        self.peer.update_settings({4: size, 1: (0, 100, 4096)[choice % 3], 5: 16_384 + size})

    def they_ping(self, choice: int, size: int) -> None:
        self.peer.ping(b"%08d" % size)
        self.pings += 1

    # --- steps of ours -------------------------------------------------------------------------------------------

    def ours(self, choice: int) -> tuple[Exchange, RecordedStream] | None:
        known = [e for e in self.exchanges.values() if e.id in self.stage.streams and not e.forgotten]
        if not known:
            return None
        exchange = known[choice % len(known)]
        return exchange, self.stage.streams[exchange.id]

    def we_say_head(self, choice: int, size: int) -> None:
        found = self.ours(choice)
        if not self.server or found is None or found[0].out.head_sent:
            return
        exchange, stream = found
        interim, ended = size % 4 == 0, size % 4 == 1
        fields = EARLY if interim else RESPONSE
        self.session.send_headers(stream, encode_fields(fields), ended)
        exchange.out.heads_said.append(fields)
        exchange.out.head_sent = not interim
        exchange.out.ended = ended

    def we_say_data(self, choice: int, size: int) -> None:
        found = self.ours(choice)
        if found is None or not found[0].out.head_sent or found[0].out.ended:
            return
        exchange, stream = found
        data = self.content(size)
        self.session.send_data(stream, data)
        exchange.out.said += data

    def we_end(self, choice: int, size: int) -> None:
        found = self.ours(choice)
        if found is None or not found[0].out.head_sent or found[0].out.ended:
            return
        exchange, stream = found
        exchange.out.ended = True
        # h2 takes an empty DATA frame for a fault when the window is below 0.
        with_trailers = size % 2 == 1 or stream.send_window < 0
        self.session.end_stream(stream, encode_fields(TRAILERS) if with_trailers else b"")
        if with_trailers:
            exchange.out.heads_said.append(TRAILERS)

    def we_reset(self, choice: int, size: int) -> None:
        found = self.ours(choice)
        if found is not None and size % 4 == 0:
            self.abandon(*found)
            self.session.reset(found[1], ErrorCode.CANCEL)

    def we_forget(self, choice: int, size: int) -> None:
        found = self.ours(choice)
        if found is None or (size % 4 and not (found[0].into.end_heard and found[0].out.ended)):
            return
        exchange, stream = found
        if not exchange.out.ended:
            self.abandon(exchange, stream)  # it says RST_STREAM
        elif not exchange.into.end_heard:
            exchange.reset = True  # it may, now or when all is sent
            exchange.told = True
        exchange.forgotten = True
        self.session.forget(stream)

    def abandon(self, exchange: Exchange, stream: RecordedStream) -> None:
        if not stream.state.over:
            exchange.reset = exchange.told = True

    def we_take(self, choice: int, size: int) -> None:
        found = self.ours(choice)
        if found is not None and found[0].owed_by_us:
            octets = min(size, found[0].owed_by_us)
            self.session.consumed(found[1], octets)
            found[0].owed_by_us -= octets

    def we_pump(self, choice: int, size: int) -> None:
        assert self.session.pump(size) < size + 16_384

    def we_pause(self, choice: int, size: int) -> None:
        self.session.paused = size % 2 == 0

    def we_ping(self, choice: int, size: int) -> None:
        if self.stage.calls.count(("ping",)) == self.our_pings:
            self.session.ping()
            self.our_pings += 1

    def carry(self, choice: int, size: int) -> None:
        if choice % 2:
            self.carry_to_us(size, 1 + choice % 5)
        else:
            self.carry_to_them(size)

    # --- the end -------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Everything arrives, is taken, and windows are open, until nothing moves any more."""
        self.session.paused = False
        self.peer.increment_flow_control_window(1_000_000)
        opened = False
        for _ in range(1_000):
            if not self.settings_open and not opened:
                opened = self.settings_open = True
                self.peer.update_settings({4: 1_000_000})
            self.session.pump(EVERYTHING)
            self.collect()
            if not (self.to_us or self.to_them):
                break
            self.carry_to_us(len(self.to_us), EVERYTHING)
            self.carry_to_them(len(self.to_them))
            for exchange in self.exchanges.values():
                if exchange.reset:
                    continue
                if exchange.owed_by_them:
                    self.peer.acknowledge_received_data(exchange.owed_by_them, exchange.id)
                    exchange.owed_by_them = 0
                if exchange.owed_by_us and not exchange.forgotten:
                    self.session.consumed(self.stage.streams[exchange.id], exchange.owed_by_us)
                    exchange.owed_by_us = 0
        else:
            raise AssertionError("they never rest")

    def check(self) -> None:
        assert self.pings == 0
        assert not self.settings_open
        assert self.stage.calls.count(("ping",)) == self.our_pings
        assert self.session.settings_acknowledged
        for exchange in self.exchanges.values():
            for way in (exchange.out, exchange.into):
                if exchange.reset:
                    assert way.said.startswith(way.heard)
                    assert way.heads_heard == way.heads_said[: len(way.heads_heard)]
                else:
                    assert way.heard == way.said
                    assert way.heads_heard == way.heads_said
                    assert way.end_heard == way.ended
        self.check_windows()

    def check_windows(self) -> None:
        session, peer = self.session, self.peer
        assert session.stalled == 0
        assert session.send_window == peer.inbound_flow_control_window
        assert session._window.left == peer.outbound_flow_control_window
        for exchange in self.exchanges.values():
            stream = session.streams.get(exchange.id)
            theirs = peer.streams.get(exchange.id)
            if exchange.reset or stream is None or theirs is None:
                continue
            if not exchange.out.ended:
                assert stream.send_window == theirs.inbound_flow_control_window
            if not exchange.into.ended and stream.content_window is not None:
                window = stream.content_window
                assert window.left == theirs.outbound_flow_control_window
                assert window.left + window.owed == window.size


STEPS = [
    Story.they_open,
    Story.they_say_head,
    Story.they_say_data,
    Story.they_end,
    Story.they_reset,
    Story.they_take,
    Story.they_change_settings,
    Story.they_ping,
    Story.we_say_head,
    Story.we_say_data,
    Story.we_end,
    Story.we_reset,
    Story.we_forget,
    Story.we_take,
    Story.we_pump,
    Story.we_pause,
    Story.we_ping,
    *[Story.they_say_head] * 3,
    *[Story.we_say_head] * 3,
    *[Story.they_say_data] * 3,
    *[Story.we_say_data] * 3,
    *[Story.carry] * 8,
]


def tell(seed: int, length: int, *, server: bool) -> None:
    """Steps of a seed and not of a strategy: hypothesis makes a tenth of them in the same time."""
    rng = random.Random(seed)
    told = Story(server=server)
    for _ in range(length):
        step, choice = rng.choice(STEPS), rng.randrange(30)
        step(told, choice, rng.randrange(rng.choice((100, 2_000, 70_000))))
    told.settle()
    told.check()


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 32), st.integers(1, 250))
def test_a_server_and_h2_understand_each_other(seed: int, length: int) -> None:
    tell(seed, length, server=True)


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 1 << 32), st.integers(1, 250))
def test_a_client_and_h2_understand_each_other(seed: int, length: int) -> None:
    tell(seed, length, server=False)

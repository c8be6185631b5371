"""The HTTP/2 client asks what it says it asks, and counts as an answer only what is one."""

from __future__ import annotations

import asyncio
from argparse import Namespace

import hpack as oracle
import pytest

from bench import grpc_upstream, upstream
from bench.load import browser, hpack, http2
from bench.load.http2 import Stream, cycle_of


def options(**given: object) -> Namespace:
    usual = {"host": "5000-a.test", "hosts": "", "mixed": False, "grpc": False, "unlike": False}
    return Namespace(**{**usual, "body": 0, "path": "/", "answer": 33, **given})


def decoded(blocks: list[bytes], decoder: oracle.Decoder) -> list[list[tuple[bytes, bytes]]]:
    return [[(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)] for block in blocks]


def joined(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """With crumbs put together again."""
    crumbs = b"; ".join(value for name, value in fields if name == b"cookie")
    place = next(number for number, (name, _) in enumerate(fields) if name == b"cookie")
    rest = [field for field in fields if field[0] != b"cookie"]
    return [*rest[:place], (b"cookie", crumbs), *rest[place:]]


def test_a_cycle_of_blocks_can_be_read_over_and_over() -> None:
    requests = [browser.request("5000-a.test", f"/own/{number}", str(number)) for number in range(100)]
    blocks, decoder = hpack.cycle(requests), oracle.Decoder()
    for _ in range(3):
        assert [joined(fields) for fields in decoded(blocks, decoder)] == requests


def test_repeated_fields_are_sent_as_an_index() -> None:
    first, second, third = hpack.cycle([browser.request("5000-a.test", "/")] * 3)
    assert len(first) > 300
    assert second == third
    assert len(second) == len(browser.request("5000-a.test", "/")) + 1  # an octet for each, and one crumb more


def test_a_field_that_was_evicted_is_sent_whole_again() -> None:
    kept = (b"x-kept", b"k" * 100)
    blocks = hpack.cycle([[kept], *([(b"x-other", b"%d" % number + b"o" * 500)] for number in range(10)), [kept]])
    assert blocks[-1].endswith(blocks[0][-80:])
    assert decoded(blocks, oracle.Decoder())[-1] == [kept]


@pytest.mark.parametrize("text", [b"", b"a", b"0123456789abcdef", bytes(range(256))])
def test_strings_are_read_as_they_were_written(text: bytes) -> None:
    assert decoded(hpack.cycle([[(b"x-field", text)]]), oracle.Decoder()) == [[(b"x-field", text)]]


def test_unlike_requests_differ_within_a_connection_and_between_connections() -> None:
    every = [request.block for number in range(2) for request in cycle_of(options(unlike=True), number)]
    assert len(set(every)) == len(every) == 2 * http2.CYCLE


def test_mixed_requests_are_dealt_so_that_any_twenty_weigh_the_same() -> None:
    cycle = cycle_of(options(mixed=True, hosts="5001-s0.test,5002-s1.test"), 0)
    weights = {sum(request.answer + len(request.body) for request in cycle[at : at + 20]) for at in range(0, 200, 20)}
    assert weights == {15 * 33 + 4 * 16_384 + 2 * 1024 + 65_536}
    hosts = {dict(fields)[b":authority"] for fields in decoded([each.block for each in cycle], oracle.Decoder())}
    assert hosts == {b"5001-s0.test", b"5002-s1.test"}


@pytest.mark.parametrize(
    ("block", "left", "is_answer"),
    [
        (b"\x88\x5f", 33, True),
        (b"\x20\x3f\xe1\x1f\x88", 33, True),  # size updates may come first
        (b"\x8d", 33, False),  # 404
        (b"\x48\x03502", 33, False),
        (b"\x40\x0bgrpc-status\x010", 0, True),
        (b"\x40\x0bgrpc-status\x010", 38, False),  # trailers before the content has come
        (b"", 33, False),
    ],
)
def test_what_counts_as_an_answer(block: bytes, left: int, is_answer: bool) -> None:
    stream = Stream(left, 0.0, memoryview(b""), 0)
    assert http2._is_answer(block, 0, len(block), stream) is is_answer


def test_answers_of_the_upstream_differ_too() -> None:
    answers = [upstream.answer(b"/own/33/module.js") for _ in range(1000)]
    assert len(set(answers)) == 1000
    assert all(answer.endswith(b"\r\n\r\n" + upstream.BODY) for answer in answers)


def test_of_the_upstream_s_other_answers_a_query_makes_no_difference() -> None:
    assert len({upstream.answer(b"/?module=%d" % number) for number in range(100)}) == 1


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


def test_the_upstream_answers_calls_however_they_are_cut() -> None:
    call = http2.frame(http2.HEADERS, http2.END_HEADERS, 1, b"\x82") + http2.frame(
        http2.DATA, http2.END_STREAM, 1, grpc_upstream.MESSAGE
    )
    asked = http2.frame(http2.SETTINGS, 0, 0) + call
    for size in (1, 7, 1000):
        transport = Transport()
        app = grpc_upstream.GrpcApp(transport)
        octets = grpc_upstream.PREFACE_REST + asked
        for at in range(0, len(octets), size):
            app.data_received(octets[at : at + size])
        assert transport.written.startswith(grpc_upstream.GREETING)
        assert transport.written.endswith(grpc_upstream.answer(1))
        assert http2.frame(http2.SETTINGS, http2.ACK, 0) in transport.written


def test_the_upstream_stays_within_its_credit() -> None:
    transport = Transport()
    app = grpc_upstream.GrpcApp(transport)
    app.data_received(grpc_upstream.PREFACE_REST)
    most = grpc_upstream.DEFAULT_WINDOW // len(grpc_upstream.MESSAGE)
    for number in range(most + 5):
        app.data_received(http2.frame(http2.HEADERS, http2.END_STREAM, 2 * number + 1, b""))
    assert transport.written.count(grpc_upstream.MESSAGE) == most
    app.data_received(http2.frame(http2.WINDOW_UPDATE, 0, 0, (1000).to_bytes(4, "big")))
    assert transport.written.count(grpc_upstream.MESSAGE) == most + 5


def test_who_begins_with_the_preface_is_handed_over() -> None:
    transport = Transport()
    app = upstream.App()
    app._transport = transport
    app.data_received(http2.PREFACE + http2.frame(http2.PING, 0, 0, b"12345678"))
    assert isinstance(transport.protocol, grpc_upstream.GrpcApp)
    assert transport.written.endswith(http2.frame(http2.PING, http2.ACK, 0, b"12345678"))

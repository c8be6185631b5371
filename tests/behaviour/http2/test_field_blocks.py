"""RFC 7541, and RFC 9113 section 4.3: a field block that cannot be decoded ends the connection, for its state is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hpack import Encoder
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

from tests.behaviour.harness import Gateway
from tests.behaviour.http2.stage import Ignored, Outcome, Serves, Stage, ends, open_stage, perform
from tests.support.h2_frames import Code, Setting, Type, frame, indexed, integer, literal, settings

LOST = ends(Code.COMPRESSION_ERROR)
TABLE = 4096
Block = Callable[[Stage], bytes]


def huffman(text: bytes) -> bytes:
    return HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode(text)


def string(octets: bytes, *, coded: bool = False) -> bytes:
    return integer(len(octets), 7, 0x80 if coded else 0) + octets


def new(name: bytes, value: bytes, first: int = 0) -> bytes:
    """A literal with a literal name; `first` 0x40 puts it into the table, 0x10 says that it never may be."""
    return bytes([first]) + string(name) + string(value)


def size(octets: int) -> bytes:
    return integer(octets, 5, 0x20)


def after(more: bytes) -> Block:
    """A good head, and this; the table was emptied before."""
    return lambda stage: size(0) + size(TABLE) + stage.head() + more


ROWS: dict[str, tuple[Block, Outcome]] = {
    # --- 2.3.3, 6.1: indices -------------------------------------------------------------------------------------
    "index 0": (after(b"\x80"), LOST),
    "an index beyond the static table": (after(indexed(62)), LOST),
    "an index far beyond": (after(indexed(1 << 20)), LOST),
    "the name of an index beyond": (after(integer(70, 4) + string(b"a")), LOST),
    "the name of an index beyond, to be kept": (after(integer(70, 6, 0x40) + string(b"a")), LOST),
    "an entry of the table": (after(new(b"x-a", b"1", 0x40) + indexed(62)), Serves()),
    "an entry behind the last": (after(new(b"x-a", b"1", 0x40) + indexed(63)), LOST),
    "never to be indexed": (after(new(b"x-a", b"1", 0x10)), Serves()),
    # --- 4.2, 6.3: the table's size ------------------------------------------------------------------------------
    "a smaller table": (lambda stage: size(0) + stage.head(), Serves()),
    "a smaller table, and the former again": (lambda stage: size(0) + size(TABLE) + stage.head(), Serves()),
    "a larger table than allowed": (lambda stage: size(TABLE + 1) + stage.head(), LOST),
    "a much larger table": (lambda stage: size(1 << 30) + stage.head(), LOST),
    "an entry that a smaller table has lost": (lambda stage: size(0) + size(TABLE) + stage.head() + indexed(62), LOST),
    "a size behind a field": (after(size(0)), LOST),
    # --- 4.4: an entry larger than the table empties it ----------------------------------------------------------
    "an entry larger than the table": (after(new(b"x-a", b"1", 0x40) + new(b"x-b", b"b" * TABLE, 0x40)), Serves()),
    "what it has emptied": (after(new(b"x-a", b"1", 0x40) + new(b"x-b", b"b" * TABLE, 0x40) + indexed(62)), LOST),
    # --- 5.1: integers -------------------------------------------------------------------------------------------
    "an index without end": (after(b"\xff" + b"\x80" * 10), LOST),
    "an index of a hundred octets": (after(b"\xff" + b"\x80" * 100 + b"\x00"), LOST),
    "an index beyond 64 bits": (after(b"\xff" + b"\xff" * 10 + b"\x01"), LOST),
    "an index with zeros ahead": (after(b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), LOST),
    # --- 5.2: strings --------------------------------------------------------------------------------------------
    "a name that goes beyond the block": (after(b"\x00" + integer(10, 7) + b"short"), LOST),
    "a value that goes beyond the block": (after(b"\x00" + string(b"x") + integer(10, 7) + b"short"), LOST),
    "a length and nothing": (after(b"\x00" + string(b"x") + b"\x7f"), LOST),
    "a length of gigabytes": (after(b"\x00" + string(b"x") + integer(1 << 31, 7)), LOST),
    "a block that ends in a literal": (after(b"\x40"), LOST),
    "Huffman": (after(b"\x00" + string(huffman(b"x-name"), coded=True) + string(huffman(b"value"), coded=True)), Serves()),
    "Huffman of nothing": (after(b"\x00" + string(b"x-a") + string(b"", coded=True)), Serves()),
    "Huffman with a whole octet of padding": (after(b"\x00" + string(b"x") + string(huffman(b"a") + b"\xff", coded=True)), LOST),
    "Huffman of padding alone": (after(b"\x00" + string(b"x") + string(b"\xff", coded=True)), LOST),
    "Huffman padded with zeros": (after(b"\x00" + string(b"x") + string(b"\x18", coded=True)), LOST),  # a, then 000
    "Huffman with EOS": (after(b"\x00" + string(b"x") + string(b"\xff\xff\xff\xff", coded=True)), LOST),
    "Huffman that breaks off in a symbol": (after(b"\x00" + string(b"x") + string(b"\xff\xfe", coded=True)), LOST),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
async def test_a_block(gateway: Gateway, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block, outcome = ROWS[row]

    def play(stage: Stage) -> None:
        stage.client.encoder = Encoder()  # what the table holds by now is not the other encoder's
        stage.client.send_headers(stage.take(), block(stage), end=True)
        monkeypatch.setattr(stage.client, "request_of", _independent(stage))

    await perform(await open_stage(gateway), play, outcome)


def _independent(stage: Stage) -> Callable[..., int]:
    """Requests whose blocks depend on no table: a row may have changed it."""
    client = stage.client

    def request_of(fields: list[tuple[bytes, bytes]], *, body: bytes | None = None, end: bool = True) -> int:
        id = client.next_stream()
        client.send_headers(id, literal(*fields), end=end and body is None)
        return id

    return request_of


async def test_a_refused_block_counts_for_the_table(gateway: Gateway) -> None:
    """RFC 9113 section 4.3: every block is decoded, also on a stream that is refused or was reset."""

    def play(stage: Stage) -> None:
        client = stage.client
        refused = client.request_of([*stage.pseudo, (b"connection", b"close"), (b"x-kept", b"1")])
        assert client.response(refused).status == 400
        client.reset(client.request_of([*stage.post(), (b"x-other", b"2")], end=False))
        fields = [*stage.pseudo, (b"x-other", b"2"), (b"x-kept", b"1")]
        block = client.encoder.encode(fields)
        assert len(block) < 10, "all of it is in the table"
        stage.take()
        client.send_headers(stage.stream, block, end=True)

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    asked = next(each for each in stage.asked if each.get(b"x-kept"))
    assert (asked.get(b"x-other"), asked.get(b"x-kept")) == (b"2", b"1")


async def test_a_table_of_the_peers_choice(gateway: Gateway) -> None:
    """What we say of our table binds their encoder, before and after."""

    def play(stage: Stage) -> None:
        client = stage.client
        for octets in (0, TABLE, 0, 100, 1 << 20):
            client.send(frame(Type.SETTINGS, 0, 0, settings((Setting.HEADER_TABLE_SIZE, octets))))
            client.ping()
            client.decoder.max_allowed_table_size = octets
            for _ in range(3):
                assert client.response(client.request(stage.host, path=b"/before")).status == 200

    await perform(await open_stage(gateway), play, Ignored())


async def test_entries_are_forgotten_in_turn(gateway: Gateway) -> None:
    """Two hundred requests whose fields do not all fit into the table, each as long as the table remembers it."""

    def play(stage: Stage) -> None:
        client = stage.client
        for number in range(200):
            fields = [(b"x-%d" % (number % 37), b"v" * (number * 7 % 300)), (b"x-number", b"%d" % number)]
            stage.stream = client.request_of([*stage.pseudo, *fields])
            assert client.response(stage.stream).status == 200

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    for number, asked in enumerate(stage.asked[:200]):
        assert asked.get(b"x-number") == b"%d" % number
        assert asked.get(b"x-%d" % (number % 37)) == b"v" * (number * 7 % 300)

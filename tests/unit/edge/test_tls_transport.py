"""The TLS transport between a client in memory and a protocol that remembers: octets in, octets out, no socket."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from gateway.edge.tls_buffers import Buffers
from gateway.edge.tls_transport import EMPTY, MAX_UNANSWERED, MAX_UNREAD_REPLIES, RECORDS_AT_ONCE, TlsTransport
from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from gateway.turns import READ, RECORD, SHARE, WIDE_READ, Intake
from tests.support.tls_client import TlsClient
from tests.support.tls_records import APPLICATION_DATA, Sealer

NAME = "5000-box.sandbox.localhost"
V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
versions = pytest.mark.parametrize("version", [V1_2, V1_3], ids=["1.2", "1.3"])
TEXT = bytes(range(256)) * 700  # several records, and no multiple of one
ALERT = 0x15


class Tcp(asyncio.Transport):
    """The TCP transport below: remembers what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.ended = self.aborted = self.closing = False
        self.reading = True
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: Any) -> None:
        assert not self.ended, "nothing is written after the end"
        self.written.append(bytes(data))

    def take(self) -> bytes:
        octets = b"".join(self.written)
        self.written.clear()
        return octets

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted = self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.written))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("::1", 1)}.get(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Speaker(asyncio.Protocol):
    """The protocol above, and the handshake's handler: remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.shake_hands: Callable[[], bool]  # the transport's
        self.received = b""
        self.transport: TlsTransport | None = None
        self.answer = b""  # written as soon as anything has come
        self.busy = False  # handshakes wait
        self.has_room = True
        self.sure = 0  # octets that it could pass on
        self.listens = False  # after the other side's close_notify
        self.discarded_octets = 0

    def passable(self) -> int:
        return self.sure

    def handshake_received(self, octets: int) -> bool:
        if not self.busy:
            self.shake_hands()
        return self.has_room

    def handshake_completed(self) -> Speaker:
        self.told.append("secured")
        return self

    def plain_http_received(self, tcp: asyncio.Transport, octets: bytes) -> None:
        self.told += ["plain", octets]

    def handshake_failed(self, error: Exception | None) -> None:
        self.told += ["failed", type(error)]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("TlsTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.answer and self.transport is not None:
            self.transport.write(self.answer)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self.listens

    def hung_up(self) -> None:
        self.told.append("hung up")

    def discarded(self, octets: int) -> None:
        self.discarded_octets += octets

    def connection_lost(self, exc: Exception | None) -> None:
        self.told += ["lost", type(exc)]

    def pause_writing(self) -> None:
        self.told.append("full")

    def resume_writing(self) -> None:
        self.told.append("drained")


class Line:
    """A client, the transport under test, and the wire between them, moved by hand."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, buffers: Buffers) -> None:
        self.client = TlsClient(client, NAME)
        self.buffers = buffers
        self.tcp = Tcp()
        self.reads: list[int] = []  # how many octets each might have brought
        self.speaker = Speaker()
        self.transport = TlsTransport(server, buffers, self.speaker)
        self.speaker.shake_hands = self.transport.shake_hands
        self.transport.connection_made(self.tcp)

    def feed(self, octets: bytes, step: int = 1 << 20) -> None:
        """What the event loop does with `octets` that come in pieces of `step`, each in a turn of its own."""
        while octets:
            self.buffers.intake.turns.begun = 0
            buffer = self.transport.get_buffer(-1)
            size = min(step, len(buffer))
            piece, octets = octets[:size], octets[size:]
            buffer[: len(piece)] = piece
            self.reads.append(len(buffer))
            self.transport.buffer_updated(len(piece))
            assert not self.buffers.incoming.pending, "every call leaves the shared BIOs empty"
            assert not self.buffers.outgoing.pending, "every call leaves the shared BIOs empty"

    def send(self, data: bytes, step: int = 1 << 20) -> None:
        self.feed(self.client.sealed(data), step)

    def shake_hands(self, step: int = 1 << 20) -> None:
        self.feed(self.nearly_shake_hands(step), step)

    def nearly_shake_hands(self, step: int = 1 << 20) -> bytes:
        """All but the client's last flight, which is returned."""

        def exchange(octets: bytes) -> bytes:
            self.feed(octets, step)
            return self.tcp.take()

        return self.client.shake_hands(exchange)

    def read(self) -> bytes:
        """All that the client can read of what was written to it."""
        return self.client.read(self.tcp.take())


class Lines:
    """Makes them, all on the same buffers, as in a worker."""

    def __init__(self, server: ssl.SSLContext, authority: Path) -> None:
        self.server = server
        self.authority = authority
        self.soon: list[Callable[[], None]] = []  # callbacks that are due
        self.buffers = Buffers(Intake(self.soon.append, 64 * 1024))

    def client(self, version: ssl.TLSVersion = V1_3) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.authority)
        context.minimum_version = context.maximum_version = version
        return context

    def turn(self) -> bool:
        """One turn of the event loop; False if nothing is due in it."""
        due, self.soon[:] = self.soon[:], []
        for callback in due:
            callback()
            assert not self.buffers.incoming.pending, "every call leaves the shared BIOs empty"
        return bool(due)

    def line(self, version: ssl.TLSVersion = V1_3) -> Line:
        return Line(self.server, self.client(version), self.buffers)

    def secure(self, version: ssl.TLSVersion = V1_3) -> Line:
        line = self.line(version)
        line.shake_hands()
        assert line.speaker.told == ["secured"]
        return line


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> local_ca.LocalCertificates:
    return local_ca.ensure(tmp_path_factory.mktemp("certs"), "sandbox.localhost")


@pytest.fixture
def lines(certificates: local_ca.LocalCertificates) -> Lines:
    server = server_context([CertificatePair(certificates.certificate, certificates.key)])
    return Lines(server, certificates.authority)


# --- the handshake --------------------------------------------------------------------------------------------------


@versions
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_a_handshake_in_any_pieces(lines: Lines, version: ssl.TLSVersion, step: int) -> None:
    line = lines.line(version)
    assert line.transport.is_silent
    line.shake_hands(step)
    assert not line.transport.is_silent
    assert line.speaker.told == ["secured"]
    assert line.transport.get_extra_info("ssl_object").version() == line.client.tls.version()
    assert line.transport.get_extra_info("peername") == ("::1", 1)
    line.send(b"hello", step)
    assert line.speaker.received == b"hello"


def test_what_comes_with_the_end_of_the_handshake_is_not_lost(lines: Lines) -> None:
    line = lines.line()
    last_flight = line.nearly_shake_hands()
    line.speaker.answer = b"welcome"
    line.feed(last_flight + line.client.sealed(TEXT))
    assert line.speaker.received == TEXT
    assert line.read().startswith(b"welcome")


def test_a_client_that_does_not_trust_us(lines: Lines) -> None:
    line = Line(lines.server, ssl.create_default_context(), lines.buffers)
    with pytest.raises(ssl.SSLCertVerificationError):
        line.shake_hands()
    line.feed(line.client.outgoing.read())  # its alert
    assert line.tcp.aborted
    assert line.speaker.told == ["failed", ssl.SSLError]
    line.transport.connection_lost(None)
    assert line.speaker.told == ["failed", ssl.SSLError], "told once"


def test_what_cannot_be_agreed_upon_is_answered_with_an_alert(lines: Lines) -> None:
    lines.server.minimum_version = V1_3
    line = lines.line(V1_2)
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        line.shake_hands()
    assert line.tcp.aborted


def test_garbage_in_place_of_a_client_hello(lines: Lines) -> None:
    line = lines.line()
    line.feed(b"\x16\x03\x01\x00\x05nothing of the kind")
    assert line.tcp.take()[0] == ALERT
    assert line.tcp.aborted
    assert line.speaker.told == ["failed", ssl.SSLError]


def test_a_handshake_goes_on_when_it_is_its_turn(lines: Lines) -> None:
    """Until then its octets are kept, and nothing is spent: no object of OpenSSL's, no answer."""
    line = lines.line()
    line.speaker.busy = True
    hello = line.client.shake_hands_begin()
    line.feed(hello, step=100)
    assert not line.tcp.written
    assert not line.transport.has_begun
    assert line.transport.shake_hands()
    assert line.transport.has_begun
    line.client.incoming.write(line.tcp.take())
    line.client.tls.do_handshake()
    line.feed(line.client.outgoing.read() + line.client.sealed(b"with the handshake's end"))
    assert line.speaker.told == []
    assert line.transport.shake_hands()
    assert line.speaker.told == ["secured"]
    assert line.speaker.received == b"with the handshake's end"
    assert not line.transport.shake_hands(), "there is nothing left to do"


def test_what_waits_is_bounded(lines: Lines) -> None:
    """A whole body may come right behind the end of a handshake: then nothing is read until it is its turn."""
    line = lines.line()
    last_flight = line.nearly_shake_hands()
    line.speaker.busy = True
    line.feed(last_flight)
    wire = line.client.sealed(TEXT)
    line.feed(wire[: 2 * RECORD])
    assert not line.tcp.reading
    assert line.transport.shake_hands()
    assert line.tcp.reading
    line.feed(wire[2 * RECORD :])
    assert line.speaker.received == TEXT


def test_a_handshake_is_read_a_record_at_a_time(lines: Lines) -> None:
    line = lines.line()
    assert len(line.transport.get_buffer(-1)) == RECORD
    line.shake_hands()
    assert len(line.transport.get_buffer(-1)) == len(lines.buffers.intake.view)


def test_without_room_it_is_refused_with_an_alert(lines: Lines) -> None:
    line = lines.line()
    line.speaker.busy, line.speaker.has_room = True, False
    line.feed(line.client.shake_hands_begin())
    line.client.incoming.write(line.tcp.take())
    with pytest.raises(ssl.SSLError, match="INTERNAL_ERROR"):
        line.client.tls.do_handshake()
    assert line.tcp.aborted
    line.transport.connection_lost(None)
    assert line.speaker.told == ["failed", type(None)]


def test_who_left_is_not_waited_for(lines: Lines) -> None:
    line = lines.line()
    line.speaker.busy = True
    line.feed(line.client.shake_hands_begin())
    line.transport.connection_lost(None)
    assert not line.transport.shake_hands()


def test_a_client_hello_without_end_is_not_collected(lines: Lines) -> None:
    """OpenSSL would keep 128 KiB of each; in records of one octet that is 768 KiB to read."""
    message = b"\x01\x01\xff\xff" + bytes(200_000)
    for step in (1, 1000, RECORD - 5):
        line = lines.line()
        sent = 0
        while not line.tcp.aborted:
            line.feed(b"\x16\x03\x01" + step.to_bytes(2, "big") + message[sent : sent + step])
            sent += step
            assert sent <= MAX_UNANSWERED + step
        assert line.speaker.told == ["failed", ssl.SSLError]


def test_plain_octets_go_to_the_handler(lines: Lines) -> None:
    line = lines.line()
    line.feed(b"GET / HTTP/1.1\r\n", step=5)
    assert line.speaker.told == ["plain", b"GET / HTTP/1.1\r\n"]
    assert not line.tcp.written
    assert not line.tcp.closing
    assert line.transport.get_extra_info("ssl_object") is None


@pytest.mark.parametrize("octets", [b"", b"\x16\x03\x01"], ids=["silent", "begun"])
def test_who_leaves_before_the_handshake_is_done(lines: Lines, octets: bytes) -> None:
    line = lines.line()
    line.feed(octets)
    assert line.transport.eof_received() is False
    line.transport.connection_lost(None)
    assert line.speaker.told == ["failed", type(None)]


# --- content --------------------------------------------------------------------------------------------------------


@versions
@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_content_arrives_as_it_was_sent(lines: Lines, version: ssl.TLSVersion, step: int) -> None:
    line = lines.secure(version)
    line.send(TEXT, step)
    assert line.speaker.received == TEXT


@versions
@pytest.mark.parametrize("size", [1, RECORD, RECORD + 1, len(TEXT)])
def test_one_write_above_is_one_write_below(lines: Lines, version: ssl.TLSVersion, size: int) -> None:
    line = lines.secure(version)
    line.tcp.written = [line.tcp.take()]  # session tickets
    line.transport.write(TEXT[:size])
    assert len(line.tcp.written) == 2
    assert line.read() == TEXT[:size]


def test_connections_share_buffers_and_nothing_else(lines: Lines) -> None:
    """Octet by octet in turn, with a record unfinished on each of them nearly all the time."""
    three = [lines.line() for _ in range(3)]
    for line in three:
        line.shake_hands(step=1)
    wires = [line.client.sealed(b"%d" % number * 500) for number, line in enumerate(three)]
    for octets in zip(*wires, strict=True):
        for line, octet in zip(three, octets, strict=True):
            line.feed(bytes([octet]))
    for number, line in enumerate(three):
        assert line.speaker.received == b"%d" % number * 500
        line.transport.write(b"to %d" % number)
    assert [line.read() for line in three] == [b"to 0", b"to 1", b"to 2"]


@versions
def test_a_broken_record_ends_one_connection(lines: Lines, version: ssl.TLSVersion) -> None:
    broken, other = lines.secure(version), lines.secure(version)
    half = other.client.sealed(b"half a record now, half a record later")
    other.feed(half[:20])
    octets = bytearray(broken.client.sealed(b"first") + broken.client.sealed(b"second"))
    octets[-1] ^= 1
    assert broken.read() == b""  # tickets; without them the client could not read the alert
    broken.feed(bytes(octets))
    assert broken.tcp.aborted
    assert broken.tcp.written, "it is told why"
    with pytest.raises(ssl.SSLError, match="SSLV3_ALERT_BAD_RECORD_MAC"):
        broken.read()
    other.feed(half[20:])
    assert other.speaker.received == b"half a record now, half a record later"
    assert not other.tcp.closing


def test_backpressure_is_passed_on(lines: Lines) -> None:
    line = lines.secure()
    line.transport.pause_writing()
    line.transport.resume_writing()
    assert line.speaker.told == ["secured", "full", "drained"]
    line.transport.pause_reading()
    assert not line.tcp.reading
    line.transport.resume_reading()
    assert line.tcp.reading


@pytest.mark.parametrize("at_once", [1, RECORDS_AT_ONCE])
def test_who_makes_tls_talk_and_does_not_listen_is_cut_off(lines: Lines, at_once: int) -> None:
    """A KeyUpdate of 26 octets asks for one in return; a reader that takes none could ask for ever."""
    line = lines.secure()

    def ask(answers: int) -> None:
        for _ in range(answers // at_once):
            line.buffers.outgoing.write(bytes(26) * at_once)  # as OpenSSL would, on reading so many more
            line.send(b"x")

    most = MAX_UNREAD_REPLIES // 26 // at_once * at_once
    ask(most + at_once)
    assert not line.tcp.aborted, "whoever listens may ask"
    line.transport.pause_writing()
    ask(most)
    assert not line.tcp.aborted
    line.transport.resume_writing()
    line.transport.pause_writing()
    ask(most)
    assert not line.tcp.aborted, "counted from when it last took something"
    ask(at_once)
    assert line.tcp.aborted


# --- turns ----------------------------------------------------------------------------------------------------------


@versions
@pytest.mark.parametrize("size", [1, 10, 100])
def test_tiny_records_take_several_turns(lines: Lines, version: ssl.TLSVersion, size: int) -> None:
    line = lines.secure(version)
    count = 5 * SHARE
    whole = [bytes([97 + number % 26]) * size for number in range(count)]
    wire = [line.client.sealed(each) for each in whole]
    line.feed(b"".join(wire[: 2 * SHARE]))
    done = len(line.speaker.received)
    assert done <= (SHARE + RECORDS_AT_ONCE) * len(whole[0])
    assert not line.tcp.reading, "nothing more is read meanwhile"
    while lines.turn():
        assert len(line.speaker.received) - done <= (SHARE + RECORDS_AT_ONCE) * len(whole[-1])
        done = len(line.speaker.received)
    assert line.tcp.reading
    line.feed(b"".join(wire[2 * SHARE :]), step=5000)
    while lines.turn():
        pass
    assert line.speaker.received == b"".join(whole)


def test_large_records_take_one(lines: Lines) -> None:
    line = lines.secure()
    line.send(bytes(1024 * 1024))
    assert line.speaker.received == bytes(1024 * 1024)
    assert not lines.soon


def test_what_waits_when_it_is_cut_off_is_not_delivered(lines: Lines) -> None:
    """Its turn may come before the event loop says that the connection is lost."""
    line = lines.secure()
    line.feed(b"".join(line.client.sealed(b"x") for _ in range(2 * SHARE)))
    done = len(line.speaker.received)
    line.transport.abort()
    while lines.turn():
        pass
    assert 0 < len(line.speaker.received) == done < 2 * SHARE


@pytest.mark.parametrize("count", [100, 1000, 3000])
def test_a_flood_of_key_updates_takes_turns(lines: Lines, tmp_path: Path, count: int) -> None:
    """One call to OpenSSL would read them all: 27 octets and 8 µs each, 14 ms in a read."""
    context = lines.client()
    context.keylog_filename = str(tmp_path / "keys")
    line = Line(lines.server, context, lines.buffers)
    line.shake_hands()
    sealer = Sealer(line.client.tls, tmp_path / "keys")
    wire = sealer.key_updates(count) + sealer.record(APPLICATION_DATA, b"hello")
    turns = 0
    while wire or lines.soon:
        if line.tcp.reading and wire:
            size = len(line.transport.get_buffer(-1))
            line.feed(wire[:size])
            wire = wire[size:]
        turns += lines.turn()
    assert line.speaker.received == b"hello"
    assert turns >= count * EMPTY // (SHARE + RECORDS_AT_ONCE * EMPTY)


@versions
def test_a_large_body_is_read_as_widely_as_it_can_be_passed_on(lines: Lines, version: ssl.TLSVersion) -> None:
    line = lines.secure(version)
    body = bytes(range(251)) * 4096  # 1 MiB
    line.speaker.sure = WIDE_READ + 2 * RECORD
    line.reads.clear()
    line.send(body)
    assert line.speaker.received == body
    assert line.reads[:3] == [READ, READ, WIDE_READ]
    line.speaker.sure = 0
    line.send(body)
    while lines.turn():
        pass
    assert line.speaker.received == 2 * body
    assert line.reads[-1] == READ, "its reader has become slow"


def test_nothing_is_read_widely_while_others_wait(lines: Lines) -> None:
    """What a hostile one makes of a wide read may have to wait: not with a thousand of them at once."""
    busy, line = lines.secure(), lines.secure()
    busy.feed(b"".join(busy.client.sealed(b"x") for _ in range(SHARE + 2)))
    line.speaker.sure = 100 * WIDE_READ
    line.reads.clear()
    line.send(bytes(10 * READ))
    assert set(line.reads) == {READ}


def test_a_turn_is_not_for_who_does_not_read(lines: Lines) -> None:
    line = lines.secure()
    line.feed(b"".join(line.client.sealed(b"x") for _ in range(2 * SHARE)))
    line.transport.pause_reading()
    done = len(line.speaker.received)
    while lines.turn():
        pass
    assert (len(line.speaker.received), line.tcp.reading) == (done, False)
    line.transport.resume_reading()
    while lines.turn():
        pass
    assert (line.speaker.received, line.tcp.reading) == (b"x" * 2 * SHARE, True)


@pytest.mark.parametrize("end", ["close", "lost"])
def test_what_waits_for_a_connection_that_ends_is_dropped(lines: Lines, end: str) -> None:
    line = lines.secure()
    line.feed(b"".join(line.client.sealed(b"x") for _ in range(2 * SHARE)))
    done = line.speaker.received
    if end == "close":
        line.transport.close()
    else:
        line.transport.connection_lost(None)
    while lines.turn():
        pass
    assert line.speaker.received == done
    assert line.tcp.reading or end == "lost", "the other side's end is waited for"


@versions
def test_a_record_is_decrypted_when_it_is_whole(lines: Lines, version: ssl.TLSVersion) -> None:
    line = lines.secure(version)
    wire = line.client.sealed(bytes(RECORD)) + line.client.sealed(b"next")
    for cut in (1, 4, 5, 6, 100, RECORD):
        piece, wire = wire[:cut], wire[cut:]
        line.feed(piece)
        if cut < RECORD:
            assert line.speaker.received == b""
    line.feed(wire)
    assert line.speaker.received == bytes(RECORD) + b"next"


def test_what_is_no_record_is_refused_at_once(lines: Lines) -> None:
    line = lines.secure()
    line.feed(b"\x17\x03\x03\xff\xff")
    assert line.tcp.aborted


# --- endings --------------------------------------------------------------------------------------------------------


@versions
def test_the_end_is_announced_and_nothing_follows_it(lines: Lines, version: ssl.TLSVersion) -> None:
    line = lines.secure(version)
    line.transport.write(b"the last words")
    line.transport.close()
    assert line.transport.is_closing()
    assert line.tcp.ended
    line.transport.write(b"too late")
    line.transport.close()
    line.client.incoming.write(line.tcp.take())
    assert line.client.tls.read(RECORD) == b"the last words"
    assert line.client.tls.read(RECORD) == b"", "close_notify, and not an end that an attacker could make"


@versions
def test_the_other_side_ends(lines: Lines, version: ssl.TLSVersion) -> None:
    line = lines.secure(version)
    last = line.client.sealed(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        line.client.tls.unwrap()
    line.feed(last + line.client.outgoing.read() + b"after the end nothing counts")
    assert line.speaker.received == b"last"
    assert line.speaker.told == ["secured", "eof"]
    assert line.tcp.ended
    line.client.incoming.write(line.tcp.take())
    line.client.tls.unwrap()  # our close_notify has come
    assert line.transport.eof_received() is False
    line.transport.connection_lost(None)
    assert line.speaker.told == ["secured", "eof", "lost", type(None)]


def test_a_truncation_is_an_end_too(lines: Lines) -> None:
    line = lines.secure()
    assert line.transport.eof_received() is False
    assert line.speaker.told == ["secured", "hung up"]
    assert line.tcp.ended


@versions
def test_who_says_goodbye_may_still_listen(lines: Lines, version: ssl.TLSVersion) -> None:
    """RFC 8446 section 6.1: close_notify does not have any effect on the other direction."""
    line = lines.secure(version)
    line.speaker.listens = True
    with pytest.raises(ssl.SSLWantReadError):
        line.client.tls.unwrap()
    line.feed(line.client.sealed(b"") + line.client.outgoing.read())
    assert line.speaker.told == ["secured", "eof"]
    assert not line.transport.is_closing()
    line.transport.pause_reading()
    assert line.tcp.reading, "its FIN is to be heard"
    line.feed(b"what comes after it does not count")
    line.tcp.take()
    line.transport.write(b"x" * 40_000)
    assert len(line.tcp.take()) > 40_000
    line.transport.close()
    assert line.tcp.ended and line.tcp.take(), "our close_notify"
    assert line.speaker.received == b""


def test_who_says_goodbye_and_hangs_up_does_not_listen(lines: Lines) -> None:
    line = lines.secure()
    line.speaker.listens = True
    with pytest.raises(ssl.SSLWantReadError):
        line.client.tls.unwrap()
    line.feed(line.client.outgoing.read())
    assert line.transport.eof_received() is False
    assert line.speaker.told == ["secured", "eof", "hung up"]
    assert line.transport.is_closing()


def test_what_comes_after_the_close_is_read_away_and_told(lines: Lines) -> None:
    """Whoever speaks knows how much of it is enough."""
    line = lines.secure()
    line.transport.close()
    for _ in range(3):
        line.feed(bytes(65536))
    assert line.speaker.received == b""
    assert line.speaker.discarded_octets == 3 * 65536
    assert not line.tcp.aborted


@pytest.mark.parametrize("why", ["a turn is awaited", "it is paused"])
def test_what_comes_after_the_close_is_read_whatever_kept_it_from_being_read(lines: Lines, why: str) -> None:
    """Or the rest of an upload would stand still, and our FIN become a reset."""
    line = lines.secure()
    if why == "it is paused":
        line.transport.pause_reading()
    else:
        line.feed(b"".join(line.client.sealed(b"x") for _ in range(2 * SHARE)))
    assert not line.tcp.reading
    line.transport.close()
    assert line.tcp.reading
    while lines.turn():
        pass
    assert line.tcp.reading


def test_nothing_is_written_to_a_connection_that_is_gone(lines: Lines) -> None:
    line = lines.secure()
    line.tcp.take()
    line.transport.connection_lost(ConnectionResetError())
    line.transport.write(b"hello?")
    line.transport.close()
    line.transport.abort()
    assert not line.tcp.written
    assert line.speaker.told == ["secured", "lost", ConnectionResetError]


def test_a_record_that_failed_is_nobody_elses(lines: Lines) -> None:
    """The BIOs are shared: what is left in one would be the beginning of another connection's next record."""
    broken, sound = lines.secure(), lines.secure()

    def half_a_record(data: bytes | memoryview) -> int:
        lines.buffers.outgoing.write(b"half a record")
        raise ssl.SSLError("a bug of OpenSSL's")

    broken.transport._encrypt = half_a_record
    broken.transport.write(b"x")
    assert broken.tcp.aborted
    sound.read()
    sound.transport.write(TEXT)
    assert sound.read() == TEXT

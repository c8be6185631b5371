"""TLS for an accepted connection: protocol to the TCP transport below, transport to the protocol above.

OpenSSL runs on memory, and whatever a call consumes or produces is moved at once:

    HELLO --first octet 0x16--> HANDSHAKE --done--> OPEN --close()--> CLOSING --the other side's FIN--> CLOSED
      |--a request line--> handed back          |                 ^
      |     to the handshake's handler          `--close_notify--> HALF_CLOSED
      `--anything else--> an alert

A close_notify ends one direction only: the answer may still be awaited (RFC 8446 section 6.1; TLS 1.2 said otherwise,
and Go's CloseWrite does the same there). A FIN, with or without close_notify, ends the connection.

What comes in HANDSHAKE is kept until the handler calls `shake_hands`: one step can cost as much as a hundred requests.

The event loop's own TLS transport does more than a server needs: six calls from C into Python for each record where
this needs two, which is a tenth of a request.

Knows of HTTP only how it begins, and nothing of deadlines and limits. The `HandshakeHandler` decides how long a
handshake may take, and what speaks on the connection once it is secure.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final

from gateway.edge.tls_buffers import Buffers
from gateway.edge.tls_callbacks import HandshakeHandler, SecureProtocol
from gateway.edge.tls_records import HANDSHAKE_RECORD, HEADER, LARGEST_RECORD, NO_ROOM, NO_TLS, length_of
from gateway.errors import GatewayError, Reason
from gateway.http.greeting import Greeting, detect, explained
from gateway.transport import CLOSED_TRANSPORT, StreamProtocol, StreamTransport
from gateway.turns import READ, RECORD, SHARE, Portions, WideReading

RECORDS_AT_ONCE: Final = 16
"""Given to OpenSSL in one go. A KeyUpdate has 27 octets and costs 8 µs, and one call reads all there are."""
CONTENT, EMPTY = 1, 8
"""Units of work (see gateway.turns) of a record with and without content."""
MAX_UNANSWERED: Final = 32 * 1024
"""Octets of a handshake without an answer from us: a ClientHello (a browser's has 2 KiB). OpenSSL would keep four times
that."""
MAX_UNREAD_REPLIES: Final = 1000 * 26
"""Octets of answers that TLS itself owes (to KeyUpdate, 26 each) and that the other side has not read, before it is cut
off: Envoy's number for pending control frames. One step of OpenSSL makes up to `RECORDS_AT_ONCE` of them."""

_Decrypt = Callable[[int], bytes]
_Encrypt = Callable[[bytes | memoryview], int]


class State(Enum):
    HELLO = auto()  # nothing has come yet, or too little to tell what is spoken
    HANDSHAKE = auto()
    OPEN = auto()
    HALF_CLOSED = auto()  # the other side has sent close_notify; we may still write
    CLOSING = auto()  # we have sent close_notify and FIN, and wait for the other side's
    CLOSED = auto()


HELLO: Final = State.HELLO
HANDSHAKE: Final = State.HANDSHAKE
OPEN: Final = State.OPEN
HALF_CLOSED: Final = State.HALF_CLOSED
CLOSING: Final = State.CLOSING
CLOSED: Final = State.CLOSED
"""As globals: CPython 3.11 takes 0.1 µs to find a member through its class, and every read asks."""


class TlsTransport(WideReading):
    """One connection. Writing never fails and never blocks; what the TCP transport holds back is its business."""

    __slots__ = (
        "_ahead",
        "_buffers",
        "_context",
        "_decrypt",
        "_encrypt",
        "_flight",
        "_full",
        "_handler",
        "_intake",
        "_paused",
        "_protocol",
        "_queued",
        "_ssl",
        "_state",
        "_sure",
        "_tcp",
        "_unanswered",
        "_unread_replies",
        "_view",
        "_wide",
        "_work",
    )

    def __init__(self, context: ssl.SSLContext, buffers: Buffers, handler: HandshakeHandler) -> None:
        self._context = context
        self._buffers = buffers
        self._intake = buffers.intake
        self._view = buffers.record  # until OPEN
        self._wide = -1
        self._sure = 0
        self._flight = b""  # what has come of the handshake and waits
        self._handler: HandshakeHandler | None = handler  # until told how the handshake ended
        self._tcp: StreamTransport = CLOSED_TRANSPORT  # the real one from connection_made to connection_lost
        self._ssl: ssl.SSLObject | None = None  # from the first step of the handshake on
        self._decrypt: _Decrypt = _not_open  # set when OPEN
        self._encrypt: _Encrypt = _not_open
        self._protocol: SecureProtocol | None = None  # set exactly from OPEN on to connection_lost
        self._state = HELLO
        self._full = False  # the TCP transport takes no more for now
        self._unanswered = 0  # octets of the handshake since we last had something to say
        self._unread_replies = 0
        self._ahead = b""  # ciphertext that has come and was not decrypted: the beginning of a record, or more, if…
        self._queued = False  # … this waits for its turn
        self._paused = False  # the protocol does not want to read for now
        self._work = 0  # units since the last turn

    def __repr__(self) -> str:
        return f"<TlsTransport {self._state.name} {self._protocol!r}>"

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come yet."""
        return self._state is HELLO and not self._flight

    @property
    def has_begun(self) -> bool:
        """Whether a step of the handshake was made."""
        return self._ssl is not None

    # --- asyncio.BufferedProtocol: the TCP transport's side ------------------------------------------------------

    def connection_made(self, transport: StreamTransport) -> None:
        self._tcp = transport

    def buffer_updated(self, nbytes: int) -> None:
        state = self._state
        if state is OPEN:
            read = self._view
            one = nbytes == HEADER + (read[3] << 8 | read[4])  # and whole
            if not self._intake.turns.has_time() and self._wide <= 0:
                self._ahead += read[:nbytes]
                self._wait_turn(late=True)
            elif one and not self._ahead and self._work < SHARE:
                self._read_one(read[:nbytes])
            else:
                if nbytes >= READ:
                    self._was_full()
                self._read(read[:nbytes])
        elif state is HANDSHAKE:
            self._receive_handshake(nbytes)
        elif state is HELLO:
            self._begin(nbytes)
        elif self._protocol is not None:
            # Discarded, but read: unread octets would turn our FIN into a reset.
            self._protocol.discarded(nbytes)

    def eof_received(self) -> bool:
        if self._state is OPEN or self._state is HALF_CLOSED:
            assert self._protocol is not None
            self._protocol.hung_up()
            self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = CLOSED
        self._tcp = CLOSED_TRANSPORT
        if self._ssl is not None:
            Portions(self._intake.turns, [self._ssl], _let_go)
            self._ssl = None
        self._flight = b""
        self._decrypt = self._encrypt = _not_open
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc)
        self._handshake_failed(exc)  # if it has not ended before

    def pause_writing(self) -> None:
        self._full = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self._unread_replies = 0
        if self._protocol is not None:
            self._protocol.resume_writing()

    # --- the handshake -------------------------------------------------------------------------------------------

    def _begin(self, nbytes: int) -> None:
        """The first octets decide what this connection speaks; only TLS is worth an SSL object."""
        first = self._view[:nbytes]
        if first[0] == HANDSHAKE_RECORD and not self._flight:
            self._state = HANDSHAKE
            self._receive_handshake(nbytes)
            return
        self._flight += first
        octets, greeting = self._flight, detect(self._flight)
        if greeting is Greeting.UNDECIDED:
            return
        if greeting is Greeting.HTTP:
            handler, self._handler = self._handler, None
            assert handler is not None  # the handshake has not ended
            tcp, self._tcp = self._tcp, CLOSED_TRANSPORT
            self._state = CLOSED
            handler.plain_http_received(tcp, octets)
        else:
            self._tcp.write(NO_TLS)
            self.abort()
            self._handshake_failed(explained(octets, GatewayError(Reason.BAD_REQUEST, greeting.value)))

    def _receive_handshake(self, nbytes: int) -> None:
        self._flight += self._view[:nbytes]
        handler = self._handler
        assert handler is not None  # the handshake has not ended
        if len(self._flight) >= RECORD:
            self._tcp.pause_reading()  # more than a handshake needs: the rest is what follows it
        if not handler.handshake_received(nbytes):
            self._tcp.write(NO_ROOM)
            self.abort()

    def shake_hands(self) -> bool:
        """Continues the handshake with what has come; False if the connection is gone."""
        if self._state is not HANDSHAKE:
            return False
        flight, self._flight = self._flight, b""
        if len(flight) >= RECORD:
            self._tcp.resume_reading()
        buffers = self._buffers
        incoming = buffers.incoming
        incoming.write(flight)
        ssl_object = self._ssl
        if ssl_object is None:
            self._ssl = ssl_object = self._context.wrap_bio(incoming, buffers.outgoing, server_side=True)
        self._unanswered += len(flight)
        self._go_on(ssl_object, incoming)
        return True

    def _go_on(self, ssl_object: ssl.SSLObject, incoming: ssl.MemoryBIO) -> None:
        try:
            ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            if self._buffers.outgoing.pending:
                self._unanswered = 0
                self._send_own()
            elif self._unanswered > MAX_UNANSWERED:
                self._fail(ssl.SSLError("the ClientHello is too large"))
            return
        except (ssl.SSLError, ssl.CertificateError) as error:
            self._fail(error)
            return
        self._send_own()  # session tickets
        handler, self._handler = self._handler, None
        assert handler is not None  # the handshake has not ended
        # The methods of the object in C, where there is one behind the public one that only passes calls on to it.
        engine: Any = getattr(ssl_object, "_sslobj", None) or ssl_object
        self._decrypt, self._encrypt = engine.read, engine.write
        self._state = OPEN
        self._view = self._intake.view
        ahead = incoming.read()  # a request may have come with the handshake's end; the protocol may use the BIO
        self._protocol = protocol = handler.handshake_completed()
        protocol.connection_made(self)
        if ahead and self._tcp is not CLOSED_TRANSPORT:
            self._read(memoryview(ahead))

    # --- reading -------------------------------------------------------------------------------------------------

    def _read_one(self, octets: memoryview) -> None:
        """`_read` in short, for one record that is here whole and alone, as most requests are."""
        buffers = self._buffers
        buffers.incoming.write(octets)
        try:
            content = self._decrypt(RECORD)
        except ssl.SSLWantReadError:
            self._work += EMPTY
            self._deliver(b"", ended=False)
        except ssl.SSLZeroReturnError:
            self._deliver(b"", ended=True)
        except ssl.SSLError as error:
            self._fail(error)
        else:
            protocol = self._protocol
            if content and not buffers.outgoing.pending and protocol is not None:  # it is set when OPEN
                protocol.data_received(content)
            else:
                self._deliver(content, ended=not content)

    def _read(self, octets: memoryview) -> None:
        """Decrypts complete records until this turn's share of work is done, and delivers their content.

        Records are told apart here, because one call to OpenSSL reads any number of them that have no content.
        """
        incoming = self._buffers.incoming
        pieces: list[bytes] = []
        begin = end = 0
        ended = False
        ahead = self._ahead
        if ahead and not self._completes(ahead, octets):
            octets, ahead = memoryview(ahead + octets), b""
        size = len(octets)
        try:
            if ahead:
                begin = end = length_of(ahead) - len(ahead)
                incoming.write(ahead)
                incoming.write(octets[:end])
                ended = self._decrypt_into(pieces, 1)
            while not ended and self._work < SHARE:
                records = 0
                while records < RECORDS_AT_ONCE and size - end >= HEADER:
                    length = HEADER + (octets[end + 3] << 8 | octets[end + 4])
                    if length > LARGEST_RECORD:
                        length = size - end  # no record: for OpenSSL to say so
                    elif length > size - end:
                        break
                    end += length
                    records += 1
                if not records:
                    break
                incoming.write(octets if end - begin == size else octets[begin:end])
                begin = end
                ended = self._decrypt_into(pieces, records)
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._ahead = b"" if ended or begin == size else bytes(octets[begin:])
        self._deliver(b"".join(pieces), ended)  # one alone is not copied

    def _completes(self, ahead: bytes, octets: memoryview) -> bool:
        """Whether `ahead` is a part of one record and can be decrypted now, with the beginning of `octets`; the usual
        case in a large body, and then nothing has to be put together."""
        if len(ahead) < HEADER or self._work >= SHARE:
            return False
        length = length_of(ahead)
        return len(ahead) < length <= min(len(ahead) + len(octets), LARGEST_RECORD)

    def passable(self) -> int:
        return self._protocol.passable() - len(self._ahead) if self._protocol is not None else 0

    def _deliver(self, content: bytes, ended: bool) -> None:
        """What one read brought; `ended`: there is no more to come."""
        if self._buffers.outgoing.pending:
            self._send_own()
        protocol = self._protocol
        assert protocol is not None  # set when OPEN
        if content:
            protocol.data_received(content)
        if self._state is OPEN:
            if ended:
                self._half_close()
            elif self._work >= SHARE:
                self._wait_turn()

    def _decrypt_into(self, pieces: list[bytes], records: int) -> bool:
        """Decrypts so many records, all that is in the incoming BIO; whether a close_notify was among them."""
        incoming, decrypt = self._buffers.incoming, self._decrypt
        empty = records + len(pieces)
        try:
            while piece := decrypt(RECORD):
                pieces.append(piece)
                if not incoming.pending:
                    break
            else:
                incoming.read()  # beyond a close_notify nothing counts
                return True
        except ssl.SSLWantReadError:
            pass  # records without content
        except ssl.SSLZeroReturnError:
            incoming.read()
            return True
        empty -= len(pieces)
        if records > 1 or empty:  # one alone is paid for by having to be read
            self._work += (records - empty) * CONTENT + empty * EMPTY
        return False

    def _wait_turn(self, *, late: bool = False) -> None:
        if not self._queued:
            self._queued = True
            self._intake.turns.wait(self, late=late)
        self._set_reading()

    def take_turn(self) -> None:
        self._queued = False
        self._work = 0
        if self._ahead and self._state is OPEN and not self._paused:
            self._read(memoryview(b""))
        self._set_reading()

    def _set_reading(self) -> None:
        # HALF_CLOSED reads on: a FIN is still to come.
        if (self._queued or self._paused) and self._state is OPEN:
            self._tcp.pause_reading()
        else:
            self._tcp.resume_reading()

    def _half_close(self) -> None:
        """The other side sends no more."""
        self._state = HALF_CLOSED
        self._ahead = b""
        self._set_reading()
        assert self._protocol is not None
        if not self._protocol.eof_received():
            self.close()

    def _send_own(self) -> None:
        """Writes TLS's own records: the handshake, tickets, answers to KeyUpdate, alerts."""
        octets = self._buffers.outgoing.read()
        if octets:
            self._tcp.write(octets)
        if self._full:
            self._unread_replies += len(octets)
            if self._unread_replies > MAX_UNREAD_REPLIES:
                self.abort()

    def _fail(self, error: Exception) -> None:
        """TLS has failed, on either side: sends the alert, and ends the connection."""
        self._buffers.incoming.read()
        self._send_own()
        self.abort()
        self._handshake_failed(error)

    def _handshake_failed(self, error: Exception | None) -> None:
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.handshake_failed(error)

    # --- StreamTransport: the protocol's side --------------------------------------------------------------------

    def write(self, data: Any) -> None:
        """`data` is bytes."""
        if self._state is not OPEN and self._state is not HALF_CLOSED:
            return
        outgoing = self._buffers.outgoing
        try:
            sent = self._encrypt(data)
            if sent != len(data):  # one record at a time
                view = memoryview(data)
                while sent < len(data):
                    sent += self._encrypt(view[sent:])
        except ssl.SSLError:
            outgoing.read()
            self.abort()
            return
        self._tcp.write(outgoing.read())

    def close(self) -> None:
        """Delivers what is written, then close_notify and FIN; ends with the other side's FIN. The protocol decides
        how long that may take: see `abort`.
        """
        if self._state is not OPEN and self._state is not HALF_CLOSED:
            if self._state is not CLOSING:
                self._tcp.close()
            return
        self._state = CLOSING
        self._ahead = b""
        self._set_reading()
        assert self._ssl is not None  # set since the handshake
        with contextlib.suppress(ssl.SSLError):  # it wants the other side's close_notify, but a FIN says as much
            self._ssl.unwrap()
        self._tcp.write(self._buffers.outgoing.read())
        self._tcp.write_eof()

    def abort(self) -> None:
        self._ahead = b""  # it may be queued, and have its turn before it is lost
        self._tcp.abort()

    def is_closing(self) -> bool:
        return (self._state is not OPEN and self._state is not HALF_CLOSED) or self._tcp.is_closing()

    def can_write_eof(self) -> bool:
        return False

    def write_eof(self) -> None:
        raise NotImplementedError("TLS ends both directions: `close`")

    def set_protocol(self, protocol: StreamProtocol) -> None:
        raise NotImplementedError("what speaks on it was chosen with the handshake")

    def pause_reading(self) -> None:
        self._paused = True
        self._set_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._ahead:
            self._wait_turn()  # there may be whole records among it
        else:
            self._set_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tcp.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Octets of ciphertext that the kernel has not taken yet."""
        return self._tcp.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, `ahead` (whether ciphertext has come that was not decrypted), and whatever TCP's knows."""
        if name == "ahead":
            return bool(self._ahead)
        return self._ssl if name == "ssl_object" else self._tcp.get_extra_info(name, default)


def _not_open(_: object) -> Any:
    raise ssl.SSLError("the connection is not open")


def _let_go(ssl_object: ssl.SSLObject) -> None:
    """OpenSSL takes a while to free what a connection was: of a thousand that end at once, longer than they do."""

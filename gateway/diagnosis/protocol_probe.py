"""What does an app speak that would not say so in HTTP? Found out by asking it in other protocols, once.

    what was met (Symptom)              asked             what is heard, and what follows
    SILENCE  it hung up without a word  a ClientHello   TLS, or the beginning of another protocol -> named
                                                        nothing, or an error as Redis writes it -> asked PING
                                                        it hangs up again -> asked PostgreSQL's SSLRequest
    TLS      an answer of HTTP in the   a ClientHello   TLS -> named
             words of a TLS server
    REDIS    an error as Redis writes   PING            a reply as Redis gives it -> named

That is one connection or two of our own, of half a second at most each. Everything asked is the beginning of that
protocol and changes nothing; an app that speaks none of them logs an odd connection. So whoever makes requests fail
must not be able to make many: an answer is given to all who ask within a second, a port that was none of these is asked
again after 1 s, then 2, 4, … 15, and neither a sandbox nor a worker asks more than so many per second. Who cannot
be told is told what was met, without more.

What gives itself away in its first octets never comes here: upstream/evidence.py knows it. A 400 in words of a TLS
server comes from error_answer.py.

Dials the address it is given, which the policy has let pass just before; must not know requests or who made them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from typing import TYPE_CHECKING

from gateway.addresses import family
from gateway.diagnosis.rate_limit import RateLimit
from gateway.errors import GatewayError, Reason, Wording
from gateway.http.head_parser import quote
from gateway.tasks import SingleFlight, Tasks
from gateway.upstream import evidence
from gateway.wordings import ANOTHER_PROTOCOL

if TYPE_CHECKING:
    from gateway.endpoint import Endpoint
    from gateway.upstream.stream import UpstreamFailure

STEP_TIMEOUT = 0.5
"""Seconds for dialing once more and hearing what answers one question."""
MAX_DURATION = 2 * STEP_TIMEOUT
"""Seconds that a look takes at most."""
MAX_ANSWER = 64
"""Octets of an answer that are looked at."""
PER_SECOND = 10
PER_SANDBOX = 3
"""Looks begun within a second, by a worker, and on behalf of one sandbox whatever its ports."""
RESULT_TTL = 1.0
"""Seconds an answer is given again."""
MAX_BACKOFF = 15.0
"""Seconds until a port that was nothing known is asked again, at the most."""
MAX_RESULTS = 1024
"""Ports; of more than these the oldest answers are forgotten."""

_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
"""PostgreSQL's documentation, "Message Formats": length 8, code 80877103. The server answers with one octet, S or N."""
_PING = b"PING\r\n"
"""An inline command (Redis's documentation, "RESP protocol specification"): before a login, too, and of no effect."""
_REDIS = re.compile(rb"\+PONG\r\n|-(?:NOAUTH|NOPERM|DENIED|LOADING|BUSY|MASTERDOWN) ")


class Symptom(Enum):
    """What was met that a look may explain."""

    SILENCE = auto()
    TLS = auto()
    REDIS = auto()


@dataclass(frozen=True, slots=True)
class DetectedProtocol:
    """What a port was seen to speak; `how` completes "the app … and"."""

    reason: Reason
    how: str
    wording: Wording | None = None


TLS = DetectedProtocol(Reason.UPSTREAM_SPEAKS_TLS, "answers when TLS is spoken to it")

_Detection = asyncio.Task[DetectedProtocol | None]


@dataclass(slots=True)
class _Result:
    until: float
    protocol: DetectedProtocol | None
    backoff: float
    """How long that was kept."""


class ProtocolProbe:
    """One per worker, and per examination of a URL. `tasks` owns those who ask; `clock` counts seconds."""

    def __init__(self, tasks: Tasks, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = RateLimit(PER_SECOND, PER_SANDBOX)
        self._detections: SingleFlight[Endpoint, DetectedProtocol | None] = SingleFlight(tasks)
        self._results: dict[Endpoint, _Result] = {}  # the oldest first

    async def detect(self, endpoint: Endpoint, symptom: Symptom) -> DetectedProtocol | None:
        """What `endpoint`, which has just been dialed, speaks; None: nothing known, or it cannot be asked now."""
        answer = self._begin(endpoint, symptom)
        # shield: one asker going away must not take the answer from the others.
        return await asyncio.shield(answer) if isinstance(answer, asyncio.Task) else answer

    def detect_then(
        self, endpoint: Endpoint, symptom: Symptom, then: Callable[[DetectedProtocol | None], None]
    ) -> None:
        """As `detect`, for who is no task: calls `then`, always later, after `MAX_DURATION` at the latest."""
        answer = self._begin(endpoint, symptom)
        if isinstance(answer, asyncio.Task):
            answer.add_done_callback(lambda task: then(_result(task)))
        else:
            asyncio.get_running_loop().call_soon(then, answer)

    async def explain(self, failure: UpstreamFailure, endpoint: Endpoint) -> GatewayError:
        """The error of `failure`, met at `endpoint`, or what it means if the port was seen to speak something else."""
        error, symptom = failure.error, symptom_of(failure)
        protocol = None if symptom is None else await self.detect(endpoint, symptom)
        if protocol is None:
            return error
        return GatewayError(protocol.reason, f"{error.detail}, and {protocol.how}", wording=protocol.wording)

    def _begin(self, endpoint: Endpoint, symptom: Symptom) -> _Detection | DetectedProtocol | None:
        now = self._clock()
        known = self._results.get(endpoint)
        if known is not None and now < known.until:
            return known.protocol
        detection = self._detections.get(endpoint)
        if detection is None:
            if not self._rate.take(now, endpoint.sandbox_id):
                return None
            detection = self._detections.start(endpoint, self._detect(endpoint, symptom), f"protocol of {endpoint}")
        return detection

    async def _detect(self, endpoint: Endpoint, symptom: Symptom) -> DetectedProtocol | None:
        protocol = await _ask_in_turn(endpoint.address, endpoint.port, symptom)
        now = self._clock()
        # How often one was asked in vain is of interest as long again.
        for old in [old for old, known in self._results.items() if known.until + known.backoff <= now]:
            del self._results[old]
        last = self._results.pop(endpoint, None)
        backoff = RESULT_TTL
        if protocol is None and last is not None and last.protocol is None:
            backoff = min(2 * last.backoff, MAX_BACKOFF)
        self._results[endpoint] = _Result(now + backoff, protocol, backoff)
        if len(self._results) > MAX_RESULTS:
            del self._results[next(iter(self._results))]
        return protocol


def symptom_of(failure: UpstreamFailure) -> Symptom | None:
    """What should be asked of the app before `failure` is told. Who has served a request speaks HTTP."""
    if failure.reused:
        return None
    if failure.received.startswith(evidence.REDIS_ERROR):
        return Symptom.REDIS
    return Symptom.SILENCE if failure.is_silent else None


def _result(task: _Detection) -> DetectedProtocol | None:
    return None if task.cancelled() or task.exception() is not None else task.result()


async def _ask_in_turn(address: str, port: int, symptom: Symptom) -> DetectedProtocol | None:
    try:
        if symptom is Symptom.REDIS:
            return await _is_redis(address, port)
        heard = await _exchange(_client_hello(), address, port)
        if heard and evidence.is_tls(heard):
            return TLS
        if symptom is Symptom.TLS:
            return None
        if heard is None or heard.startswith(evidence.REDIS_ERROR):
            return await _is_redis(address, port)
        if not heard or evidence.refuses_http_in_tls(heard):
            return await _is_postgresql(address, port)
        return _recognized(heard, "a ClientHello")  # HTTP, more often than not: its answer to what it cannot read
    except OSError:  # it is not there any more, or no descriptor is left: nothing is found
        return None


def _recognized(heard: bytes | None, question: str) -> DetectedProtocol | None:
    """What begins so, whatever was asked: some send it to everybody, and hang up before it is read (Go's HTTP/2)."""
    named = evidence.named(heard) if heard else None
    if named is None:
        return None
    what, reason, wording = named
    return DetectedProtocol(reason, f"answers {question} with {what}", wording)


async def _is_redis(address: str, port: int) -> DetectedProtocol | None:
    heard = await _exchange(_PING, address, port)
    if not heard or not _REDIS.match(heard):
        return _recognized(heard, "a PING")
    line, _, _ = heard.partition(b"\r\n")
    how = f"answers {quote(line)} to a PING, as Redis does"
    return DetectedProtocol(Reason.HTTP_PROTOCOL_ERROR, how, ANOTHER_PROTOCOL)


async def _is_postgresql(address: str, port: int) -> DetectedProtocol | None:
    heard = await _exchange(_SSL_REQUEST, address, port)
    if heard is None or heard not in (b"S", b"N"):
        return _recognized(heard, "an SSLRequest")
    how = f"answers {quote(heard)} to an SSLRequest, as PostgreSQL does"
    return DetectedProtocol(Reason.HTTP_PROTOCOL_ERROR, how, ANOTHER_PROTOCOL)


async def _exchange(octets: bytes, address: str, port: int) -> bytes | None:
    """The beginning of what a fresh connection answers to `octets`; empty: it hung up; None: it kept silent.

    Raises OSError if there is no connection.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(family(address), socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        connected = False
        try:
            async with asyncio.timeout(STEP_TIMEOUT):
                await loop.sock_connect(sock, (address, port))
                connected = True
                await loop.sock_sendall(sock, octets)
                return await loop.sock_recv(sock, MAX_ANSWER)
        except TimeoutError:
            if connected:
                return None
            raise
        except OSError:
            if connected:  # reset
                return b""
            raise


@cache
def _client_hello() -> bytes:
    """A ClientHello that offers what a browser would. The same one every time: no handshake is ever completed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is believed, and no certificate ever looked at
    context.set_alpn_protocols(["h2", "http/1.1"])
    outgoing = ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:  # it waits for the server's half, which is none of our business
        return outgoing.read()
    raise AssertionError("a handshake with nobody cannot end")

"""A program that does the same each time, for a tool that counts its instructions.

    python -m tests.support.replay road 300           requests that pass the road, all heads different
    python -m tests.support.replay http2 300          … over HTTP/2, eight in each read, as a browser writes them
    python -m tests.support.replay measure 300        what the machine's Python and OpenSSL cost, without the gateway

Two runs that differ in the number tell what one costs: what clients and apps say is made beforehand, and as much of it
each time. Of the second the first is a multiple, which hardly depends on how Python and OpenSSL were built.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import ssl
import sys
import tempfile
from ipaddress import ip_address
from pathlib import Path

from bench.load import browser, hpack
from bench.load.http2 import END_HEADERS, END_STREAM, GREETING, HEADERS, frame
from gateway.edge.forwarded import Peer
from gateway.edge.http2 import Http2Downstream
from gateway.edge.tls_callbacks import SecureProtocol
from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from tests.support.road import NAME, Road, opened
from tests.support.tls_client import TlsClient

WARM = 50
MOST = 300
"""The highest number that may be asked for."""
REQUEST = (
    "GET /assets/module-{0}.js?v={0:x} HTTP/1.1\r\nHost: 5000-demo.sandbox.localhost\r\nAccept: */*\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\nSec-Fetch-Site: same-origin\r\n"
    "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: script\r\nReferer: https://5000-demo.sandbox.localhost/page/{0}\r\n"
    'Cookie: session=abcdef{0}; theme=dark\r\nIf-None-Match: W/"{0:x}"\r\nPriority: u=1, i\r\n\r\n'
)
ANSWER = (
    "HTTP/1.1 200 OK\r\nContent-Type: text/javascript\r\nCache-Control: no-cache\r\nVary: Origin\r\n"
    'ETag: W/"{0:x}"\r\nX-Trace-Id: {0:032x}\r\nSet-Cookie: seen={0:x}; Path=/; HttpOnly\r\nContent-Length: 33\r\n\r\n'
    "thirty-three bytes of plain text\n"
)


async def travel(folder: Path, count: int) -> None:
    """One request after the other. Each costs the gateway what it costs, and nothing is collected meanwhile."""
    async with opened(folder) as road:
        # Under such a tool seconds pass: nothing grows old, or another request than the one before would be measured.
        now = road.upstream.since = asyncio.get_running_loop().time()
        road.edge.directory._clock = road.edge.pool._clock = lambda: now
        road.prepare(*(REQUEST.format(number).encode() for number in range(WARM + MOST)))
        answers = [ANSWER.format(number).encode() for number in range(WARM + MOST)]
        for answer in answers[:WARM]:
            road.travel(answer)
        gc.disable()
        for answer in answers[WARM : WARM + count]:
            road.travel(answer)
        road.edge.telemetry.flush()
        answered = len(road.downstream_wire.writes)
        assert answered == WARM + count, f"{answered} answers to {WARM + count} requests"


class Http2Road(Road):
    """One connection, on which eight requests come at a time."""

    UPSTREAMS = 8

    def handshake_completed(self) -> SecureProtocol:
        return Http2Downstream(self.edge, Peer(ip_address("2001:db8::9"), b"https"), lambda: None)


async def travel_http2(folder: Path, count: int) -> None:
    """As `travel`."""
    at_once = Http2Road.UPSTREAMS
    assert count % at_once == 0
    async with opened(folder, Http2Road) as road:
        now = asyncio.get_running_loop().time()
        road.edge.directory._clock = road.edge.pool._clock = lambda: now
        for upstream, _ in road.upstreams:
            upstream.since = now
        every = range(WARM // at_once * at_once + MOST // at_once * at_once)
        fields = [browser.request(NAME, f"/own/{each}/module.js", f"{each}") for each in every]
        frames = [
            frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, block)
            for number, block in enumerate(hpack.cycle(fields))
        ]
        road.prepare(GREETING, *(b"".join(frames[at : at + at_once]) for at in every[::at_once]))
        road.ask()

        answers = [ANSWER.format(number).encode() for number in every]

        async def travel(first: int) -> None:
            road.ask()
            while road.edge.intake.turns.busy:  # more than a turn's share
                await asyncio.sleep(0)
            road.write_batcher.flush()
            for number, (upstream, _) in enumerate(road.upstreams, first):
                road.answer(upstream, answers[number])
            road.write_batcher.flush()

        warm = WARM // at_once * at_once
        for first in every[:warm:at_once]:
            await travel(first)
        gc.disable()
        for first in every[warm : warm + count : at_once]:
            await travel(first)
        road.edge.telemetry.flush()
        for _, wire in road.upstreams:
            asked = len(wire.writes)
            assert asked == (warm + count) // at_once, f"{asked} requests to an app"


def measure(folder: Path, count: int) -> None:
    """What a proxy is made of: records, lines, look-ups, JSON."""
    certificates = local_ca.ensure(folder, "sandbox.localhost")
    client = TlsClient(ssl.create_default_context(cafile=certificates.authority), NAME)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = server_context([CertificatePair(certificates.certificate, certificates.key)])
    server = context.wrap_bio(incoming, outgoing, server_side=True)

    def exchange(octets: bytes) -> bytes:
        incoming.write(octets)
        with contextlib.suppress(ssl.SSLWantReadError):
            server.do_handshake()
        return outgoing.read()

    exchange(client.shake_hands(exchange))
    sealed = [client.sealed(REQUEST.format(number).encode()) for number in range(MOST)]
    gc.disable()
    for record in sealed[:count]:
        incoming.write(record)
        lines = server.read(4096).split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        server.write(b"\r\n".join(b"%b: %b" % pair for pair in fields.items()))
        outgoing.read()
        json.dumps([value.decode() for value in fields.values()])


def main() -> None:
    what, count = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        if what == "road":
            asyncio.run(travel(Path(folder), count))
        elif what == "http2":
            asyncio.run(travel_http2(Path(folder), count))
        else:
            measure(Path(folder), count)


if __name__ == "__main__":
    main()

"""A gateway in a process of its own whose memory can be asked for: `python -m tests.support.measured_gateway CERT KEY`.

Prints its plain and its TLS port, then answers every line with its resident memory in octets. Kernel buffers are small,
so that what a slow reader does not take is soon the gateway's to hold.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import uvloop

from gateway.directory.sandbox import TableDirectory
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.process import memory
from gateway.tls.context import CertificatePair, server_context
from tests.behaviour.harness import BOX, Options, Records, listening_socket, settings
from tests.support.telemetry import AtOnce

KERNEL_BUFFER = 16 * 1024


def resident() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def serve(certificate: Path, key: Path) -> None:
    edge = Edge(settings(Options(limits={"connections_per_address": 10_000})), TableDirectory(BOX), AtOnce(Records()))
    plain, secure = listening_socket(KERNEL_BUFFER), listening_socket(KERNEL_BUFFER)
    Listener(edge, plain, None)
    Listener(edge, secure, server_context([CertificatePair(certificate, key)]))
    memory.settle()
    print(plain.getsockname()[1], secure.getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        for connection in edge.pool.connections:
            connection._socket.setsockopt(1, 7, KERNEL_BUFFER)  # SO_SNDBUF
        print(resident(), flush=True)


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))

"""A program for a network namespace of its own: tunnels to peers who vanish, and what becomes of them, as JSON.

    unshare --net python -m tests.support.vanishing

The peers live in another namespace at the end of a cable. To vanish they are given a blackhole route back: what is sent
to them arrives, and nothing ever comes from them again, as from a laptop that was closed. A peer that only stops to
read goes on to acknowledge, as every kernel does for its programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
from ipaddress import IPv6Address, IPv6Network

import uvloop

from gateway.directory.sandbox import Sandbox, TableDirectory
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.tasks import Tasks
from tests.behaviour.harness import DOMAIN, Options, Records, settings
from tests.support.telemetry import AtOnce

KEEPALIVE = 1.0
PATIENCE = 25.0
OURS, THEIRS = "fd00:7::1", "fd00:7::2"
OUR_CARD, THEIR_CARD = "02:00:00:00:00:01", "02:00:00:00:00:02"
ASK = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
PEER = """
import socket, sys
kept = []
for line in sys.stdin:
    what, *arguments = line.split()
    if what == "visit":
        sock = socket.socket(socket.AF_INET6)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("fd00:7::1", int(arguments[0])))
        host = arguments[1].encode()
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: %s\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n" % host)
        kept.append(sock)
        head = b""
        while not head.endswith(b"\\r\\n\\r\\n"):
            head += sock.recv(1)
        print("visited", flush=True)
    elif what == "serve":
        listener = socket.create_server(("::", 0), family=socket.AF_INET6)
        print(listener.getsockname()[1], flush=True)
        for _ in range(int(arguments[0])):
            sock, _ = listener.accept()
            while b"\\r\\n\\r\\n" not in sock.recv(65536):
                pass
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n")
            kept.append(sock)
        print("served", flush=True)
"""


def run(line: str) -> None:
    subprocess.run(line.split(), check=True)


class Peer:
    """The program at the other end of the cable."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def hear(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    def vanish(self) -> None:
        run(f"nsenter --target {self._process.pid} --net ip -6 route add blackhole {OURS}/128")


async def main() -> None:
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", sys.executable, "-c", PEER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    peer = Peer(process)
    lay_cable(process.pid)
    log = Records()
    edge, port = open_gateway(log)
    try:
        results = await scenes(edge, port, peer)
        results["details"] = sorted({record.detail for record in log if record.detail})
    finally:
        process.kill()
        await process.wait()
        await edge.close()
    print(json.dumps(results))


def lay_cable(pid: int) -> None:
    there = f"nsenter --target {pid} --net"
    while subprocess.run([*there.split(), "readlink", "/proc/self/ns/net"], capture_output=True).stdout == (
        subprocess.run(["readlink", "/proc/self/ns/net"], capture_output=True).stdout
    ):
        time.sleep(0.01)  # it has not moved yet
    run("ip link set lo up")
    run(f"ip link add name here address {OUR_CARD} type veth peer name there address {THEIR_CARD}")
    run(f"ip link set there netns {pid}")
    run(f"ip -6 address add {OURS}/64 dev here nodad")
    run("ip link set here up")
    run(f"{there} ip -6 address add {THEIRS}/64 dev there nodad")
    run(f"{there} ip link set there up")
    # Known to each other for ever: a neighbour that is not found would be told by the kernel.
    run(f"ip -6 neighbour replace {THEIRS} lladdr {THEIR_CARD} dev here nud permanent")
    run(f"{there} ip -6 neighbour replace {OURS} lladdr {OUR_CARD} dev there nud permanent")


def open_gateway(log: Records) -> tuple[Edge, int]:
    allow = (IPv6Network("fd00::/8"), IPv6Network("::1/128"))
    options = Options(timeouts={"tcp_keepalive": KEEPALIVE}, upstream={"allow": allow})
    table = TableDirectory(
        {
            "here": Sandbox("here", IPv6Address("::1"), "1"),
            "there": Sandbox("there", IPv6Address(THEIRS), "1"),
        }
    )
    edge = Edge(settings(options), table, AtOnce(log))
    listener = socket.create_server(("::", 0), family=socket.AF_INET6)
    Listener(edge, listener, None)
    return edge, listener.getsockname()[1]


async def scenes(edge: Edge, port: int, peer: Peer) -> dict[str, object]:
    """Six tunnels. Their ends are awaited together, since each takes seconds."""
    apps: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        apps.append((reader, writer))

    server = await asyncio.start_server(app, "::1", 0)
    app_port = server.sockets[0].getsockname()[1]
    for _ in range(4):
        await peer.tell(f"visit {port} {app_port}-here.{DOMAIN}")
        assert await peer.hear() == "visited"
    await peer.tell("serve 2")
    their_port = await peer.hear()
    visitors = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("::1", port)
        writer.write(f"{ASK}Host: {their_port}-there.{DOMAIN}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        visitors.append((reader, writer))
    assert await peer.hear() == "served"

    # While nobody has vanished: one who reads nothing, for several times the patience.
    apps[2][1].write(bytes(48 * 1024))  # its window closes, and less waits here than would make anybody pause
    before = edge.connections
    await asyncio.sleep(8 * KEEPALIVE)
    results: dict[str, object] = {"a slow reader lives": edge.connections == before and not apps[2][0].at_eof()}

    apps[3][1].write(bytes(48 * 1024))
    await asyncio.sleep(KEEPALIVE / 2)  # its window closes
    peer.vanish()
    apps[1][1].write(b"x" * 1000)
    visitors[1][1].write(b"x" * 1000)
    tasks = Tasks()
    waiting = {
        "a silent visitor": apps[0][0],
        "a visitor who is written to": apps[1][0],
        "a visitor who takes nothing": apps[3][0],
        "a silent app": visitors[0][0],
        "an app that is written to": visitors[1][0],
    }
    ends = {name: tasks.spawn(until_end(reader), name) for name, reader in waiting.items()}
    for name, end in ends.items():
        results[name] = await end
    apps[2][1].close()
    server.close()
    return results


async def until_end(reader: asyncio.StreamReader) -> float | None:
    """Seconds until the other side is gone; None if it does not go."""
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        try:
            async with asyncio.timeout(PATIENCE):
                await reader.read()
        except TimeoutError:
            return None
    return time.monotonic() - started


if __name__ == "__main__":
    logging.basicConfig(level="WARNING")
    uvloop.run(main())

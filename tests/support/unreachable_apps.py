"""A program for a network namespace of its own: apps nobody can connect to, and what is said of each, as JSON.

    unshare --net python -m tests.support.unreachable_apps

One sandbox is at the other end of a cable (vanishing.py), one this machine at an address of its own, one this machine's
loopback. Every situation is asked about three times: a request through the gateway, `gateway explain`, and the state of
the port; one line each of the answer: scene -> {"problem", "report", "state"}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv6Address, IPv6Network
from typing import Any

import msgspec
import uvloop

from gateway.admin.ports import check_port, make_pool
from gateway.config import Settings
from gateway.diagnosis.explain import explain
from gateway.directory.sandbox import Sandbox, TableDirectory
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener
from gateway.process.explain import make_context
from gateway.tasks import Tasks
from tests.behaviour.harness import DOMAIN, Options, Records, settings
from tests.support.telemetry import AtOnce
from tests.support.vanishing import OURS, THEIRS, lay_cable, run

OFF, STRICT = "fd00:7::3", "fd00:7::4"
"""Of the same machine as THEIRS: to one nothing comes through, the other drops one port and rejects the rest."""
STUCK, LOCALHOST = 6000, 5173
"""The first is none that a look dials, and would so take the only place in the queue."""
REJECTS = {
    "no-route": 1001,
    "admin-prohibited": 1002,
    "addr-unreachable": 1003,
    "port-unreachable": 1004,
    "policy-fail": 1005,
    "reject-route": 1006,
    "tcp reset": 1007,
}
"""What a firewall in the sandbox does, as nftables calls it, and with which port."""
ICMP_RATE = "/proc/sys/net/ipv6/icmp/ratelimit"
"""Milliseconds between two ICMPv6 errors to one address; a real SYN is sent again, and answered then."""
OUR_REJECT, OUR_DROP, DROP = 1011, 1012, 1020
SANDBOXES = {"there": THEIRS, "off": OFF, "strict": STRICT, "here": OURS, "local": "::1"}
PEER = f"""
import socket, sys
def listen(host, port):
    sock = socket.socket(socket.AF_INET6)
    sock.bind((host, port))
    sock.listen(0)
    return sock
print("moved", flush=True)
sys.stdin.readline()
kept = [listen("::", {STUCK}), listen("::1", {LOCALHOST})]
print("ready", flush=True)
sys.stdin.read()
"""
Told = dict[str, Any]


async def main() -> None:
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", sys.executable, "-c", PEER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        await process.stdout.readline()
        lay_cable(process.pid)
        build_walls(process.pid)
        process.stdin.write(b"listen\n")
        assert await process.stdout.readline() == b"ready\n"
        print(json.dumps(await scenes()))
    finally:
        process.kill()
        await process.wait()


def build_walls(pid: int) -> None:
    there = f"nsenter --target {pid} --net"
    run(f"{there} ip link set lo up")
    subprocess.run([*there.split(), "tee", ICMP_RATE], input="0", text=True, stdout=subprocess.DEVNULL, check=True)
    for address in (OFF, STRICT):
        run(f"{there} ip -6 address add {address}/128 dev there nodad")
        run(f"ip -6 route add {address}/128 via {THEIRS} dev here")
    rejects = "\n".join(
        f"tcp dport {port} reject with {how if how == 'tcp reset' else f'icmpv6 type {how}'}"
        for how, port in REJECTS.items()
    )
    chain = "chain c {{ type filter hook {} priority 0;\n{}\n}}"
    strict = f"ip6 daddr {STRICT} tcp dport != {DROP} reject with icmpv6 type admin-prohibited"
    walls = chain.format("input", f"{rejects}\n{strict}\ntcp dport {DROP} drop\nip6 daddr {OFF} drop")
    nft(there.split(), walls)
    ours = f"tcp dport {OUR_REJECT} reject with icmpv6 type admin-prohibited\ntcp dport {OUR_DROP} drop"
    nft([], chain.format("output", ours))


def nft(prefix: list[str], chain: str) -> None:
    subprocess.run([*prefix, "nft", "-f", "-"], input=f"table inet walls {{\n{chain}\n}}\n", text=True, check=True)


class Asker:
    """A gateway, and the three ways to ask it."""

    def __init__(self, configured: Settings, tasks: Tasks) -> None:
        table = TableDirectory({id: Sandbox(id, IPv6Address(address), "1") for id, address in SANDBOXES.items()})
        self.edge = Edge(configured, table, AtOnce(Records()))
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.port = listener.getsockname()[1]
        Listener(self.edge, listener, None)
        self.context = make_context(configured, table, [], tasks)
        self.table = table

    async def problem(self, sandbox: str, port: int) -> Told:
        reader, writer = await self.ask(sandbox, port)
        answer = await reader.read()
        writer.close()
        told: Told = json.loads(answer.partition(b"\r\n\r\n")[2])
        return told

    async def ask(self, sandbox: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("::1", self.port)
        fields = "Accept: application/json\r\nConnection: close\r\n"
        writer.write(f"GET / HTTP/1.1\r\nHost: {port}-{sandbox}.{DOMAIN}\r\n{fields}\r\n".encode())
        return reader, writer

    async def everything(self, sandbox: str, port: int) -> Told:
        record = await self.table.fetch(sandbox)
        assert record is not None
        pool = make_pool(self.context)
        state = await check_port(record, port, self.context, pool)
        report = await explain(f"https://{port}-{sandbox}.{DOMAIN}/", self.context)
        return {
            "problem": await self.problem(sandbox, port),
            "report": msgspec.to_builtins(report),
            "state": [state.state, state.detail],
        }


async def scenes() -> dict[str, Told]:
    allow = (IPv6Network("fd00::/8"), IPv6Network("::1/128"))
    tasks = Tasks()
    asker = Asker(settings(Options(upstream={"allow": allow, "connect_timeout": 0.5})), tasks)
    told = {}
    try:
        for how, port in REJECTS.items():
            told[how] = await asker.everything("there", port)
        told["our own firewall"] = await asker.everything("there", OUR_REJECT)
        told["our own firewall drops"] = await asker.everything("there", OUR_DROP)
        told["a firewall that drops"] = await asker.everything("there", DROP)
        told["a firewall that drops one and rejects the rest"] = await asker.everything("strict", DROP)
        told["a machine that is off"] = await asker.everything("off", STUCK)
        told["localhost, elsewhere"] = await asker.everything("there", LOCALHOST)
        with bound("::1", LOCALHOST):
            told["localhost, here"] = await asker.everything("here", LOCALHOST)
        _, first = await asker.ask("there", STUCK)  # takes the only place there is
        await connected(asker)
        told["stuck, elsewhere"] = await asker.everything("there", STUCK)
        first.close()
        with full_queue("::1") as port:
            told["stuck, here"] = await asker.everything("local", port)
    finally:
        await asker.edge.close()
        await tasks.cancel()
    return told


async def connected(asker: Asker) -> None:
    while not asker.edge.pool.connections:
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[None]:
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind((host, port))
        sock.listen(1)
        yield


@contextlib.contextmanager
def full_queue(host: str) -> Iterator[int]:
    """Of an app that listens with room for two and is stuck."""
    with ExitStack() as stack:
        app = stack.enter_context(socket.socket(socket.AF_INET6))
        app.bind((host, 0))
        app.listen(1)
        for _ in range(2):
            stack.enter_context(socket.create_connection(app.getsockname()[:2]))
        yield app.getsockname()[1]


if __name__ == "__main__":
    logging.basicConfig(level="WARNING")
    uvloop.run(main())

"""How large a machine has to be: memory, descriptors and CPU of the gateway alone, as docs/deploy.md tells them.

    python -m bench.sizing [--connections 4000] [--seconds 3]

Memory is PSS of all its processes, which counts each shared page once; what the kernel keeps for sockets is not in it.
Each kind of connection is opened, used once and then held by a client of its own; what the gateway holds more than
before, divided by their number, is the figure. CPU is from the scheduler's own books while wrk asks for 33 octets.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.machine import describe
from bench.peers import PEERS, Proxy, running
from bench.processes import ROOT, Child, cost
from bench.site import Site, open_site

SETTLE = 2.0
"""Seconds before memory is read: what was freed is given back, what was delayed is done."""
WORKERS = 3
"""Of the gateway that is held against one with a single worker."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a gateway holds at one moment."""

    kib: int
    descriptors: int

    @classmethod
    def of(cls, proxy: Proxy) -> Holding:
        time.sleep(SETTLE)
        held = cost(proxy.pid)
        return cls(held.pss_kib, sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in held.pids))


def workers(site: Site) -> Iterator[tuple[str, str]]:
    alone, several = (
        replace(PEERS["gateway"], environment=(("GATEWAY_PROCESS__WORKERS", str(number)),)) for number in (1, WORKERS)
    )
    with running(alone, site) as proxy:
        one = Holding.of(proxy)
    with running(several, site) as proxy:
        more = (Holding.of(proxy).kib - one.kib) / (WORKERS - 1)
    yield "supervisor, admin process and first worker", f"{one.kib / 1024:.0f} MiB"
    yield "each further worker", f"{more / 1024:.0f} MiB"


def connections(site: Site, count: int) -> Iterator[tuple[str, str]]:
    for title, flags in (
        ("idle keep-alive connections, TLS", ()),
        ("idle keep-alive connections, plain HTTP", ("--plain",)),
        ("silent WebSockets, TLS", ("--websocket",)),
        ("silent WebSockets, plain HTTP", ("--websocket", "--plain")),
    ):
        with running(PEERS["gateway"], site) as proxy, _held(site, proxy, 10, flags):
            before = Holding.of(proxy)
            with _held(site, proxy, count, flags):
                after = Holding.of(proxy)
        each = (after.kib - before.kib) / count
        descriptors = (after.descriptors - before.descriptors) / count
        yield f"10,000 {title}", f"{each * 10_000 / 1024:.0f} MiB, {descriptors * 10_000:,.0f} descriptors"


@contextlib.contextmanager
def _held(site: Site, proxy: Proxy, count: int, flags: tuple[str, ...]) -> Iterator[None]:
    plain = "--plain" in flags
    command = [sys.executable, "-m", "bench.load.plain_idle" if plain else "bench.load.idle"]
    command += ["--port", str(proxy.plain_port if plain else proxy.tls_port), "--host", site.host]
    command += ["--hosts", ",".join(site.mixed_hosts), "--connections", str(count)]
    command += ["--websocket"] if "--websocket" in flags else []
    pipe = subprocess.PIPE
    with Child(command, core=site.load_core, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.process.stdin is not None and child.process.stdout is not None
        if child.process.stdout.readline() != b"ready\n":
            child.close()
            raise SystemExit(child.last_words.decode())
        child.process.stdin.write(b"go\n")
        child.process.stdin.flush()
        told = json.loads(child.process.stdout.readline())
        if told["errors"] or told["count"] != count:
            raise SystemExit(f"not all connections were opened: {told}")
        yield


def requests(site: Site, seconds: float) -> Iterator[tuple[str, str]]:
    with running(PEERS["gateway"], site) as proxy:
        for title, url in (
            ("over TLS", f"https://127.0.0.1:{proxy.tls_port}/"),
            ("over plain HTTP", f"http://127.0.0.1:{proxy.plain_port}/"),
        ):
            _wrk(site, url, 1.0)
            before = cost(proxy.pid).cpu_ns
            asked = _wrk(site, url, seconds)
            micros = (cost(proxy.pid).cpu_ns - before) / 1000 / asked
            yield f"1,000 small requests/s {title}", f"{micros / 10:.1f} % of a core"


def _wrk(site: Site, url: str, seconds: float) -> int:
    """How many requests were answered."""
    command = [
        "taskset",
        "-c",
        str(site.load_core),
        "wrk",
        "-t1",
        "-c32",
        f"-d{seconds:g}s",
        "-H",
        f"Host: {site.host}",
    ]
    said = subprocess.run([*command, url], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60).stdout
    assert "Socket errors" not in said and "Non-2xx" not in said, said
    return next(int(line.split()[0]) for line in said.splitlines() if " requests in " in line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=4000)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    with open_site() as site:
        print(describe().sentence())
        for rows in (workers(site), connections(site, options.connections), requests(site, options.seconds)):
            for what, how_much in rows:
                print(f"| {what} | {how_much} |", flush=True)


if __name__ == "__main__":
    main()

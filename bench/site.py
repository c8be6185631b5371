"""Where one run happens: cores, certificates, the upstream's ports, the sandboxes, and the load's view of them."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Child, core_busy_seconds, cpu_ns
from gateway.tls import local_ca

DOMAIN = "sandbox.localhost"
SANDBOXES = 200
"""Of the mixed workload; each has a port of the upstream to itself, so every proxy has that many upstreams."""
FIRST = "bench"
"""The sandbox that every other workload asks for."""
DESCRIPTORS = 65536
"""What the run asks for; where the limit is lower and cannot be raised, the largest workloads shrink."""


class Unable(Exception):
    """The benchmark cannot run here; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Site:
    """Fixed for a whole run."""

    directory: Path
    """Scratch, removed at the end."""
    proxy_core: int
    load_core: int
    authority: Path
    certificate: Path
    key: Path
    ports: tuple[int, ...]
    """Of the upstream: the first is `FIRST`'s, the others belong to the mixed workload's sandboxes."""
    refused_port: int
    """Bound by us and not listening, so nobody else can take it: every connect to it is refused."""
    sandboxes: Path
    """The gateway's directory file."""
    descriptors: int
    """How many each process may open."""
    awake: int
    """Process id of what keeps the load's core from sleeping (`load.awake`)."""

    @property
    def host(self) -> str:
        return f"{self.ports[0]}-{FIRST}.{DOMAIN}"

    @property
    def refused_host(self) -> str:
        return f"{self.refused_port}-{FIRST}.{DOMAIN}"

    def load_core_seconds(self) -> float:
        """That the load's core has been busy since boot, with anything but staying awake."""
        return core_busy_seconds(self.load_core) - cpu_ns(self.awake) / 1e9

    @property
    def mixed_hosts(self) -> list[str]:
        return [f"{port}-s{number}.{DOMAIN}" for number, port in enumerate(self.ports[1:])]


@contextlib.contextmanager
def open_site() -> Iterator[Site]:
    """Everything that all proxies share, running until the context ends. Raises Unable."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Unable("two cores are needed: one for the proxy, one for the load and the upstream")
    descriptors = _raise_descriptors()
    with contextlib.ExitStack() as stack:
        os.sched_setaffinity(0, {cores[1]})  # ourselves, and what we start without saying where
        stack.callback(os.sched_setaffinity, 0, set(cores))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        directory.chmod(0o711)  # nginx's worker is another user
        certificates = local_ca.ensure(directory / "certs", DOMAIN)
        refused = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_STREAM))
        refused.bind(("::1", 0))
        ports = _start_upstream(stack, directory, cores[1])
        awake = stack.enter_context(Child([sys.executable, "-m", "bench.load.awake"], core=cores[1], batch=True))
        records = [FIRST, *(f"s{number}" for number in range(SANDBOXES))]
        yield Site(
            directory=directory,
            proxy_core=cores[0],
            load_core=cores[1],
            authority=certificates.authority,
            certificate=certificates.certificate,
            key=certificates.key,
            ports=ports,
            refused_port=refused.getsockname()[1],
            sandboxes=write_sandboxes(directory / "sandboxes.toml", records),
            descriptors=descriptors,
            awake=awake.pid,
        )


def _start_upstream(stack: contextlib.ExitStack, directory: Path, core: int) -> tuple[int, ...]:
    said = directory / "upstream.stderr"
    command = [sys.executable, "-m", "bench.upstream", "--ports", str(SANDBOXES + 1)]
    pipe, stderr = subprocess.PIPE, stack.enter_context(said.open("wb"))
    upstream = stack.enter_context(Child(command, core=core, batch=True, stdin=pipe, stdout=pipe, stderr=stderr))
    assert upstream.process.stdout is not None
    line = upstream.process.stdout.readline()
    if not line:
        raise Unable(f"the upstream did not start: {said.read_text()[-1000:]}")
    return tuple(json.loads(line))


def write_sandboxes(path: Path, records: list[str]) -> Path:
    """A directory file that puts every record at [::1]."""
    path.write_text("".join(f'[sandboxes.{record}]\naddress = "::1"\n' for record in records))
    return path


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _raise_descriptors() -> int:
    """As many as `DESCRIPTORS` for us and our children; the kernel lets root pass the hard limit, others reach it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= DESCRIPTORS:
        return DESCRIPTORS
    for limits in ((DESCRIPTORS, max(hard, DESCRIPTORS)), (hard, hard)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return limits[0]
    return soft

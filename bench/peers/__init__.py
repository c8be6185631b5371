"""Who is measured: every proxy as a row of one table, its configuration a file beside this one.

All end TLS 1.3 with the same certificate, speak HTTP/1.1 and HTTP/2 to clients and HTTP/1.1 to the app (HTTP/2 to its
gRPC service), keep upstream connections, and run on one core. Where a proxy cannot do all of the gateway's job it is
given the easier one; the head of its file says which.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench import compiled
from bench.processes import ROOT, Child, find
from bench.samples import COMPILED, GATEWAY
from bench.site import Site, Unable, free_port
from bench.upstream import BODY

HERE = Path(__file__).resolve().parent
START_PATIENCE = 20.0
"""Seconds until a started proxy must answer."""
PARSED_PER_SECOND = 200_000
"""Octets of a directory file, at the very least: a larger one gives the gateway more time to start."""
GO_LIBRARIES = "/usr/share/gocode"
GO_NEEDS = "src/golang.org/x/net/http2"
_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")


@dataclass(frozen=True, slots=True)
class Peer:
    """One proxy. `@NAME@` in its command, its variables and its configuration is filled in by `placeholders`."""

    name: str
    title: str
    program: str
    """What must be installed; `@PROGRAM@` is its path."""
    package: str
    """Debian's, "" if it came with the gateway."""
    command: tuple[str, ...]
    version: tuple[str, ...]
    """Prints the version, somewhere in its output."""
    configuration: str = ""
    """File in `bench/peers/`; `@CONFIG@` is its filled-in copy."""
    tree: Path = ROOT
    """The checkout it comes from: its configuration is read and it runs there."""
    environment: tuple[tuple[str, str], ...] = ()
    build: tuple[str, ...] = ()
    """Run once; makes `@BINARY@`."""
    http2: bool = True
    """Whether it speaks it, to clients and to a gRPC app."""
    label: str = ""
    """In pictures; the title's first word if not given."""


def _go(name: str, title: str, *flags: str) -> Peer:
    """Tuned, it keeps as many upstream connections as it needs; as shipped, two per host, and dials the rest anew."""
    return Peer(
        name=name,
        title=title,
        program="go",
        package="golang-go golang-golang-x-net-dev",
        command=(
            *("@BINARY@", "-tls", "127.0.0.1:@TLS_PORT@", "-plain", "127.0.0.1:@PLAIN_PORT@"),
            *("-cert", "@CERT@", "-key", "@KEY@", *flags),
        ),
        version=("@PROGRAM@", "version"),
        environment=(("GOMAXPROCS", "1"),),  # it has one core
        # Without modules: the library for HTTP/2 to a plain upstream is Debian's, and nothing is fetched.
        build=(
            *("env", "GO111MODULE=off", f"GOPATH={GO_LIBRARIES}", "GOFLAGS=", "CGO_ENABLED=0"),
            *("@PROGRAM@", "build", "-o", "@BINARY@", str(HERE / "reverseproxy.go")),
        ),
    )


_GATEWAY = Peer(
    name=GATEWAY,
    title="gateway",
    program=sys.executable,
    package="",
    command=("@PYTHON@", "-m", "gateway", "serve", "--config", "@CONFIG@"),
    version=("@PYTHON@", "-m", "gateway", "--version"),
    configuration="gateway.toml",
)
PEERS = {
    peer.name: peer
    for peer in (
        _GATEWAY,
        replace(
            _GATEWAY,
            name=COMPILED,
            title="gateway, compiled",
            label="compiled",
            program="cc",
            package="gcc python3-dev",
            tree=compiled.TREE,
        ),
        Peer(
            name="nginx",
            title="nginx",
            program="nginx",
            package="nginx-light",
            command=("@PROGRAM@", "-p", "@DIR@", "-c", "@CONFIG@", "-e", "@DIR@/error.log"),
            version=("@PROGRAM@", "-v"),
            configuration="nginx.conf",
        ),
        Peer(
            name="haproxy",
            title="HAProxy",
            program="haproxy",
            package="haproxy",
            command=("@PROGRAM@", "-db", "-f", "@CONFIG@"),
            version=("@PROGRAM@", "-v"),
            configuration="haproxy.cfg",
        ),
        _go("go", "Go ReverseProxy, tuned"),
        _go("go_as_shipped", "Go ReverseProxy, as shipped", "-as-shipped"),
        Peer(
            name="caddy",
            title="Caddy",
            program="caddy",
            package="caddy",
            command=("@PROGRAM@", "run", "--config", "@CONFIG@", "--adapter", "caddyfile"),
            version=("@PROGRAM@", "version"),
            configuration="Caddyfile",
            environment=(("GOMAXPROCS", "1"), ("XDG_DATA_HOME", "@DIR@"), ("XDG_CONFIG_HOME", "@DIR@")),
        ),
        Peer(
            name="aiohttp",
            title="aiohttp server + client",
            program=sys.executable,
            package="",
            command=(
                *("@PYTHON@", str(HERE / "aiohttp_proxy.py"), "--tls", "@TLS_PORT@", "--plain", "@PLAIN_PORT@"),
                *("--cert", "@CERT@", "--key", "@KEY@"),
            ),
            version=("@PYTHON@", "-c", "import aiohttp; print(aiohttp.__version__)"),
            http2=False,
        ),
    )
}


BEFORE = "before"
"""Name of the gateway of another checkout, if one was added."""


def add_before(tree: Path) -> None:
    """Lets the gateway of another checkout run beside this tree's, on the same interpreter and libraries.

    Raises Unable if there is none.
    """
    if not (tree / "gateway" / "__main__.py").exists():
        raise Unable(f"--before: {tree} is no checkout of the gateway")
    PEERS[BEFORE] = replace(_GATEWAY, name=BEFORE, title="gateway, before", tree=tree.resolve())


@dataclass(frozen=True, slots=True)
class Proxy:
    """A peer that runs and has answered."""

    peer: Peer
    pid: int
    tls_port: int
    plain_port: int
    scratch: Path
    """Where its files are while it runs."""

    def last_words(self) -> str:
        """The end of what it has written to its outputs, and to a log of errors if it keeps one."""
        files = (self.scratch / name for name in ("stdout", "stderr", "error.log"))
        return "".join(file.read_text(errors="replace")[-1000:] for file in files if file.exists())


def missing(names: list[str]) -> list[Peer]:
    """Those whose program is not installed, or not with all it is built from."""
    return [PEERS[name] for name in names if not _is_installed(PEERS[name])]


def _is_installed(peer: Peer) -> bool:
    return find(peer.program) is not None and (peer.program != "go" or Path(GO_LIBRARIES, GO_NEEDS).is_dir())


def versions(names: list[str]) -> dict[str, str]:
    """What each says of itself, one line."""
    said = {}
    for name in names:
        peer = PEERS[name]
        values = {"PYTHON": sys.executable, "PROGRAM": find(peer.program) or ""}
        command = [fill(word, values) for word in peer.version]
        result = subprocess.run(command, capture_output=True, text=True, cwd=peer.tree, timeout=60, check=False)
        lines = (result.stdout + result.stderr).strip().splitlines()
        said[name] = lines[0].strip() if lines else "?"
    return said


def effective_config(site: Site) -> str:
    """What `gateway check` says of the configuration that is measured."""
    scratch = site.directory / "check"
    scratch.mkdir(exist_ok=True)
    config = _configure(_GATEWAY, placeholders(_GATEWAY, site, scratch))
    command = [sys.executable, "-m", "gateway", "check", "--config", config]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    if result.returncode:
        raise Unable(f"the gateway refuses its configuration: {result.stderr.strip()}")
    return result.stdout.replace(str(site.directory), "…")


@contextlib.contextmanager
def running(peer: Peer, site: Site, sandboxes: Path | None = None) -> Iterator[Proxy]:
    """A fresh process of `peer` that has answered a request, with another directory file than the site's if given.

    Raises Unable if it does not answer.
    """
    patience = START_PATIENCE + (sandboxes.stat().st_size / PARSED_PER_SECOND if sandboxes else 0)
    scratch = site.directory / peer.name
    scratch.mkdir(mode=0o711)
    values = placeholders(peer, site, scratch)
    if sandboxes is not None:
        values["DIRECTORY"] = str(sandboxes)
    if peer.configuration:
        _configure(peer, values)
    try:
        _build(peer, values)
        with (
            (scratch / "stdout").open("wb") as stdout,
            (scratch / "stderr").open("wb") as stderr,
            Child(
                [fill(word, values) for word in peer.command],
                core=site.proxy_core,
                stdout=stdout,
                stderr=stderr,
                env={name: fill(value, values) for name, value in peer.environment},
                cwd=peer.tree,
            ) as child,
        ):
            proxy = Proxy(peer, child.pid, int(values["TLS_PORT"]), int(values["PLAIN_PORT"]), scratch)
            _wait_until_it_answers(child, proxy, site, patience)
            yield proxy
    finally:
        shutil.rmtree(scratch)


def placeholders(peer: Peer, site: Site, scratch: Path) -> dict[str, str]:
    """What stands for each `@NAME@` in a run of `peer` whose files are in `scratch`; the ports are new every time."""
    pem = site.directory / "both.pem"  # HAProxy wants certificate and key in one file
    if not pem.exists():
        pem.touch(mode=0o600)
        pem.write_bytes(site.certificate.read_bytes() + site.key.read_bytes())
    return {
        "PYTHON": sys.executable,
        "PROGRAM": find(peer.program) or "",
        "BINARY": str(site.directory / f"{peer.name}.bin"),
        "CONFIG": str(scratch / peer.configuration),
        "DIR": str(scratch),
        "USER": "user root;" if os.geteuid() == 0 else "",
        "TLS_PORT": str(free_port()),
        "PLAIN_PORT": str(free_port()),
        "ADMIN_PORT": str(free_port()),
        "CERT": str(site.certificate),
        "KEY": str(site.key),
        "PEM": str(pem),
        "DOMAIN": site.host.partition(".")[2],
        "DIRECTORY": str(site.sandboxes),
        "HOST": site.host,
        "UPSTREAM_PORT": str(site.ports[0]),
        "REFUSED_HOST": site.refused_host,
        "REFUSED_PORT": str(site.refused_port),
        "DESCRIPTORS": str(site.descriptors),
        "HAPROXY_CONNECTIONS": str(site.descriptors // 2 - 100),  # each takes two descriptors
    }


def fill(text: str, values: dict[str, str]) -> str:
    """`text` with its placeholders replaced. Raises KeyError for one that does not exist."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _configure(peer: Peer, values: dict[str, str]) -> str:
    Path(values["CONFIG"]).write_text(fill((peer.tree / "bench" / "peers" / peer.configuration).read_text(), values))
    return values["CONFIG"]


def _build(peer: Peer, values: dict[str, str]) -> None:
    if not peer.build or Path(values["BINARY"]).exists():
        return
    command = [fill(word, values) for word in peer.build]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    if result.returncode:
        raise Unable(f"{' '.join(command)}:\n{result.stderr}")


def _wait_until_it_answers(child: Child, proxy: Proxy, site: Site, patience: float) -> None:
    """Until a GET over verified TLS brings the upstream's own bytes: what is measured afterwards really proxies."""
    context = ssl.create_default_context(cafile=site.authority)
    request = f"GET / HTTP/1.1\r\nHost: {site.host}\r\nConnection: close\r\n\r\n".encode()
    outcome = "it did not answer"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and child.process.poll() is None:
        try:
            with (
                socket.create_connection(("127.0.0.1", proxy.tls_port), timeout=5) as sock,
                context.wrap_socket(sock, server_hostname=site.host) as tls,
            ):
                tls.sendall(request)
                answer = b"".join(iter(lambda: tls.recv(65536), b""))
        except OSError as error:  # it does not listen yet
            outcome = str(error)
            time.sleep(0.02)
            continue
        if answer.startswith(b"HTTP/1.1 200") and BODY in answer:
            return
        outcome = f"it answered {answer[:200].decode('latin-1')!r}"
        break
    raise Unable(f"{proxy.peer.title} does not proxy a GET: {outcome}\n{proxy.last_words()}")

"""`gateway dev`: the gateway on a laptop, everything in one process and one event loop."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from gateway import __version__
from gateway.config import Listen, Settings
from gateway.directory.sandbox import Sandbox, TableDirectory
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener, own_listeners
from gateway.errors import UserError
from gateway.observe.access_log import LineLog, text_line
from gateway.process import demo
from gateway.process.sockets import bind
from gateway.process.worker import finish_up
from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context

log = logging.getLogger("gateway.process")

LOOPBACK = "::1"
DEMO_PORT = 5000
DRAIN_SECONDS = 2.0
"""What requests under way get after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """One app of this machine under a public name: `<port>-<sandbox_id>.<domain>`."""

    sandbox_id: str
    port: int


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line asks for. `exposed` empty means: the built-in demo."""

    exposed: Sequence[Exposed]
    listen_port: int
    certs: Path
    domain: str
    colour: bool


def run(settings: Settings, options: DevOptions) -> int:
    """Runs until Ctrl-C or SIGTERM; returns the exit status. Raises UserError with one sentence."""
    certificates = local_ca.ensure(options.certs, options.domain)
    tls = server_context([CertificatePair(certificates.certificate, certificates.key)])
    # Loopback only, and both families: which one a browser tries first for *.localhost is its own business.
    sockets = bind(Listen(LOOPBACK, options.listen_port))
    port = sockets[0].getsockname()[1]
    sockets += bind(Listen("127.0.0.1", port))
    demo_socket = None if options.exposed else _demo_socket()
    exposed = options.exposed or [Exposed("demo", demo_socket.getsockname()[1] if demo_socket else 0)]
    settings = _for_a_laptop(settings, options.domain, port)
    banner = _banner(exposed, options, certificates.authority, port, demo_socket is not None)
    try:
        uvloop.run(_serve(settings, exposed, [(sock, tls) for sock in sockets], demo_socket, banner, options.colour))
    finally:
        for sock in sockets:
            sock.close()
    return 0


def _for_a_laptop(settings: Settings, domain: str, port: int) -> Settings:
    """`settings` with what `gateway dev` decides itself: one local domain, and loopback as the only target."""
    replace = msgspec.structs.replace
    return replace(
        settings,
        edge=replace(settings.edge, domains=(domain,), public_port=port, listen=(), listen_plain=()),
        upstream=replace(settings.upstream, allow=(IPv6Network(f"{LOOPBACK}/128"),)),
    )


def _demo_socket() -> socket.socket:
    try:
        return bind(Listen(LOOPBACK, DEMO_PORT))[0]
    except UserError:
        return bind(Listen(LOOPBACK, 0))[0]  # something of the user's is there; any other port will do


async def _serve(
    settings: Settings,
    exposed: Sequence[Exposed],
    doors: Sequence[tuple[socket.socket, ssl.SSLContext]],
    demo_socket: socket.socket | None,
    banner: str,
    colour: bool,
) -> None:
    loop = asyncio.get_running_loop()
    table = {each.sandbox_id: Sandbox(each.sandbox_id, IPv6Address(LOOPBACK), "dev") for each in exposed}
    access_log = LineLog(partial(text_line, colour=colour), loop.call_later)
    own = own_listeners([sock for sock, _ in doors])
    edge = Edge(settings, TableDirectory(table), access_log, own)
    runner: web.AppRunner | None = await demo.start(demo_socket) if demo_socket is not None else None
    finish = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, finish.set)
    listeners = [Listener(edge, sock, tls) for sock, tls in doors]
    print(banner, flush=True)
    await finish.wait()
    for listener in listeners:
        listener.close()
    await finish_up(edge, DRAIN_SECONDS)
    if runner is not None:
        await runner.cleanup()


def _banner(exposed: Sequence[Exposed], options: DevOptions, authority: Path, port: int, is_demo: bool) -> str:
    strong: Callable[[str], str] = (lambda text: f"\x1b[1m{text}\x1b[0m") if options.colour else str
    suffix = "" if port == 443 else f":{port}"
    urls = [f"https://{each.port}-{each.sandbox_id}.{options.domain}{suffix}/" for each in exposed]
    width = max(map(len, urls))
    command = _command()
    certs = "" if options.certs == Path("certs") else f" --certs {shlex.quote(str(options.certs))}"
    lines = [f"gateway {__version__}", ""]
    for url, each in zip(urls, exposed, strict=True):
        what = "the built-in demo" if is_demo else f"port {each.port} of this machine"
        lines.append(f"  {strong(url)}{' ' * (width - len(url))}   → {what}, [{LOOPBACK}]:{each.port}")
    lines += [
        "",
        f"  try it      curl --cacert {shlex.quote(str(authority))} {urls[0]}",
        f"  your app    {command} dev 3000{'':9}exposes what listens on port 3000 (bind it to ::)",
        f"  browsers    {command} certs trust{certs}{'':6}makes browsers on this machine trust the certificate",
        "",
        "Requests (Ctrl-C stops):",
    ]
    return "\n".join(lines)


def _command() -> str:
    """This program as the user would type it."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{Path(sys.executable).name} -m gateway"
    try:
        return str(program.resolve().parent.joinpath(program.name).relative_to(Path.cwd()))
    except ValueError:
        return program.name

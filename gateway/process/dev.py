"""`gateway dev`: the gateway on a laptop, everything in one process and one event loop.

Loopback only, the admin listener too, whatever a configuration says. `gateway explain` and the Python client ask the
admin listener; if its port is taken, the gateway runs without. Sandboxes registered there are forgotten at the end.

A machine without IPv6 (most containers) uses 127.0.0.1 on both sides, and the banner says what is different then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path

import msgspec
import uvloop
from aiohttp import web

from gateway import __version__, descriptors, metrics
from gateway.addresses import LOOPBACK, LOOPBACK4, Address, authority, is_own, lack_of_ipv6, literal
from gateway.admin.app import Health, make_app, start
from gateway.admin.auth import TokenFile
from gateway.admin.metrics import Sources
from gateway.admin.overview import Answer, refusing
from gateway.config import Listen, Settings
from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Registry, Sandbox
from gateway.directory.watching import watch
from gateway.edge.drain import Drain
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener, own_listeners
from gateway.edge.sampler import Sampler
from gateway.errors import UserError
from gateway.observe import logs
from gateway.observe.access_log import LineLog, text_lines
from gateway.observe.sink import LogSink
from gateway.observe.telemetry import Telemetry
from gateway.observe.totals import Totals
from gateway.process import demo, memory
from gateway.process.drain import Shutdown, drain
from gateway.process.explain import make_context
from gateway.process.sockets import available, bind
from gateway.process.worker import status_of, told
from gateway.tasks import Tasks
from gateway.tls import effective, local_ca
from gateway.tls.context import CertificatePair, server_context
from gateway.tls.errors import KeyMaterialError
from gateway.tls.pair import CertificateFile, read_pair

log = logging.getLogger("gateway.process")

DRAIN_GRACE = 0.2
"""`Edge.drain_grace`: browsers open connections in advance, and nobody waits for those."""
RENEWAL_INTERVAL = 1.0
"""Seconds between two looks at the certificate's files; two stat() each."""
DEMO_PORT = 5000
DRAIN_TIMEOUT = 2.0
"""Seconds for requests under way after Ctrl-C; a second one cuts them off."""
_DIFFERENT = "apps are reached at 127.0.0.1; in a sandbox over IPv6 only, so an app must listen on :: there. Here"


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


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What can fail and is done before the event loop starts: files read, sockets bound."""

    settings: Settings
    exposed: Sequence[Exposed]
    loopback: Address
    """Where the apps are."""
    listen_sockets: Sequence[socket.socket]
    tls: ssl.SSLContext
    certificates: local_ca.LocalCertificates
    demo: socket.socket | None
    """None: the apps are the user's own."""
    admin: socket.socket | None
    """None: its port is taken."""
    token: TokenFile


def run(settings: Settings, options: DevOptions) -> int:
    """Runs until Ctrl-C or SIGTERM; returns the exit status. Raises UserError with one sentence."""
    descriptors.raise_limit()
    certificates = local_ca.ensure(options.certs, options.domain)
    groups = settings.tls.groups
    tls = server_context([CertificatePair(certificates.certificate, certificates.key)], groups=groups)
    for difference in effective.report(tls, groups)[1]:
        log.warning(difference)
    token = TokenFile(settings.admin.token_file)
    loopback = LOOPBACK if is_own(LOOPBACK) else LOOPBACK4
    try:
        sockets = bind(Listen(str(loopback), options.listen_port))
    except UserError as error:
        raise UserError(f"{error}; --listen-port chooses another") from None
    port = sockets[0].getsockname()[1]
    if loopback is LOOPBACK:  # both families: which one a browser tries first for *.localhost is its own business
        sockets += bind(Listen(str(LOOPBACK4), port))
    demo_socket = None if options.exposed else _demo_socket(loopback)
    exposed = options.exposed or [Exposed("demo", demo_socket.getsockname()[1] if demo_socket else 0)]
    settings = _dev_settings(settings, options.domain, port, loopback)
    admin_socket, explain_line = _admin_socket(settings.admin.listen)
    prepared = _Prepared(settings, exposed, loopback, sockets, tls, certificates, demo_socket, admin_socket, token)
    banner = _banner(prepared, options, certificates.authority, explain_line)
    try:
        uvloop.run(_serve(prepared, banner, options.colour))
    finally:
        for sock in sockets:
            sock.close()
    return 0


def _dev_settings(settings: Settings, domain: str, port: int, loopback: Address) -> Settings:
    """`settings` with what `gateway dev` decides itself: one local domain, and loopback as the only target."""
    replace, admin = msgspec.structs.replace, settings.admin.listen
    return replace(
        settings,
        edge=replace(settings.edge, domains=(domain,), public_port=port, listen=(), listen_plain=()),
        upstream=replace(settings.upstream, allow=(ip_network(loopback),)),
        admin=replace(settings.admin, listen=admin if admin.is_loopback else Listen(str(LOOPBACK4), admin.port)),
    )


def _demo_socket(loopback: Address) -> socket.socket:
    try:
        return bind(Listen(str(loopback), DEMO_PORT))[0]
    except UserError:
        return bind(Listen(str(loopback), 0))[0]  # something of the user's is there; any other port will do


def _admin_socket(listen: Listen) -> tuple[socket.socket | None, str]:
    """The admin listener's socket, if its port is free, and the banner's line about `gateway explain`."""
    try:
        [listen] = available([listen])
        [sock] = bind(listen)
    except UserError as error:
        return None, f"not available: {error}; GATEWAY_ADMIN__LISTEN={LOOPBACK4}:9191 chooses another"
    port = sock.getsockname()[1]
    default = Settings().admin.listen
    elsewhere = "" if Listen(listen.host, port) == default else f" --admin http://{Listen(listen.host, port)}"
    return sock, f"{_command()} explain{elsewhere} URL{'':6}says what happens to a request, step by step"


async def _serve(prepared: _Prepared, banner: str, colour: bool) -> None:
    loop = asyncio.get_running_loop()
    table = {each.sandbox_id: Sandbox(each.sandbox_id, prepared.loopback, "dev") for each in prepared.exposed}
    directory: Registry = MemoryRegistry(table)
    logs.open_in(loop)
    sink = LogSink(1)
    sink.attach(loop, sink.pump)
    access_log = LineLog(partial(text_lines, colour=colour), loop.call_later, sink)
    own = own_listeners([*prepared.listen_sockets, *([prepared.admin] if prepared.admin else [])])
    cells = metrics.private()
    edge = Edge(prepared.settings, directory, Telemetry(access_log, cells), own)
    sampler = Sampler(edge)
    edge.drain_grace = DRAIN_GRACE
    edge.withholds_from_other_sites = True
    tasks = Tasks()
    tasks.keep(partial(watch, directory, edge.records_changed, edge.directory.availability), "directory watch")
    certificates = prepared.certificates
    files = [read_pair(CertificatePair(certificates.certificate, certificates.key)).file]
    tasks.keep(partial(_reload_certificate, prepared.tls, certificates, files), "certificate watch")
    tasks.keep(prepared.token.watch, "token file watch")
    runners: list[web.AppRunner] = []
    if prepared.demo is not None:
        runners.append(await demo.start(prepared.demo))
    if prepared.admin is not None:
        context = make_context(prepared.settings, directory, own, tasks)
        health = Health(partial(_status, edge), tasks, sources=_sources(sampler, cells, files))
        app = make_app(health, context, lambda: prepared.token.token)
        runners.append(await start(app, prepared.admin))
    shutdown = Shutdown()
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
        *([] if nohup else [signal.SIGHUP]),
    ):  # SIGHUP: the terminal is closed
        loop.add_signal_handler(number, shutdown.signal)
    listeners = [Listener(edge, sock, prepared.tls) for sock in prepared.listen_sockets]
    memory.settle()
    collector = memory.Collector(loop, lambda: edge.connections)
    sink.write(f"{banner}\n".encode())
    await shutdown.begun.wait()
    await drain(Drain(edge, DRAIN_TIMEOUT), listeners, shutdown)
    collector.close()
    sampler.close()
    for runner in runners:
        await runner.cleanup()
    await tasks.cancel()
    await directory.close()
    access_log.close()


async def _reload_certificate(
    tls: ssl.SSLContext, certificates: local_ca.LocalCertificates, told: list[CertificateFile]
) -> None:
    """Serves a certificate that was renewed meanwhile (`gateway certs renew`); `told` is what is told of it."""
    files = (certificates.certificate, certificates.key)
    seen, said = _stamps(files), ""
    while True:
        await asyncio.sleep(RENEWAL_INTERVAL)
        if (stamps := _stamps(files)) == seen:
            continue
        try:
            renewed = read_pair(CertificatePair(*files))
            local_ca.reload_leaf(tls, certificates)
        except (KeyMaterialError, OSError) as error:  # half written, or gone
            if said != (said := str(error)):
                log.warning("%s The certificate from before is served on.", error)
            continue
        seen, said = stamps, ""
        told[:] = [renewed.file]
        log.info("%s has been renewed and is served", certificates.certificate)


def _stamps(files: Sequence[Path]) -> list[tuple[int, int] | None]:
    return [_stamp(file) for file in files]


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _sources(sampler: Sampler, cells: metrics.Cells, files: list[CertificateFile]) -> Sources:
    """Here nobody shares anything: the one process looks at itself."""

    def totals() -> Totals:
        sampler.sample()
        return Totals.of([cells])

    limits = refusing(sampler.edge.settings.limits)
    return Sources(
        totals,
        lambda: [("worker 0", os.getpid())],
        started=time.time(),
        directory=MemoryRegistry.where,
        limits=limits,
        certificates=lambda: files,
    )


async def _status(edge: Edge) -> list[Answer]:
    """What `/readyz` says: here the one worker is the process that answers."""
    return [told(status_of(edge, worker=0))]


def _banner(prepared: _Prepared, options: DevOptions, ca: Path, explain_line: str) -> str:
    strong: Callable[[str], str] = (lambda text: f"\x1b[1m{text}\x1b[0m") if options.colour else str
    port = prepared.settings.edge.public_port
    suffix = "" if port == 443 else f":{port}"
    urls = [f"https://{each.port}-{each.sandbox_id}.{options.domain}{suffix}/" for each in prepared.exposed]
    width = max(map(len, urls))
    command = _command()
    certs = "" if options.certs == Path("certs") else f" --certs {shlex.quote(str(options.certs))}"
    lines = [f"gateway {__version__}", ""]
    for url, each in zip(urls, prepared.exposed, strict=True):
        what = "the built-in demo" if prepared.demo is not None else f"port {each.port} of this machine"
        lines.append(f"  {strong(url)}{' ' * (width - len(url))}   → {what}, {authority(prepared.loopback, each.port)}")
    anywhere = f"https://<port>-{prepared.exposed[0].sandbox_id}.{options.domain}{suffix}/"
    lines += ["", f"  other ports {anywhere} leads to any port of {literal(prepared.loopback)}"]
    bind_it = " (bind it to ::)"
    if prepared.loopback is not LOOPBACK:
        bind_it = ""
        lines += [f"  no IPv6     {_DIFFERENT} {lack_of_ipv6()}"]
    lines += [
        f"  try it      curl --cacert {shlex.quote(str(ca))} {urls[0]}",
        f"  your app    {command} dev 3000{'':9}exposes what listens on port 3000{bind_it}",
        f"  browsers    {command} certs trust{certs}{'':6}makes browsers on this machine trust the certificate",
        f"  why (not)?  {explain_line}",
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

"""The running gateway: one event loop with the edge, the admin listener and the demo app, from start to drain."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from aiohttp import web

from gateway import __version__, metrics
from gateway.admin.app import Health, make_app, start
from gateway.admin.metrics import Sources
from gateway.admin.overview import Answer, refusing
from gateway.dev import demo
from gateway.dev.actions import Actions, LastFailure, Places
from gateway.dev.banner import banner, typed_command
from gateway.dev.certificate import serve_renewed
from gateway.dev.following import Place, PortWatch
from gateway.dev.front import Front
from gateway.dev.index.listing import Listing
from gateway.dev.index.pages import IndexPages
from gateway.dev.index.unknown import Unknown
from gateway.dev.lenient import leniently
from gateway.dev.names import NameLookup
from gateway.dev.options import DevOptions
from gateway.dev.patience import SlowApps
from gateway.dev.preparing import Prepared
from gateway.dev.terminal import Terminal
from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Sandbox
from gateway.directory.watching import watch
from gateway.edge.drain import Drain
from gateway.edge.edge import Edge
from gateway.edge.listener import Listener, own_listeners
from gateway.edge.local_reply import redirected_from_plain_on_tls
from gateway.edge.sampler import Sampler
from gateway.inspector.capture import Capture
from gateway.inspector.hinting import BodyHints
from gateway.inspector.live import Live
from gateway.inspector.replay import Replays
from gateway.inspector.routes import Inspector
from gateway.inspector.store import Store
from gateway.observe import logs
from gateway.observe.access_log import AccessRecord, LineLog, text_lines
from gateway.observe.sink import LogSink
from gateway.observe.telemetry import Telemetry
from gateway.observe.totals import Totals
from gateway.process import memory
from gateway.process.drain import Shutdown, drain
from gateway.process.explain import make_context
from gateway.process.worker import status_of, told
from gateway.tasks import Tasks
from gateway.tls.context import CertificatePair
from gateway.tls.pair import CertificateFile, read_pair

DRAIN_GRACE = 0.2
"""`Edge.drain_grace`: browsers open connections in advance, and nobody waits for those."""
DRAIN_TIMEOUT = 2.0
"""Seconds for requests under way after Ctrl-C; a second one cuts them off."""


async def serve(prepared: Prepared, options: DevOptions) -> None:
    loop = asyncio.get_running_loop()
    table = {each.sandbox_id: Sandbox(each.sandbox_id, prepared.loopback, "dev") for each in prepared.exposed}
    directory = MemoryRegistry(table)
    logs.open_in(loop)
    sink = LogSink(1)
    sink.attach(loop, sink.pump)
    failure = LastFailure()
    store = Store()
    lines = LineLog(partial(_lines, failure, options.colour), loop.call_later, sink)
    access_log = Capture(store, lines, loop.call_soon)
    own = own_listeners([*prepared.listen_sockets, prepared.admin])
    cells = metrics.private()
    edge = Edge(prepared.settings, directory, Telemetry(access_log, cells), own)
    edge.directory.not_found = Unknown(lambda: directory.table, prepared.index_url).error
    sampler = Sampler(edge)
    edge.drain_grace = DRAIN_GRACE
    edge.withholds_from_other_sites = True
    edge.error_answers.judged_from = 200
    access_log.look = BodyHints(edge.error_answers.hint_log).look
    if options.loopback4:
        edge.pool.open_socket = leniently(own)
    edge.answer_to_plain_on_tls = redirected_from_plain_on_tls(prepared.settings.edge.domains, prepared.port)
    tasks = Tasks()
    tasks.keep(partial(watch, directory, edge.records_changed, edge.directory.availability), "directory watch")
    certificates = prepared.certificates
    files = [read_pair(CertificatePair(certificates.certificate, certificates.key)).file]
    tasks.keep(partial(serve_renewed, prepared.tls, certificates, files), "certificate watch")
    tasks.keep(prepared.token.watch, "token file watch")
    runners: list[web.AppRunner] = []
    if prepared.demo is not None:
        runners.append(await demo.start(prepared.demo))
    context = replace(make_context(prepared.settings, directory, own, tasks), open_socket=edge.pool.open_socket)
    health = Health(partial(_status, edge), tasks, sources=_sources(sampler, cells, files))
    facts = {"version": __version__, "authority": str(prepared.certificates.authority.absolute())}
    inspector = Inspector(Live(store, tasks), store, Replays(edge, store), context, facts)
    app = make_app(health, context, lambda: prepared.token.token, inspector)
    runners.append(await start(app, prepared.admin))
    shutdown = Shutdown()
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number in (signal.SIGINT, signal.SIGTERM, *([] if nohup else [signal.SIGHUP])):  # the terminal is closed
        loop.add_signal_handler(number, shutdown.signal)
    terminal = Terminal(sink, options.colour)
    edge.error_answers.hint_log.say = terminal.hint
    place = Place(prepared.loopback, options.domain, own, options.loopback4)
    ports = [] if prepared.demo else [each.port for each in prepared.exposed]
    watched = PortWatch(ports, place, edge.probe, terminal.port)
    index = IndexPages(_listing(prepared, directory, watched), prepared.admin_url, typed_command())
    edge.look_on = Front(prepared.index_names, index.answer, access_log.look_on).look_on
    listeners = [Listener(edge, sock, prepared.tls) for sock in prepared.listen_sockets]
    memory.settle()
    collector = memory.Collector(loop, lambda: edge.connections)
    names = NameLookup([prepared.host(each) for each in prepared.exposed])
    found = await watched.first_look()
    terminal.say(banner(prepared, options, found, await names.strangers()))
    tasks.keep(watched.follow, "port watch")
    tasks.keep(SlowApps(edge, terminal.remark).follow, "slow apps")
    places = Places(prepared.url(prepared.exposed[0]), prepared.admin_url)
    with terminal.keys(Actions(places, failure, context, terminal).keys(quit=shutdown.signal)):
        await shutdown.begun.wait()
        await drain(Drain(edge, DRAIN_TIMEOUT), listeners, shutdown)
    collector.close()
    sampler.close()
    for runner in runners:
        await runner.cleanup()
    await tasks.cancel()
    await directory.close()
    access_log.close()


def _listing(prepared: Prepared, directory: MemoryRegistry, watched: PortWatch) -> Listing:
    exposed = [(each.sandbox_id, each.port) for each in prepared.exposed]

    def addresses() -> Mapping[str, str]:
        return {sandbox_id: str(sandbox.address) for sandbox_id, sandbox in directory.table.items()}

    return Listing(addresses, exposed, watched.lines, prepared.index_url.replace("://", "://<port>-<id>."))


def _lines(failure: LastFailure, colour: bool, records: list[AccessRecord]) -> bytes:
    failure.note(records)
    return text_lines(records, colour)


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

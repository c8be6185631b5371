"""The running gateway: one event loop with the edge, the admin listener and the demo app, from start to drain."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.dev import demo
from gateway.dev.actions import Actions, Places
from gateway.dev.admin import AdminListener
from gateway.dev.banner import banner
from gateway.dev.names import NameLookup
from gateway.dev.options import DevOptions
from gateway.dev.parts import Parts
from gateway.dev.preparing import Prepared
from gateway.edge.drain import Drain
from gateway.edge.listener import Listener
from gateway.observe import logs
from gateway.process import memory
from gateway.process.drain import Shutdown, drain

DRAIN_TIMEOUT = 2.0
"""Seconds for requests under way after Ctrl-C; a second one cuts them off."""


async def serve(prepared: Prepared, options: DevOptions) -> None:
    logs.open_in(asyncio.get_running_loop())
    parts = Parts(prepared, options)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, parts.recording.capture.reopen)  # as `serve` does
    async with _beside(parts):
        shutdown = _shutdown()
        listeners = [Listener(parts.edge, sock, prepared.tls) for sock in prepared.listen_sockets]
        await _say_what_there_is(parts)
        parts.watch()
        places = Places(prepared.url(prepared.exposed[0]), prepared.admin_url)
        actions = Actions(places, parts.recording.failure, parts.context, parts.terminal)
        with parts.terminal.keys(actions.keys(quit=shutdown.signal)):
            await shutdown.begun.wait()
            if parts.lan is not None:
                await parts.lan.close()
                listeners += parts.lan.listeners
            await drain(Drain(parts.edge, DRAIN_TIMEOUT), listeners, shutdown)
    await parts.close()


@asynccontextmanager
async def _beside(parts: Parts) -> AsyncIterator[None]:
    """The demo app, if it is shown, the admin listener, and the garbage collector between requests."""
    edge, socket = parts.edge, parts.prepared.demo
    shown = None if socket is None else await demo.start(socket)
    admin = AdminListener(parts)
    await admin.start()
    memory.settle()
    collector = memory.Collector(edge.loop, lambda: edge.under_way)
    yield
    collector.close()
    await admin.close()
    if shown is not None:
        await shown.cleanup()


def _shutdown() -> Shutdown:
    """What Ctrl-C, SIGTERM and the end of the terminal begin; after `nohup` the last says nothing."""
    shutdown, loop = Shutdown(), asyncio.get_running_loop()
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for number in (signal.SIGINT, signal.SIGTERM, *([] if nohup else [signal.SIGHUP])):
        loop.add_signal_handler(number, shutdown.signal)
    return shutdown


async def _say_what_there_is(parts: Parts) -> None:
    prepared = parts.prepared
    names = NameLookup([prepared.host(each) for each in prepared.exposed])
    found = await parts.port_watch.first_look()
    parts.terminal.say(banner(prepared, parts.options, found, await names.strangers()))

"""What an examination needs to know, from settings as `serve` and `dev` use them; and one without a running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv6Address

import uvloop

from gateway.addresses import Bound, bound_to
from gateway.config import Settings
from gateway.diagnosis import listener_probe
from gateway.diagnosis.explain import Context, explain
from gateway.diagnosis.port_probe import PortProbe
from gateway.diagnosis.report import Report
from gateway.directory.backends import open_directory
from gateway.directory.sandbox import Directory
from gateway.edge.forwarded import Peer
from gateway.tasks import Tasks
from gateway.upstream.policy import AddressPolicy

Own = Sequence[Bound]
"""Our listeners."""


def make_context(settings: Settings, directory: Directory, own: Own, tasks: Tasks) -> Context:
    """A context for the running event loop; `tasks` owns what its probe starts."""
    return Context(
        settings,
        directory,
        AddressPolicy(settings.upstream.allow, own),
        PortProbe(
            asyncio.get_running_loop().time,
            tasks,
            allow_ipv4=settings.upstream.allow_ipv4,
            denied_ports=settings.upstream.deny_ports,
            own=own,
        ),
        tasks,
        Peer(IPv6Address("::1"), b"https").added,
        listeners=listener_probe.configured(settings),
    )


def examine(settings: Settings, url: str) -> Report:
    """The report on `url` that a gateway with these settings would give. Raises InvalidUrl and UserError."""
    return uvloop.run(_examine(settings, url))


async def _examine(settings: Settings, url: str) -> Report:
    tasks, directory = Tasks(), open_directory(settings.directory)
    try:
        return await explain(url, make_context(settings, directory, configured_listeners(settings), tasks))
    finally:
        await tasks.cancel()
        await directory.close()


def configured_listeners(settings: Settings) -> Own:
    """The listeners of a gateway that is not (known to be) running."""
    edge = settings.edge
    return [bound_to(each.host, each.port) for each in (*edge.listen, *edge.listen_plain, settings.admin.listen)]

"""What a gateway of one user is made of: the edge that `serve` has as well, and what stands around it.

Made inside the event loop; nothing listens yet, and no task runs but what the edge itself starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway import metrics
from gateway.dev.banner import typed_command
from gateway.dev.certificate import serve_renewed
from gateway.dev.following import Place, PortWatch
from gateway.dev.front import Front
from gateway.dev.index.listing import Listing
from gateway.dev.index.pages import IndexPages
from gateway.dev.index.unknown import Unknown
from gateway.dev.lan.names import LanNames, LanPlace, machine_name
from gateway.dev.lan.registry import LanRegistry
from gateway.dev.lenient import leniently
from gateway.dev.options import DevOptions
from gateway.dev.patience import SlowApps
from gateway.dev.preparing import Prepared
from gateway.dev.recording import Recording
from gateway.dev.terminal import Terminal
from gateway.diagnosis.listener_probe import Listener
from gateway.directory.sandbox import Sandbox
from gateway.directory.watching import watch
from gateway.edge.edge import Edge
from gateway.edge.listener import own_listeners
from gateway.edge.local_reply import redirected_from_plain_on_tls
from gateway.inspector.hinting import BodyHints
from gateway.observe.telemetry import Telemetry
from gateway.process.explain import make_context
from gateway.tasks import Tasks
from gateway.tls.context import CertificatePair
from gateway.tls.pair import read_pair

if TYPE_CHECKING:
    from gateway.dev.lan.lan import Lan

DRAIN_GRACE = 0.2
"""`Edge.drain_grace`: browsers open connections in advance, and nobody waits for those."""


class Parts:
    """One of each, for each other's use."""

    def __init__(self, prepared: Prepared, options: DevOptions) -> None:
        self.prepared = prepared
        self.options = options
        self.tasks = Tasks()
        self.recording = Recording(prepared.settings, options.colour)
        self.terminal = Terminal(self.recording.sink, options.colour)
        self.directory = LanRegistry(
            {each.sandbox_id: Sandbox(each.sandbox_id, prepared.loopback, "dev") for each in prepared.exposed}
        )
        self.own = own_listeners([*prepared.listen_sockets, prepared.admin])
        self.cells = metrics.private()
        self.edge = self._edge()
        settings = prepared.settings
        self.lan = self._lan()
        context = make_context(settings, self.directory, self.own, self.tasks)
        listeners = [Listener(bound, is_tls=True) for bound in own_listeners(prepared.listen_sockets)]
        self.context = replace(context, open_socket=self.edge.pool.open_socket, listeners=listeners)
        if self.lan is not None:
            self.context = replace(self.context, kept_out=self.lan.door.kept_out)
        certificates = prepared.certificates
        self.certificate_files = [read_pair(CertificatePair(certificates.certificate, certificates.key)).file]
        """What is told of the certificate that is served just now."""
        place = Place(prepared.loopback, options.domain, self.own, options.loopback4)
        ports = [] if prepared.demo else [each.port for each in prepared.exposed]
        self.port_watch = PortWatch(ports, place, self.edge.probe, self.terminal.port)
        self._put_front()

    def _edge(self) -> Edge:
        prepared = self.prepared
        settings = prepared.settings
        edge = Edge(settings, self.directory, Telemetry(self.recording.capture, self.cells), self.own)
        edge.directory.not_found = Unknown(lambda: self.directory.table, prepared.index_url).error
        edge.drain_grace = DRAIN_GRACE
        edge.withholds_from_other_sites = True
        hints = edge.error_answers.hint_log
        hints.say = self.terminal.hint
        edge.error_answers.judged_from = 200
        self.recording.capture.look = BodyHints(hints).look
        if self.options.loopback4:
            edge.pool.open_socket = leniently(self.own)
        edge.answer_to_plain_on_tls = redirected_from_plain_on_tls(settings.edge.domains, prepared.port)
        return edge

    def _lan(self) -> Lan | None:
        prepared, terminal = self.prepared, self.terminal
        if prepared.lan is None:
            return None
        from gateway.dev.lan.opening import open_lan  # needs the packages of the extra `lan`

        exposed = prepared.exposed
        names, apps = LanNames(machine_name(), exposed), {each.port for each in exposed}
        place = LanPlace(names, prepared.port, apps, prepared.domain)
        return open_lan(prepared.lan, place, terminal.say, terminal.remark)

    def _put_front(self) -> None:
        """The index, and what the local network is let have, before who looks on."""
        index = IndexPages(self._listing(), self.prepared.admin_url, typed_command())
        door = None if self.lan is None else self.lan.door
        front = Front(self.prepared.index_names, index.answer, self.recording.capture.look_on, door)
        self.edge.look_on = front.look_on

    def _listing(self) -> Listing:
        prepared = self.prepared
        exposed = [(each.sandbox_id, each.port) for each in prepared.exposed]

        def addresses() -> Mapping[str, str]:
            return {sandbox_id: str(sandbox.address) for sandbox_id, sandbox in self.directory.table.items()}

        template = prepared.index_url.replace("://", "://<port>-<id>.")
        return Listing(addresses, exposed, self.port_watch.lines, template, self.lan)

    def watch(self) -> None:
        """Starts what follows the directory, the certificate, the token, the ports, slow apps and the network."""
        edge, prepared, keep = self.edge, self.prepared, self.tasks.keep
        keep(partial(watch, self.directory, edge.records_changed, edge.directory.availability), "directory watch")
        renewed = partial(serve_renewed, prepared.tls, prepared.certificates, self.certificate_files)
        keep(renewed, "certificate watch")
        keep(prepared.token.watch, "token file watch")
        keep(self.port_watch.follow, "port watch")
        keep(SlowApps(edge, self.terminal.remark).follow, "slow apps")
        if self.lan is not None:
            self.lan.start(edge, self.directory)

    async def close(self) -> None:
        """After the drain, which has closed the edge."""
        await self.tasks.cancel()
        await self.directory.close()
        self.recording.close()

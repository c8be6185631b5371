"""What can fail, and is done before the event loop starts: settings decided, files read, sockets bound."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network

import msgspec

from gateway import descriptors
from gateway.addresses import LOOPBACK, LOOPBACK4, Address, authority, is_own
from gateway.admin.auth import TokenFile
from gateway.config import Listen, Settings
from gateway.dev import ports
from gateway.dev.lan.certificate import LanCertificate
from gateway.dev.options import DEMO_ID, DevOptions, Exposed
from gateway.dev.ports import PortChoice
from gateway.errors import UserError
from gateway.observe import log_file
from gateway.process.sockets import available, bind
from gateway.tls import effective, local_ca
from gateway.tls.context import CertificatePair, server_context

log = logging.getLogger("gateway.process")

DEMO_PORT = 5000
_ADMIN_FLAG = f"GATEWAY_ADMIN__LISTEN={LOOPBACK4}:9191"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What serving needs. Whoever has it closes its sockets (`close`)."""

    settings: Settings
    exposed: Sequence[Exposed]
    loopback: Address
    """Where the apps are."""
    listen_sockets: Sequence[socket.socket]
    tls: ssl.SSLContext
    certificates: local_ca.LocalCertificates
    demo: socket.socket | None
    """None: the apps are the user's own."""
    admin: socket.socket
    token: TokenFile
    lan: LanCertificate | None
    """None: the local network is let have nothing."""

    @property
    def port(self) -> int:
        """The public one."""
        return self.settings.edge.public_port

    @property
    def port_suffix(self) -> str:
        """As in a URL: ":8443", nothing for the port that https implies."""
        return "" if self.port == 443 else f":{self.port}"

    def url(self, exposed: Exposed) -> str:
        return f"https://{self.host(exposed)}{self.port_suffix}/"

    def host(self, exposed: Exposed) -> str:
        return f"{exposed.port}-{exposed.sandbox_id}.{self.domain}"

    @property
    def domain(self) -> str:
        """This machine's own; the local network's stands behind it."""
        return self.settings.edge.domains[0]

    @property
    def index_names(self) -> Sequence[bytes]:
        """What a browser may say of the domain itself; the port that https implies is not said."""
        domain = self.domain.encode()
        return [b"%b:%d" % (domain, self.port), *([domain] if self.port == 443 else [])]

    @property
    def index_url(self) -> str:
        return f"https://{self.domain}{self.port_suffix}/"

    @property
    def admin_url(self) -> str:
        return f"http://{authority(*self.admin.getsockname()[:2])}"

    def close(self) -> None:
        for sock in (*self.listen_sockets, self.admin, *([self.demo] if self.demo else [])):
            sock.close()


def prepare(settings: Settings, options: DevOptions) -> Prepared:
    """Raises UserError with one sentence."""
    descriptors.raise_limit()
    if settings.log.access and settings.log.path is not None:
        log_file.check(settings.log.path)
    certificates = local_ca.ensure(options.certs, options.domain)
    groups = settings.tls.groups
    lan = LanCertificate(options.lan, groups) if options.lan else None
    tls = server_context([CertificatePair(certificates.certificate, certificates.key)], groups=groups)
    for difference in effective.report(tls, groups)[1]:
        log.warning(difference)
    token = TokenFile(settings.admin.token_file)
    loopback = LOOPBACK if is_own(LOOPBACK) else LOOPBACK4
    # Both families: which one a browser tries first for *.localhost is its own business.
    hosts = [str(LOOPBACK), str(LOOPBACK4)] if loopback is LOOPBACK else [str(LOOPBACK4)]
    of_this_machine = len(hosts)
    hosts += _lan_hosts() if lan else []
    apps = {each.port for each in options.exposed} or {DEMO_PORT}
    sockets = ports.listen(hosts, options.listen_port, PortChoice(options.strict_port, apps))
    for sock in sockets[of_this_machine:]:
        sock.close()  # the port is free there, too; who follows the addresses opens it again
    sockets = sockets[:of_this_machine]
    port = sockets[0].getsockname()[1]
    demo_socket = None if options.exposed else _demo_socket(loopback)
    exposed = options.exposed or [Exposed(DEMO_ID, demo_socket.getsockname()[1] if demo_socket else 0)]
    domains = (options.domain, *([local_ca.LAN_DOMAIN] if lan else []))
    settings = _dev_settings(settings, domains, port, loopback)
    admin = _admin_socket(settings.admin.listen, PortChoice(options.strict_port, apps, _ADMIN_FLAG))
    return Prepared(settings, exposed, loopback, sockets, tls, certificates, demo_socket, admin, token, lan)


def _lan_hosts() -> list[str]:
    from gateway.dev.lan.interfaces import lan_addresses  # needs the packages of the extra `lan`

    return [each.host for each in lan_addresses()]


def _dev_settings(settings: Settings, domains: Sequence[str], port: int, loopback: Address) -> Settings:
    """`settings` with what `gateway dev` decides itself: its own domains, and loopback as the only target."""
    replace, admin = msgspec.structs.replace, settings.admin.listen
    return replace(
        settings,
        edge=replace(settings.edge, domains=tuple(domains), public_port=port, listen=(), listen_plain=()),
        upstream=replace(settings.upstream, allow=(ip_network(loopback),)),
        admin=replace(settings.admin, listen=admin if admin.is_loopback else Listen(str(LOOPBACK4), admin.port)),
    )


def _demo_socket(loopback: Address) -> socket.socket:
    try:
        return bind(Listen(str(loopback), DEMO_PORT))[0]
    except UserError:
        return bind(Listen(str(loopback), 0))[0]  # something of the user's is there; any other port will do


def _admin_socket(listen: Listen, choice: PortChoice) -> socket.socket:
    [listen] = available([listen])
    [sock] = ports.listen([listen.host], listen.port, choice)
    return sock

"""Checks of what the gateway is to the outside: domains, listeners, balancers in front, the operator's listener."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from gateway.addresses import is_own, lack_of_ipv6
from gateway.config import Edge
from gateway.config.values import format_duration
from gateway.errors import UserError
from gateway.process.preflight.certificates import IN_KUBERNETES, read_by_everybody
from gateway.process.preflight.finding import Check, Found, Level, Subject

BALANCERS_IDLE = 60.0
"""Seconds that AWS' ALB and nginx's upstream keepalive wait by default; Google's wait 600."""


# --- domains --------------------------------------------------------------------------------------------------------


def _nested_domains(subject: Subject) -> Iterator[Found]:
    domains = subject.settings.edge.domains
    for inner in domains:
        for outer in domains:
            if inner.endswith(f".{outer}"):
                text = f"{inner} lies inside {outer}: the wildcard of one is not for the other, and to browsers both"
                yield Found(f"{text} are one site", "take domains that do not contain each other in edge.domains")


def _single_label(subject: Subject) -> Iterator[Found]:
    for domain in subject.settings.edge.domains:
        if "." not in domain:
            text = (
                f"browsers and OpenSSL refuse a wildcard right below a single label, so any certificate for *.{domain}"
            )
            yield Found(text, f'edge.domains = ["sandbox.{domain}"]')


# --- behind a balancer ----------------------------------------------------------------------------------------------


def _only_redirects(edge: Edge) -> bool:
    return edge.plain == "redirect" and bool(edge.listen_plain) and not edge.listen


def _ends_tls_in_front(edge: Edge) -> bool:
    """A balancer that speaks HTTP to us: there is no other reason to believe its fields on plain listeners."""
    return bool(edge.trusted_proxies) and edge.proxy_protocol == "off"


def _redirect_loop(subject: Subject) -> Iterator[Found]:
    edge = subject.settings.edge
    if _only_redirects(edge) and _ends_tls_in_front(edge):
        text = "the balancer in edge.trusted_proxies ends TLS, and each of its requests is answered with a redirect"
        yield Found(f"{text} to https, which comes back to it: browsers give up (too many redirects)", FORWARD)


FORWARD = 'edge.plain = "forward"'


def _redirect_only(subject: Subject) -> Iterator[Found]:
    edge = subject.settings.edge
    if _only_redirects(edge) and not _ends_tls_in_front(edge):
        text = "every request is redirected to https, and no listener here speaks it (edge.listen is empty)"
        yield Found(text, f'{FORWARD}, or edge.listen = ["[::]:443"]')


def _plain_from_anybody(subject: Subject) -> Iterator[Found]:
    edge = subject.settings.edge
    reachable = [str(each) for each in edge.listen_plain if not each.is_loopback]
    if reachable and edge.plain == "forward" and not edge.trusted_proxies:
        text = (
            f"{', '.join(reachable)} forwards plain HTTP from anybody, unencrypted; if a balancer ends TLS in front, it"
            " is not believed: apps see http and its address, and all visitors share limits.connections_per_address"
        )
        yield Found(text, 'edge.trusted_proxies = ["<the balancer\'s network>"], or edge.plain = "redirect"')


def _everybody_trusted(subject: Subject) -> Iterator[Found]:
    for network in subject.settings.edge.trusted_proxies:
        if not network.prefixlen:
            text = f"edge.trusted_proxies has {network}: anybody can claim to be any visitor, and no limit holds them"
            yield Found(text, "name the balancer's networks only")


def _idle_shorter_than_the_balancers(subject: Subject) -> Iterator[Found]:
    edge, idle = subject.settings.edge, subject.settings.timeouts.idle
    if edge.listen_plain and edge.plain == "forward" and edge.trusted_proxies and idle <= BALANCERS_IDLE:
        text = (
            f"timeouts.idle = {format_duration(idle)} is no longer than a balancer keeps idle connections: some of its"
            " requests meet one that is being closed, and it answers 502"
        )
        yield Found(text, 'timeouts.idle = "75s" (AWS ALB, nginx: 60 s), "620s" (Google Cloud: 600 s)')


def _no_time_to_look_away(subject: Subject) -> Iterator[Found]:
    edge, process = subject.settings.edge, subject.settings.process
    if (edge.trusted_proxies or edge.health_path) and not process.drain_delay:
        text = "a stop gives the balancer no time to notice: it goes on sending visitors to a closed port"
        yield Found(text, 'process.drain_delay = "15s" (interval times threshold of its health check, and a bit)')


# --- this machine ---------------------------------------------------------------------------------------------------


def _address_of_another_machine(subject: Subject) -> Iterator[Found]:
    if lack_of_ipv6():
        return  # which is told
    settings = subject.settings
    for listen in (*settings.edge.listen, *settings.edge.listen_plain, settings.admin.listen):
        try:
            here = is_own(ip_address(listen.host))
        except OSError:  # no descriptor to ask with
            here = True
        if not here:
            text = f"{listen.host} is no address of this machine now: `gateway serve` does not start without it"
            yield Found(text, f"ip address add {listen.host} dev …, or [::]:{listen.port} for all addresses there are")


def _no_ipv6(_subject: Subject) -> Iterator[Found]:
    if lack := lack_of_ipv6():
        why, how = lack.removesuffix(")").split(" (", 1)
        yield Found(f"no sandbox can be reached, for they are reached over IPv6 only: {why}", how)


# --- the operator's listener ----------------------------------------------------------------------------------------


def _token(subject: Subject) -> Iterator[Found]:
    path = subject.settings.admin.token_file
    if path is None:
        return
    from gateway.admin.auth import read_token  # it takes aiohttp, which nothing else here does

    try:
        read_token(path)
    except UserError as error:
        text, _, advice = str(error).partition(": put ")
        yield Found(text, f"put {advice}" if advice else f"openssl rand -hex 32 > {path}")


def _readable_token(subject: Subject) -> Iterator[Found]:
    path = subject.settings.admin.token_file
    if path is not None and read_by_everybody(path):
        yield Found(f"{path} can be read by every user of this machine", f"chmod o-rwx {path}{IN_KUBERNETES}")


CHECKS = (
    Check("domains-nested", Level.WARNING, _nested_domains),
    Check("domain-of-a-single-label", Level.WARNING, _single_label),
    Check("redirect-loop", Level.ERROR, _redirect_loop),
    Check("redirect-only", Level.WARNING, _redirect_only),
    Check("plain-without-trusted-proxies", Level.WARNING, _plain_from_anybody),
    Check("everybody-trusted", Level.WARNING, _everybody_trusted),
    Check("idle-shorter-than-the-balancers", Level.WARNING, _idle_shorter_than_the_balancers),
    Check("no-time-to-look-away", Level.WARNING, _no_time_to_look_away),
    Check("address-of-another-machine", Level.WARNING, _address_of_another_machine, at_start=False),
    Check("no-ipv6", Level.WARNING, _no_ipv6, at_start=False),
    Check("token-broken", Level.ERROR, _token, at_start=False),
    Check("token-readable-by-everybody", Level.WARNING, _readable_token),
)

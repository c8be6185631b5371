"""Listening sockets: bound once, by the process that owns them, with errors a person can act on."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Sequence
from ipaddress import ip_address

import msgspec

from gateway.addresses import family, is_own, lack_of_ipv6
from gateway.config import Listen, Settings
from gateway.errors import UserError

log = logging.getLogger("gateway.process")


class AddressInUse(UserError):
    """Another process listens there."""

    def __init__(self, listen: Listen, why: str) -> None:
        super().__init__(f"cannot listen on {listen}: {why}")
        self.listen = listen


BACKLOG = 4096
"""Connections queued per socket while a worker is busy or being replaced; the kernel caps it at net.core.somaxconn."""

_OVER_IPV4 = {"::": "0.0.0.0", "::1": "127.0.0.1"}
"""What an IPv6 address means where there is IPv4 only."""


def available(listens: Sequence[Listen]) -> tuple[Listen, ...]:
    """`listens`, as far as this machine's address families allow, with a warning for what they do not.

    Missing IPv6 is a defect of the machine, or of a container's network, and no reason not to serve over IPv4. An
    address that this machine does not have for another reason is left to `bind`, which refuses it.
    """
    lack = lack_of_ipv6()
    if not lack:
        return tuple(listens)
    # Where only a sysctl switches IPv6 off, a socket may still be bound to `::`, and takes IPv4.
    there = [each for each in listens if not each.is_ipv6 or is_own(ip_address(each.host))]
    for listen in listens:
        if listen in there:
            continue
        instead = Listen(_OVER_IPV4.get(listen.host, ""), listen.port)
        if instead.host and instead not in (*listens, *there):
            there.append(instead)
            log.warning("listening on %s instead of %s: %s", instead, listen, lack)
        else:
            log.warning("not listening on %s: %s", listen, lack)
    return tuple(there)


def for_this_machine(settings: Settings) -> Settings:
    """`settings` with the listeners that are possible, and a warning if sandboxes are unreachable.

    Raises UserError if there is nothing to listen on.
    """
    lack = lack_of_ipv6()
    if not lack:
        return settings
    replace, edge = msgspec.structs.replace, settings.edge
    listen, plain, admin = available(edge.listen), available(edge.listen_plain), available([settings.admin.listen])
    wanted = [*edge.listen, *edge.listen_plain] if admin else [settings.admin.listen]
    if not admin or not (listen or plain):
        raise UserError(f"cannot listen on {', '.join(map(str, wanted))}: {lack}")
    log.warning("no sandbox can be reached, for they are reached over IPv6 only: %s", lack)
    return replace(
        settings,
        edge=replace(edge, listen=listen, listen_plain=plain),
        admin=replace(settings.admin, listen=admin[0]),
    )


def bind(listen: Listen, *, slots: int = 1) -> list[socket.socket]:
    """`slots` listening sockets on one address, sharing it by SO_REUSEPORT if there are several.

    Raises UserError with one sentence: the port is taken, privileged, or the address is not this machine's.
    """
    first = _bind(listen, shared=False)
    if slots == 1:
        _listen(first, listen)
        return [first]
    # Bound alone first: with SO_REUSEPORT a second gateway of the same user would silently take half the traffic.
    address = Listen(listen.host, first.getsockname()[1])
    first.close()
    sockets = [_bind(address, shared=True) for _ in range(slots)]
    for sock in sockets:
        _listen(sock, listen)
    return sockets


def bind_beside(listen: Listen, there: Sequence[socket.socket]) -> socket.socket:
    """One more listening socket on the address of those that are `there`.

    Raises UserError: the kernel lets nobody but their user do that.
    """
    for each in there:  # one that was alone does not share yet
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock = _bind(listen, shared=True)
    _listen(sock, listen)
    return sock


def _bind(listen: Listen, *, shared: bool) -> socket.socket:
    try:
        sock = socket.socket(family(listen.host), socket.SOCK_STREAM)
    except OSError as error:
        raise _refused(error, listen) from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if listen.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(_sockaddr(listen))
    except OSError as error:
        sock.close()
        raise _refused(error, listen) from None
    return sock


def _sockaddr(listen: Listen) -> tuple[str, int] | tuple[str, int, int, int]:
    """What a socket binds; a link-local address says of which interface (`fe80::1%eth0`)."""
    host, _, interface = listen.host.partition("%")
    return (host, listen.port, 0, socket.if_nametoindex(interface)) if interface else (host, listen.port)


def _listen(sock: socket.socket, listen: Listen) -> None:
    try:
        sock.listen(BACKLOG)
    except OSError as error:  # two may be bound to one port, but only one of them listens
        sock.close()
        raise _refused(error, listen) from None


def _refused(error: OSError, listen: Listen) -> UserError:
    if error.errno == errno.EADDRINUSE:
        who = f"port {listen.port} is in use by another program (see: ss -ltnp | grep {listen.port})"
        return AddressInUse(listen, who)
    return UserError(f"cannot listen on {listen}: {_explain(error, listen)}")


def _explain(error: OSError, listen: Listen) -> str:
    if error.errno == errno.EACCES:
        return f"port {listen.port} needs root or CAP_NET_BIND_SERVICE; ports from 1024 on do not"
    if error.errno == errno.EADDRNOTAVAIL:
        lack = lack_of_ipv6() if listen.is_ipv6 else ""
        return lack or f"the address {listen.host} is not one of this machine's (see: ip address)"
    if error.errno == errno.EAFNOSUPPORT:
        return lack_of_ipv6() or f"this machine has no addresses like {listen.host}"
    return error.strerror or str(error)

"""The errno values of connect, socket, accept, read and write, and their meaning here.

One table: the reason of a failed dial, and how an established connection ended. From the manual pages socket(2),
connect(2), accept(2), recv(2), send(2), tcp(7) and ipv6(7), and from what Linux makes of ICMPv6 errors and route types.
What only a bug can cause (EBADF, EISCONN, …) is missing; whatever is missing is `proxy_internal_error`, never a guess.
"""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass

from gateway.errors import Reason, Wording
from gateway.wordings import REJECTED

_REFUSED = Reason.CONNECTION_REFUSED
_TIMEOUT = Reason.CONNECTION_TIMEOUT
_UNROUTABLE = Reason.DESTINATION_IP_UNROUTABLE
_TERMINATED = Reason.CONNECTION_TERMINATED
_OVERLOADED = Reason.OVERLOADED

NO_DESCRIPTOR = frozenset((errno.EMFILE, errno.ENFILE))
EXHAUSTED = NO_DESCRIPTOR | {errno.ENOBUFS, errno.ENOMEM}
"""Closing other connections helps."""
LISTENER_GONE = frozenset((errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP))
"""Of accept: this socket does not listen (any more). Any other error is about one connection in the queue (Linux
passes its network errors on, see accept(2)): the next may be sound."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row."""

    dialing: Reason
    ended: str = ""
    """Completes "the app …"; empty: an established connection does not meet it."""
    because: str = ""
    """What the operating system's own words leave unsaid."""
    wording: Wording | None = None
    """Of a failed dial."""


MEANINGS: dict[int, Meaning] = {
    # --- the other side's answer ---------------------------------------------------------------------------------
    errno.ECONNREFUSED: Meaning(_REFUSED, "refused what was sent"),  # RST to a SYN; ICMPv6 port unreachable
    errno.ECONNRESET: Meaning(_TERMINATED, "reset the connection"),
    errno.EPIPE: Meaning(_TERMINATED, "closed the connection"),  # written to after its FIN and RST
    errno.ENOTCONN: Meaning(_TERMINATED, "closed the connection"),
    errno.ESHUTDOWN: Meaning(_TERMINATED, "closed the connection"),
    # --- silence -------------------------------------------------------------------------------------------------
    # Of an established connection: retransmissions or keep-alive probes that nobody acknowledged.
    errno.ETIMEDOUT: Meaning(_TIMEOUT, "fell silent (nothing is acknowledged any more)"),
    # --- turned away on purpose ----------------------------------------------------------------------------------
    errno.EACCES: Meaning(
        _UNROUTABLE,
        "became unreachable (a firewall or a route forbids it)",
        # ICMPv6 codes 1, 5 and 6, a prohibit route of this machine, or a policy for its programs (SELinux).
        "a firewall, a prohibit route or a policy forbids it",
        wording=REJECTED,
    ),
    errno.EPERM: Meaning(
        _UNROUTABLE,
        "became unreachable (a firewall of this machine forbids it)",
        "a firewall of the gateway's own machine forbids it",  # netfilter, or BPF (systemd's IPAddressDeny)
        wording=REJECTED,
    ),
    # --- no way there --------------------------------------------------------------------------------------------
    errno.ENETUNREACH: Meaning(_UNROUTABLE, "became unreachable (there is no route to it)"),  # or a throw route
    errno.EHOSTUNREACH: Meaning(_UNROUTABLE, "became unreachable (no neighbour or router knows the host)"),
    errno.ENETDOWN: Meaning(_UNROUTABLE, "became unreachable (the network interface is down)"),
    errno.EHOSTDOWN: Meaning(_UNROUTABLE, "became unreachable (the host is down)"),
    errno.ENETRESET: Meaning(_UNROUTABLE, "became unreachable (the network has dropped the connection)"),
    # connect(2) is silent about this one; Linux has it from the route's type.
    errno.EINVAL: Meaning(_UNROUTABLE, because="a blackhole route takes what is sent there (see: ip -6 route)"),
    errno.EPROTO: Meaning(
        _UNROUTABLE,
        "became unreachable (a router does not take our packets)",
        "an ICMPv6 error that Linux has no number for",  # a parameter problem, or a newer code
    ),
    errno.EMSGSIZE: Meaning(_UNROUTABLE, "became unreachable (packets are too big for the way there)"),
    errno.EAFNOSUPPORT: Meaning(_UNROUTABLE, because="the gateway's machine has no IPv6, or may not use it"),
    errno.EPROTONOSUPPORT: Meaning(_UNROUTABLE, because="the gateway's machine has no TCP over IPv6"),
    errno.ENODEV: Meaning(_UNROUTABLE, "became unreachable (the network interface is gone)"),
    errno.ENXIO: Meaning(_UNROUTABLE, "became unreachable (the network interface is gone)"),
    # --- ended on this machine -----------------------------------------------------------------------------------
    errno.ECONNABORTED: Meaning(_TERMINATED, "was cut off on the gateway's machine"),  # ss -K, SOCK_DESTROY
    # --- this machine is out of resources ------------------------------------------------------------------------
    errno.EMFILE: Meaning(_OVERLOADED),
    errno.ENFILE: Meaning(_OVERLOADED),
    errno.ENOBUFS: Meaning(_OVERLOADED, "was given up (the gateway's machine has no memory for it)"),
    errno.ENOMEM: Meaning(_OVERLOADED, "was given up (the gateway's machine has no memory for it)"),
    errno.EADDRINUSE: Meaning(_OVERLOADED, because="every local port is taken"),
    errno.EAGAIN: Meaning(_OVERLOADED, because="the kernel has no room for another route or port"),
    # Two meanings, which `dial` tells apart: no local port is left for this target, or no local address leads there.
    errno.EADDRNOTAVAIL: Meaning(_OVERLOADED, because="every local port is taken by connections to this target"),
}
if sys.platform == "linux":
    MEANINGS[errno.ENONET] = Meaning(_UNROUTABLE, "became unreachable (the host is not on the network)")

SILENCE = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
"""The kernel's own error after a quarter of an hour (`socket_options.unanswered`). Never raised."""

NO_SOCKET = Meaning(_UNROUTABLE, because="a policy of the gateway's own machine allows it no socket of IPv6")
"""Of EACCES and EPERM from socket(2)."""
NO_LOCAL_ADDRESS = Meaning(_UNROUTABLE, because="no address of the gateway's machine leads there (see: ip -6 address)")

_BY_THE_APP = (None, errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN, errno.ESHUTDOWN)


def is_by_the_app(error: BaseException | None) -> bool:
    """Whether an established connection ended because the other side's program, or its kernel for it, closed it."""
    return not isinstance(error, OSError) or error.errno in _BY_THE_APP


def lost(error: BaseException | None) -> str:
    """As `ended`, in a sentence about downstream."""
    how = ended(error)
    if how == "closed the connection":
        return "the connection was closed" if error is None else "the connection was reset"
    return "the connection was reset" if how == "reset the connection" else f"the other side {how}"


def ended(error: BaseException | None) -> str:
    """How an established connection ended, in words that complete "the app …"; None is an orderly end."""
    if error is None:
        return "closed the connection"
    number = error.errno if isinstance(error, OSError) else None
    meaning = MEANINGS.get(number or 0)
    if meaning is not None and meaning.ended:
        return meaning.ended
    return f"was lost ({os.strerror(number)})" if number else "reset the connection"

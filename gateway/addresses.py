"""IP addresses: how they stand in a text, how a socket wants them, and which of them this machine has.

Sandboxes are reached over IPv6 and nothing else. The one IPv4 address that is ever dialed with a request is 127.0.0.1,
by `gateway dev` on a machine without IPv6; what is here treats both families alike, so that nobody else has to care.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = IPv4Address | IPv6Address
Bound = tuple[Address | None, int]
"""Where a socket listens; None: on every address of both families, as one does that is bound to `::`."""

LOOPBACK = IPv6Address("::1")
LOOPBACK4 = IPv4Address("127.0.0.1")

SWITCH_ON = "sysctl -w net.ipv6.conf.all.disable_ipv6=0"
IN_A_CONTAINER = "docker run --sysctl net.ipv6.conf.all.disable_ipv6=0"
_NO_SOCKET = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_HOW = f"{SWITCH_ON}; a container: {IN_A_CONTAINER} …"
_HOW_WITHOUT_KERNEL = "load the module ipv6, or boot the kernel without ipv6.disable=1"


def literal(address: Address | str) -> str:
    """As in a URL: "[fd00::5]", "127.0.0.1"."""
    text = str(address)
    return f"[{text}]" if ":" in text else text


def authority(address: Address | str, port: int) -> str:
    """As in a URL: "[fd00::5]:5000", "127.0.0.1:5000"."""
    return f"{literal(address)}:{port}"


def family(address: Address | str) -> socket.AddressFamily:
    """AF_INET6 or AF_INET."""
    return socket.AF_INET6 if ":" in str(address) else socket.AF_INET


def is_own(address: Address) -> bool:
    """Whether `address` is one of this machine's: only then can a socket be bound to it. Sends nothing.

    Raises OSError if there is no socket to ask with.
    """
    failure = bind_error(address)
    if failure in _NO_SOCKET:
        raise OSError(failure, os.strerror(failure))
    return failure == 0


def bound_to(host: str, port: int) -> Bound:
    """Where a socket listens that was bound to these."""
    address = ip_address(host)
    return (None if address == IPv6Address("::") else address), port


def leads_to(own: Sequence[Bound], address: Address, port: int, is_local: Callable[[Address], bool] = is_own) -> bool:
    """Whether who dials `address` and `port` reaches one of the sockets in `own`."""
    for bound, bound_port in own:
        if bound_port == port:
            every = bound is None or (bound.is_unspecified and bound.version == address.version)
            if bound == address or (every and is_local(address)):
                return True
    return False


def bind_error(address: Address) -> int:
    """The error of binding a socket to `address`, or 0."""
    try:
        with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
            sock.bind((str(address), 0))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def lack_of_ipv6(addresses: Path = Path("/proc/net/if_inet6")) -> str:
    """Why this machine cannot reach anything over IPv6, and how that is mended; empty if it has an IPv6 address.

    Containers often have none: Docker switches IPv6 off in every network that was not made with --ipv6.
    """
    failure = bind_error(LOOPBACK)
    if failure == errno.EAFNOSUPPORT:
        return f"the kernel runs without IPv6 ({_HOW_WITHOUT_KERNEL})"
    if failure != errno.EADDRNOTAVAIL:
        return ""
    try:
        if addresses.read_bytes():  # an interface has IPv6, only loopback has not
            return ""
    except OSError:  # not mounted, or a kernel other than Linux: loopback is what there is to judge by
        pass
    return f"IPv6 is switched off ({_HOW})"

"""Who turned a SYN away, and with which words: the ICMPv6 error behind an errno of connect.

Linux makes few numbers of many messages: ECONNREFUSED is a TCP reset as well as “port unreachable”, EACCES three codes
of RFC 4443 section 3.1 and a route of this machine. The message itself, with its sender, waits in the socket's error
queue if it was asked for before connecting (ipv6(7), IPV6_RECVERR; of TCP sockets since Linux 5.12). Elsewhere nothing
is heard, and the number has to do.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from dataclasses import dataclass
from ipaddress import IPv6Address

# linux/in6.h, linux/errqueue.h; Python's socket module has none of these.
_RECVERR = 25
_ORIGIN_ICMP6 = 3
_ERROR = struct.Struct("=4xBBB9x")
"""sock_extended_err: origin, type, code; behind it the sender's sockaddr_in6."""
_SENDER = slice(_ERROR.size + 8, _ERROR.size + 24)

DESTINATION_UNREACHABLE, TIME_EXCEEDED, PARAMETER_PROBLEM = 1, 3, 4
_NO_ROUTE, _PROHIBITED, _BEYOND_SCOPE, _NO_ADDRESS, _NO_PORT, _POLICY, _REJECT_ROUTE = range(7)

_WORDS = {
    (DESTINATION_UNREACHABLE, _NO_ROUTE): "no route to destination",
    (DESTINATION_UNREACHABLE, _PROHIBITED): "communication with destination administratively prohibited",
    (DESTINATION_UNREACHABLE, _BEYOND_SCOPE): "beyond scope of source address",
    (DESTINATION_UNREACHABLE, _NO_ADDRESS): "address unreachable",
    (DESTINATION_UNREACHABLE, _NO_PORT): "port unreachable",
    (DESTINATION_UNREACHABLE, _POLICY): "source address failed ingress/egress policy",
    (DESTINATION_UNREACHABLE, _REJECT_ROUTE): "reject route to destination",
    (TIME_EXCEEDED, 0): "hop limit exceeded in transit",
}
"""RFC 4443 sections 3.1 and 3.3, in its own words."""
_KINDS = {
    DESTINATION_UNREACHABLE: "destination unreachable",
    TIME_EXCEEDED: "time exceeded",
    PARAMETER_PROBLEM: "parameter problem",
}
_BY_A_RULE = (_PROHIBITED, _NO_PORT, _POLICY, _REJECT_ROUTE)
"""Codes that a TCP stack never sends. Where nothing listens it answers with a reset, so that “port unreachable”, the
default of iptables and nftables, is a firewall's, too."""
_OF_THE_WAY = (_NO_ROUTE, _BEYOND_SCOPE, _NO_ADDRESS)


@dataclass(frozen=True, slots=True)
class IcmpError:
    """One ICMPv6 error: its sender, type and code."""

    sender: IPv6Address
    type: int
    code: int

    @property
    def words(self) -> str:
        """“administratively prohibited”, as RFC 4443 calls it."""
        known = _WORDS.get((self.type, self.code))
        return known or f"{_KINDS.get(self.type, f'type {self.type}')}, code {self.code}"

    def by_a_rule(self, address: str) -> bool:
        """Whether a rule of a firewall or a router rejects connections to `address`, which was dialed.

        Who says of its own address that it cannot be reached has been reached: a firewall was told to say so.
        """
        if self.type != DESTINATION_UNREACHABLE:
            return False
        return self.code in _BY_A_RULE or (self.code in _OF_THE_WAY and self.sender == IPv6Address(address))


def queue_errors(sock: socket.socket, *, on: bool = True) -> None:
    """Keeps ICMPv6 errors for `queued_error`, before connecting; once connected, switch it `off` again.

    To an established connection that listens, any such error would be the end (RFC 5927 has who may forge one).
    """
    if sys.platform == "linux" and sock.family == socket.AF_INET6:
        with contextlib.suppress(OSError):  # a kernel without (gVisor)
            sock.setsockopt(socket.IPPROTO_IPV6, _RECVERR, on)


def queued_error(sock: socket.socket) -> IcmpError | None:
    """The error that ended the attempt to connect; None: it was none of ICMPv6, or this kernel does not tell."""
    if sys.platform != "linux" or sock.family != socket.AF_INET6:
        return None
    try:
        _, ancillary, _, _ = sock.recvmsg(0, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:  # nothing is kept
        return None
    for level, kind, octets in ancillary:
        if (level, kind) == (socket.IPPROTO_IPV6, _RECVERR) and len(octets) >= _SENDER.stop:
            origin, of_type, code = _ERROR.unpack_from(octets)
            if origin == _ORIGIN_ICMP6:
                return IcmpError(IPv6Address(octets[_SENDER]), of_type, code)
    return None

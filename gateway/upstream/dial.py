"""One dial: from an address to a connected socket, or what became of the attempt.

Nothing is resolved between the policy and connect: the address is the record's own. Whether it may be dialed, and how
often, others have decided.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address

from gateway import errnos, icmp
from gateway.addresses import authority, family, is_own, lack_of_ipv6, literal
from gateway.errors import Failure, GatewayError, Reason
from gateway.socket_options import no_delay
from gateway.wordings import HUNG_UP_UNASKED, REJECTED

_UNROUTABLE = Reason.DESTINATION_IP_UNROUTABLE
_MAY_LACK_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
TURNS_TO_CLOSE = 3
"""Turns of the event loop until a transport that was aborted has closed its descriptor, and one to spare."""
_DISCARD = 9
"""The port of a datagram that is never sent."""


OpenSocket = Callable[[str, int, float, Callable[[], bool]], Awaitable[socket.socket]]
"""What `connected_socket` is, and what may stand in its place."""


async def connected_socket(
    address: str, port: int, patience: float, give_up: Callable[[], bool] = lambda: False
) -> socket.socket:
    """A socket connected to `port` of `address`. Raises GatewayError saying what the kernel said.

    `give_up` closes something less important when no descriptor is left, and says whether there was something.
    """
    started, doing = time.monotonic(), f"connect to {authority(address, port)}"
    try:
        sock = await _new_socket(address, give_up)
    except OSError as error:
        raise _failure(error, doing, started).error() from error
    try:
        sock.setblocking(False)
        no_delay(sock)
        icmp.queue_errors(sock)
        async with asyncio.timeout(patience):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except TimeoutError as error:
        sock.close()
        if error.errno is not None:  # the kernel's patience was shorter
            raise _failure(error, doing, started).error() from error
        detail = f"{doing}: no answer within {patience:g} s"
        raise GatewayError(Reason.CONNECTION_TIMEOUT, detail) from None
    except OSError as error:
        answer = icmp.queued_error(sock)
        sock.close()
        raise _failure(error, doing, started, address, answer).error() from error
    except BaseException:
        sock.close()
        raise
    icmp.queue_errors(sock, on=False)
    return sock


async def _new_socket(address: str, give_up: Callable[[], bool]) -> socket.socket:
    while True:
        try:
            return socket.socket(family(address), socket.SOCK_STREAM)
        except OSError as error:
            if error.errno not in errnos.EXHAUSTED or not give_up():
                raise
        for _ in range(TURNS_TO_CLOSE):
            await asyncio.sleep(0)


def _failure(
    error: OSError, doing: str, started: float, address: str = "", answer: icmp.IcmpError | None = None
) -> Failure:
    """What `error` means; there is an `address` if connect raised it, and an `answer` if somebody said why."""
    meaning = errnos.MEANINGS.get(error.errno or 0)
    if error.errno == errno.EINVAL and not address:
        meaning = None  # of socket it means something else
    elif error.errno in (errno.EACCES, errno.EPERM) and not address:
        meaning = errnos.NO_SOCKET
    elif error.errno == errno.EADDRNOTAVAIL and address and not _has_source(address):
        meaning = errnos.NO_LOCAL_ADDRESS
    elapsed = (time.monotonic() - started) * 1000
    detail = f"{doing}: {os.strerror(error.errno) if error.errno else error} after {elapsed:.1f} ms"
    if meaning is None:
        return Failure(Reason.PROXY_INTERNAL_ERROR, detail)
    if answer is not None:
        wording = REJECTED if answer.by_a_rule(address) else meaning.wording
        return Failure(meaning.dialing, f"{detail}: {_said(answer, address)}", wording=wording)
    if meaning.because:
        detail = f"{detail}: {meaning.because}"
    # Nothing leads to any sandbox then, and the way out is always the same.
    lack = lack_of_ipv6() if error.errno in _MAY_LACK_IPV6 and meaning.dialing is _UNROUTABLE else ""
    wording = HUNG_UP_UNASKED if meaning.dialing is Reason.CONNECTION_TERMINATED else meaning.wording
    return Failure(meaning.dialing, detail, (f"on the gateway's machine {lack}",) if lack else (), wording=wording)


def _said(answer: icmp.IcmpError, address: str) -> str:
    sender = literal(answer.sender)
    if answer.sender == IPv6Address(address):
        who = f"{sender} itself"
    else:
        try:
            is_here = is_own(answer.sender)
        except OSError:  # no descriptor is left to find out
            is_here = False
        who = f"the gateway's own machine ({sender})" if is_here else f"{sender}, on the way there,"
    return f"{who} answered “{answer.words}” (ICMPv6)"


def _has_source(address: str) -> bool:
    """Whether an address of this machine leads there: connecting a datagram socket chooses one, and sends nothing."""
    with socket.socket(family(address), socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((address, _DISCARD))
        except OSError:
            return False
    return True

"""Request ids: unique per request, cheap, sortable within one worker."""

from __future__ import annotations

import re
import secrets
from itertools import count
from typing import Final

_ACCEPTABLE: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


_LAST_OCTET: Final = [b"%02x" % octet for octet in range(256)]


class RequestIds:
    """A random prefix per worker (48 bits) and a counter: no system call, no lock, no collision between workers."""

    __slots__ = ("_first_octets", "_number", "_prefix")

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6).encode()
        self._number = 0  # of the last one
        self._first_octets = b"%b-0000" % self._prefix  # all but the number's last octet, which is written once in 256

    def new(self) -> bytes:
        """For example `9f86d081884c-00002a`."""
        self._number += 1
        last = self._number & 0xFF
        if not last:
            self._first_octets = b"%b-%04x" % (self._prefix, self._number >> 8)
        return self._first_octets + _LAST_OCTET[last]


class ConnectionIds:
    """For a connection to which a balancer has given a unique id: its first request has just that."""

    __slots__ = ("_counter", "_unique_id")

    def __init__(self, unique_id: bytes) -> None:
        self._unique_id = unique_id
        self._counter = count(1)

    def new(self) -> bytes:
        """For example `9f86`, `9f86-2`, `9f86-3`."""
        number = next(self._counter)
        return self._unique_id if number == 1 else b"%b-%d" % (self._unique_id, number)


def is_acceptable(value: bytes) -> bool:
    """Whether a trusted proxy's X-Request-Id may go on into logs and fields as it is."""
    return _ACCEPTABLE.fullmatch(value) is not None

"""Request ids: unique per request, cheap, sortable within one worker."""

from __future__ import annotations

import re
import secrets
from itertools import count
from typing import Final

_ACCEPTABLE: Final = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class RequestIds:
    """A random prefix per worker (48 bits) and a counter: no system call, no lock, no collision between workers."""

    __slots__ = ("_counter", "_prefix")

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(6).encode()
        self._counter = count(1)

    def new(self) -> bytes:
        """For example `9f86d081884c-00002a`."""
        return b"%b-%06x" % (self._prefix, next(self._counter))


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

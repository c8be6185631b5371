"""What the supervisor tells the admin process of reloads: a page of memory that both share.

The supervisor writes, and never waits for a reader; a reader that finds a page half written looks again.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct

import msgspec

from gateway.admin.reload import Reload

_HEADER = struct.Struct("=QI")
"""A number that is odd while the page is written and another one afterwards; the octets of JSON behind it."""
SIZE = 16 * 1024
MAX_ERROR = 2000
"""Characters of a reason; a configuration can be wrong in many places. JSON takes six octets for one at most."""
MAX_LOOKS = 1000
"""At a page half written: whoever writes it takes microseconds, or has been stopped or killed in the midst of it."""


class ReloadState:
    """Made before the fork."""

    __slots__ = ("_owner", "_page", "last")

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._page = mmap.mmap(-1, SIZE)
        self.last = Reload()
        """As this process has written it, or read it last."""

    def __repr__(self) -> str:
        return f"<ReloadState {self.last.state} generation={self.last.generation}>"

    def write(self, reload: Reload) -> None:
        self.last = reload
        error = reload.error[:MAX_ERROR].encode(errors="backslashreplace").decode()  # a path may hold any octets
        content = msgspec.json.encode(msgspec.structs.replace(reload, error=error[:MAX_ERROR]))
        number, _ = _HEADER.unpack_from(self._page)
        _HEADER.pack_into(self._page, 0, number + 1, len(content))
        self._page[_HEADER.size : _HEADER.size + len(content)] = content
        _HEADER.pack_into(self._page, 0, number + 2, len(content))

    def request(self) -> None:
        """In the admin process: asks the supervisor for a reload."""
        if os.getppid() == self._owner:  # else it has died, and the new parent is not ours to signal
            os.kill(self._owner, signal.SIGHUP)

    def read(self) -> Reload:
        """What is on the page, or what was at the last look if the writer does not get on with it."""
        for _ in range(MAX_LOOKS):
            number, length = _HEADER.unpack_from(self._page)
            content = self._page[_HEADER.size : _HEADER.size + length]
            if number % 2 == 0 and number == _HEADER.unpack_from(self._page)[0]:
                if number:
                    self.last = msgspec.json.decode(content, type=Reload)
                break
        return self.last

"""Whether programs of this machine find the names of the exposed apps, and what to add where they do not.

Browsers and curl take every name under `localhost` for this machine themselves. Python, Node.js and Go ask the system's
resolver, which on Debian knows them by the package libnss-myhostname only; and one's own domain nobody knows.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
import socket
import threading
from collections.abc import Mapping, Sequence

from gateway.addresses import LOOPBACK, LOOPBACK4
from gateway.tls.programs import as_root, shown

PATIENCE = 2.0
"""Seconds for all look-ups together: a name server that is away answers after many, and nobody waits for that."""
_HERE = {str(LOOPBACK), str(LOOPBACK4)}


class NameLookup:
    """Asks the resolver that programs ask, beside whatever else is done at start."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(dict.fromkeys(names))
        self._found: dict[str, list[str]] = {}
        self._done = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # No executor's: the end of the event loop waits for those, and a look-up cannot be given up.
        threading.Thread(target=self._look_up, name="names", daemon=True).start()

    async def strangers(self) -> dict[str, list[str]]:
        """The names that do not lead here, with the addresses they lead to; most have none."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._done.wait()
        except TimeoutError:
            pass  # what has no answer by now has none
        found = {name: self._found.get(name, []) for name in self._names}
        return {name: addresses for name, addresses in found.items() if not _HERE.intersection(addresses)}

    def _look_up(self) -> None:
        for name in self._names:
            self._found[name] = look_up(name)
        try:
            self._loop.call_soon_threadsafe(self._done.set)
        except RuntimeError:
            return  # the gateway has ended meanwhile


def look_up(name: str) -> list[str]:
    """Its addresses, as programs are told them. Blocking."""
    try:
        return [str(each[4][0]) for each in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def is_localhost(name: str) -> bool:
    """Whether browsers and curl find it without being told."""
    return name.endswith(".localhost")


def what_to_add(strangers: Mapping[str, Sequence[str]]) -> str:
    """One line for a person. There is at least one stranger."""
    names = list(strangers)
    line = f"{LOOPBACK4} {' '.join(names)}"
    hosts = f"echo {shlex.quote(line)} | {shown(as_root(['tee', '-a', '/etc/hosts']))}"
    elsewhere = next((f"{name} leads to {each[0]}, not here" for name, each in strangers.items() if each), "")
    if elsewhere:
        return f"{elsewhere}: {hosts}"
    if not all(map(is_localhost, names)):
        return f"{_counted(names)} not found on this machine: {hosts}"
    package = f"{shown(as_root(['apt-get', 'install', 'libnss-myhostname']))}  or  " if shutil.which("apt-get") else ""
    return f"browsers and curl find {_them(names)}, Python, Node and Go do not: {package}{hosts}"


def _counted(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} more are"


def _them(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else "these names"

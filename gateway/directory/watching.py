"""What a process does about its directory as long as it lives; `Tasks.keep` sees to it.

Who no longer watches serves what was deleted until its time has run out. A watch knows the outages of its backend; what
it does not know, a fault of ours or of a library, is told to the observer, and the watch begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from gateway.directory.sandbox import Directory, DirectoryError, Registry, WatchObserver, WriteError

LONGEST_PAUSE = 60.0
"""Seconds between two steps through a registry that cannot be tended."""

log = logging.getLogger("gateway.directory")


async def watch(directory: Directory, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
    """Runs `directory.watch` until cancelled; while it does not run, `watch_down` is set."""
    observer.watch_down = False
    try:
        await directory.watch(changed, observer)
        raise RuntimeError(f"{directory.where}: watching for changes has ended")
    finally:
        observer.watch_down = True


async def tend(registry: Registry) -> None:
    """Takes one step of `registry.tend` after the other until cancelled; one line when writes begin to be refused."""
    said = ""
    while True:
        pause = LONGEST_PAUSE
        try:
            pause = await registry.tend()
            said = ""
        except WriteError as error:
            if str(error) != said:
                log.warning("%s; what has ended stays in the registry until it can be written", error)
            said = str(error)
        except DirectoryError:
            pass  # it is away: the watch says so
        await asyncio.sleep(pause)

"""Watching for changes as long as a process lives.

Who no longer watches serves what was deleted until its time has run out, and nothing else shows it. A watch knows the
outages of its backend; what it does not know, a fault of ours or of a library, costs one line and a pause.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from gateway.directory.sandbox import Directory, DirectoryError, Registry, Witness, WriteError

PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds before a watch that has failed begins anew; they double from the one to the other."""

log = logging.getLogger("gateway.directory")


async def keep_watching(directory: Directory, changed: Callable[[Iterable[str]], None], witness: Witness) -> None:
    """Runs `directory.watch` until cancelled, whatever becomes of it."""
    pause = PAUSE
    while True:
        try:
            witness.deaf = False
            await directory.watch(changed, witness)
        except Exception:
            witness.deaf = True
            log.exception("%s: watching for changes failed; it begins anew in %g s", directory.where, pause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def keep_tending(registry: Registry) -> None:
    """Takes one step of `registry.tend` after the other."""
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

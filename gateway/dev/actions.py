"""What the keys do: open the app or the inspector, explain the last failure, clear, quit, help."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.dev.banner import REQUESTS_WITH_KEYS
from gateway.dev.keys import Key
from gateway.dev.terminal import Terminal
from gateway.diagnosis import terminal as rendering
from gateway.diagnosis.explain import Context, explain
from gateway.diagnosis.url import InvalidUrl
from gateway.observe.access_log import AccessRecord

_CLEAR = f"\x1b[2J\x1b[3J\x1b[H{REQUESTS_WITH_KEYS}\n"
_NO_FAILURE = ("", "downstream_closed", "drain_timeout")
"""What ended well, was left by its visitor, or cut off at our end: nothing is to be explained."""
_OPEN = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"
"""In a process of its own: a browser talks, and takes its time."""


@dataclass(frozen=True, slots=True)
class Places:
    """What can be opened."""

    app: str
    inspector: str


class LastFailure:
    """The URL of the last request that failed; empty: none has."""

    def __init__(self) -> None:
        self.url = ""

    def note(self, records: list[AccessRecord]) -> None:
        for record in records:
            if record.reason not in _NO_FAILURE and record.host != "-":
                self.url = f"https://{record.host}{record.path}"


class Actions:
    """One per terminal."""

    def __init__(self, places: Places, failure: LastFailure, context: Context, terminal: Terminal) -> None:
        self._places = places
        self._failure = failure
        self._context = context
        self._colour = terminal.colour
        self._say = terminal.say
        self._busy = False

    def keys(self, quit: Callable[[], None]) -> dict[str, Key]:
        """In the order in which they are shown; `quit` is Ctrl-C's."""
        keys: dict[str, Key] = {
            "o": Key(lambda: self._open(self._places.app), "open the app in a browser"),
            "i": Key(lambda: self._open(self._places.inspector), "open the inspector in a browser"),
            "e": Key(self._explain, "explain the last failure"),
            "c": Key(lambda: self._say(_CLEAR), "clear the terminal"),
            "q": Key(quit, "quit"),
            "h": Key(lambda: self._help(keys), "help"),
        }
        return keys

    def _help(self, keys: Mapping[str, Key]) -> None:
        self._say("".join(f"  {key}  {what.meaning}\n" for key, what in keys.items()))

    # --- opened -------------------------------------------------------------------------------------------------------

    def _open(self, url: str) -> None:
        self._context.tasks.spawn(self._browse(url), "open a browser")

    async def _browse(self, url: str) -> None:
        if not _has_browser():
            self._say(f"  no browser is known here: {url}\n")
            return
        nowhere = asyncio.subprocess.DEVNULL
        browser = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _OPEN, url, stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
        if await browser.wait():
            self._say(f"  no browser could be started: {url}\n")

    # --- explained ----------------------------------------------------------------------------------------------------

    def _explain(self) -> None:
        url = self._failure.url
        if not url:
            self._say("  nothing has failed in the gateway yet; what apps answered is in the inspector (i)\n")
        elif not self._busy:
            self._busy = True
            self._say(f"  examining {url} …\n")
            self._context.tasks.spawn(self._examine(url), "explain the last failure")

    async def _examine(self, url: str) -> None:
        try:
            report = await explain(url, self._context)
            width = shutil.get_terminal_size().columns
            self._say(f"\n{rendering.render(report, width=width, colour=self._colour)}\n\n")
        except InvalidUrl as error:
            self._say(f"  {error}\n")
        finally:
            self._busy = False


def _has_browser() -> bool:
    """Not one that would draw into this terminal (lynx), which Python's webbrowser falls back to."""
    graphical = sys.platform == "darwin" or any(name in os.environ for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return graphical or "BROWSER" in os.environ

"""The table of docs/frameworks.md: the tests run its commands and put its settings into their programs, as they stand.

A program of a test says where the settings belong, by `# listen`, `# proxy` and `# origin` on lines of
their own. So a row that is
wrong fails a test, and one that is missing has none to start.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.applications.harness import INSTALLED, NODE_MODULES, PLAIN, Application, Applications
from tests.interop.harness import DOMAIN, Answer, curl, tcp_connection, tls_context
from tests.support.process import ROOT, clean_environment

DOCUMENT = ROOT / "docs" / "frameworks.md"
PROGRAMS = (INSTALLED / "python" / "bin", NODE_MODULES / ".bin")
"""Where the commands find what they name first; `npx` is one of them that is left out."""
UPLOAD = 3_000_000
"""Octets of a file that is uploaded."""

_CODE = re.compile(r"`([^`]+)`")
_PORT = re.compile(r"(?<![\d.])\d{4}(?![\d.])")
_DEV_PORT = "8443"


@dataclass(frozen=True, slots=True)
class Framework:
    """A row of the table."""

    name: str
    command: str
    listen: tuple[str, ...]
    """Lines of code or configuration by which it is reached; none: its command says that."""
    proxy: tuple[str, ...]
    """By which it believes the proxy; none: it needs none."""
    origin: tuple[str, ...]

    def told(self, source: str, gateway: Applications, *, of: tuple[str, ...] = ("proxy", "origin")) -> str:
        """`source` with the settings `of` the row in their places, for this gateway's domain and port."""
        for name in ("listen", "proxy", "origin"):
            lines = getattr(self, name) if name in ("listen", *of) else ()
            place = re.compile(rf"^([ \t]*)(?:#|//) {name}$", re.MULTILINE)
            if lines and not place.search(source):
                raise ValueError(f"{self.name}: no place for its {name} setting")
            text = "\n".join(_public(line, gateway) for line in lines)
            source = place.sub(lambda at, text=text: re.sub("^", at[1], text, flags=re.MULTILINE), source)
        return source

    def started(
        self, gateway: Applications, folder: Path, env: Mapping[str, str] | None = None, *options: str
    ) -> Application:
        """The command, run in `folder` on a port of its own instead of the usual one."""
        words = [word for word in shlex.split(_PORT.sub("{port}", self.command)) if word != "npx"]
        path = ":".join([str(folder / "node_modules" / ".bin"), *map(str, PROGRAMS), clean_environment()["PATH"]])
        told = {"HOME": str(folder)} | dict(env or {})
        return _Started(gateway, "env", f"PATH={path}", *words, *options, cwd=folder, env=told)


class _Started(Application):
    """A command that may be a launcher (`go run`, `next dev`): what it has started ends with it."""

    def stop(self) -> int:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, self.stop_signal)
        return super().stop()


def _public(line: str, gateway: Applications) -> str:
    """`line` with the gateway's own domain and port."""
    return line.replace(DOMAIN, gateway.domain).replace(_DEV_PORT, str(gateway.tls_port))


@cache
def table() -> dict[str, Framework]:
    """Every row by its name."""
    rows: dict[str, Framework] = {}
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 4 and cells[0] != "Framework":
            name, *settings = cells
            command, proxy, origin = (tuple(_CODE.findall(cell)) for cell in settings)
            rows[name] = Framework(name, command[0], command[1:], proxy, origin)
    return rows


def framework(name: str) -> Framework:
    return table()[name]


# --- what is driven ---------------------------------------------------------------------------------------------------


def get(app: Application, path: str = "/", *arguments: str, sandbox: str = PLAIN) -> Answer:
    """The page at `path`, which is not a hint's case: whatever a row sets is right."""
    answer = ask(app, path, *arguments, sandbox=sandbox)
    assert answer.header("X-Gateway-Hint") is None, answer.header("X-Gateway-Hint")
    return answer


def ask(app: Application, path: str = "/", *arguments: str, sandbox: str = PLAIN) -> Answer:
    """What is answered for `path`, and be it with a hint. No name server knows the gateway's domain."""
    return curl(app.url(path, sandbox), app.gateway.ca, "--connect-to", "::localhost:", *arguments)


def hint(app: Application, path: str, *arguments: str) -> str:
    """What is said of the answer at `path`, where the app is not told what the row says."""
    answer = ask(app, path, *arguments)
    return answer.header("X-Gateway-Hint") or f"none, to {answer.status} {answer.text[:500]}"


def upload(app: Application, path: str, folder: Path, *arguments: str) -> Answer:
    """What the app says to a form with a file of UPLOAD octets, field `file`, as a page of its own would send it."""
    (folder / "noise.bin").write_bytes(bytes(UPLOAD))
    origin = f"Origin: https://{app.authority()}"
    return get(app, path, "--form", f"file=@{folder / 'noise.bin'}", "--header", origin, *arguments)


@contextmanager
def websocket(app: Application, path: str, origin: str | None = None, **options: Any) -> Iterator[ClientConnection]:
    """A WebSocket that a page of the app's own opens, or one of `origin`."""
    with (
        closing(tcp_connection(app.gateway)) as connection,
        connect(
            f"wss://{app.authority()}{path}",
            sock=connection,
            ssl=tls_context(app.gateway.ca),
            server_hostname=app.host(),
            origin=Origin(origin or f"https://{app.authority()}"),
            proxy=None,
            max_size=None,
            **options,
        ) as opened,
    ):
        yield opened

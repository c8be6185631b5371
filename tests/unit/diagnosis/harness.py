"""An app that answers as scripted, and a context that leads to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, cast

import msgspec

from gateway.config import Settings
from gateway.diagnosis.explain import Context
from gateway.diagnosis.findings import RefusalFindings, TimeoutFindings
from gateway.diagnosis.port_probe import PortProbe
from gateway.diagnosis.report import Report, Step
from gateway.directory.sandbox import Directory, Sandbox, TableDirectory
from gateway.errors import Failure
from gateway.http.message import FieldSection, RequestHead
from gateway.tasks import Tasks
from gateway.upstream.policy import AddressPolicy

PATIENCE = 20.0
"""Seconds until a wait has failed. Never reached by a test that passes."""
DOMAIN = "sandbox.localhost"
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 2\r\n\r\nok"

Script = Callable[[bytes], bytes | None]
"""From a request's head to the octets of an answer; None is silence, b"" a close without an answer."""


class App:
    """Listens on [::1]; every connection is answered by `script` once, and then read until the gateway closes it."""

    def __init__(self) -> None:
        self.script: Script = lambda request: b"HTTP/1.1 204 No Content\r\n\r\n"
        self.greeting = b""
        self.to_client_hello = b""
        """What answers somebody who speaks TLS; b"" is a close."""
        self.heads: list[bytes] = []
        self.after: list[bytes] = []
        """What came behind each head."""
        self.asked = asyncio.Event()
        self.port = 0
        self._open = 0
        self._changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            writer.write(self.greeting)
            first = await reader.readexactly(1)
            if first == b"\x16":
                writer.write(self.to_client_hello)
                return
            self.heads.append(first + await reader.readuntil(b"\r\n\r\n"))
            self.asked.set()
            answer = self.script(self.heads[-1])
            if answer != b"":
                writer.write(answer or b"")
                self.after.append(await reader.read())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # how a connection ends that the gateway has enough of
        finally:
            writer.close()
            async with self._changed:
                self._open -= 1
                self._changed.notify_all()

    async def all_closed(self) -> None:
        """Returns when no connection to the app is left."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(lambda: self._open == 0)


@dataclass
class Looking:
    """Stands for a `PortProbe`: finds what it was told to."""

    findings: RefusalFindings = field(default_factory=RefusalFindings)
    timeout: TimeoutFindings = field(default_factory=TimeoutFindings)
    asked: list[tuple[IPv6Address, int, IPv4Address | None]] = field(default_factory=list)

    async def find(
        self,
        address: IPv6Address,
        port: int,
        ipv4: IPv4Address | None = None,
        *,
        whose: object = None,
        timed_out: bool = False,
    ) -> RefusalFindings | TimeoutFindings:
        self.asked.append((address, port, ipv4))
        return self.timeout if timed_out else self.findings

    async def explain(self, failure: Failure, address: IPv6Address, port: int, *more: Any, **whose: Any) -> Failure:
        return await PortProbe.explain(cast("PortProbe", self), failure, address, port, *more, **whose)


def configured(**sections: dict[str, Any]) -> Settings:
    """Settings for this machine, with single values changed: `configured(upstream={"deny_ports": (22,)})`."""
    settings = Settings()
    defaults: dict[str, dict[str, Any]] = {
        "edge": {"domains": (DOMAIN,)},
        "upstream": {"allow": (IPv6Network("::1/128"),)},
    }
    return msgspec.structs.replace(
        settings,
        **{
            name: msgspec.structs.replace(
                getattr(settings, name), **{**defaults.get(name, {}), **sections.get(name, {})}
            )
            for name in {*defaults, *sections}
        },
    )


BOX = Sandbox("box", IPv6Address("::1"), "7")


def forwarded(head: RequestHead) -> FieldSection:
    told = (b"X-Forwarded-Host", head.authority), (b"X-Forwarded-Proto", b"https"), (b"Via", b"1.1 gateway")
    return FieldSection.of([*told])


def make_context(
    looking: Looking,
    settings: Settings | None = None,
    sandbox: Sandbox = BOX,
    directory: Directory | None = None,
    own: tuple[tuple[IPv6Address | None, int], ...] = (),
) -> Context:
    settings = settings or configured()
    return Context(
        settings,
        directory or TableDirectory({sandbox.id: sandbox}),
        AddressPolicy(settings.upstream.allow, own),
        cast("PortProbe", looking),
        Tasks(),
        forwarded,
    )


def changed(sandbox: Sandbox, **values: Any) -> Sandbox:
    return replace(sandbox, **values)


def step(report: Report, name: str) -> Step:
    return next(step for step in report.steps if step.name == name)


def url(port: int, path: str = "/", scheme: str = "https") -> str:
    return f"{scheme}://{port}-box.{DOMAIN}{path}"

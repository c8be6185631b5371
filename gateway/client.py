"""What platform code imports: registers sandboxes with a gateway, and knows their public names.

    async with Gateway("http://127.0.0.1:9090") as gateway:
        sandbox = await gateway.sandboxes.register("abc123", address="fd00::5")
        await sandbox.wait_until_ready(5000)
        print(f"https://{sandbox.expose(5000)}")

It speaks the admin API and shares nothing with the gateway's own processes. Every error it raises by itself is a
`GatewayClientError`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from math import inf
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec
from yarl import URL

from gateway.app_protocol import of_json
from gateway.diagnosis.url import without_userinfo
from gateway.hostname import is_sandbox_id

PAGE = 500
"""Records asked for at a time."""
AT_ONCE = 100
"""Requests under way at the same time; others wait for their turn, which takes nothing from their `timeout`."""
BUSY_PATIENCE = 60.0
"""Seconds for which a request is made again while the gateway says that there are too many."""
LONGEST_RETRY_AFTER = 30.0
"""Seconds; whatever the gateway, or somebody between, asks for."""
FOREVER = 1e9
"""Seconds; more than these are as good as no limit."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two looks at a port: doubled from the one to the other."""

_FINAL = ("denied", "prohibited")
"""States that waiting does not change: an operator's decision."""
_TOO_MANY = 429
_BUSY = (_TOO_MANY, 503)
"""The gateway did not look; it may the next time."""
_TOKEN = re.compile(r"[\x21-\x7e]+")
_IN_TAG = "".join(chr(octet) for octet in range(0x21, 0x7F) if chr(octet) not in '"%')
_HOST = re.compile(r"https://([^/]+)/?")

T = TypeVar("T")


class GatewayClientError(Exception):
    """The base of all of them."""


class InvalidArgument(GatewayClientError, ValueError):
    """What was given cannot be used, and nothing has been sent."""


class InvalidPort(InvalidArgument):
    """Not an integer from 1 to 65535."""


class InvalidSandboxId(InvalidArgument):
    """Not a name that a sandbox can have."""


class NotOpen(GatewayClientError, RuntimeError):
    """Used outside of `async with Gateway(…) as gateway`."""


class MissingTemplate(GatewayClientError):
    """The gateway has not said yet under which names this sandbox is public."""


class NotReady(GatewayClientError):
    """Nothing listened in the time given. `state` and `detail` are what the last look found."""

    def __init__(self, sandbox_id: str, port: int, state: str, detail: str) -> None:
        self.sandbox_id = sandbox_id
        self.port = port
        self.state = state
        self.detail = detail
        super().__init__(f"port {port} of sandbox {sandbox_id} is not ready: {state} ({detail})")


class GatewayUnreachable(GatewayClientError):
    """No answer from the admin listener: whether a write has happened is not known."""


class GatewayApiError(GatewayClientError):
    """The gateway refused. `problem` is its RFC 9457 document, `status` the HTTP status; `retry_after` are the seconds
    it has asked for before the next attempt, None if it has not."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.problem = problem
        self.retry_after = retry_after
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}")


class SandboxNotFound(GatewayApiError):
    """404: there is no such sandbox."""


class GenerationMismatch(GatewayApiError):
    """412: the record is not the one that `if_match` names."""


class RegistryFull(GatewayApiError):
    """507: the gateway's registry has no room left, on its disk or in its memory. Nothing was written."""


_ERRORS = {404: SandboxNotFound, 412: GenerationMismatch, 507: RegistryFull}


class PortState(msgspec.Struct, frozen=True):
    """`state` is "listening", "refused", "stuck", …: docs/client.md lists them, and there may be more; `detail` what
    was observed; `url` where the app is public, None if the gateway serves no domain; `protocol` what the app was seen
    to speak, or what is spoken to it by its record."""

    state: str
    detail: str
    url: str | None
    protocol: str = "auto"


class _Record(msgspec.Struct):
    id: str
    address: str
    generation: str
    template: str | None = msgspec.field(name="publicAccessUrlTemplate")
    ipv4: str | None = None
    host: str | None = None
    protocol: str | dict[str, Any] | None = None


class _Page(msgspec.Struct):
    sandboxes: list[_Record]
    next: str | None


class Gateway:
    """A connection to one admin listener; an async context manager.

    `token` is the one of `admin.token_file`, `timeout` the seconds that each request may take. Raises InvalidArgument.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 10) -> None:
        self.url = _base_url(url)
        self.sandboxes = Sandboxes(self)
        self._headers = {"Authorization": f"Bearer {_token(token)}"} if token else {}
        seconds = _seconds("timeout", timeout)
        self._timeout = aiohttp.ClientTimeout(total=None if seconds == inf else seconds)
        self._session: aiohttp.ClientSession | None = None
        self._room = asyncio.Semaphore(AT_ONCE)
        self._quiet_until = 0.0  # the gateway has asked to be left alone until then, in the event loop's time

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _send(self, method: str, path: str, *, json: object = None, if_match: str | None = None) -> bytes:
        """The body of a good answer. Raises GatewayUnreachable, GatewayApiError and NotOpen.

        Made again while there are too many requests: then the gateway has done nothing yet.
        """
        headers = {} if if_match is None else {"If-Match": f'"{_in_tag(if_match)}"'}
        clock = asyncio.get_running_loop().time
        latest = clock() + BUSY_PATIENCE
        while True:
            if (pause := self._quiet_until - clock()) > 0:  # all of them are quiet: each would only hear the same
                await asyncio.sleep(pause)
            try:
                async with self._room:
                    if clock() >= self._quiet_until:
                        return await self._send_once(method, path, headers, json)
            except GatewayApiError as error:
                pause = error.retry_after or FIRST_PAUSE
                if error.status != _TOO_MANY or clock() + pause > latest:
                    raise
                self._quiet_until = max(self._quiet_until, clock() + pause)

    async def _send_once(self, method: str, path: str, headers: Mapping[str, str], json: object = None) -> bytes:
        if self._session is None:
            raise NotOpen("the client is not open: async with Gateway(…) as gateway")
        try:
            async with self._session.request(
                method, self.url + path, json=json, headers=headers, allow_redirects=False
            ) as answer:
                status, body = answer.status, await answer.read()
        except TimeoutError:
            raise GatewayUnreachable(f"{self.url}: no answer within {self._timeout.total:g} s") from None
        except aiohttp.ClientError as error:
            raise GatewayUnreachable(f"{self.url}: {error}") from error
        if status < 300:
            return body
        problem = self._decode(body, dict[str, Any], status)
        raise _ERRORS.get(status, GatewayApiError)(status, problem, _retry_after(answer.headers.get("Retry-After", "")))

    async def _ask(self, kind: type[T], method: str, path: str, **more: Any) -> T:
        """A good answer's JSON as a `kind`. Raises as `_send` does."""
        return self._decode(await self._send(method, path, **more), kind, 200)

    def _decode(self, body: bytes, kind: type[T], status: int) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            strange = f"what answers at {self.url} is not a gateway's admin listener ({error})"
            problem = {"type": "about:blank", "title": "Not a gateway", "status": status, "detail": strange}
            raise GatewayApiError(status, problem) from None


class Sandboxes:
    """`gateway.sandboxes`: the gateway's records."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def register(
        self,
        id: str,
        *,
        address: str | IPv6Address,
        ipv4: str | IPv4Address | None = None,
        host: str | None = None,
        protocol: str | Mapping[str, object] | None = None,
        lifetime: float | None = None,
        if_match: str | None = None,
    ) -> Sandbox:
        """Says where sandbox `id` is; saying it again changes nothing.

        The record is replaced whole. `ipv4` is looked at when an app refuses, `host` the Host field its apps are sent
        (`localhost:{port}`), `protocol` what they speak ("h2c" for gRPC, "http1", "auto", or by port:
        `{"default": "auto", "ports": {"50051": "h2c"}}`), `lifetime` the seconds after which the record goes unless it
        is registered again. With `if_match` a generation is named that must be in force: GenerationMismatch otherwise.
        """
        if not isinstance(host, str | None):
            raise InvalidArgument(f"Invalid host: {host!r} (expected a text such as localhost:{{port}})")
        given = {
            "address": str(address),
            "ipv4": None if ipv4 is None else str(ipv4),
            "host": host,
            "protocol": _protocol(protocol),
            "lifetime": None if lifetime is None else _seconds("lifetime", lifetime),
        }
        body = {name: value for name, value in given.items() if value is not None}
        return self._sandbox(await self._gateway._ask(_Record, "PUT", _path(id), json=body, if_match=if_match))

    async def get(self, id: str) -> Sandbox:
        """The record under `id`. Raises SandboxNotFound."""
        return self._sandbox(await self._gateway._ask(_Record, "GET", _path(id)))

    async def list(self) -> AsyncIterator[Sandbox]:
        """Every sandbox, in the order of their ids, fetched page by page."""
        path: str | None = f"/v1/sandboxes?limit={PAGE}"
        while path is not None:
            page = await self._gateway._ask(_Page, "GET", path)
            for record in page.sandboxes:
                yield self._sandbox(record)
            path = None if page.next is None else f"/v1/sandboxes?limit={PAGE}&after={quote(page.next)}"

    async def remove(self, id: str, *, if_match: str | None = None) -> None:
        """Forgets `id`. Raises SandboxNotFound, and GenerationMismatch as `register` does."""
        await self._gateway._send("DELETE", _path(id), if_match=if_match)

    async def port_state(self, id: str, port: int) -> PortState:
        """Whether something listens on a port of `id`, looked at now."""
        return await self._gateway._ask(PortState, "GET", f"{_path(id)}/ports/{_port(port)}")

    async def _look(self, id: str, port: int) -> PortState:
        """As `port_state`, and told at once when the gateway is busy: whoever waits has an answer for that."""
        body = await self._gateway._send_once("GET", f"{_path(id)}/ports/{port}", {})
        return self._gateway._decode(body, PortState, 200)

    def _sandbox(self, record: _Record) -> Sandbox:
        return Sandbox(
            record.id,
            record.address,
            record.generation,
            record.template,
            record.ipv4,
            record.host,
            record.protocol,
            _sandboxes=self,
        )


@dataclass(slots=True)
class Sandbox:
    """One record as it was when it was read; `refresh` reads it again."""

    id: str
    address: str
    generation: str
    public_access_url_template: str | None
    """`https://{port}-abc123.sandbox.example.dev`; None: see MissingTemplate."""
    ipv4: str | None
    host: str | None
    protocol: str | dict[str, Any] | None
    _sandboxes: Sandboxes = field(repr=False, compare=False)

    def expose(self, port: int) -> str:
        """The public host of `port`, `5000-abc123.sandbox.example.dev`, with `:port` where that is not 443. No I/O.

        Raises InvalidPort and MissingTemplate.
        """
        number, template = _port(port), self.public_access_url_template or ""
        found = _HOST.fullmatch(template.replace("{port}", str(number)))
        if found is None or "{port}" not in template:
            raise MissingTemplate(
                f"sandbox {self.id} has no publicAccessUrlTemplate: call `await sandbox.refresh()` first"
            )
        return found[1]

    def url(self, port: int) -> str:
        """`https://` and the host of `expose`, without a path. Raises as `expose` does."""
        return f"https://{self.expose(port)}"

    async def refresh(self) -> None:
        """Reads the record again. Raises SandboxNotFound if it is gone."""
        now = await self._sandboxes.get(self.id)
        self.address, self.generation, self.ipv4, self.host = now.address, now.generation, now.ipv4, now.host
        self.protocol, self.public_access_url_template = now.protocol, now.public_access_url_template

    async def port_state(self, port: int) -> PortState:
        """Whether something listens on `port`, looked at now."""
        return await self._sandboxes.port_state(self.id, port)

    async def wait_until_ready(self, port: int, timeout: float = 30) -> None:  # noqa: ASYNC109 (the API's name)
        """Returns when something listens on `port`, after `timeout` seconds at most; with 0 it looks once.

        Raises NotReady with what the last look found: when the time is over, or at once if the gateway may never go
        there. Raises GatewayUnreachable and GatewayApiError when the gateway itself does not answer.
        """
        number = _port(port)
        once = timeout == 0 and not isinstance(timeout, bool)
        patience = 0.0 if once else _seconds("timeout", timeout, "0 to look once")
        last = PortState("unknown", f"the gateway has not said anything within {patience:g} s", None)
        try:
            async with asyncio.timeout(None if once or patience == inf else patience):
                for pause in pauses():
                    try:
                        last = await self._sandboxes._look(self.id, number)
                    except GatewayApiError as error:
                        if error.status not in _BUSY:
                            raise
                        last = PortState("unknown", str(error), None)
                        pause = max(pause, error.retry_after or 0.0)
                    if last.state == "listening":
                        return
                    if once or last.state in _FINAL:
                        break
                    await asyncio.sleep(pause)
        except TimeoutError:
            pass  # the last look says more than that time has passed
        raise NotReady(self.id, number, last.state, last.detail)


def pauses() -> Iterator[float]:
    """Seconds between two looks, without end."""
    pause = FIRST_PAUSE
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE)


def _port(port: object) -> int:
    # Integers only: 5000.0 may be a mistake of whoever computed it, and True is one.
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535:
        raise InvalidPort(f"Invalid port: {port} (expected an integer from 1 to 65535)")
    return port


def _protocol(protocol: object) -> object:
    try:
        return of_json(protocol) or None
    except ValueError as error:
        raise InvalidArgument(f"Invalid protocol: {protocol!r} ({error})") from None


def _path(sandbox_id: object) -> str:
    # Checked here, because in a path "../x" or "a?b" would be something else than a name.
    if not isinstance(sandbox_id, str) or not is_sandbox_id(sandbox_id):
        raise InvalidSandboxId(
            f"Invalid sandbox id: {sandbox_id!r} (expected a-z, 0-9, inner hyphens, at most 57 characters)"
        )
    return f"/v1/sandboxes/{sandbox_id}"


def _base_url(url: object) -> str:
    # Checked whole, because what is wrong with it would come out with the first request, as somebody else's exception.
    if isinstance(url, str) and url.isprintable() and " " not in url:
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
            host.encode("idna")
            more = parts.query or parts.fragment or "@" in parts.netloc
            plain = parts.scheme in ("http", "https") and host and parts.port != 0 and not more
            if plain and URL(url).host:  # asked last: what is none of these it may fail over
                return url.rstrip("/")
        except ValueError:
            pass  # told below
    got = without_userinfo(url) if isinstance(url, str) else url
    raise InvalidArgument(f"expected the URL of an admin listener such as http://127.0.0.1:9090, got {got!r}")


def _token(token: object) -> str:
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        # A secret: not shown.
        raise InvalidArgument("Invalid token: expected one word of visible ASCII characters")
    return token


def _seconds(name: str, seconds: object, otherwise: str = "") -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        expected = f"seconds, more than 0, or {otherwise}" if otherwise else "seconds, more than 0"
        raise InvalidArgument(f"Invalid {name}: {seconds!r} (expected {expected})")
    return float(seconds) if seconds < FOREVER else inf


def _in_tag(generation: object) -> str:
    try:
        if isinstance(generation, str):
            return quote(generation, safe=_IN_TAG)
    except UnicodeEncodeError:
        pass  # half a surrogate pair is no text
    raise InvalidArgument(f"Invalid if_match: {generation!r} (expected a generation, as text)")


def _retry_after(field: str) -> float | None:
    """The seconds of a Retry-After field; a date, which is what else it may be, is taken for a second."""
    if not field:
        return None
    seconds = int(field) if field.isascii() and field.isdigit() and len(field) < 9 else 1
    return min(float(seconds), LONGEST_RETRY_AFTER)

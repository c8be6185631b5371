"""The Python client, against the real admin application on a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway import client as module
from gateway.admin import sandboxes as room
from gateway.admin.app import Health, make_app
from gateway.admin.ports import PortState as Looked
from gateway.client import (
    Gateway,
    GatewayApiError,
    GatewayClientError,
    GatewayUnreachable,
    GenerationMismatch,
    InvalidPort,
    InvalidSandboxId,
    MissingTemplate,
    NotReady,
    PortState,
    RegistryFull,
    Sandbox,
    SandboxNotFound,
)
from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import WriteError
from tests.unit.admin.conftest import one_ready_worker
from tests.unit.explain.harness import Looking, configured, make_context

LOOPBACK = "::1"
TOKEN = "c0ffee"

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(app)` is the URL of an application; without one, of a gateway's admin listener."""
    servers: list[TestServer] = []

    async def start(app: web.Application | None = None, token: str = "", **edge: Any) -> str:
        if app is None:
            settings = configured(edge=edge, upstream={"deny_ports": (22,)})
            context = make_context(Looking(), settings, directory=MemoryRegistry({}))
            app = make_app(Health(one_ready_worker), context, token)
        server = TestServer(app)
        await server.start_server()
        servers.append(server)
        return str(server.make_url("/"))

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    async with Gateway(await serve()) as gateway:
        yield gateway


@pytest.fixture
async def sandbox(gateway: Gateway) -> Sandbox:
    return await gateway.sandboxes.register("box", address=LOOPBACK)


# --- records --------------------------------------------------------------------------------------------------------


async def test_register_get_and_remove(gateway: Gateway) -> None:
    made = await gateway.sandboxes.register(
        "box", address=IPv6Address(LOOPBACK), ipv4=IPv4Address("10.0.0.5"), host="localhost:{port}", lifetime=3600
    )
    assert (made.id, made.address, made.ipv4, made.host) == ("box", LOOPBACK, "10.0.0.5", "localhost:{port}")
    assert made.public_access_url_template == "https://{port}-box.sandbox.localhost"
    assert made.generation
    assert await gateway.sandboxes.get("box") == made
    assert await gateway.sandboxes.register("box", address=LOOPBACK) != made  # replaced whole
    await gateway.sandboxes.remove("box")
    with pytest.raises(SandboxNotFound) as raised:
        await gateway.sandboxes.get("box")
    assert raised.value.status == 404
    assert raised.value.problem["detail"] == "there is no sandbox box"
    with pytest.raises(SandboxNotFound):
        await gateway.sandboxes.remove("box")


async def test_a_generation_guards_a_write(gateway: Gateway, sandbox: Sandbox) -> None:
    again = await gateway.sandboxes.register("box", address=LOOPBACK, if_match=sandbox.generation)
    assert again.generation == sandbox.generation
    with pytest.raises(GenerationMismatch) as raised:
        await gateway.sandboxes.register("box", address=LOOPBACK, if_match='of "old"')
    assert sandbox.generation in raised.value.problem["detail"]
    with pytest.raises(GenerationMismatch):
        await gateway.sandboxes.remove("box", if_match="of old")
    await gateway.sandboxes.remove("box", if_match=sandbox.generation)


async def test_the_list_goes_over_all_pages(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    assert [each async for each in gateway.sandboxes.list()] == []
    names = ["a", "b", "c", "d", "e"]
    for name in names:
        await gateway.sandboxes.register(name, address=LOOPBACK)
    assert [each.id async for each in gateway.sandboxes.list()] == names


async def test_a_refusal_carries_its_problem_document(gateway: Gateway) -> None:
    with pytest.raises(GatewayApiError) as raised:
        await gateway.sandboxes.register("box", address="2a00::1", host="a b")
    assert raised.value.status == 422
    assert {error["field"] for error in raised.value.problem["errors"]} == {"address", "host"}
    assert "[2a00::1] is outside the allowed prefixes" in str(raised.value)


@pytest.mark.parametrize("id", ["", "Box", "../x", "..", "a/b", "a?b", "a" * 58, None, 7])
async def test_a_name_that_is_none_is_not_sent(gateway: Gateway, id: Any) -> None:
    with pytest.raises(InvalidSandboxId, match="Invalid sandbox id"):
        await gateway.sandboxes.get(id)
    with pytest.raises(InvalidSandboxId):
        await gateway.sandboxes.register(id, address=LOOPBACK)


# --- names ----------------------------------------------------------------------------------------------------------


async def test_two_ports_give_two_hosts(sandbox: Sandbox) -> None:
    assert [sandbox.expose(port) for port in (5000, 3000, 1, 65535)] == [
        "5000-box.sandbox.localhost",
        "3000-box.sandbox.localhost",
        "1-box.sandbox.localhost",
        "65535-box.sandbox.localhost",
    ]
    assert sandbox.url(5000) == "https://5000-box.sandbox.localhost"


async def test_the_host_has_the_public_port(serve: Serve) -> None:
    async with Gateway(await serve(public_port=8443)) as gateway:
        sandbox = await gateway.sandboxes.register("box", address=LOOPBACK)
    # No I/O: the connection is closed.
    assert sandbox.expose(5000) == "5000-box.sandbox.localhost:8443"
    assert sandbox.url(5000) == "https://5000-box.sandbox.localhost:8443"


@pytest.mark.parametrize("port", [0, -1, float("nan"), 65536, "x", "5000", True, False, 1.5, 5000.0, None, [5000]])
async def test_what_is_no_port(sandbox: Sandbox, port: Any) -> None:
    with pytest.raises(InvalidPort) as raised:
        sandbox.expose(port)
    assert str(raised.value).startswith(f"Invalid port: {port} ")
    with pytest.raises(InvalidPort):
        sandbox.url(port)
    with pytest.raises(InvalidPort):
        await sandbox.wait_until_ready(port)
    with pytest.raises(InvalidPort):
        await sandbox.port_state(port)


@pytest.mark.parametrize("template", [None, "", "https://box.example.dev", "{port}-box.example.dev"])
async def test_without_a_template_refresh_helps(sandbox: Sandbox, template: str | None) -> None:
    sandbox.public_access_url_template = template
    with pytest.raises(MissingTemplate, match=r"call `await sandbox\.refresh\(\)`"):
        sandbox.expose(5000)
    await sandbox.refresh()
    assert sandbox.expose(5000) == "5000-box.sandbox.localhost"


async def test_refresh_reads_the_record_again(gateway: Gateway, sandbox: Sandbox) -> None:
    await gateway.sandboxes.remove("box")
    moved = await gateway.sandboxes.register("box", address=LOOPBACK, host="localhost", ipv4="10.0.0.5")
    assert sandbox != moved
    await sandbox.refresh()
    assert sandbox == moved
    await gateway.sandboxes.remove("box")
    with pytest.raises(SandboxNotFound):
        await sandbox.refresh()


async def test_a_gateway_without_a_domain_has_no_template(serve: Serve) -> None:
    async with Gateway(await serve(domains=())) as gateway:
        sandbox = await gateway.sandboxes.register("box", address=LOOPBACK)
        assert sandbox.public_access_url_template is None
        with pytest.raises(MissingTemplate):
            sandbox.expose(5000)


# --- waiting --------------------------------------------------------------------------------------------------------


class Looks:
    """In the place of real looks: gives each answer once, the last one for good."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.asked = 0

    async def look_at(self, *of: object) -> Looked:
        self.asked += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return Looked(state, f"it is {state}", None)


@pytest.mark.ipv6
async def test_a_server_that_starts_is_waited_for(sandbox: Sandbox) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await sandbox.port_state(port)
    assert (found.state, found.url) == ("refused", f"https://{port}-box.sandbox.localhost")
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(sandbox.wait_until_ready(port, timeout=20))
        server = await asyncio.start_server(lambda reader, writer: writer.close(), LOOPBACK, port)
    assert waiting.done()
    assert (await sandbox.port_state(port)).state == "listening"
    server.close()
    await server.wait_closed()


async def test_looks_become_rarer(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks("refused", "timeout", "listening")
    monkeypatch.setattr(room, "look_at", looks.look_at)
    await sandbox.wait_until_ready(5000)
    assert looks.asked == 3
    assert list(islice(module.pauses(), 7)) == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


async def test_the_last_look_is_told(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "look_at", Looks("timeout", "ipv4_only").look_at)
    with pytest.raises(NotReady) as raised:
        await sandbox.wait_until_ready(5000, timeout=1)
    error = raised.value
    assert (error.sandbox_id, error.port, error.state, error.detail) == ("box", 5000, "ipv4_only", "it is ipv4_only")
    assert str(error) == "port 5000 of sandbox box is not ready: ipv4_only (it is ipv4_only)"


async def test_a_look_that_hangs_does_not_outlast_the_timeout(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def look_at(*of: object) -> Looked:
        await go.wait()
        return Looked("listening", "", None)

    monkeypatch.setattr(room, "look_at", look_at)
    with pytest.raises(NotReady, match=r"has not said anything within 0\.2 s"):
        await sandbox.wait_until_ready(5000, timeout=0.2)
    go.set()


async def test_what_waiting_does_not_change_is_told_at_once(sandbox: Sandbox) -> None:
    with pytest.raises(NotReady) as raised:
        await sandbox.wait_until_ready(22, timeout=3600)
    assert raised.value.state == "denied"


async def test_a_busy_gateway_is_asked_again(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks("listening")
    monkeypatch.setattr(room, "look_at", looks.look_at)
    monkeypatch.setattr(room, "LOOKS_AT_ONCE", 0)
    with pytest.raises(NotReady, match="429"):
        await sandbox.wait_until_ready(5000, timeout=0.5)
    assert looks.asked == 0
    monkeypatch.setattr(room, "LOOKS_AT_ONCE", 16)
    await sandbox.wait_until_ready(5000)


async def test_a_sandbox_that_is_gone_is_not_waited_for(gateway: Gateway, sandbox: Sandbox) -> None:
    await gateway.sandboxes.remove("box")
    with pytest.raises(SandboxNotFound):
        await sandbox.wait_until_ready(5000, timeout=3600)


# --- the connection -------------------------------------------------------------------------------------------------


async def test_the_token_is_sent(serve: Serve) -> None:
    url = await serve(token=TOKEN)
    async with Gateway(url, token=TOKEN) as gateway:
        assert (await gateway.sandboxes.register("box", address=LOOPBACK)).id == "box"
    async with Gateway(url) as gateway:
        with pytest.raises(GatewayApiError, match=r"admin\.token_file") as raised:
            await gateway.sandboxes.get("box")
    assert raised.value.problem["status"] == 401


async def test_nobody_answers(serve: Serve) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Gateway(f"http://127.0.0.1:{port}") as gateway:
        with pytest.raises(GatewayUnreachable):  # it hangs up
            await gateway.sandboxes.get("box")
        server.close()
        await server.wait_closed()
        with pytest.raises(GatewayUnreachable, match=f"127.0.0.1:{port}"):
            await gateway.sandboxes.get("box")


async def test_no_answer_in_time(serve: Serve) -> None:
    go = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await go.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/{any:.*}", hang)
    async with Gateway(await serve(app), timeout=0.1) as gateway:
        with pytest.raises(GatewayUnreachable, match=r"no answer within 0\.1 s"):
            await gateway.sandboxes.get("box")
    go.set()


@pytest.mark.parametrize(("status", "text"), [(200, "<html>"), (200, "[]"), (200, "{}"), (404, "not found"), (502, "")])
async def test_somebody_else_answers(serve: Serve, status: int, text: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    async with Gateway(await serve(app)) as gateway:
        with pytest.raises(GatewayApiError, match="not a gateway's admin listener") as raised:
            await gateway.sandboxes.get("box")
    assert raised.value.problem["status"] == status
    assert not isinstance(raised.value, SandboxNotFound)


async def test_a_redirect_is_not_followed(serve: Serve) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    app = web.Application()
    app.router.add_get("/{any:.*}", elsewhere)
    async with Gateway(await serve(app), token=TOKEN) as gateway:
        with pytest.raises(GatewayApiError) as raised:
            await gateway.sandboxes.get("box")
    assert raised.value.problem["status"] == 302


async def test_a_client_that_is_not_open() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await Gateway("http://127.0.0.1:9090").sandboxes.get("box")


@pytest.mark.parametrize("url", ["", "127.0.0.1:9090", "ftp://a", "http://"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="expected the URL"):
        Gateway(url)


def test_one_base() -> None:
    errors = (GatewayApiError, GatewayUnreachable, GenerationMismatch, InvalidPort, InvalidSandboxId)
    for error in (*errors, MissingTemplate, NotReady, SandboxNotFound):
        assert issubclass(error, GatewayClientError)
    assert PortState("listening", "", None) == PortState("listening", "", None)


async def test_a_registry_without_room_says_so(serve: Serve) -> None:
    class Full(MemoryRegistry):
        async def put(self, *_: Any, **__: Any) -> Any:
            raise WriteError("var/sandboxes.db: database or disk is full", full=True)

    context = make_context(Looking(), configured(), directory=Full({}))
    async with Gateway(await serve(make_app(Health(one_ready_worker), context))) as gateway:
        with pytest.raises(RegistryFull, match=r"507 Insufficient Storage: .*: database or disk is full") as error:
            await gateway.sandboxes.register("box", address=LOOPBACK)
        assert error.value.status == 507

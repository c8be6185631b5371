"""The Python client, against the real admin application on a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import example, given, settings
from hypothesis import strategies as st

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
    InvalidArgument,
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
from gateway.directory.sandbox import Sandbox as Record
from gateway.directory.sandbox import WriteError
from tests.unit.admin.conftest import one_ready_worker
from tests.unit.diagnosis.harness import Looking, configured, make_context

LOOPBACK = "::1"
TOKEN = "c0ffee"

Serve = Callable[..., Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(app)` is the URL of an application; without one, of a gateway's admin listener."""
    servers: list[TestServer] = []

    async def start(app: web.Application | None = None, token: str = "", **edge: Any) -> str:
        if app is None:
            limited = configured(edge=edge, upstream={"deny_ports": (22,)})
            context = make_context(Looking(), limited, directory=MemoryRegistry({}))
            app = make_app(Health(one_ready_worker), context, lambda: token)
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
        "box",
        address=IPv6Address(LOOPBACK),
        ipv4=IPv4Address("10.0.0.5"),
        host="localhost:{port}",
        protocol="h2c",
        lifetime=3600,
    )
    assert (made.id, made.address, made.ipv4, made.host) == ("box", LOOPBACK, "10.0.0.5", "localhost:{port}")
    assert made.protocol == "h2c"
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

    async def check_port(self, *of: object) -> Looked:
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
    monkeypatch.setattr(room, "check_port", looks.check_port)
    await sandbox.wait_until_ready(5000)
    assert looks.asked == 3
    assert list(islice(module.pauses(), 7)) == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


async def test_the_last_look_is_told(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "check_port", Looks("timeout", "ipv4_only").check_port)
    with pytest.raises(NotReady) as raised:
        await sandbox.wait_until_ready(5000, timeout=1)
    error = raised.value
    assert (error.sandbox_id, error.port, error.state, error.detail) == ("box", 5000, "ipv4_only", "it is ipv4_only")
    assert str(error) == "port 5000 of sandbox box is not ready: ipv4_only (it is ipv4_only)"


async def test_a_look_that_hangs_does_not_outlast_the_timeout(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    async def check_port(*of: object) -> Looked:
        await go.wait()
        return Looked("listening", "", None)

    monkeypatch.setattr(room, "check_port", check_port)
    with pytest.raises(NotReady, match=r"has not said anything within 0\.2 s"):
        await sandbox.wait_until_ready(5000, timeout=0.2)
    go.set()


async def test_what_waiting_does_not_change_is_told_at_once(sandbox: Sandbox) -> None:
    with pytest.raises(NotReady) as raised:
        await sandbox.wait_until_ready(22, timeout=3600)
    assert raised.value.state == "denied"


async def test_one_that_listens_is_not_kept_waiting_by_a_thousand_that_boot(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening: set[str] = set()

    async def check_port(sandbox: Record, *of: object) -> Looked:
        if sandbox.id not in listening:
            await asyncio.sleep(3)  # as a dial to a machine that does not answer
            return Looked("timeout", "no answer within 3 s", None)
        return Looked("listening", "", None)

    monkeypatch.setattr(room, "check_port", check_port)
    names = [f"box{number}" for number in range(1001)]
    records = {name: Record(name, IPv6Address(LOOPBACK), "1") for name in names}
    context = make_context(Looking(), configured(), directory=MemoryRegistry(records))
    url = await serve(make_app(Health(one_ready_worker), context))
    async with Gateway(url) as gateway, asyncio.TaskGroup() as group:
        boxes = [await gateway.sandboxes.get(name) for name in names]
        booting = [group.create_task(box.wait_until_ready(5000, timeout=3600)) for box in boxes[:1000]]
        started = time.monotonic()
        listening.add(names[1000])
        await boxes[1000].wait_until_ready(5000, timeout=60)
        first = time.monotonic() - started
        listening.add(names[500])
        await asyncio.wait_for(booting[500], 60)
        for task in booting:
            task.cancel()
    assert first < 10, "a second where nothing else runs; all of them one after the other would be a minute"


async def test_a_busy_gateway_is_asked_again_when_it_says(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_BURST", 1)
    monkeypatch.setattr(room, "LOOK_RATE", 0.5)
    looks = Looks("refused", "listening")
    monkeypatch.setattr(room, "check_port", looks.check_port)
    paused: list[float] = []
    sleep = asyncio.sleep

    async def noting(seconds: float) -> None:
        paused.append(seconds)
        await sleep(seconds)

    async with Gateway(await serve()) as gateway:
        sandbox = await gateway.sandboxes.register("box", address=LOOPBACK)
        monkeypatch.setattr(module.asyncio, "sleep", noting)
        await sandbox.wait_until_ready(5000)
        assert paused == [0.1, 2.0], "the second look was one too many, and Retry-After said 2"
        with pytest.raises(NotReady, match="429"):
            await sandbox.wait_until_ready(5000, timeout=0.5)
        with pytest.raises(GatewayApiError) as raised:
            await sandbox._sandboxes._look("box", 5000)
    assert (raised.value.status, raised.value.retry_after) == (429, 2.0)


@pytest.mark.parametrize("state", ["listening", "refused"])
async def test_without_time_there_is_one_look(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    looks = Looks(state)
    monkeypatch.setattr(room, "check_port", looks.check_port)
    if state == "listening":
        await sandbox.wait_until_ready(5000, timeout=0)
    else:
        with pytest.raises(NotReady, match="refused"):
            await sandbox.wait_until_ready(5000, timeout=0)
    assert looks.asked == 1


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


async def test_more_registrations_than_the_gateway_takes_at_once(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BURST", 50)
    monkeypatch.setattr(room, "RATE", 100.0)
    names = [f"box{number}" for number in range(200)]
    async with Gateway(await serve()) as gateway:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(gateway.sandboxes.register(name, address=LOOPBACK))
        assert sorted([box.id async for box in gateway.sandboxes.list()]) == sorted(names)


async def test_a_gateway_that_stays_busy_is_not_asked_for_ever(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def busy(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.json_response({}, status=429, headers={"Retry-After": "0"})

    app = web.Application()
    app.router.add_put("/{any:.*}", busy)
    monkeypatch.setattr(module, "BUSY_PATIENCE", 0.35)
    async with Gateway(await serve(app)) as gateway:
        with pytest.raises(GatewayApiError, match="429"):
            await gateway.sandboxes.register("box", address=LOOPBACK)
    assert 2 <= asked <= 4


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        ("99999999999", 1.0),
        ("999", 30.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
        ("-1", 1.0),
    ],
)
def test_retry_after(field: str, seconds: float | None) -> None:
    assert module._retry_after(field) == seconds


async def test_waiting_for_its_turn_takes_nothing_from_a_requests_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 5)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        record = {"id": "box", "address": LOOPBACK, "generation": "1", "publicAccessUrlTemplate": None}
        return web.json_response(record)

    app = web.Application()
    app.router.add_get("/{any:.*}", slow)
    async with Gateway(await serve(app), timeout=1) as gateway, asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(gateway.sandboxes.get("box"))


@pytest.mark.parametrize(
    "call",
    [
        lambda box: box._sandboxes.register("box", address=None),
        lambda box: box._sandboxes.register("box", address="\ud800"),
        lambda box: box._sandboxes.register("box", address=LOOPBACK, ipv4=object()),
        lambda box: box._sandboxes.register("box", address=LOOPBACK, host=object()),
        lambda box: box._sandboxes.register("box", address=LOOPBACK, protocol="grpc"),
        lambda box: box._sandboxes.register("box", address=LOOPBACK, host=b"localhost"),
        lambda box: box._sandboxes.register("box", address=LOOPBACK, host="\ud800"),
        *(
            lambda box, lifetime=lifetime: box._sandboxes.register("box", address=LOOPBACK, lifetime=lifetime)
            for lifetime in (float("nan"), float("inf"), 0, -1, 10**400, True, "60", object(), timedelta(1))
        ),
        *(
            lambda box, if_match=if_match: box._sandboxes.register("box", address=LOOPBACK, if_match=if_match)
            for if_match in (7, b"1", object(), "\ud800", "a\r\nX: y")
        ),
        lambda box: box._sandboxes.remove("box", if_match=7),
        lambda box: box._sandboxes.remove("box\n"),
        lambda box: box._sandboxes.get("\ud800"),
        *(
            lambda box, timeout=timeout: box.wait_until_ready(22, timeout=timeout)
            for timeout in (float("nan"), -1, True, False, "1", None, timedelta(1))
        ),
    ],
)
async def test_whatever_is_given_the_error_is_the_clients(sandbox: Sandbox, call: Callable[[Sandbox], Any]) -> None:
    with pytest.raises(GatewayClientError) as raised:
        await call(sandbox)
    assert not isinstance(raised.value, NotReady | GatewayUnreachable)


async def test_what_a_timeout_may_be(sandbox: Sandbox) -> None:
    with pytest.raises(InvalidArgument, match=r"-1 \(expected seconds, more than 0, or 0 to look once\)"):
        await sandbox.wait_until_ready(22, timeout=-1)


@pytest.mark.parametrize("timeout", [float("inf"), 10**400, 1e300])
async def test_a_time_without_end(serve: Serve, timeout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "check_port", Looks("refused", "listening").check_port)
    async with Gateway(await serve(), timeout=timeout) as gateway:
        sandbox = await gateway.sandboxes.register("box", address=LOOPBACK)
        await sandbox.wait_until_ready(5000, timeout=timeout)


@pytest.mark.parametrize("token", ["a\n", "a\r\nX: y", "a b", "ä", "\ud800", b"a", 7, " "])
def test_a_token_that_is_none(token: Any) -> None:
    with pytest.raises(InvalidArgument, match="Invalid token") as raised:
        Gateway("http://127.0.0.1:9090", token=token)
    assert repr(token) not in str(raised.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), None, "1", True])
def test_a_timeout_that_is_none(timeout: Any) -> None:
    with pytest.raises(InvalidArgument, match="Invalid timeout"):
        Gateway("http://127.0.0.1:9090", timeout=timeout)


async def test_a_client_that_is_not_open() -> None:
    with pytest.raises(GatewayClientError):
        await Gateway("http://127.0.0.1:9090").sandboxes.get("box")
    with pytest.raises(RuntimeError, match="async with"):
        await Gateway("http://127.0.0.1:9090").sandboxes.get("box")


BAD_URLS = [
    *("", "127.0.0.1:9090", "ftp://a", "http://", "http://[::1", "http://::1:9090", "http://[::1]x", "http://a:x"),
    *(
        "http://a:99999",
        "http://a:0",
        "http://a:-1",
        "http://a b",
        "http://a\n",
        "http://a\t:1",
        " http://a",
        "http://a/\x00",
    ),
    *(
        "http://u:p@a",
        "http://u@a",
        "http://a?b",
        "http://a#b",
        f"http://{'a' * 64}.com",
        "http://a..b",
        "http://\ud800",
    ),
    *("http://a/\ud800", "http://xn--a"),
]


@pytest.mark.parametrize("url", [*BAD_URLS, None, b"http://a", 7, object()])
def test_a_url_that_is_none(url: Any) -> None:
    with pytest.raises(InvalidArgument, match="expected the URL"):
        Gateway(url)


@given(
    st.text(max_size=12),
    st.sampled_from(["http://", "http://127.0.0.1:", "http://[", "http://[::1]", "http://127.0.0.1:1/"]),
)
@example("1e3", "http://127.0.0.1:")
@example("]@", "http://[")
@settings(deadline=None, max_examples=300)
def test_no_url_brings_anything_but_the_clients_errors(text: str, start: str) -> None:
    async def ask(gateway: Gateway) -> None:
        async with gateway:
            await gateway.sandboxes.get("box")

    with suppress(InvalidArgument):
        gateway = Gateway(start + text, timeout=0.05)
        with pytest.raises(GatewayClientError):
            asyncio.run(ask(gateway))


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

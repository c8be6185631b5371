"""The registration API. Every reply in this module is also held against the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin import sandboxes as room
from gateway.admin.app import Health, make_app
from gateway.admin.rate import Bucket
from gateway.config import Settings
from gateway.diagnosis.explain import Context
from gateway.diagnosis.findings import AppSocket, RefusalFindings, TimeoutFindings
from gateway.directory.memory import MemoryRegistry
from gateway.directory.sandbox import Conflict, Directory, DirectoryError, Expected, Sandbox, TableDirectory, WriteError
from gateway.endpoint import Endpoint
from gateway.errors import GatewayError, Reason
from gateway.tasks import Tasks
from gateway.upstream.pool import Pool
from tests.unit.admin.conftest import Client, one_ready_worker
from tests.unit.admin.openapi import Document, Mismatch
from tests.unit.diagnosis.harness import Looking, configured, make_context

DOCUMENT = Document(json.loads(room.OPENAPI))
BOX = "/v1/sandboxes/box"
FD5 = {"address": "fd00::5"}
FD6 = {"address": "fd00::6"}


@dataclass
class Reply:
    status: int
    headers: Any
    json: Any

    @property
    def tag(self) -> str:
        tag: str = self.headers["ETag"]
        return tag

    @property
    def detail(self) -> str:
        assert self.headers["Content-Type"].startswith("application/problem+json")
        detail: str = self.json["detail"]
        return detail

    @property
    def errors(self) -> dict[str, str]:
        return {error["field"]: error["message"] for error in self.json["errors"]}


class Api:
    """A client whose every call is checked against the document."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, path, data=data, headers=fields) as answer:
            content = await answer.read()
            parsed = json.loads(content) if content else None
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.status < 400 or parsed["title"] == answer.reason
            DOCUMENT.check_reply(method, path.partition("?")[0], answer.status, answer.headers, parsed)
            return Reply(answer.status, answer.headers, parsed)


MakeApi = Callable[..., Awaitable[Api]]


def settings_with(**sections: Any) -> Settings:
    return configured(
        edge={"domains": ("sandbox.example.dev", "other.example"), **sections.get("edge", {})},
        upstream={"allow": (IPv6Network("fd00::/8"), IPv6Network("::1/128")), **sections.get("upstream", {})},
        directory=sections.get("directory", {}),
    )


@pytest.fixture
async def api_of() -> AsyncIterator[MakeApi]:
    """`await api_of(directory)`"""
    clients: list[Client] = []
    contexts: list[Context] = []

    async def make(directory: Directory, settings: Settings | None = None, looking: Looking | None = None) -> Api:
        context = make_context(looking or Looking(), settings or settings_with(), directory=directory)
        client = TestClient(TestServer(make_app(Health(one_ready_worker), context)))
        await client.start_server()
        clients.append(client)
        contexts.append(context)
        return Api(client)

    yield make
    for client in clients:
        await client.close()
    for context in contexts:
        await context.tasks.cancel()
        await context.directory.close()


@pytest.fixture
async def api(api_of: MakeApi) -> Api:
    return await api_of(MemoryRegistry({}))


# --- writing --------------------------------------------------------------------------------------------------------


async def test_a_registration_is_created_and_found_again(api: Api) -> None:
    created = await api(
        "PUT",
        BOX,
        {
            "address": "FD00:0::5",
            "ipv4": "10.0.0.5",
            "host": "localhost:{port}",
            "protocol": {"ports": {"5001": "h2c"}},
        },
    )
    assert (created.status, created.headers["Location"]) == (201, BOX)
    generation = created.json["generation"]
    assert created.json == {
        "id": "box",
        "address": "fd00::5",
        "generation": generation,
        "ipv4": "10.0.0.5",
        "host": "localhost:{port}",
        "protocol": {"default": "auto", "ports": {"5001": "h2c"}},
        "publicAccessUrlTemplate": "https://{port}-box.sandbox.example.dev",
    }
    assert created.tag == f'"{generation}"'
    found = await api("GET", BOX)
    assert (found.status, found.json, found.tag) == (200, created.json, created.tag)


async def test_saying_it_again_changes_nothing(api: Api) -> None:
    first, second = await api("PUT", BOX, FD5), await api("PUT", BOX, FD5)
    assert (first.status, second.status) == (201, 200)
    assert (second.json, second.tag) == (first.json, first.tag)
    assert "Location" not in second.headers


async def test_another_address_is_another_generation(api: Api) -> None:
    first, second = await api("PUT", BOX, FD5), await api("PUT", BOX, FD6)
    assert (second.status, second.json["address"]) == (200, "fd00::6")
    assert second.json["generation"] != first.json["generation"]


async def test_what_is_not_given_is_not_kept(api: Api) -> None:
    await api("PUT", BOX, {**FD5, "ipv4": "10.0.0.5", "host": "localhost", "protocol": "h2c"})
    replaced = await api("PUT", BOX, {**FD5, "ipv4": None})
    assert [replaced.json[name] for name in ("ipv4", "host", "protocol")] == [None] * 3


async def test_a_lifetime_reaches_the_registry(api_of: MakeApi) -> None:
    lifetimes: list[float | None] = []

    class Noting(MemoryRegistry):
        async def put(self, sandbox: Sandbox, *, expected: Expected = None, lifetime: float | None = None) -> Sandbox:
            lifetimes.append(lifetime)
            return await super().put(sandbox, expected=expected)

    api = await api_of(Noting({}))
    for lifetime in (60, 0.5, None):
        await api("PUT", BOX, {**FD5, "lifetime": lifetime})
    assert lifetimes == [60.0, 0.5, None]


async def test_the_template_has_the_public_port_and_none_without_a_domain(api_of: MakeApi) -> None:
    table = {"box": Sandbox("box", IPv6Address("fd00::5"), "7")}
    api = await api_of(TableDirectory(table), settings_with(edge={"public_port": 8443}))
    assert (await api("GET", BOX)).json["publicAccessUrlTemplate"] == "https://{port}-box.sandbox.example.dev:8443"
    api = await api_of(TableDirectory(table), settings_with(edge={"domains": ()}))
    assert (await api("GET", BOX)).json["publicAccessUrlTemplate"] is None
    settings = settings_with(edge={"domains": ()}, upstream={"deny_ports": (22,)})
    assert (await (await api_of(TableDirectory(table), settings))("GET", f"{BOX}/ports/22")).json["url"] is None


async def test_removing(api: Api) -> None:
    await api("PUT", BOX, FD5)
    assert [(await api("DELETE", BOX)).status for _ in range(2)] == [204, 404]
    gone = await api("GET", BOX)
    assert (gone.status, gone.detail) == (404, "there is no sandbox box")


@pytest.mark.parametrize("id", ["Box", "-box", "a_b", "a" * 58, "a%2Fb", "%00", "b%C3%B6x"])
async def test_a_name_that_is_none_is_never_there(api: Api, id: str) -> None:
    assert (await api("GET", f"/v1/sandboxes/{id}")).status == 404
    assert (await api("DELETE", f"/v1/sandboxes/{id}")).status == 404
    refused = await api("PUT", f"/v1/sandboxes/{id}", FD5)
    assert (refused.status, list(refused.errors)) == (422, ["id"])


# --- conditions -----------------------------------------------------------------------------------------------------


async def test_if_match_guards_a_write(api: Api) -> None:
    first = await api("PUT", BOX, FD5)
    assert (await api("PUT", BOX, FD6, If_Match=f'"other", {first.tag}')).status == 200
    for method, body in (("PUT", FD5), ("DELETE", None)):
        refused = await api(method, BOX, body, If_Match=first.tag)
        now = await api("GET", BOX)
        assert (refused.status, refused.tag) == (412, now.tag)
        assert now.json["generation"] in refused.detail
        assert now.json["address"] == "fd00::6"
    assert (await api("DELETE", BOX, If_Match=now.tag)).status == 204


async def test_if_match_any_asks_for_a_record(api: Api) -> None:
    assert (await api("PUT", BOX, FD5, If_Match="*")).status == 412
    assert (await api("GET", BOX)).status == 404
    await api("PUT", BOX, FD5)
    assert (await api("PUT", BOX, FD6, If_Match="*")).status == 200
    assert (await api("DELETE", BOX, If_Match="*")).status == 204


async def test_if_match_of_a_record_that_is_gone(api: Api) -> None:
    first = await api("PUT", BOX, FD5)
    await api("DELETE", BOX)
    refused = await api("PUT", BOX, FD5, If_Match=first.tag)
    assert (refused.status, refused.detail) == (412, "there is no sandbox box")
    assert (await api("DELETE", BOX, If_Match=first.tag)).status == 404


async def test_a_weak_tag_matches_nothing(api: Api) -> None:
    first = await api("PUT", BOX, FD5)
    assert (await api("PUT", BOX, FD6, If_Match=f"W/{first.tag}")).status == 412


@pytest.mark.parametrize("condition", ["", "7", "'7'", '"7', '"7" "8"', '"7",', '*, "7"', '"ü"'])
async def test_a_condition_that_cannot_be_read_is_not_none(api: Api, condition: str) -> None:
    first = await api("PUT", BOX, FD5)
    assert (await api("PUT", BOX, FD6, If_Match=condition)).status == 400
    assert (await api("DELETE", BOX, If_Match=condition)).status == 400
    assert (await api("GET", BOX)).json == first.json


async def test_only_if_there_is_none(api: Api) -> None:
    first = await api("PUT", BOX, FD5, If_None_Match="*")
    assert first.status == 201
    refused = await api("PUT", BOX, FD6, If_None_Match="*")
    assert (refused.status, refused.tag) == (412, first.tag)
    assert (await api("PUT", BOX, FD6, If_None_Match=first.tag)).status == 400
    assert (await api("GET", BOX)).json == first.json


async def test_of_two_creators_at_once_one_wins(api: Api) -> None:
    tasks = Tasks()
    creators = [tasks.spawn(api("PUT", BOX, body, If_None_Match="*"), "create") for body in (FD5, FD6)]
    replies = sorted([await creator for creator in creators], key=lambda reply: reply.status)
    assert [reply.status for reply in replies] == [201, 412]
    assert (await api("GET", BOX)).json == replies[0].json


class Meeting(MemoryRegistry):
    """Lets `parties` gateways look before any of them writes."""

    def __init__(self, parties: int) -> None:
        super().__init__({})
        self._barrier = asyncio.Barrier(parties)
        self.meet = True

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        found = await super().fetch(sandbox_id)
        if self.meet:
            await self._barrier.wait()
        return found


async def test_of_two_gateways_that_create_at_once_one_wins(api_of: MakeApi) -> None:
    """The registry decides, not what each of them saw before."""
    store, tasks = Meeting(2), Tasks()
    gateways = [await api_of(store), await api_of(store)]
    async with asyncio.timeout(10):
        creators = [
            tasks.spawn(api("PUT", BOX, body, If_None_Match="*"), "create")
            for api, body in zip(gateways, (FD5, FD6), strict=True)
        ]
        won, lost = sorted([await creator for creator in creators], key=lambda reply: reply.status)
    assert [won.status, lost.status] == [201, 412]
    assert lost.tag == won.tag, "it names the generation in force"
    store.meet = False
    assert (await gateways[0]("GET", BOX)).json == won.json


async def test_of_many_who_register_at_once_exactly_one_has_created_it(api_of: MakeApi) -> None:
    """Without a condition, too: who creates a sandbox may have more to do for it."""
    store, tasks = Meeting(5), Tasks()
    gateways = [await api_of(store) for _ in range(5)]
    async with asyncio.timeout(10):
        writers = [tasks.spawn(api("PUT", BOX, FD5), "register") for api in gateways]
        assert sorted([(await writer).status for writer in writers]) == [200, 200, 200, 200, 201]


@pytest.mark.parametrize(
    ("before", "meanwhile", "condition", "status"),
    [
        (None, "fd00::9", {}, 200),
        ("fd00::8", None, {}, 201),
        (None, "fd00::9", {"If_Match": "*"}, 200),
        ("fd00::8", "fd00::9", {"If_Match": "*"}, 200),
        ("fd00::8", None, {"If_Match": "*"}, 412),
        ("fd00::8", None, {"If_None_Match": "*"}, 201),
        (None, "fd00::9", {"If_None_Match": "*"}, 412),
    ],
)
async def test_a_condition_is_about_the_moment_of_the_write(
    api_of: MakeApi, before: str | None, meanwhile: str | None, condition: dict[str, str], status: int
) -> None:
    class Changing(MemoryRegistry):
        """Somebody else writes between a look and the write that follows it."""

        async def fetch(self, sandbox_id: str) -> Sandbox | None:
            found = await super().fetch(sandbox_id)
            if meanwhile is None:
                await self.remove(sandbox_id)
            else:
                await self.put(Sandbox(sandbox_id, IPv6Address(meanwhile), ""))
            return found

    store = Changing({} if before is None else {"box": Sandbox("box", IPv6Address(before), "7")})
    assert (await (await api_of(store))("PUT", BOX, FD5, **condition)).status == status


async def test_a_record_and_none_cannot_be(api: Api) -> None:
    for status in (201, 200):
        assert (await api("PUT", BOX, FD5, If_Match="*", If_None_Match="*")).status == 412
        assert (await api("PUT", BOX, FD5)).status == status
    assert (await api("DELETE", BOX, If_None_Match="*")).status == 412


async def test_a_conflict_that_only_the_registry_sees(api_of: MakeApi) -> None:
    class Raced(MemoryRegistry):
        async def put(self, sandbox: Sandbox, *, expected: Expected = None, lifetime: float | None = None) -> Sandbox:
            raise Conflict("8")

        async def remove(self, sandbox_id: str, *, expected: Expected = None) -> bool:
            raise Conflict(None)

    api = await api_of(Raced({"box": Sandbox("box", IPv6Address("fd00::5"), "7")}))
    refused = await api("PUT", BOX, FD5, If_Match='"7"')
    assert (refused.status, refused.detail) == (412, "there is a sandbox box, and its generation is 8")
    assert (await api("DELETE", BOX, If_Match='"7"')).status == 412


async def test_a_generation_that_no_tag_can_hold(api_of: MakeApi) -> None:
    api = await api_of(MemoryRegistry({"box": Sandbox("box", IPv6Address("fd00::5"), 'a "b" 50%')}))
    found = await api("GET", BOX)
    assert (found.tag, found.json["generation"]) == ('"a%20%22b%22%2050%25"', 'a "b" 50%')
    assert (await api("PUT", BOX, FD6, If_Match=found.tag)).status == 200


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("address", None, "is required"),
        ("address", "", "IPv6"),
        ("address", "10.0.0.5", "IPv6"),
        ("address", "fd00::5%eth0", "without zone"),
        ("address", "fd00::5/64", "IPv6"),
        ("address", 5, "IPv6"),
        ("address", ["fd00::5"], "IPv6"),
        (
            "address",
            "2a00::1",
            "[2a00::1] is outside the allowed prefixes (upstream.allow); upstream.allow lists fd00::/8",
        ),
        ("address", "fd00:ec2::254", "[fd00:ec2::254] is a cloud metadata address"),
        ("address", "::", "[::] is the unspecified address"),
        ("ipv4", "", "IPv4"),
        ("ipv4", "fd00::5", "IPv4"),
        ("ipv4", 167772165, "IPv4"),
        ("host", "a b", "host"),
        ("host", "a\r\nX: y", "host"),
        ("host", "{name}", "{port}"),
        ("host", 7, "host"),
        ("protocol", "h3", "auto, http1 or h2c"),
        ("protocol", {"80": "h2c"}, "by port"),
        ("protocol", {"ports": {"0": "h2c"}}, "1 to 65535"),
        ("lifetime", 0, "seconds"),
        ("lifetime", -1, "seconds"),
        ("lifetime", True, "seconds"),
        ("lifetime", "60", "seconds"),
        ("lifetime", 1e300, "seconds"),
        ("lifetime", 10**30, "seconds"),
        ("adress", "fd00::5", "unknown field (expected address, ipv4, host, protocol, lifetime)"),
        ("generation", "7", "unknown field"),
    ],
)
async def test_a_field_that_is_wrong(api: Api, field: str, value: object, said: str) -> None:
    refused = await api("PUT", BOX, {**FD5, field: value})
    assert refused.status == 422
    assert list(refused.errors) == [field]
    assert said in refused.errors[field]
    assert refused.detail == f"{field}: {refused.errors[field]}"
    assert (await api("GET", BOX)).status == 404


async def test_everything_that_is_wrong_is_said_at_once(api: Api) -> None:
    refused = await api("PUT", "/v1/sandboxes/Box", {"ipv4": "x", "host": "a b", "lifetime": -1, "colour": "red"})
    assert (refused.status, refused.json["title"]) == (422, "Unprocessable Content")
    assert list(refused.errors) == ["id", "colour", "address", "ipv4", "host", "lifetime"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"address": NaN}', b"[" * 16000, b"[]", b'"fd00::5"', b"null"])
async def test_a_body_that_is_no_object(api: Api, body: bytes) -> None:
    refused = await api("PUT", BOX, body)
    assert refused.status == 400
    assert refused.detail.startswith("the body is not ")


async def test_a_body_has_16_kib_at_most(api: Api) -> None:
    def padded(size: int) -> bytes:
        body = json.dumps(FD5).encode()
        return body + b" " * (size - len(body))

    assert (await api("PUT", BOX, padded(room.MAX_BODY))).status == 201
    assert (await api("PUT", BOX, padded(room.MAX_BODY + 1))).status == 413


# --- lists ----------------------------------------------------------------------------------------------------------


def table(*names: str) -> dict[str, Sandbox]:
    return {name: Sandbox(name, IPv6Address("fd00::5"), "7") for name in names}


@pytest.mark.parametrize("kind", [MemoryRegistry, TableDirectory])
async def test_pages(api_of: MakeApi, kind: type[TableDirectory]) -> None:
    api = await api_of(kind(table("c", "a", "b", "a-1")))
    pages, after = [], ""
    while True:
        page = (await api("GET", f"/v1/sandboxes?limit=2&after={after}")).json
        pages.append([record["id"] for record in page["sandboxes"]])
        after = page["next"]
        if after is None:
            break
    assert pages == [["a", "a-1"], ["b", "c"]]
    assert [each["id"] for each in (await api("GET", "/v1/sandboxes")).json["sandboxes"]] == ["a", "a-1", "b", "c"]
    assert (await api("GET", "/v1/sandboxes?after=c")).json == {"sandboxes": [], "next": None}


async def test_a_page_has_a_hundred_unless_asked_otherwise(api_of: MakeApi) -> None:
    names = [f"box-{number:04}" for number in range(1001)]
    api = await api_of(MemoryRegistry(table(*names)))
    page = (await api("GET", "/v1/sandboxes")).json
    assert (len(page["sandboxes"]), page["next"]) == (100, names[99])
    page = (await api("GET", "/v1/sandboxes?limit=1000")).json
    assert (len(page["sandboxes"]), page["next"]) == (1000, names[999])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("after=A", "after"),
        ("limt=5", "limt"),
    ],
)
async def test_a_query_that_is_wrong(api: Api, query: str, field: str) -> None:
    refused = await api("GET", f"/v1/sandboxes?{query}")
    assert (refused.status, list(refused.errors)) == (422, [field])


# --- backends -------------------------------------------------------------------------------------------------------


async def test_a_file_is_read_here_and_written_elsewhere(api_of: MakeApi) -> None:
    settings = settings_with(directory={"backend": "file", "path": Path("config/sandboxes.toml")})
    api = await api_of(TableDirectory(table("box")), settings)
    for method, body in (("PUT", FD5), ("DELETE", None)):
        refused = await api(method, BOX, body)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET,HEAD")
        assert refused.detail == (
            "the file backend (directory.backend) only reads its records: "
            "edit them in config/sandboxes.toml, which is read again when it changes"
        )
    assert (await api("GET", BOX)).json["generation"] == "7"


class Names(Directory):
    """Answers for one id at a time, as DNS does."""

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        return table("box").get(sandbox_id)

    async def watch(self, changed: Callable[[Iterable[str]], None]) -> None: ...

    async def close(self) -> None: ...


async def test_a_backend_without_a_list(api_of: MakeApi) -> None:
    api = await api_of(Names(), settings_with(directory={"backend": "dns", "zone": "sandboxes.internal"}))
    refused = await api("GET", "/v1/sandboxes")
    assert (refused.status, refused.json["title"]) == (501, "Not Implemented")
    assert "dns backend" in refused.detail
    assert (await api("GET", BOX)).status == 200
    refused = await api("PUT", BOX, FD5)
    assert refused.status == 405
    assert "<id>.sandboxes.internal" in refused.detail


class Away(MemoryRegistry):
    """A backend that does not answer."""

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        raise DirectoryError("redis at [::1]:6379: no answer within 2 s")

    async def page(self, after: str, limit: int) -> list[Sandbox]:
        raise DirectoryError("redis at [::1]:6379: no answer within 2 s")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", BOX, None),
        ("PUT", BOX, FD5),
        ("DELETE", BOX, None),
        ("GET", "/v1/sandboxes", None),
        ("GET", f"{BOX}/ports/5000", None),
    ],
)
async def test_a_backend_that_is_away(api_of: MakeApi, method: str, path: str, body: Any) -> None:
    refused = await (await api_of(Away({})))(method, path, body)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert refused.detail.endswith("redis at [::1]:6379: no answer within 2 s")


class Unwritable(MemoryRegistry):
    """A backend that is there and takes no writes."""

    def __init__(self, *, full: bool) -> None:
        super().__init__({"box": Sandbox("box", IPv6Address("fd00::5"), "1")})
        self._error = WriteError("var/sandboxes.db: database or disk is full", full=full)

    async def put(self, sandbox: Sandbox, *, expected: Expected = None, lifetime: float | None = None) -> Sandbox:
        raise self._error

    async def remove(self, sandbox_id: str, *, expected: Expected = None) -> bool:
        raise self._error


@pytest.mark.parametrize(("full", "status"), [(True, 507), (False, 503)])
@pytest.mark.parametrize(("method", "body"), [("PUT", FD6), ("DELETE", None)])
async def test_a_write_that_fails_is_told_and_logged(
    api_of: MakeApi, caplog: pytest.LogCaptureFixture, method: str, body: Any, full: bool, status: int
) -> None:
    api = await api_of(Unwritable(full=full))
    refused = await api(method, BOX, body)
    assert (refused.status, refused.headers["Retry-After"]) == (status, "1")
    assert refused.detail == "the record could not be written: var/sandboxes.db: database or disk is full"
    [record] = [record for record in caplog.records if record.name == "gateway.admin"]
    assert record.getMessage() == f"{method} {BOX} failed: var/sandboxes.db: database or disk is full"
    assert (record.levelname, record.exc_info) == ("ERROR", None)
    assert hasattr(record, "often"), "a platform that tells its whole fleet anew is bounded to a few lines"
    assert (await api("GET", BOX)).status == 200


async def test_a_fault_of_ours_is_a_problem_and_a_traceback_in_the_log(
    api_of: MakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(MemoryRegistry):
        async def fetch(self, sandbox_id: str) -> Sandbox | None:
            raise ZeroDivisionError

    failed = await (await api_of(Broken({})))("GET", BOX)
    assert failed.status == 500
    assert "log" in failed.detail
    [record] = [record for record in caplog.records if record.name == "gateway.admin"]
    assert record.getMessage() == f"GET {BOX} failed"
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError


# --- ports ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def listening_port() -> AsyncIterator[int]:
    """A port of [::1] where connections are accepted; at the end none may be left open."""
    closed = asyncio.Queue[bytes]()
    opened: list[object] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(reader)
        try:
            closed.put_nowait(await reader.read())
        except ConnectionError:
            closed.put_nowait(b"")
        writer.close()

    server = await asyncio.start_server(accept, "::1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    async with asyncio.timeout(5):
        assert [await closed.get() for _ in opened] == [b""] * len(opened)


@pytest.fixture
async def refusing_port() -> int:
    server = await asyncio.start_server(lambda reader, writer: None, "::1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


def at(address: str, ipv4: str | None = None) -> TableDirectory:
    return TableDirectory({"box": Sandbox("box", IPv6Address(address), "7", IPv4Address(ipv4) if ipv4 else None)})


@pytest.mark.ipv6
async def test_a_port_that_listens(api_of: MakeApi, listening_port: int) -> None:
    api = await api_of(at("::1"))
    assert (await api("GET", f"{BOX}/ports/{listening_port}")).json == {
        "state": "listening",
        "detail": f"[::1]:{listening_port} accepts connections",
        "url": f"https://{listening_port}-box.sandbox.example.dev",
        "protocol": "auto",
    }


SETTINGS = bytes(3) + b"\x04" + bytes(5)


@pytest.mark.ipv6
@pytest.mark.parametrize(
    ("says", "state", "protocol", "detail"),
    [
        (SETTINGS, "listening", "h2c", " accepts connections, and speaks HTTP/2 without TLS (h2c)"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "listening", "http1", "the app answered HTTP/2 with “HTTP/1.1 400"),
        (b"", "stuck", "h2c", "sent no HTTP/2 SETTINGS within 0.2 s"),
    ],
)
async def test_a_port_that_should_speak_http2(
    api_of: MakeApi, monkeypatch: pytest.MonkeyPatch, says: bytes, state: str, protocol: str, detail: str
) -> None:
    monkeypatch.setattr("gateway.admin.ports.DIAL_TIMEOUT", 3.0 if says else 0.2)

    over = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        over.set()

    server = await asyncio.start_server(accept, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    backend = at("::1")
    backend.table["box"] = replace(backend.table["box"], protocol=f"http1 {port}=h2c")
    found = (await (await api_of(backend))("GET", f"{BOX}/ports/{port}")).json
    assert (found["state"], found["protocol"]) == (state, protocol)
    assert detail in found["detail"]
    await over.wait()
    server.close()
    await asyncio.sleep(0)


@pytest.mark.ipv6
async def test_a_port_that_refuses(api_of: MakeApi, refusing_port: int) -> None:
    looking = Looking()
    api = await api_of(at("::1", "10.0.0.5"), looking=looking)
    state = (await api("GET", f"{BOX}/ports/{refusing_port}")).json
    assert state["state"] == "refused"
    assert f"[::1]:{refusing_port}: Connection refused" in state["detail"]
    assert state["url"] == f"https://{refusing_port}-box.sandbox.example.dev"
    assert looking.asked == [(IPv6Address("::1"), refusing_port, IPv4Address("10.0.0.5"))]


@pytest.mark.ipv6
@pytest.mark.parametrize("left", [at("2a00::1").table, {}], ids=["for another address", "removed"])
async def test_what_is_found_at_an_address_is_not_said_of_who_left_it(
    api_of: MakeApi, refusing_port: int, left: dict[str, Sandbox]
) -> None:
    directory = at("::1")

    class Leaving(Looking):
        async def find(self, *asked: Any, **whose: Any) -> RefusalFindings | TimeoutFindings:
            directory.table = left
            return await super().find(*asked, **whose)

    answer = await (await api_of(directory, looking=Leaving()))("GET", f"{BOX}/ports/{refusing_port}")
    assert answer.json.get("state") == ("prohibited" if left else None)
    assert answer.status == (200 if left else 404)


@pytest.mark.ipv6
async def test_nothing_is_said_of_who_moves_faster_than_we_look(api_of: MakeApi, refusing_port: int) -> None:
    directory = at("::1")

    class Moving(Looking):
        async def find(self, *asked: Any, **whose: Any) -> RefusalFindings | TimeoutFindings:
            directory.table = {"box": replace(directory.table["box"], generation=str(len(self.asked)))}
            return await super().find(*asked, **whose)

    looking = Moving()
    answer = await (await api_of(directory, looking=looking))("GET", f"{BOX}/ports/{refusing_port}")
    assert (answer.status, answer.headers["Retry-After"], len(looking.asked)) == (503, "1", 2)


@pytest.mark.ipv6
async def test_a_port_that_listens_on_ipv4_only(api_of: MakeApi, refusing_port: int) -> None:
    looking = Looking(RefusalFindings(AppSocket("127.0.0.1", refusing_port, "python3", 4711)))
    state = (await (await api_of(at("::1"), looking=looking))("GET", f"{BOX}/ports/{refusing_port}")).json
    assert state["state"] == "ipv4_only"
    assert state["detail"] == f"something listens on 127.0.0.1:{refusing_port} but not on [::1]:{refusing_port}"


@pytest.mark.ipv6
async def test_ports_that_are_never_dialed(api_of: MakeApi, listening_port: int) -> None:
    settings = settings_with(upstream={"deny_ports": (22,)})
    denied = await (await api_of(at("::1"), settings))("GET", f"{BOX}/ports/22")
    assert (denied.json["state"], denied.json["detail"]) == ("denied", "port 22 is in upstream.deny_ports")
    prohibited = await (await api_of(at("2a00::1")))("GET", f"{BOX}/ports/5000")
    assert prohibited.json["state"] == "prohibited"
    assert prohibited.json["detail"] == "[2a00::1] is outside the allowed prefixes (upstream.allow)"


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (Reason.CONNECTION_TIMEOUT, "timeout"),
        (Reason.DESTINATION_IP_UNROUTABLE, "unroutable"),
        (Reason.CONNECTION_TERMINATED, "terminated"),
        (Reason.HTTP_PROTOCOL_ERROR, "listening"),
    ],
)
async def test_other_ends_of_a_dial(
    api_of: MakeApi, monkeypatch: pytest.MonkeyPatch, reason: Reason, state: str
) -> None:
    async def dial(self: Pool, endpoint: Endpoint) -> None:
        raise GatewayError(reason, "as told")

    monkeypatch.setattr(Pool, "dial", dial)
    found = (await (await api_of(at("::1")))("GET", f"{BOX}/ports/5000")).json
    assert (found["state"], found["detail"]) == (state, "as told")


async def test_what_is_no_property_of_the_port(api_of: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dial(self: Pool, endpoint: Endpoint) -> None:
        raise GatewayError(Reason.OVERLOADED, "Too many open files")

    monkeypatch.setattr(Pool, "dial", dial)
    refused = await (await api_of(at("::1")))("GET", f"{BOX}/ports/5000")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert "Too many open files" in refused.detail


@pytest.mark.parametrize("port", ["0", "65536", "05000", "-1", "http", "1e3", "%D9%A1", "99999999999"])
async def test_a_port_that_is_none(api_of: MakeApi, port: str) -> None:
    refused = await (await api_of(at("::1")))("GET", f"{BOX}/ports/{port}")
    assert (refused.status, refused.errors) == (422, {"port": "expected an integer from 1 to 65535"})


async def test_a_port_of_nobody(api: Api) -> None:
    assert (await api("GET", f"{BOX}/ports/5000")).status == 404


async def test_looks_have_an_allowance_of_their_own(api_of: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LOOK_BURST", 2)
    monkeypatch.setattr(room, "LOOK_RATE", 0.001)
    api = await api_of(MemoryRegistry({}))
    answers = [await api("GET", f"{BOX}/ports/5000") for _ in range(3)]
    assert [answer.status for answer in answers] == [404, 404, 429]
    assert (await api("PUT", BOX, FD5)).status == 201


@pytest.mark.parametrize(
    ("ipv4", "what"),
    [
        ("169.254.169.254", "a cloud metadata address"),
        ("169.254.1.1", "a link-local address"),
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("0.0.0.0", "the unspecified address"),
        ("224.0.0.1", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "the broadcast address"),
        ("168.63.129.16", "a cloud service address"),
    ],
)
async def test_an_ipv4_that_is_nobodys_is_refused(api_of: MakeApi, ipv4: str, what: str) -> None:
    refused = await (await api_of(MemoryRegistry({})))("PUT", BOX, {**FD5, "ipv4": ipv4})
    assert refused.status == 422
    assert refused.errors["ipv4"].startswith(f"{ipv4} is {what}")
    opened = settings_with(upstream={"allow_ipv4": (IPv4Network(f"{ipv4}/32"),)})
    assert (await (await api_of(MemoryRegistry({}), opened))("PUT", BOX, {**FD5, "ipv4": ipv4})).status == 201


@pytest.mark.parametrize(
    "address",
    [
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "::169.254.169.254"),
        *("::ffff:0:127.0.0.1", "2002:7f00:1::", "fe80::1", "ff02::1", "::", "fd00:ec2::254", "2001::1"),
    ],
)
async def test_so_is_an_address_that_leads_elsewhere(api_of: MakeApi, address: str) -> None:
    wide = settings_with(upstream={"allow": (IPv6Network("::/0"),)})
    refused = await (await api_of(MemoryRegistry({}), wide))("PUT", BOX, {"address": address})
    assert (refused.status, list(refused.errors)) == (422, ["address"])


# --- the audit, the rate, the document ------------------------------------------------------------------------------


async def test_every_change_leaves_one_line(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "gateway.admin"):
        first = (await api("PUT", BOX, FD5)).json["generation"]
        await api("PUT", BOX, FD5)
        await api("PUT", BOX, {"address": "nonsense"})
        second = (await api("PUT", BOX, FD6)).json["generation"]
        await api("PUT", BOX, FD5, If_Match='"other"')
        await api("DELETE", BOX)
        await api("DELETE", BOX)
    assert [record.getMessage() for record in caplog.records if record.name == "gateway.admin"] == [
        f"127.0.0.1 created sandbox box: address fd00::5, generation {first}",
        f"127.0.0.1 replaced sandbox box: address fd00::6, generation {second}",
        f"127.0.0.1 removed sandbox box: address fd00::6, generation {second}",
    ]


async def test_a_lifetime_that_begins_anew_is_no_change(api_of: MakeApi, caplog: pytest.LogCaptureFixture) -> None:
    class Ageing(MemoryRegistry):
        """Says how long each record has left, as a database does."""

        age = 0.0

        async def fetch(self, sandbox_id: str) -> Sandbox | None:
            self.age += 1
            found = self.table.get(sandbox_id)
            return found and replace(found, lifetime=60 - self.age)

    api = await api_of(Ageing({}))
    with caplog.at_level(logging.INFO, "gateway.admin"):
        assert [(await api("PUT", BOX, {**FD5, "lifetime": 60})).status for _ in range(3)] == [201, 200, 200]
    assert len([record for record in caplog.records if record.name == "gateway.admin"]) == 1


async def test_more_than_the_rate_is_429(api_of: MakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "BURST", 2)
    monkeypatch.setattr(room, "RATE", 0.01)
    api = await api_of(MemoryRegistry({}))
    assert [(await api("GET", BOX)).status for _ in range(2)] == [404, 404]
    refused = await api("PUT", BOX, FD5)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "100")


def test_the_bucket() -> None:
    now = 100.0
    bucket = Bucket(2.0, 3, lambda: now)
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    now += 0.5
    assert [bucket.take(), bucket.take()] == [0.0, 0.5]
    now += 3600
    assert [bucket.take() for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]


async def test_the_document_describes_every_operation_and_no_other(api: Api) -> None:
    served = await api("GET", "/v1/openapi.json")
    assert served.json == DOCUMENT.document
    app = api.client.app
    assert app is not None
    routes = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    api_routes = {(method, path) for method, path in routes if method != "HEAD" and path.startswith("/v1/")}
    assert {(method, path) for method, path in DOCUMENT.operations if path.startswith("/v1/")} == api_routes
    assert DOCUMENT.operations <= routes


async def test_health_is_as_documented(api: Api) -> None:
    assert (await api("GET", "/readyz")).status == 200


async def test_a_registration_of_the_document_is_taken(api: Api) -> None:
    schema = DOCUMENT.document["components"]["schemas"]["Registration"]
    example = {name: field["examples"][0] for name, field in schema["properties"].items() if "examples" in field}
    DOCUMENT.check(schema, example)
    assert (await api("PUT", BOX, example)).status == 201


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, {"sandboxes": []}),
        (200, {"sandboxes": [], "next": 5}),
        (200, {"sandboxes": [], "next": None, "more": True}),
        (200, {"sandboxes": [{"id": "Box"}], "next": None}),
        (200, None),
        (418, {"sandboxes": [], "next": None}),
    ],
)
def test_a_reply_that_is_not_as_documented_is_seen(status: int, body: Any) -> None:
    headers = {"Content-Type": "application/json"}
    DOCUMENT.check_reply("GET", "/v1/sandboxes", 200, headers, {"sandboxes": [], "next": None})
    with pytest.raises(Mismatch):
        DOCUMENT.check_reply("GET", "/v1/sandboxes", status, headers, body)

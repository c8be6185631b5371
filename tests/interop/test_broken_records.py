"""A record in Redis that nobody can read, as an operator meets it: over HTTP and on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.interop.harness import AppProcess, flask_app
from tests.interop.registered import Registered
from tests.interop.test_sandboxes_cli import records, refused, run
from tests.support.process import poll
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.interop

KEY = "gateway:sandbox:odd"
GARBAGE: dict[str, tuple[Any, ...]] = {
    "another type": ("RPUSH", KEY, "a list"),
    "no UTF-8": ("HSET", KEY, "address", b"fd00::\xff"),
    "an address of another kind": ("HSET", KEY, "address", "10.0.0.5"),
    "a generation beyond measure": ("HSET", KEY, "address", "::1", "generation", "g" * 100_000),
    "a host with another field in it": ("HSET", KEY, "address", "::1", "host", "a\r\nX-Evil: 1"),
}


@pytest.fixture(scope="module")
def app() -> Iterator[AppProcess]:
    with flask_app() as running:
        yield running


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    lines = f'backend = "redis"\nurl = "{server.url}"'
    with Registered(lines, directory=tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(params=GARBAGE)
def odd(request: pytest.FixtureRequest, server: RedisServer, gateway: Registered) -> Iterator[str]:
    """The id of a record that is broken, between two that are not."""
    with redis.Redis(port=server.port) as platform:
        platform.flushall()
        for name in ("a", "odd", "z"):
            assert gateway.api("PUT", f"sandboxes/{name}", {"address": "::1"})[0] == 201
        platform.delete(KEY)
        platform.execute_command(*GARBAGE[request.param])
        platform.xadd("gateway:changes", {"id": "odd"})
        yield "odd"


def admin(gateway: Registered) -> tuple[str, str]:
    return "--admin", f"http://127.0.0.1:{gateway.admin_port}"


def config(directory: Path, server: RedisServer) -> tuple[str, str]:
    file = directory / "gateway.toml"
    file.write_text(
        f'[edge]\ndomains = ["sandbox.localhost"]\nlisten = []\nlisten_plain = ["[::1]:8080"]\n'
        f'[directory]\nbackend = "redis"\nurl = "{server.url}"\n[upstream]\nallow = ["::1/128"]\n'
    )
    return "--config", str(file)


def listed(gateway: Registered) -> tuple[list[str], list[str]]:
    """The ids of the records, and of those that are broken."""
    status, page = gateway.api("GET", "sandboxes")
    assert status == 200
    return [each["id"] for each in page["sandboxes"]], [each["id"] for each in page.get("broken", ())]


def test_it_is_an_outage_of_itself_alone(gateway: Registered, app: AppProcess, odd: str) -> None:
    poll(lambda: gateway.statuses(app, odd) == {(503, "directory_unavailable")}, "no worker can tell where it is")
    assert gateway.statuses(app, "a") == {(200, None)}
    assert listed(gateway) == (["a", "z"], [odd])
    status, problem = gateway.api("GET", f"sandboxes/{odd}")
    assert status == 503
    assert KEY in problem["detail"]


def test_a_put_replaces_it(gateway: Registered, app: AppProcess, odd: str) -> None:
    status, record = gateway.api("PUT", f"sandboxes/{odd}", {"address": "::1"})
    assert (status, record["address"]) == (200, "::1")
    assert listed(gateway) == (["a", odd, "z"], [])
    assert gateway.api("GET", f"sandboxes/{odd}") == (200, record)
    poll(lambda: gateway.statuses(app, odd) == {(200, None)}, "every worker serves it")


def test_a_delete_removes_it(gateway: Registered, app: AppProcess, odd: str) -> None:
    assert gateway.api("DELETE", f"sandboxes/{odd}") == (204, None)
    assert listed(gateway) == (["a", "z"], [])
    assert gateway.api("DELETE", f"sandboxes/{odd}")[0] == 404
    poll(lambda: gateway.statuses(app, odd) == {(404, "destination_not_found")}, "every worker knows")


@pytest.mark.parametrize("odd", ["no UTF-8"], indirect=True)
@pytest.mark.parametrize("through", ["the API", "the registry itself"])
def test_the_command_line_shows_replaces_and_removes_it(
    gateway: Registered, server: RedisServer, odd: str, through: str, tmp_path: Path
) -> None:
    where = admin(gateway) if through == "the API" else config(tmp_path, server)
    first, broken, last = records("list", *where)
    assert (first["id"], last["id"]) == ("a", "z")
    assert sorted(broken) == ["broken", "id"]
    assert broken["id"] == odd
    assert KEY in broken["broken"]
    assert KEY in refused("show", odd, *where)
    [replaced] = records("add", odd, "::1", *where)
    assert replaced["address"] == "::1"
    assert [each["id"] for each in records("list", *where)] == ["a", odd, "z"]
    with redis.Redis(port=server.port) as platform:
        platform.delete(KEY)
        platform.execute_command("RPUSH", KEY, "a list")
    assert records("remove", odd, *where) == [{"removed": odd}]
    assert [each["id"] for each in records("list", *where)] == ["a", "z"]
    assert run("remove", odd, *where).returncode == 1

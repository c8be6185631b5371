"""`gateway sandboxes`, run as people run it: on the registry itself, beside `gateway serve`, on a terminal."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import AppProcess, ServeProcess, curl
from tests.interop.registered import Registered
from tests.support.process import clean_environment, free_port, poll

pytestmark = pytest.mark.interop


def run(
    *arguments: str, verb: str = "sandboxes", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", verb, *arguments],
        env=clean_environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def records(*arguments: str) -> list[dict[str, Any]]:
    """What a command that succeeds prints, a JSON object per line."""
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def refused(*arguments: str) -> str:
    """The one sentence of a command that fails."""
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in found]


class Registering(Registered):
    """`gateway serve` with the embedded registry, which does not exist yet."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "gateway.toml"
        self.database = directory / "var" / "sandboxes.db"
        super().__init__(f'backend = "sqlite"\npath = {json.dumps(str(self.database))}', directory=directory)

    @property
    def admin(self) -> tuple[str, str]:
        return "--admin", f"http://127.0.0.1:{self.admin_port}"


@pytest.fixture
def serve(tmp_path: Path) -> Registering:
    return Registering(tmp_path)


@pytest.fixture
def config(serve: Registering) -> tuple[str, str]:
    return "--config", str(serve.config)


# --- the registry itself --------------------------------------------------------------------------------------------


def test_a_record_is_added_listed_shown_and_removed(config: tuple[str, str], serve: Registering) -> None:
    [added] = records(
        "add", "demo", "::1", "--ipv4", "127.0.0.1", "--host", "localhost:{port}", "--protocol", "http1 9=h2c", *config
    )
    assert added == {
        "id": "demo",
        "address": "::1",
        "generation": added["generation"],
        "ipv4": "127.0.0.1",
        "host": "localhost:{port}",
        "protocol": {"default": "http1", "ports": {"9": "h2c"}},
        "publicAccessUrlTemplate": added["publicAccessUrlTemplate"],
    }
    assert added["publicAccessUrlTemplate"] == f"https://{{port}}-demo.sandbox.localhost:{serve.tls_port}"
    assert records("show", "demo", *config) == [added]
    assert records("list", *config) == [added]
    assert records("remove", "demo", *config) == [{"removed": "demo"}]
    assert records("list", *config) == []
    assert refused("show", "demo", *config) == refused("remove", "demo", *config)
    assert refused("show", "demo", *config) == "gateway: there is no sandbox demo"


def test_a_record_with_a_lifetime_ends(config: tuple[str, str]) -> None:
    records("add", "brief", "::1", "--lifetime", "0.5", *config)
    records("add", "lasting", "::1", "--lifetime", "3600", *config)
    poll(lambda: ids(records("list", *config)) == ["lasting"], "the end of a lifetime")
    assert refused("show", "brief", *config) == "gateway: there is no sandbox brief"


def test_a_list_has_a_beginning_and_an_end(config: tuple[str, str]) -> None:
    for name in ("c", "a", "b"):
        records("add", name, "::1", *config)
    assert ids(records("list", *config)) == ["a", "b", "c"]
    assert ids(records("list", "--limit", "2", *config)) == ["a", "b"]
    assert ids(records("list", "--after", "a", "--limit", "1", *config)) == ["b"]
    assert ids(records("list", "--after", "c", *config)) == []


def test_a_record_somebody_else_has_replaced_is_not_overwritten(config: tuple[str, str]) -> None:
    [first] = records("add", "demo", "::1", *config)
    records("remove", "demo", *config)
    [second] = records("add", "demo", "::1", *config)
    assert first["generation"] != second["generation"]
    said = refused("add", "demo", "::1", "--host", "other", "--if-match", first["generation"], *config)
    assert second["generation"] in said
    assert records("show", "demo", *config) == [second]
    records("add", "demo", "::1", "--host", "other", "--if-match", second["generation"], *config)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fd00::5",), "address: "),  # outside upstream.allow
        (("127.0.0.1",), "address: expected an IPv6 address"),
        (("::1", "--ipv4", "::1"), "ipv4: expected an IPv4 address"),
        (("::1", "--host", "a b"), "host: expected"),
        (("::1", "--lifetime", "1e12"), "lifetime: expected seconds"),
    ],
)
def test_what_the_api_would_refuse_is_refused_here(
    config: tuple[str, str], serve: Registering, arguments: tuple[str, ...], says: str
) -> None:
    assert says in refused("add", "demo", *arguments, *config)
    assert not serve.database.exists()


def test_looking_makes_no_database(config: tuple[str, str], serve: Registering) -> None:
    for arguments in (("list",), ("show", "demo"), ("remove", "demo")):
        assert refused(*arguments, *config).startswith(f"gateway: {serve.database}: there is no such file yet")
    assert not serve.database.parent.exists()


def test_the_file_backend_can_be_read_and_says_where_it_is_written(tmp_path: Path) -> None:
    gateway = ServeProcess({"box": "::1", "ark": "::1"}, directory=tmp_path)
    config = ("--config", gateway.command[gateway.command.index("--config") + 1])
    assert ids(records("list", *config)) == ["ark", "box"]
    assert ids(records("list", "--after", "ark", *config)) == ["box"]
    assert ids(records("show", "box", *config)) == ["box"]
    for arguments in (("add", "new", "::1"), ("remove", "box")):
        assert f"edit {tmp_path / 'sandboxes.toml'}" in refused(*arguments, *config)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("add", "demo"),
        ("add", "-x-", "::1"),
        *(("add", "demo", "::1", "--lifetime", seconds) for seconds in ("0", "-1", "nan", "inf", "5s")),
        ("show", "A"),
        ("list", "--limit", "0"),
        ("list", "--limit", "9" * 5000),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: gateway sandboxes")


def test_check_tells_of_the_backend(config: tuple[str, str], serve: Registering) -> None:
    assert f"{serve.database} will be made" in run(*config, verb="check").stdout
    records("add", "demo", "::1", *config)
    assert f"\ndirectory: {serve.database} holds 1 sandbox\n" in run(*config, verb="check").stdout
    done = run(
        *config,
        verb="check",
        env={
            "GATEWAY_DIRECTORY__BACKEND": "redis",
            "GATEWAY_DIRECTORY__URL": "redis://user:c0ffee@127.0.0.1:1/0",
        },
    )
    assert "\ndirectory: sandboxes are looked up in redis://***@127.0.0.1:1/0\n" in done.stdout
    assert "gateway.toml: ok" in done.stdout
    assert "c0ffee" not in done.stdout + done.stderr


def test_a_terminal_gets_a_table(config: tuple[str, str]) -> None:
    records("add", "demo", "::1", "--host", "localhost", *config)
    [added] = records("add", "much-longer", "::1", *config)
    header, demo, longer = on_a_terminal("list", *config)
    assert header.split() == ["ID", "ADDRESS", "GENERATION", "HOST", "URL"]
    assert demo.split()[:2] == ["demo", "::1"]
    assert longer.split() == ["much-longer", "::1", added["generation"], added["publicAccessUrlTemplate"]]
    assert header.index("URL") == demo.index("https:") == longer.index("https:")
    assert on_a_terminal("remove", "demo", *config) == ["removed demo"]
    assert json.loads(on_a_terminal("list", "--json", *config)[0]) == added


def on_a_terminal(*arguments: str) -> list[str]:
    """The lines a command prints when its output is a terminal."""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "sandboxes", *arguments],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
    ) as process:
        os.close(theirs)
        printed = b""
        try:
            while more := os.read(ours, 4096):
                printed += more
        except OSError as error:  # how Linux tells that nobody has the other end any more
            assert error.errno == errno.EIO
        os.close(ours)
        assert process.wait(30) == 0
    return printed.decode().splitlines()


def test_a_backup_is_made_and_restored(config: tuple[str, str], serve: Registering, tmp_path: Path) -> None:
    [kept] = records("add", "kept", "::1", *config)
    backup = str(tmp_path / "backup")
    assert records("backup", backup, *config) == [{"saved": backup, "sandboxes": 1}]
    records("add", "later", "::1", *config)
    records("remove", "kept", *config)
    assert on_a_terminal("restore", backup, *config) == [f"1 sandbox restored from {backup}"]
    assert records("list", *config) == [kept]
    assert on_a_terminal("backup", backup, *config) == [f"1 sandbox saved to {backup}"]
    serve.database.write_bytes(b"no database " * 1000)
    assert "not an SQLite database" in refused("list", *config)
    assert "not an SQLite database" in refused("backup", backup, *config)
    assert records("restore", backup, *config) == [{"restored": backup, "sandboxes": 1}]
    assert records("list", *config) == [kept]
    assert refused("restore", str(tmp_path / "absent"), *config).endswith("absent: there is no such file")


def test_there_is_nothing_to_back_up(config: tuple[str, str], serve: Registering, tmp_path: Path) -> None:
    assert "there is no such file yet" in refused("backup", str(tmp_path / "backup"), *config)
    gateway = ServeProcess({"box": "::1"}, directory=tmp_path)
    file = ("--config", gateway.command[gateway.command.index("--config") + 1])
    for verb in ("backup", "restore"):
        assert "the file backend has its own means (a copy of the file)" in refused(
            verb, str(tmp_path / "backup"), *file
        )


# --- beside `gateway serve` -------------------------------------------------------------------------------------------


def test_a_running_gateway_serves_what_is_registered(
    serve: Registering, config: tuple[str, str], flask_app: AppProcess
) -> None:
    with serve:
        url = serve.url(flask_app.port, "demo")

        def status() -> int:
            return curl(url, serve.ca).status

        assert status() == 404
        for where in (serve.admin, config):  # through the API; past the gateway, in its database
            [added] = records("add", "demo", "::1", *where)
            assert records("show", "demo", *serve.admin) == records("list", *config) == [added]
            poll(lambda: status() == 200, "the workers have heard of the record", 5)
            assert records("remove", "demo", *where) == [{"removed": "demo"}]
            poll(lambda: status() == 404, "the workers have heard of its end", 5)


def test_a_backup_restored_under_a_running_gateway_is_served(
    serve: Registering, config: tuple[str, str], flask_app: AppProcess, tmp_path: Path
) -> None:
    with serve:

        def status(name: str) -> int:
            return curl(serve.url(flask_app.port, name), serve.ca).status

        records("add", "kept", "::1", *serve.admin)
        records("backup", str(tmp_path / "backup"), *config)
        records("remove", "kept", *serve.admin)
        records("add", "later", "::1", *serve.admin)
        poll(lambda: (status("kept"), status("later")) == (404, 200), "as it was before", 5)
        records("restore", str(tmp_path / "backup"), *config)
        poll(lambda: (status("kept"), status("later")) == (200, 404), "as it was then", 10)
        records("add", "new", "::1", *serve.admin)
        assert ids(records("list", *config)) == ["kept", "new"]
        poll(lambda: status("new") == 200, "the workers have heard of what came after", 5)


def test_the_api_refuses_in_its_own_words(serve: Registering) -> None:
    with serve:
        [first] = records("add", "demo", "::1", *serve.admin)
        assert first["generation"] in refused("add", "demo", "::1", "--if-match", "other", *serve.admin)
        assert "address" in refused("add", "demo", "fd00::5", *serve.admin)
        assert "there is no sandbox absent" in refused("show", "absent", *serve.admin)
        assert ids(records("list", "--after", "a", "--limit", "1", *serve.admin)) == ["demo"]
        [same] = records("add", "demo", "::1", "--if-match", first["generation"], *serve.admin)
        assert same == first


def test_no_gateway_runs() -> None:
    admin = f"http://127.0.0.1:{free_port()}"
    said = refused("list", "--admin", admin)
    for word in (admin, "--admin URL", "--config FILE"):
        assert word in said

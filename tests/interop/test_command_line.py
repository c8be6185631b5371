"""Whatever a command is given, and wherever its output goes: one sentence, an exit status, no traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.support.process import clean_environment, free_port

pytestmark = pytest.mark.interop

Arguments = tuple[str | bytes, ...]


def run(
    *arguments: str | bytes,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    stdin: int = subprocess.DEVNULL,
    env: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=clean_environment({"PYTHONUNBUFFERED": ""} | (env or {})),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration that works: gateway.toml, its certificates, and a registry of one record."""
    folder = tmp_path_factory.mktemp("gateway")
    certs = folder / "certs"
    assert run("certs", "init", "--certs", str(certs)).returncode == 0
    (folder / "gateway.toml").write_text(
        f"""
        [edge]
        domains = ["sandbox.localhost"]
        listen = ["[::1]:8443"]
        [tls]
        certificates = [{{ cert = {json.dumps(str(certs / "leaf.pem"))}, key = {json.dumps(str(certs / "leaf.key"))} }}]
        [directory]
        path = {json.dumps(str(folder / "sandboxes.db"))}
        [upstream]
        allow = ["::1/128"]
        """
    )
    added = run("sandboxes", "add", "demo", "::1", "--config", str(folder / "gateway.toml"))
    assert added.returncode == 0, added.stderr
    return folder


PRINTING: dict[str, tuple[str, ...]] = {
    "help": ("--help",),
    "help of a verb": ("sandboxes", "add", "--help"),
    "version": ("--version",),
    "check": ("check", "--config", "{folder}/gateway.toml"),
    "certs": ("certs", "show", "--certs", "{folder}/certs"),
    "add": ("sandboxes", "add", "demo", "::1", "--config", "{folder}/gateway.toml"),
    "list": ("sandboxes", "list", "--config", "{folder}/gateway.toml"),
    "show": ("sandboxes", "show", "demo", "--config", "{folder}/gateway.toml"),
    "backup": ("sandboxes", "backup", "{folder}/backup", "--config", "{folder}/gateway.toml"),
    "explain": ("explain", "https://1-demo.sandbox.localhost/", "--config", "{folder}/gateway.toml"),
    "explain in JSON": ("explain", "https://1-demo.sandbox.localhost/", "--json", "--config", "{folder}/gateway.toml"),
}
"""Whatever prints something to stdout and comes to an end."""

UNBUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


@pytest.fixture(params=PRINTING.values(), ids=PRINTING.keys())
def printing(request: pytest.FixtureRequest, folder: Path) -> list[str]:
    return [argument.format(folder=folder) for argument in request.param]


Where = Callable[[], AbstractContextManager[int]]


@contextmanager
def full() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def nobody() -> Iterator[int]:
    """A pipe that nobody reads any more."""
    theirs, ours = os.pipe()
    os.close(theirs)
    yield ours
    os.close(ours)


# --- where the output goes -----------------------------------------------------------------------------------------


@UNBUFFERED
def test_a_stdout_that_is_full_is_told(printing: list[str], unbuffered: str) -> None:
    with full() as stdout:
        done = run(*printing, stdout=stdout, env={"PYTHONUNBUFFERED": unbuffered})
    assert done.stderr == b"gateway: stdout cannot be written: No space left on device\n"
    assert done.returncode == 1


@UNBUFFERED
def test_a_reader_that_has_seen_enough_is_no_mistake(printing: list[str], unbuffered: str) -> None:
    with nobody() as stdout:
        done = run(*printing, stdout=stdout, env={"PYTHONUNBUFFERED": unbuffered})
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_stdout_that_was_opened_for_reading_is_told(folder: Path) -> None:
    certs = ("certs", "show", "--certs", str(folder / "certs"))
    with Path(os.devnull).open("rb") as stdout:
        done = run(*certs, stdout=stdout.fileno())
    assert done.stderr == b"gateway: stdout cannot be written: Bad file descriptor\n"
    assert done.returncode == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_character_that_stdout_does_not_have_is_escaped(printing: list[str], encoding: str) -> None:
    done = run(*printing, env={"PYTHONIOENCODING": f"{encoding}:strict"})
    assert done.stderr == b""
    if "--json" in printing or ("sandboxes" in printing and "--help" not in printing):
        json.loads(done.stdout.decode())  # which is UTF-8, whatever the encoding
    else:
        assert done.stdout.decode(encoding)
    assert done.stdout


@pytest.mark.parametrize("arguments", [(), ("bogus",), ("check", "--config", "/absent"), ("sandboxes", "show", "A")])
@pytest.mark.parametrize("where", [full, nobody])
def test_a_stderr_that_takes_nothing_changes_no_status(arguments: tuple[str, ...], where: Where) -> None:
    expected = run(*arguments)
    assert expected.returncode in (1, 2)
    with where() as stderr:
        assert run(*arguments, stderr=stderr).returncode == expected.returncode


def test_all_three_may_be_closed(folder: Path) -> None:
    check = ("check", "--config", str(folder / "gateway.toml"))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "gateway", *check],
        env=clean_environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0


def test_stdin_is_nobodys_business(folder: Path) -> None:
    theirs, ours = os.pipe()
    os.write(ours, b"\xff\xfe\0\n")
    os.close(ours)
    with closing(os.fdopen(theirs, "rb")) as stdin:
        done = run("certs", "show", "--certs", str(folder / "certs"), stdin=stdin.fileno())
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_stdout_that_takes_nothing_now_is_waited_for() -> None:
    """Another program has made it non-blocking: a pipe, whose reader is slow, fills at 64 KiB."""
    theirs, ours = os.pipe()
    os.set_blocking(ours, False)
    command = [sys.executable, "-c", LONG]
    with subprocess.Popen(command, env=clean_environment(), stdout=ours, stderr=subprocess.PIPE) as process:
        os.close(ours)
        with closing(os.fdopen(theirs, "rb")) as reader:
            assert len(reader.read()) == 1_000_000
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


LONG = """
import sys
from gateway import standard_streams
standard_streams.prepare()
for _ in range(100):
    print("x" * 9999)
sys.stdout.flush()
"""


# --- what it is given ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        (b"a\xff",),
        (b"--a\xff",),
        ("check", "--config", b"a\xff"),
        ("serve", "--config", b"a\xff"),
        ("dev", b"a\xff=5000"),
        ("dev", "--certs", b"a\xff"),
        ("dev", "--domain", b"a\xff"),
        ("certs", "show", "--certs", b"a\xff"),
        ("certs", b"a\xff"),
        ("explain", b"https://5000-a\xff.x/"),
        ("explain", "https://5000-a.x/", "--admin", b"http://a\xff:1"),
        ("sandboxes", "add", "demo", b"::1\xff"),
        ("sandboxes", "add", "demo", "::1", "--ipv4", b"a\xff"),
        ("sandboxes", "add", "demo", "::1", "--host", b"a\xff"),
        ("sandboxes", "add", "demo", "::1", "--if-match", b"a\xff"),
        ("sandboxes", "add", b"a\xff", "::1"),
        ("sandboxes", "list", "--after", b"a\xff"),
        ("sandboxes", "list", "--limit", b"1\xff"),
        ("sandboxes", "show", b"a\xff"),
        ("sandboxes", "backup", b"a\xff", "--config", "x"),
        ("sandboxes", "remove", b"a\xff", "--config", "x"),
    ],
)
def test_an_argument_that_is_no_text_is_told(arguments: Arguments) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stdout == b""
    assert re.search(rb'^gateway: error: ".*\\udcff.*" is not UTF-8\n\Z', done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    "url",
    [
        "http://a b:1",
        "http://127.0.0.1:1/a b",
        "http://127.0.0.1:1/é",
        "http://é:1",
        "http://é..x:1",
        "http://.:1",
        "http://a..b:1",
        f"http://{'a' * 64}:1",
        "http://127.0.0.1:1/\n",
        "http://127.0.0.1:1\t",
        "http://127.0.0.1:0",
        "http://127.0.0.1:65536",
        "http://127.0.0.1:-1",
        "http://127.0.0.1:x",
        "http://[::1:1",
        "http://[x]:1",
        "http://user:secret@127.0.0.1:1",
        "http://127.0.0.1:1/?a=b",
        "http://127.0.0.1:1/#a",
        "http://",
        "http://:1",
        "127.0.0.1:1",
        "ftp://127.0.0.1:1",
        " ",
        "",
    ],
)
def test_an_admin_url_that_is_none_is_told(url: str) -> None:
    done = run("sandboxes", "list", "--admin", url)
    assert done.returncode == 2
    assert done.stderr.decode().endswith("is not an admin listener's URL such as http://127.0.0.1:9090\n")


def test_explain_refuses_an_admin_url_that_is_none() -> None:
    done = run("explain", "https://1-a.x/", "--admin", "http://a b:1")
    assert done.returncode == 2
    assert done.stderr.decode().endswith("is not an admin listener's URL such as http://127.0.0.1:9090\n")


@pytest.mark.parametrize("url", ["http://[::1]:{}", "http://LOCALHOST:{}/", "http://localhost.:{}/some/way"])
def test_an_admin_url_that_is_one_is_asked(url: str) -> None:
    done = run("sandboxes", "list", "--admin", url.format(free_port()))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(b"gateway: no running gateway answers at http://")


def test_lan_without_its_packages_says_what_installs_them(tmp_path: Path) -> None:
    """One of them is not found, whatever is installed here."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'zeroconf' else find(name, *more)\n"
    )
    done = run("dev", "--lan", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr.decode() == (
        "gateway: --lan needs packages that are not installed (zeroconf): "
        f"{sys.executable} -m pip install 'sandbox-gateway[lan]'\n"
    )

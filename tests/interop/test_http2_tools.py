"""What people hold against an HTTP/2 server by hand: curl, nghttp and h2load, each clean."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.harness import ServeProcess, require
from tests.support.process import clean_environment, free_port
from tests.support.raw_app import RawApp
from tests.support.stream import digest

pytestmark = pytest.mark.interop

MIB = 1024 * 1024
GOODBYES = {"NO_ERROR"}


@pytest.fixture(scope="module")
def app() -> Iterator[RawApp]:
    with RawApp() as app:
        yield app


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    with ServeProcess({"local": "::1"}, directory=tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


def say(*command: str, stdin: bytes = b"") -> bytes:
    """What it says, having ended with 0."""
    done = subprocess.run(command, input=stdin, capture_output=True, env=clean_environment(), timeout=90, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout!r}\n{done.stderr!r}"
    return done.stdout + done.stderr


def curl(gateway: ServeProcess, *arguments: str, stdin: bytes = b"") -> bytes:
    require("curl")
    usual = ("--silent", "--show-error", "--http2", "--noproxy", "*", "--cacert", str(gateway.ca), "--max-time", "60")
    return say("curl", *usual, *arguments, stdin=stdin)


def test_curl_speaks_http2_and_gets_what_it_asks_for(gateway: ServeProcess, app: RawApp) -> None:
    version = "--write-out", " %{http_version} %{response_code}"
    assert curl(gateway, *version, gateway.url(app.port, path="/ping")) == b"pong 2 200"
    assert curl(gateway, *version, "--head", gateway.url(app.port, path="/ping")).endswith(b" 2 200")
    missing = curl(gateway, "--output", "/dev/null", *version, gateway.url(app.port, "nobody"))
    assert missing == b" 2 404"


def test_curl_sends_and_gets_bodies(gateway: ServeProcess, app: RawApp, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 4096)
    answer = curl(gateway, "--data-binary", f"@{sent}", gateway.url(app.port, path="/up"))
    assert json.loads(answer)["bytes"] == MIB
    got = tmp_path / "got"
    curl(gateway, "--output", str(got), gateway.url(app.port, path=f"/down?bytes={MIB}"))
    assert hashlib.sha256(got.read_bytes()).hexdigest() == digest(MIB)


def test_curl_uses_one_connection_for_many(gateway: ServeProcess, app: RawApp) -> None:
    urls = [gateway.url(app.port, path=f"/ping?{number}") for number in range(20)]
    options = ("--parallel", "--parallel-max", "20", "--no-progress-meter", "--write-out", "<%{num_connects}>")
    said = curl(gateway, *options, *urls)
    assert said.count(b"pong") == 20
    assert sum(map(int, re.findall(rb"<(\d+)>", said))) == 1


def test_curl_with_prior_knowledge_on_a_plain_listener(app: RawApp, tmp_path: Path) -> None:
    require("curl")
    port = free_port()
    settings = {"GATEWAY_EDGE__LISTEN_PLAIN": f'["[::1]:{port}"]', "GATEWAY_EDGE__PLAIN": "forward"}
    with ServeProcess({"local": "::1"}, directory=tmp_path, env=settings) as gateway:
        url = f"http://{gateway.host(app.port)}:{port}/ping"
        usual = ("--silent", "--show-error", "--noproxy", "*", "--max-time", "60")
        version = "--write-out", " %{http_version}"
        assert say("curl", *usual, "--http2-prior-knowledge", *version, url) == b"pong 2"
        # An offer to change over is not taken up: it is hop-by-hop, and where desync attacks have lived.
        assert say("curl", *usual, "--http2", *version, url) == b"pong 1.1"


def test_nghttp_sees_a_clean_conversation(gateway: ServeProcess, app: RawApp) -> None:
    require("nghttp")
    authority = f"--header=:authority: {gateway.host(app.port)}:{gateway.tls_port}"
    places = [f"https://[::1]:{gateway.tls_port}/ping?{number}" for number in range(3)]
    said = say("nghttp", "--verbose", "--null-out", "--no-verify-peer", authority, *places).decode()
    assert said.count(":status: 200") == 3
    assert "The negotiated protocol: h2" in said
    assert set(re.findall(r"error_code=(\w+)", said)) <= GOODBYES, said
    assert "INVALID" not in said and "[ERROR]" not in said, said


def test_h2load_has_no_failures(gateway: ServeProcess, app: RawApp) -> None:
    require("h2load")
    authority = f"--header=:authority: {gateway.host(app.port)}:{gateway.tls_port}"
    place = f"https://[::1]:{gateway.tls_port}/ping"
    said = say("h2load", "--requests=2000", "--clients=4", "--max-concurrent-streams=16", authority, place).decode()
    assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "status codes: 2000 2xx" in said, said
    assert "Application protocol: h2" in said, said

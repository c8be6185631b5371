"""The four servers of the users' guide, each run for real: unchanged apps answer through the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.harness import AppProcess, Connection, GatewayProcess, ServeProcess, curl
from tests.support.stream import blocks

pytestmark = pytest.mark.interop

GREETING = {
    "flask_app": "Hello from Flask",
    "express_app": "Hello from Express",
    "fastapi_app": "Hello from FastAPI",
    "go_app": "Hello from Go",
}


@dataclass(frozen=True, slots=True)
class Exposed:
    """One framework's app behind a gateway of its own."""

    name: str
    app: AppProcess
    gateway: GatewayProcess

    def url(self, path: str = "/") -> str:
        return self.gateway.url(self.app.port, path=path)


@pytest.fixture(scope="module", params=GREETING)
def exposed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exposed]:
    app: AppProcess = request.getfixturevalue(request.param)
    with GatewayProcess(app.port, directory=tmp_path_factory.mktemp("gateway")) as gateway:
        yield Exposed(request.param, app, gateway)


def test_get(exposed: Exposed) -> None:
    answer = curl(exposed.url(), exposed.gateway.ca)
    assert answer.status == 200
    assert answer.text == GREETING[exposed.name]
    assert answer.header("X-Gateway-Error") is None
    assert answer.header("X-Request-Id")


def test_head_has_no_body_and_leaves_the_connection_usable(exposed: Exposed) -> None:
    with closing(Connection(exposed.gateway, exposed.app.port)) as connection:
        connection.request("HEAD", "/")
        head = connection.getresponse()
        assert head.read() == b""
        # FastAPI routes GET only, and its refusal is an answer of the app like any other.
        assert head.status == (405 if exposed.name == "fastapi_app" else 200)
        assert head.getheader("X-Gateway-Error") is None
        # Whatever the gateway sent as a body of HEAD would stand in front of this answer.
        connection.request("GET", "/")
        assert connection.getresponse().read() == GREETING[exposed.name].encode()


def test_post_is_echoed(exposed: Exposed) -> None:
    sent = "größer: 5 > 3\r\n".encode() + bytes(range(256))
    arguments = ("--data-binary", "@-", "--header", "Content-Type: application/x-test")
    answer = curl(exposed.url("/echo"), exposed.gateway.ca, *arguments, stdin=sent)
    assert answer.status == 200
    assert (answer.header("Content-Type") or "").startswith("application/x-test")
    assert answer.body == sent


def test_chunked_upload_is_echoed(exposed: Exposed) -> None:
    sent = b"".join(blocks(3_000_000))
    arguments = ("--request", "POST", "--upload-file", "-", "--header", "Transfer-Encoding: chunked")
    answer = curl(exposed.url("/echo"), exposed.gateway.ca, *arguments, stdin=sent)
    assert answer.status == 200
    assert answer.body == sent


def test_an_unknown_path_is_answered_by_the_app(exposed: Exposed) -> None:
    answer = curl(exposed.url("/nowhere"), exposed.gateway.ca)
    # The pattern `/` of the Go example matches every path; the others know their routes.
    assert answer.status == (200 if exposed.name == "go_app" else 404)
    assert answer.header("X-Gateway-Error") is None


def test_two_ports_of_one_sandbox_at_once_in_dev(flask_app: AppProcess, go_app: AppProcess, tmp_path: Path) -> None:
    exposed = (f"shop={flask_app.port}", f"shop={go_app.port}")
    with GatewayProcess(*exposed, directory=tmp_path) as gateway:
        _assert_two_at_once(gateway, {flask_app.port: "Hello from Flask", go_app.port: "Hello from Go"})


def test_two_ports_of_one_sandbox_at_once_in_serve(
    express_app: AppProcess, fastapi_app: AppProcess, tmp_path: Path
) -> None:
    with ServeProcess({"shop": "::1"}, directory=tmp_path) as gateway:
        expected = {express_app.port: "Hello from Express", fastapi_app.port: "Hello from FastAPI"}
        _assert_two_at_once(gateway, expected)


def _assert_two_at_once(gateway: GatewayProcess | ServeProcess, expected: dict[int, str]) -> None:
    ports = list(expected) * 10
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda port: curl(gateway.url(port, "shop"), gateway.ca), ports))
    assert [answer.text for answer in answers] == [expected[port] for port in ports]
    assert {answer.status for answer in answers} == {200}

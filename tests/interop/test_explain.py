"""`gateway explain`, run as people run it: beside `gateway dev`, beside `gateway serve`, with a configuration only."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from tests.interop.harness import DOMAIN, AppProcess, GatewayProcess, ServeProcess, curl, flask_app
from tests.support.process import clean_environment, free_port, poll

pytestmark = pytest.mark.interop


class DevProcess(GatewayProcess):
    """`gateway dev` with an admin listener of its own, so that two test runs do not meet at the default port."""

    def __init__(self, *exposed: str | int, directory: Path, admin_port: int = 0) -> None:
        super().__init__(*exposed, directory=directory)
        self.admin_port = admin_port or free_port()
        config = directory / "dev.toml"
        config.write_text(f'[admin]\nlisten = "127.0.0.1:{self.admin_port}"\n')
        self.command += ["--config", str(config)]

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"


def explain(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "explain", *arguments],
        env=clean_environment({"PYTHONIOENCODING": "utf-8", **(env or {})}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def report_on(url: str, *arguments: str, code: int, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = explain(url, "--json", *arguments, env=env)
    assert done.returncode == code, done.stderr
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["ok"] is (code == 0)
    return report


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["verdict"] for step in report["steps"]}


def detail(report: dict[str, Any], name: str) -> str:
    return next(step["detail"] for step in report["steps"] if step["name"] == name)


@pytest.fixture(scope="module")
def deaf() -> Iterator[AppProcess]:
    """The commonest mistake: an app bound to 127.0.0.1."""
    with flask_app(host="127.0.0.1") as app:
        yield app


@pytest.fixture(scope="module")
def dev(flask_app: AppProcess, deaf: AppProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevProcess]:
    exposed = [flask_app.port, f"deaf={deaf.port}"]
    with DevProcess(*exposed, directory=tmp_path_factory.mktemp("dev")) as gateway:
        yield gateway


# --- beside `gateway dev` -------------------------------------------------------------------------------------------


def test_an_app_that_works(dev: DevProcess, flask_app: AppProcess) -> None:
    done = explain(dev.url(flask_app.port), "--admin", dev.admin)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == dev.url(flask_app.port)
    table = lines[2 : lines.index("", 2)]
    steps = [line for line in table if not line.startswith(" " * 10)]  # without what goes on from the line before
    assert [line.split()[:2] for line in steps] == [
        ["✓", "parse"],
        ["✓", "listener"],
        ["✓", "directory"],
        ["✓", "policy"],
        ["✓", "dial"],
        ["✓", "http"],
        ["–", "websocket"],
    ]
    assert lines[-1].startswith("Reachable: the app answers 200 OK after ")
    assert "\x1b" not in done.stdout


def test_the_same_as_json(dev: DevProcess, flask_app: AppProcess) -> None:
    report = report_on(dev.url(flask_app.port), "--admin", dev.admin, code=0)
    assert report["reason"] is None
    assert report["fix"] == []
    assert detail(report, "http") == "GET / → 200 OK, text/html, by HTTP/1.1"
    assert all(step["milliseconds"] > 0 for step in report["steps"] if step["name"] in ("dial", "http"))


def test_nothing_listens(dev: DevProcess) -> None:
    report = report_on(dev.url(free_port()), "--admin", dev.admin, code=1)
    assert report["reason"] == "connection_refused"
    assert verdicts(report)["dial"] == "failed"
    assert verdicts(report)["ipv4"] == verdicts(report)["http"] == "skipped"


def test_something_listens_on_ipv4_only(dev: DevProcess, deaf: AppProcess) -> None:
    done = explain(dev.url(deaf.port, "deaf"), "--admin", dev.admin)
    assert done.returncode == 1
    shown = " ".join(done.stdout.split())
    assert f"something listens on 127.0.0.1:{deaf.port} but not on [::1]:{deaf.port}" in shown
    assert f"(pid {deaf.pid})" in shown
    assert f"The app on port {deaf.port} listens on IPv4 only. Bind to `::`" in shown


def test_a_path_that_no_app_would_get(dev: DevProcess, flask_app: AppProcess) -> None:
    report = report_on(dev.url(flask_app.port, path=f"/{'x' * 9000}"), "--admin", dev.admin, code=1)
    assert report["reason"] == "uri_too_long"


def test_an_unknown_sandbox(dev: DevProcess) -> None:
    report = report_on(dev.url(5000, "nobody"), "--admin", dev.admin, code=1)
    assert report["reason"] == "destination_not_found"
    assert verdicts(report)["directory"] == "failed"


def test_another_domain(dev: DevProcess) -> None:
    report = report_on("https://5000-local.example.org/", "--admin", dev.admin, code=1)
    assert report["reason"] == "unknown_domain"
    assert DOMAIN in detail(report, "parse")


def test_the_gateways_own_port(dev: DevProcess) -> None:
    report = report_on(dev.url(dev.tls_port), "--admin", dev.admin, code=1)
    assert report["reason"] == "destination_ip_prohibited"


def test_an_app_that_expects_tls(dev: DevProcess) -> None:
    with HttpsApp(dev) as app:
        report = report_on(dev.url(app.server_port), "--admin", dev.admin, code=1)
    assert report["reason"] == "upstream_speaks_tls"
    assert verdicts(report)["dial"] == "ok"
    assert verdicts(report)["http"] == "failed"


def test_the_app_sees_what_it_would_see_through_the_gateway(dev: DevProcess) -> None:
    with Listening() as app:
        curl(f"{dev.url(app.port)}x?y=1", dev.ca, "--header", "User-Agent: gateway-explain")
        report_on(f"{dev.url(app.port)}x?y=1", "--admin", dev.admin, code=0)
        through, examined = app.heads[:2]
    assert examined[0] == through[0] == "GET /x?y=1 HTTP/1.1"
    differing = ("x-request-id", "accept", "x-forwarded-for", "x-real-ip", "forwarded")
    fields = [
        {line for line in head[1:] if line.partition(":")[0].lower() not in differing} for head in (through, examined)
    ]
    assert fields[0] == fields[1]
    names = [{line.partition(":")[0] for line in head[1:]} for head in (through, examined)]
    assert names[0] == names[1]


def test_the_gateway_that_serves_the_url_is_asked(dev: DevProcess, tmp_path: Path, flask_app: AppProcess) -> None:
    with DevProcess(f"beside={free_port()}", directory=tmp_path) as other:
        for gateway, name, reason in ((dev, "local", None), (other, "local", "destination_not_found")):
            url = gateway.url(flask_app.port, name)
            assert report_on(url, code=0 if reason is None else 1)["reason"] == reason
        done = explain(f"5000-local.{DOMAIN}")
    assert done.returncode == 1
    assert all(f"--admin {each.admin}" in done.stderr for each in (dev, other))


def test_a_port_alone_is_a_url_that_the_gateway_knows(dev: DevProcess, flask_app: AppProcess) -> None:
    for written in (str(flask_app.port), f"http://localhost:{flask_app.port}/"):
        assert report_on(written, code=0)["url"] == dev.url(flask_app.port)


def test_dev_takes_the_next_port_for_its_admin_listener(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        DevProcess("5000", directory=tmp_path, admin_port=other.getsockname()[1]) as gateway,
    ):
        assert report_on(gateway.url(5000, "absent"), code=1)["reason"] == "destination_not_found"


# --- beside `gateway serve` -----------------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path: Path) -> ServeProcess:
    return ServeProcess({"box": "::1", "far": "fd00::1"}, directory=tmp_path)


def config_of(gateway: ServeProcess) -> Path:
    return Path(gateway.command[gateway.command.index("--config") + 1])


def test_serve_and_the_configuration_alone_agree(serve: ServeProcess, flask_app: AppProcess) -> None:
    with serve:
        admin, config = f"http://127.0.0.1:{serve.admin_port}", str(config_of(serve))
        for url, code in ((serve.url(flask_app.port, "box"), 0), (serve.url(5000, "far"), 1)):
            asked = report_on(url, "--admin", admin, code=code)
            looked = report_on(url, "--config", config, code=code)
            assert verdicts(asked) == verdicts(looked)
            assert asked["reason"] == looked["reason"]
            assert asked["fix"] == looked["fix"]
        assert asked["reason"] == "destination_ip_prohibited"


def test_serve_knows_of_a_new_sandbox(serve: ServeProcess, flask_app: AppProcess, tmp_path: Path) -> None:
    with serve:
        admin, url = f"http://127.0.0.1:{serve.admin_port}", serve.url(flask_app.port, "new")
        assert report_on(url, "--admin", admin, code=1)["reason"] == "destination_not_found"
        (tmp_path / "sandboxes.toml").write_text('[sandboxes.new]\naddress = "::1"\n')
        poll(lambda: explain(url, "--admin", admin).returncode == 0, "the admin process has read the file again", 15)


def test_a_token(serve: ServeProcess, flask_app: AppProcess, tmp_path: Path) -> None:
    token, config = tmp_path / "token", config_of(serve)
    token.write_text("c0ffee\n")
    config.write_text(config.read_text().replace("[admin]\n", f"[admin]\ntoken_file = {json.dumps(str(token))}\n"))
    with serve:
        admin, url = f"http://127.0.0.1:{serve.admin_port}", serve.url(flask_app.port, "box")
        for env in ({}, {"GATEWAY_ADMIN_TOKEN": "wrong"}):
            done = explain(url, "--admin", admin, env=env)
            assert done.returncode == 1
            assert "token" in done.stderr
            assert len(done.stderr.splitlines()) == 1
        report_on(url, "--admin", admin, code=0, env={"GATEWAY_ADMIN_TOKEN": "c0ffee"})


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read: No such file"), ("\n", "is empty")])
def test_serve_does_not_start_without_the_token_it_needs(
    serve: ServeProcess, tmp_path: Path, content: str | None, said: str
) -> None:
    token, config = tmp_path / "token", config_of(serve)
    if content is not None:
        token.write_text(content)
    config.write_text(config.read_text().replace("[admin]\n", f"[admin]\ntoken_file = {json.dumps(str(token))}\n"))
    done = subprocess.run(
        serve.command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"gateway: admin.token_file: {token} {said}")
    assert len(done.stderr.splitlines()) == 1


# --- alone ----------------------------------------------------------------------------------------------------------


def test_no_gateway_runs() -> None:
    admin = f"http://127.0.0.1:{free_port()}"
    done = explain("https://5000-box.example.dev/", "--admin", admin)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    for word in (admin, "--admin URL", "--config FILE"):
        assert word in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["ftp://5000-box.example.dev/"],
        ["https://a/", "--admin", "127.0.0.1:9090"],
        ["https://a/", "--admin", "http://127.0.0.1:99999"],
        ["https://a/", "--admin", "http://127.0.0.1:9090", "--config", "x.toml"],
    ],
)
def test_usage(arguments: list[str]) -> None:
    done = explain(*arguments)
    assert done.returncode == 2
    assert "usage: gateway explain" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    done = explain("https://a/", "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 1
    assert "none.toml: cannot be read" in done.stderr


class HttpsApp(HTTPServer):
    """Python's own HTTPS server on [::1], which hangs up on plain HTTP; its certificate is the gateway's."""

    address_family = socket.AF_INET6

    def __init__(self, gateway: GatewayProcess) -> None:
        super().__init__(("::1", 0), BaseHTTPRequestHandler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(gateway.certs / "leaf.pem", gateway.certs / "leaf.key")
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class Listening:
    """An app on [::1] that answers 204 to everything and remembers the lines of each head."""

    def __init__(self) -> None:
        self.heads: list[list[str]] = []
        self._socket = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # shut down
            with connection:
                head = b""
                while not head.endswith(b"\r\n\r\n") and (data := connection.recv(65536)):
                    head += data
                self.heads.append(head.decode().rstrip("\r\n").split("\r\n"))
                connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

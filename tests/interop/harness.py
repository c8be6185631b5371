"""What every interop test stands on: required components, gateway and app processes, curl, a TLS connection.

The gateway is always another process, met as any user meets it: its command, its printed lines, its port.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.components import COMPONENTS, Component, module, require
from tests.support.devtools import AXE
from tests.support.process import ROOT, Child, accepts, descendants, free_port, poll

DOMAIN = "sandbox.localhost"
EXPRESS = ROOT / "examples" / "express"
GO_BINARY = ROOT / "tests" / ".build" / "hello-go"

# --- components ---------------------------------------------------------------------------------------------

COMPONENTS.update(
    {
        "express": Component((EXPRESS / "node_modules" / "express").is_dir, "bash tests/setup.sh"),
        "go example": Component(GO_BINARY.is_file, "bash tests/setup.sh"),
        "flask": module("flask"),
        "fastapi": module("fastapi"),
        "uvicorn": module("uvicorn"),
        "axe-core": Component(AXE.is_file, "bash tests/setup.sh"),
    }
)

# --- the gateway --------------------------------------------------------------------------------------------

_CA_IN_CURL_LINE = re.compile(r"""--cacert (?:'([^']+)'|"([^"]+)"|(\S+))""")
_SIGNS_OF_A_BUG = (
    "Traceback (most recent call last)",
    "Warning:",
    "was never retrieved",
    "was never awaited",
)


class _Gateway(Child):
    """A gateway process. A clean end is exit code 0, no process left behind, no trace of a bug in the log."""

    domain = DOMAIN

    def __init__(self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__([sys.executable, "-m", "gateway", *arguments], cwd=cwd, env=env)
        self.tls_port = free_port()
        self.ca = Path()
        self._family: list[int] = []

    def url(self, port: int, id: str = "local", path: str = "/") -> str:
        return f"https://{self.host(port, id)}:{self.tls_port}{path}"

    def host(self, port: int, id: str = "local") -> str:
        return f"{port}-{id}.{self.domain}"

    def stop(self) -> int:
        self._family = descendants(self.pid)
        return super().stop()

    def stopped(self, code: int) -> None:
        assert code == 0, self.log
        left = [pid for pid in self._family if Path(f"/proc/{pid}").exists()]
        assert not left, f"processes outlived the gateway: {left}"
        for sign in _SIGNS_OF_A_BUG:
            assert sign not in self.log, self.log


class GatewayProcess(_Gateway):
    """`gateway dev` on a free port of its own, as one starts it on a laptop; ended with Ctrl-C.

    `GatewayProcess("5000", "shop=3000", directory=tmp_path)`; without ports it is the built-in demo.
    """

    stop_signal = signal.SIGINT

    def __init__(self, *exposed: str | int, directory: Path) -> None:
        # A blank in the path: what is printed for the shell has to survive it.
        self.certs = directory / "local certs"
        super().__init__([], cwd=directory)
        options = ["--listen-port", str(self.tls_port), "--certs", str(self.certs), "--no-color"]
        self.command += ["dev", *options, *map(str, exposed)]

    def ready(self) -> None:
        self.ca = self.wait_until(self._printed_ca, "it prints a curl line with --cacert")
        self.wait_until(lambda: _tcp_host(self.tls_port), f"it accepts on port {self.tls_port}")

    def _printed_ca(self) -> Path | None:
        found = _CA_IN_CURL_LINE.search(self.log)
        return Path(next(filter(None, found.groups()))) if found else None

    def printed(self, pattern: str) -> str:
        """The first match of `pattern` in what was printed, waiting for it."""

        def look() -> str | None:
            found = re.search(pattern, self.log)
            return found.group(0) if found else None

        return self.wait_until(look, f"it prints {pattern}")


class ServeProcess(_Gateway):
    """`gateway serve` with two workers and a file directory; ended with SIGTERM.

    `sandboxes` maps ids to addresses; the file is `directory / "sandboxes.toml"`. `env` holds further settings.
    """

    def __init__(
        self,
        sandboxes: Mapping[str, str],
        *,
        directory: Path,
        env: Mapping[str, str] | None = None,
        domain: str = DOMAIN,
    ) -> None:
        # Here, because only this one makes its certificates itself: `gateway dev` does so without help.
        from gateway.tls import local_ca

        config = directory / "gateway.toml"
        super().__init__(["serve", "--config", str(config)], cwd=directory, env=env)
        self.admin_port = free_port()
        self.domain = domain
        certificates = local_ca.ensure(directory / "certs", domain)
        self.ca = certificates.authority
        table = directory / "sandboxes.toml"
        table.write_text("".join(f'[sandboxes.{name}]\naddress = "{at}"\n' for name, at in sandboxes.items()))
        config.write_text(
            f"""
[edge]
domains = ["{domain}"]
listen = ["[::1]:{self.tls_port}"]
public_port = {self.tls_port}

[tls]
certificates = [{{ cert = {_toml(certificates.certificate)}, key = {_toml(certificates.key)} }}]

[directory]
backend = "file"
path = {_toml(table)}

[upstream]
allow = ["::1/128"]

[admin]
listen = "127.0.0.1:{self.admin_port}"

[process]
workers = 2
drain_delay = "0s"
drain_timeout = "10s"

[log]
format = "text"
"""
        )

    def ready(self) -> None:
        self.wait_until(self.is_ready, "/readyz answers 200")

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False


def _toml(path: Path) -> str:
    return json.dumps(str(path))


def _tcp_host(port: int) -> str | None:
    """The loopback address on which `port` accepts: which of the two a gateway takes is its own business."""
    return next((host for host in ("::1", "127.0.0.1") if accepts(host, port)), None)


# --- apps ---------------------------------------------------------------------------------------------------


class AppProcess(Child):
    """One of the examples on a free port; in use once its port accepts."""

    def __init__(self, command: Sequence[str], *, host: str = "::", port: int = 0) -> None:
        self.port = port or free_port()
        self.host = host
        super().__init__(command, cwd=ROOT, env={"PORT": str(self.port), "HOST": host})

    def ready(self) -> None:
        address = {"::": "::1"}.get(self.host, self.host)
        self.wait_until(lambda: accepts(address, self.port), f"it accepts on [{address}]:{self.port}")


def flask_app(host: str = "::", port: int = 0) -> AppProcess:
    require("flask")
    return AppProcess([sys.executable, "examples/flask/app.py"], host=host, port=port)


def fastapi_app() -> AppProcess:
    require("fastapi", "uvicorn")
    return AppProcess([sys.executable, "examples/fastapi/app.py"])


def express_app() -> AppProcess:
    require("node", "express")
    return AppProcess(["node", "examples/express/server.js"])


def go_app() -> AppProcess:
    require("go example")
    return AppProcess([str(GO_BINARY)])


# --- clients ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """The final response curl saw; `headers` as (name as sent, value), in order."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The only value of the field, None without it. More than one is an error."""
        values = [value for sent, value in self.headers if sent.lower() == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    @property
    def text(self) -> str:
        return self.body.decode()


def curl(url: str, ca: Path, *arguments: str, stdin: bytes = b"", network: Sequence[str] = ()) -> Answer:
    """curl over HTTP/1.1 with this CA as the only trusted one. Raises RuntimeError with curl's own words.

    `network` stands before the command and has it run elsewhere.
    """
    require("curl")
    command = [*network, "curl", "--silent", "--show-error", "--http1.1", "--noproxy", "*", "--max-time", "60"]
    command += ["--cacert", str(ca), "--dump-header", "/dev/stderr", "--output", "-", *arguments, url]
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=90)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\nexit code {done.returncode}: {done.stderr.decode(errors='replace')}")
    # One head per interim response, then the final one; each ends with a blank line.
    lines = done.stderr.decode("iso-8859-1").rstrip("\r\n").split("\r\n\r\n")[-1].split("\r\n")
    pairs = (line.partition(":") for line in lines[1:])
    return Answer(int(lines[0].split()[1]), [(name, value.strip()) for name, _, value in pairs], done.stdout)


def tls_context(ca: Path, protocol: str = "http/1.1") -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols([protocol])
    return context


def tcp_connection(gateway: _Gateway, *, receive_buffer: int | None = None) -> socket.socket:
    """A TCP connection to the gateway, no name looked up. `receive_buffer` bounds what is taken unread."""
    host = poll(lambda: _tcp_host(gateway.tls_port), f"port {gateway.tls_port} accepts", 5)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(60)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((host, gateway.tls_port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def tls_connection(
    gateway: _Gateway, host: str, *, receive_buffer: int | None = None, protocol: str = "http/1.1"
) -> ssl.SSLSocket:
    connection = tcp_connection(gateway, receive_buffer=receive_buffer)
    return tls_context(gateway.ca, protocol).wrap_socket(connection, server_hostname=host)


class Connection(http.client.HTTPConnection):
    """http.client over a TLS connection to the gateway; the Host field names `port` of sandbox `id`."""

    auto_open = 0
    """Never connects again by itself: that would be without TLS, and hide that the gateway had closed."""

    def __init__(
        self,
        gateway: _Gateway,
        port: int,
        id: str = "local",
        *,
        receive_buffer: int | None = None,
    ) -> None:
        host = gateway.host(port, id)
        super().__init__(host, gateway.tls_port)
        self.sock = tls_connection(gateway, host, receive_buffer=receive_buffer)

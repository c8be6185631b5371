"""What the tests of real applications stand on: where those are installed, how one runs, how its own clients find it.

`packages.txt` lists what is installed and `tests/setup.sh` installs it, outside of what git tracks. An application
listens on ::1 and is met through the gateway only, at its public name; its clients are other programs, which trust the
gateway's authority and find the name in a hosts file of their own.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.interop.harness import DOMAIN, ServeProcess
from tests.support.components import COMPONENTS, Component, program, require
from tests.support.process import ROOT, Child, accepts, clean_environment, free_port

INSTALLED = ROOT / "tests" / ".build" / "applications"
PYTHON = INSTALLED / "python" / "bin" / "python"
NODE_MODULES = INSTALLED / "node_modules"
PACKAGES = Path(__file__).parent / "packages.txt"

PLAIN, MASKED = "box", "masked"
"""Two sandboxes at ::1: Host as it came, and Host as `localhost:<port>`."""

TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS")
"""Every way in which the clients are told whom to trust: Go and OpenSSL, requests, curl, git, Node."""

START_TIMEOUT = 90.0
"""Seconds; Next compiles itself first, and Gradio imports half of PyPI."""
CLIENT_TIMEOUT = 200.0

all_applications = pytest.mark.applications
"""On a test that `make test` leaves out: its application is large, or slow to start."""


def _installed(registry: str, name: str) -> Component:
    places = {
        "npm": lambda: (NODE_MODULES / name / "package.json").is_file(),
        "pypi": lambda: any((INSTALLED / "python").glob(f"lib/python3*/site-packages/{name.replace('-', '_')}-*")),
    }
    return Component(places[registry], "bash tests/setup.sh applications")


def _listed() -> Iterator[tuple[str, Component]]:
    """Every package of PACKAGES by the name that a test gives to `require`."""
    for line in PACKAGES.read_text().splitlines():
        if line and not line.startswith("#"):
            _, registry, what = line.split()
            if registry == "debian":
                command, _, package = what.partition(":")
                yield package, _of_debian(command, package)
            else:
                name = what.partition("==")[0] if registry == "pypi" else what.rpartition("@")[0]
                yield name, _installed(registry, name)


def _of_debian(command: str, package: str) -> Component:
    path = Path(command)
    there = path.exists if path.is_absolute() else lambda: program(command) is not None
    return Component(there, f"sudo apt-get install -y {package}")


COMPONENTS.update(_listed())


class Applications(ServeProcess):
    """The gateway in front of all of them: `PLAIN` and `MASKED` lead to ::1, whatever the port."""

    def __init__(self, *, directory: Path, domain: str = DOMAIN) -> None:
        super().__init__({PLAIN: "::1", MASKED: "::1"}, directory=directory, domain=domain)
        with (directory / "sandboxes.toml").open("a") as table:
            table.write('host = "localhost:{port}"\n')
        self.hosts = directory / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
        self.trusting = dict.fromkeys(TRUST, str(self.ca))

    def client(
        self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, status: int = 0
    ) -> str:
        """What a client says, run where public names are known. AssertionError: it ended with another status."""
        require("namespaces")
        mount = 'mount --bind "$0" /etc/hosts && exec "$@"'
        apart = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]
        done = subprocess.run(
            [*apart, "sh", "-c", mount, str(self.hosts), *map(str, command)],
            cwd=cwd,
            env=clean_environment(self.trusting | dict(env or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=CLIENT_TIMEOUT,
            check=False,
        )
        print(f"--- {' '.join(map(str, command))}: {done.returncode}\n{done.stdout}")
        assert done.returncode == status, f"{command} ended with {done.returncode}: {done.stdout}"
        return done.stdout


class Application(Child):
    """A program on a port of ::1, in use once it accepts there.

    In its command, `{port}` is that port and `{authority}` what the public calls it.
    """

    def __init__(
        self,
        gateway: Applications,
        *command: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        port: int | None = None,
    ) -> None:
        self.gateway = gateway
        self.port = port or free_port()
        known = {"{port}": str(self.port), "{authority}": self.authority()}
        arguments = [str(part) for part in command]
        for name, value in known.items():
            arguments = [argument.replace(name, value) for argument in arguments]
        super().__init__(arguments, cwd=cwd, env=env)

    def ready(self) -> None:
        self.wait_until(lambda: accepts("::1", self.port), f"it accepts on [::1]:{self.port}", START_TIMEOUT)
        with self.gateway.hosts.open("a") as hosts:
            hosts.write("".join(f"::1 {self.host(sandbox)}\n" for sandbox in (PLAIN, MASKED)))

    def host(self, sandbox: str = PLAIN) -> str:
        return self.gateway.host(self.port, sandbox)

    def authority(self, sandbox: str = PLAIN) -> str:
        return f"{self.host(sandbox)}:{self.gateway.tls_port}"

    def url(self, path: str = "/", sandbox: str = PLAIN) -> str:
        return self.gateway.url(self.port, sandbox, path)


def python_program(
    gateway: Applications, source: str, folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> Application:
    """`source`, run with what is installed from PyPI."""
    path = folder / "app.py"
    path.write_text(source)
    return Application(gateway, PYTHON, path, "{port}", *arguments, cwd=folder, env=env)


def node_program(gateway: Applications, source: str, folder: Path) -> Application:
    """`source`, a module, run with what is installed from npm."""
    require("node")
    return Application(gateway, "node", module(source, folder, "app.mjs"), "{port}", cwd=folder)


def module(source: str, folder: Path, name: str) -> Path:
    """A file with `source` where imports find what is installed from npm."""
    modules = folder / "node_modules"
    if not modules.exists():
        modules.symlink_to(NODE_MODULES)
    path = folder / name
    path.write_text(source)
    return path

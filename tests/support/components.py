"""What tests need beside Python, and what happens when it is missing.

Owns the list of programs that come from the system's packages, the same as in `tests/setup.sh`; a test suite with needs
of its own adds them to COMPONENTS.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import network

_POSTGRESQL = "usr/lib/postgresql/*/bin"
"""Where Debian has the programs of each version."""


@dataclass(frozen=True, slots=True)
class Component:
    """Something that a test needs: how to see that it is there, and how to get it."""

    is_there: Callable[[], bool]
    install: str


def program(name: str) -> str | None:
    """Where the program `name` is. Daemons live in sbin, which not everybody has on the path, or elsewhere."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *map(str, Path("/").glob(_POSTGRESQL))]
    return shutil.which(name, path=os.pathsep.join(places))


def command(name: str, package: str) -> Component:
    return Component(lambda: program(name) is not None, f"sudo apt-get install -y {package}")


def module(name: str) -> Component:
    return Component(lambda: importlib.util.find_spec(name) is not None, 'pip install -e ".[test]"')


def namespaces() -> list[str]:
    """The command that runs another in a network namespace of its own; root in it, whoever asks."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]


def makes_namespaces() -> bool:
    return (
        program("unshare") is not None and not subprocess.run([*namespaces(), "true"], capture_output=True).returncode
    )


def reaches_an_index() -> bool:
    """Whether pip finds a package; not in a network namespace."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--retries=0", "--dest", folder, "pluggy"]
        return not subprocess.run(command, capture_output=True).returncode


def compiles_extensions() -> bool:
    """Whether there are a C compiler and this Python's headers."""
    return program("cc") is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
"""What Debian's nginx loads to pass connections on."""

COMPONENTS = {
    "C compiler": Component(compiles_extensions, "sudo apt-get install -y gcc libc6-dev python3-dev"),
    "chromium": command("chromium", "chromium"),
    "chromedriver": command("chromedriver", "chromium-driver"),
    "certutil": command("certutil", "libnss3-tools"),
    "curl": command("curl", "curl"),
    "docker-compose": command("docker-compose", "docker-compose"),
    "logrotate": command("logrotate", "logrotate"),
    "h2load": command("h2load", "nghttp2-client"),
    "haproxy": command("haproxy", "haproxy"),
    "IPv6": Component(network.has_ipv6, "sudo sysctl -w net.ipv6.conf.all.disable_ipv6=0"),
    "ip": command("ip", "iproute2"),
    "keytool": command("keytool", "default-jdk-headless"),
    "knotd": command("knotd", "knot"),
    "kubernetes schemas": module("kubernetes_validate"),
    "namespaces": Component(makes_namespaces, "root, or: sudo sysctl kernel.unprivileged_userns_clone=1"),
    "nft": command("nft", "nftables"),
    "nghttp": command("nghttp", "nghttp2-client"),
    "nginx": command("nginx", "nginx-light"),
    "nginx stream": Component(NGINX_STREAM.exists, "sudo apt-get install -y libnginx-mod-stream"),
    "node": command("node", "nodejs"),
    "openssl": command("openssl", "openssl"),
    "package index": Component(reaches_an_index, "a network in which pip finds its index"),
    "postgresql": command("initdb", "postgresql"),
    "prometheus": command("prometheus", "prometheus"),
    "promtool": command("promtool", "prometheus"),
    "redis-server": command("redis-server", "redis-server"),
    "socket filter": Component(
        lambda: network.prefix(network.WITHOUT_INET6) is not None, "run on Linux, on x86-64 or ARM64"
    ),
    "systemd": command("systemd-analyze", "systemd"),
    "valgrind": command("valgrind", "valgrind"),
    "tun": Component(Path("/dev/net/tun").exists, "sudo modprobe tun"),
}


def require(*names: str) -> None:
    """Skips the test, naming what is missing; with CI=true, where everything must run, fails it instead."""
    for name in names:
        component = COMPONENTS[name]
        if not component.is_there():
            message = f"{name} is missing; install it with: {component.install}"
            if os.environ.get("CI") == "true":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)

"""Files by which gateways are found: while their writer lives, of this user, in this network."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from gateway.dev import running
from gateway.dev.app_port import AppPort
from gateway.dev.finding import DEFAULT_ADMIN, admin_of_any, admin_of_url, url_of_port
from gateway.dev.running import Published, Running, all_running, network
from gateway.errors import UserError


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "sandbox-gateway"


@dataclass
class _Gateways:
    opened: list[Published]

    def add(self, port: int, *exposed: tuple[str, int]) -> Running:
        said = Running(1, port, "x.test", f"http://127.0.0.1:{port + 1}", list(exposed), network())
        self.opened.append(Published(said))
        return said


@pytest.fixture
def gateways() -> _Gateways:
    return _Gateways([])


def test_a_gateway_is_found_while_it_runs(gateways: _Gateways) -> None:
    said = gateways.add(8443, ("local", 5000))
    assert all_running() == [said]
    assert all_running() == [said]  # who looks takes nothing away
    gateways.opened[0].close()
    assert all_running() == []


def test_one_that_was_killed_is_forgotten(runtime: Path, gateways: _Gateways) -> None:
    said = Running(1, 8443, "x.test", "http://127.0.0.1:9090", [], network())
    program = (
        "import sys, msgspec; from gateway.dev.running import *; import os\n"
        "kept = Published(msgspec.json.decode(sys.argv[1], type=Running)); assert all_running(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, msgspec.json.encode(said).decode()], check=True, timeout=30)
    assert list(runtime.glob("*.json"))
    assert all_running() == []
    assert not list(runtime.glob("*"))


def test_another_network_has_other_ports(gateways: _Gateways) -> None:
    Published(Running(1, 8443, "x.test", "http://127.0.0.1:9090", [], network() + 1))
    assert all_running() == []


def test_a_folder_that_others_can_write_to_is_not_believed(runtime: Path, caplog: pytest.LogCaptureFixture) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)
    Published(Running(1, 8443, "x.test", "http://127.0.0.1:9090", [], network())).close()
    assert all_running() == []
    assert "only you can write to" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_a_broken_file_is_no_gateway(runtime: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.mkdir(mode=0o700)
    path = runtime / "dev-x.json"
    path.write_bytes(content)
    held = os.open(path, os.O_RDONLY)
    running.fcntl.flock(held, running.fcntl.LOCK_EX)
    assert all_running() == []
    os.close(held)


# --- which one is meant -----------------------------------------------------------------------------------------------


def test_without_any_it_is_the_default_address() -> None:
    assert admin_of_any() == admin_of_url("https://1-a.x.test:8443/") == DEFAULT_ADMIN


def test_the_port_of_a_url_decides(gateways: _Gateways) -> None:
    first, second = gateways.add(443, ("local", 5000)), gateways.add(8444, ("local", 5000))
    assert admin_of_url("https://5000-local.x.test/") == first.admin
    assert admin_of_url("https://5000-local.x.test:8444/") == second.admin
    with pytest.raises(UserError, match=f"several(.|\n)*{first.admin}(.|\n)*{second.admin}"):
        admin_of_url("5000-local.x.test")
    with pytest.raises(UserError, match=f"several(.|\n)*{first.admin}(.|\n)*{second.admin}"):
        admin_of_any()


def test_a_url_that_none_of_them_serves_is_not_asked_of_another(gateways: _Gateways) -> None:
    said = gateways.add(8443, ("local", 5000))
    assert admin_of_url("5000-local.x.test") == said.admin
    assert admin_of_url("https://5000-local.x.test/") == said.admin  # its port was forgotten, and explain says so
    for other in ("https://5000-local.x.test:8444/", "https://5000-local.example.dev/"):
        assert admin_of_url(other) == DEFAULT_ADMIN
    gateways.add(9089, ("local", 6000))  # whose admin listener has the default address
    others = {
        "https://5000-local.x.test:8444/": "port 8444",
        "https://5000-local.example.dev/": "port 443",
        "5000-local.example.dev/x": "5000-local.example.dev",
    }
    for other, what in others.items():
        with pytest.raises(UserError, match=f"no gateway of yours serves {what}; there are\n"):
            admin_of_url(other)


def test_a_serve_at_the_default_address_could_be_meant_too(
    gateways: _Gateways, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = gateways.add(8443, ("local", 5000))
    monkeypatch.setattr("gateway.dev.finding.has_gateway", lambda port: False)
    assert admin_of_any() == said.admin
    monkeypatch.setattr("gateway.dev.finding.has_gateway", lambda port: True)
    with pytest.raises(UserError, match=f"--admin {said.admin}(.|\n)*--admin {DEFAULT_ADMIN}"):
        admin_of_any()


def test_a_port_of_this_machine_is_that_of_the_gateway_that_exposes_it(gateways: _Gateways) -> None:
    with pytest.raises(UserError, match="gateway dev 5000"):
        url_of_port(AppPort("", 5000))
    first, second = gateways.add(443, ("a", 5000)), gateways.add(8444, ("b", 6000), ("c", 6001))
    assert url_of_port(AppPort("", 5000)) == ("https://5000-a.x.test/", first.admin)
    assert url_of_port(AppPort("", 6001)) == ("https://6001-c.x.test:8444/", second.admin)
    assert url_of_port(AppPort("z", 6001)) == ("https://6001-z.x.test:8444/", second.admin)
    with pytest.raises(UserError, match="several"):
        url_of_port(AppPort("", 7000))
    gateways.opened[0].close()
    assert url_of_port(AppPort("", 7000)) == ("https://7000-b.x.test:8444/", second.admin)

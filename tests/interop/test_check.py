"""`gateway check` as a command: its exit status, with --strict and without, and what it prints."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.certificates import write_pair
from tests.support.process import clean_environment
from tests.support.serving import App, Serving

pytestmark = pytest.mark.interop

SETTINGS = {
    "GATEWAY_EDGE__DOMAINS": "a.example",
    "GATEWAY_EDGE__LISTEN": "[::1]:8443",
    "GATEWAY_DIRECTORY__BACKEND": "file",
    "GATEWAY_DIRECTORY__PATH": "sandboxes.toml",
    "GATEWAY_LIMITS__CONNECTIONS": "10",
}
WARNING = {"GATEWAY_EDGE__TRUSTED_PROXIES": "::/0"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pair = write_pair(tmp_path, "*.a.example")
    files = f"{{ cert = {json.dumps(str(pair.cert))}, key = {json.dumps(str(pair.key))} }}"
    (tmp_path / "gateway.toml").write_text(f"[tls]\ncertificates = [{files}]\n")
    (tmp_path / "sandboxes.toml").write_text('[sandboxes.demo]\naddress = "fd00::5"\n')
    return tmp_path


def check(folder: Path, *flags: str, **settings: str) -> tuple[int, str]:
    """The exit status and what is printed."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "--config", "gateway.toml", *flags],
        cwd=folder,
        env=clean_environment({**SETTINGS, **settings}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_warning_fails_only_if_asked_to(folder: Path) -> None:
    for flags in ((), ("--strict",)):
        status, printed = check(folder, *flags)
        assert (status, printed.splitlines()[-1]) == (0, "gateway.toml: ok")
    status, printed = check(folder, **WARNING)
    assert (status, printed.splitlines()[-1]) == (0, "gateway.toml: ok, 1 warning")
    assert printed.splitlines()[-5:-2] == [
        "warning: everybody-trusted",
        "    edge.trusted_proxies has ::/0: anybody can claim to be any visitor, and no limit holds them",
        "    mend: name the balancer's networks only",
    ]
    assert check(folder, "--strict", **WARNING)[0] == 1


def test_an_error_fails_and_all_is_told_at_once(folder: Path) -> None:
    (folder / "cert.key").write_text("nonsense")
    (folder / "sandboxes.toml").write_text('[sandboxes.demo]\naddress = "::1"\n')
    status, printed = check(folder, "--json", **WARNING)
    told = json.loads(printed)
    assert (status, told["ok"]) == (1, False)
    assert [(each["level"], each["check"]) for each in told["findings"]] == [
        ("error", "certificate-broken"),
        ("error", "sandbox-outside-allow"),
        ("warning", "everybody-trusted"),
    ]
    assert all(each["finding"] and each["mend"] for each in told["findings"])
    assert told["settings"]["limits.connections"]["value"] == "10"
    assert told["settings"]["limits.connections"]["from"].startswith("environment")


def test_serve_says_the_same_at_its_start_and_at_each_reload(tmp_path: Path) -> None:
    with App() as app:
        gateway = Serving(tmp_path, app, workers=1)
        gateway.env.update(WARNING)
        with gateway:
            said = "warning everybody-trusted: edge.trusted_proxies has ::/0"
            gateway.wait_until(lambda: gateway.log.count(said) == 1, "at its start")
            gateway.tell(signal.SIGHUP)
            gateway.wait_until(lambda: gateway.log.count(said) == 2, "at a reload")
            gateway.says("reloaded: generation 2 serves")

"""examples/complete.py as the users' guide has it, beside a real `gateway dev`."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import AppProcess, GatewayProcess, curl
from tests.support.process import ROOT, clean_environment, free_port, poll

pytestmark = pytest.mark.interop


class RegisteringDev(GatewayProcess):
    """`gateway dev` whose admin listener the environment places."""

    def __init__(self, *, directory: Path) -> None:
        super().__init__(directory=directory)
        self.admin_port = free_port()
        self.env["GATEWAY_ADMIN__LISTEN"] = f"127.0.0.1:{self.admin_port}"

    @property
    def admin(self) -> str:
        return f"http://127.0.0.1:{self.admin_port}"

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.admin}{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegisteringDev]:
    with RegisteringDev(directory=tmp_path_factory.mktemp("dev")) as gateway:
        yield gateway


def test_the_example(dev: RegisteringDev) -> None:
    port = free_port()
    places = {"GATEWAY_ADMIN": dev.admin, "GATEWAY_CA": str(dev.ca), "PORT": str(port)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / "complete.py")],
        env=clean_environment(places),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.split("\n")
    assert lines[0].startswith("registered complete at [::1], generation ")
    assert f"ready: {dev.url(port, 'complete')}" in lines
    assert "Hello from a sandbox" in lines
    assert dev.call("GET", "/v1/sandboxes/complete")[0] == 404


def test_a_change_reaches_the_edge(dev: RegisteringDev, flask_app: AppProcess) -> None:
    url = dev.url(flask_app.port, "late")
    assert curl(url, dev.ca).status == 404
    status, record = dev.call("PUT", "/v1/sandboxes/late", {"address": "::1"})
    assert status == 201
    assert record["publicAccessUrlTemplate"] == f"https://{{port}}-late.sandbox.localhost:{dev.tls_port}"
    assert curl(url, dev.ca).text.startswith("Hello from Flask")
    assert dev.call("GET", f"/v1/sandboxes/late/ports/{flask_app.port}")[1]["state"] == "listening"
    assert dev.call("DELETE", "/v1/sandboxes/late") == (204, None)
    assert curl(url, dev.ca).status == 404


def test_dev_takes_loopback_only_and_never_leads_to_itself(dev: RegisteringDev) -> None:
    status, problem = dev.call("PUT", "/v1/sandboxes/far", {"address": "fd00::5"})
    assert status == 422
    assert problem["errors"] == [
        {
            "field": "address",
            "message": "[fd00::5] is outside the allowed prefixes (upstream.allow); upstream.allow lists ::1/128",
        }
    ]
    # The admin listener is on 127.0.0.1, where nothing is ever forwarded to, and is nobody's app.
    for port, state in ((dev.tls_port, "prohibited"), (dev.admin_port, "refused")):
        assert dev.call("GET", f"/v1/sandboxes/demo/ports/{port}")[1]["state"] == state


def test_a_lifetime_ends(dev: RegisteringDev, flask_app: AppProcess) -> None:
    url = dev.url(flask_app.port, "brief")
    assert dev.call("PUT", "/v1/sandboxes/brief", {"address": "::1", "lifetime": 3})[0] == 201
    assert curl(url, dev.ca).status == 200
    poll(lambda: curl(url, dev.ca).status == 404, "the record is gone", 15)

"""What `gateway dev` says of the ports it exposes, beside apps that are started, mended and ended."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.harness import GatewayProcess, curl, flask_app
from tests.support.process import clean_environment

pytestmark = pytest.mark.interop


def test_the_line_of_a_port_follows_its_app(tmp_path: Path) -> None:
    with flask_app(host="127.0.0.1") as deaf, GatewayProcess(deaf.port, directory=tmp_path) as gateway:
        gateway.printed(
            rf"→ {deaf.port}  \S+ \(pid {deaf.pid}\) listens on 127\.0\.0\.1 only: a sandbox would refuse this"
        )
        assert curl(gateway.url(deaf.port), gateway.ca).status == 502
        deaf.stop()
        gateway.printed(rf"→ {deaf.port}  nothing listens here yet")
        with flask_app(port=deaf.port) as mended:
            gateway.printed(rf"→ {deaf.port}  ready: \S+ \(pid {mended.pid}\)")
            assert curl(gateway.url(deaf.port), gateway.ca).status == 200


def test_loopback4_forwards_and_says_that_it_is_lenient(tmp_path: Path) -> None:
    with (
        flask_app(host="127.0.0.1") as deaf,
        GatewayProcess(deaf.port, "--loopback4", directory=tmp_path) as gateway,
    ):
        line = gateway.printed(rf"→ {deaf.port}  .*")
        assert "ready by --loopback4 alone" in line
        assert re.search(r"listens on 127\.0\.0\.1 only: a sandbox would refuse this", line)
        assert curl(gateway.url(deaf.port), gateway.ca).status == 200
        explained = subprocess.run(
            [sys.executable, "-m", "gateway", "explain", gateway.url(deaf.port)],
            env=clean_environment({}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert explained.returncode == 0, explained.stdout + explained.stderr
        refused, accepts = f"[::1]:{deaf.port} refuses, as it would in a sandbox", f"127.0.0.1:{deaf.port} accepts"
        assert f"{refused}, and {accepts} connections" in " ".join(explained.stdout.split())

"""Large bodies over HTTP/2: whole, at bounded memory, and fast on a long road.

`LARGE_MIB=1024` makes the transfers a gibibyte each; 64 MiB show the same in a sixteenth of the time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.interop.harness import GatewayProcess, require
from tests.support.long_cable import LongCable
from tests.support.process import descendants, resident_bytes
from tests.support.raw_app import RawApp
from tests.support.stream import blocks, digest

pytestmark = pytest.mark.interop

MIB = 1024 * 1024
SIZE = int(os.environ.get("LARGE_MIB", "64")) * MIB
GROWTH = 32 * MIB
"""How much more resident memory a transfer of any size may take, over all processes of the gateway."""
PATIENCE = 60 + SIZE // (4 * MIB)
ROUND_TRIP = 0.050
LEAST_PER_SECOND = 15e6
TOOK = re.compile(r"([\d.]+)s +200 +\d+ /up")
"""In nghttp's table: from the first octet of the request to the last of the answer."""
TRIES = 3
"""A busy machine may be slow once; windows that are too small are slow every time."""


@pytest.fixture
def gateway(raw_app: RawApp, tmp_path: Path) -> Iterator[GatewayProcess]:
    with GatewayProcess(raw_app.port, directory=tmp_path) as process:
        yield process


def curl(url: str, ca: Path, *arguments: str) -> list[str]:
    """A command that ends by saying, on standard error, by which version it was."""
    require("curl")
    command = ["curl", "--silent", "--show-error", "--http2", "--noproxy", "*", "--max-time", str(PATIENCE)]
    return [*command, "--cacert", str(ca), "--no-buffer", *arguments, "--write-out", "%{stderr}%{http_version}", url]


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """With pipes to it and from it; that it was HTTP/2 and has ended well is seen at the end."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process
        assert process.stdout is not None and process.stderr is not None
        said = process.stderr.read().decode()
        assert (process.wait(), said) == (0, "2")


def get(url: str, ca: Path) -> tuple[int, str]:
    """Length and SHA-256 of what comes."""
    seen, known = 0, hashlib.sha256()
    with running(curl(url, ca)) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        while piece := process.stdout.read(256 * 1024):
            known.update(piece)
            seen += len(piece)
    return seen, known.hexdigest()


def put(url: str, ca: Path, body: Iterator[bytes]) -> bytes:
    """The answer to an upload whose length nobody was told."""
    with running(curl(url, ca, "--request", "POST", "--upload-file", "-")) as process:
        assert process.stdin is not None and process.stdout is not None
        for piece in body:
            process.stdin.write(piece)
        process.stdin.close()
        return process.stdout.read()


@contextmanager
def bounded_memory(gateway: GatewayProcess, url: str) -> Iterator[None]:
    """What goes on inside may not make the gateway grow."""
    for _ in range(5):
        get(url, gateway.ca)
    pids = descendants(gateway.pid)
    before, most, over = resident_bytes(pids), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, resident_bytes(pids))

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert 0 < most < before + GROWTH


@pytest.mark.slow
def test_a_large_body_down(raw_app: RawApp, gateway: GatewayProcess) -> None:
    with bounded_memory(gateway, gateway.url(raw_app.port, path="/ping")):
        assert get(gateway.url(raw_app.port, path=f"/down?bytes={SIZE}"), gateway.ca) == (SIZE, digest(SIZE))


@pytest.mark.slow
def test_a_large_body_up(raw_app: RawApp, gateway: GatewayProcess) -> None:
    with bounded_memory(gateway, gateway.url(raw_app.port, path="/ping")):
        answer = put(gateway.url(raw_app.port, path="/up"), gateway.ca, blocks(SIZE))
    assert json.loads(answer) == {"bytes": SIZE, "sha256": digest(SIZE)}


@pytest.mark.slow
def test_one_upload_is_fast_on_a_long_road(raw_app: RawApp, gateway: GatewayProcess, tmp_path: Path) -> None:
    """With a window of 64 KiB, as it is at first, an upload would go at 1.3 MB/s; with 1 MiB it could at 21."""
    require("nghttp")
    size = 64 * MIB
    file = tmp_path / "body"
    file.write_bytes(b"".join(blocks(size)))
    found = []
    with LongCable(gateway.tls_port, ROUND_TRIP / 2) as cable:
        command = ["nghttp", "--no-verify-peer", "--stat", "--data", str(file)]
        command += [f"--header=:authority: {gateway.host(raw_app.port)}:{cable.port}", f"https://[::1]:{cable.port}/up"]
        for _ in range(TRIES):
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
            assert f'"sha256": "{digest(size)}"' in said
            found.append(size / float(TOOK.search(said)[1]))
            if found[-1] > LEAST_PER_SECOND:
                break
    assert max(found) > LEAST_PER_SECOND, found

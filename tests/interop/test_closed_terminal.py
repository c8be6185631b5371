"""A terminal that is closed sends SIGHUP: `gateway dev` ends as with Ctrl-C, unless nohup(1) has started it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.interop.harness import GatewayProcess


def test_it_ends_in_order(tmp_path: Path) -> None:
    gateway = GatewayProcess("5000", directory=tmp_path)
    gateway.command = ["env", "--default-signal=HUP", *gateway.command]  # whatever has started the tests
    gateway.stop_signal = signal.SIGHUP
    with gateway:
        pass


def test_not_with_nohup(tmp_path: Path) -> None:
    gateway = GatewayProcess("5000", directory=tmp_path)
    gateway.command = ["nohup", *gateway.command]
    with gateway:
        for _ in range(3):
            os.kill(gateway.pid, signal.SIGHUP)

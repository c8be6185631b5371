"""Who does not ask for the local network needs none of its packages."""

from __future__ import annotations

import subprocess
import sys


def test_gateway_dev_imports_them_only_if_asked() -> None:
    script = (
        "import sys, gateway.dev.run, gateway.process.supervisor\n"
        "print([name for name in ('ifaddr', 'segno', 'zeroconf', 'gateway.dev.lan.lan') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"

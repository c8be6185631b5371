"""`gateway serve` has no inspector: what it imports does not even know of one."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import gateway.cli, gateway.process.supervisor, gateway.process.worker, gateway.process.admin, gateway.edge.listener
print(*[name for name in sys.modules if name.startswith(("gateway.inspector", "gateway.dev"))])
"""


def test_serve_imports_none_of_it() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert [name for name in said.stdout.split() if name.startswith("gateway.inspector")] == []

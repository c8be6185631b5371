"""Who has a port of this machine: a process by its name, another gateway as such. Asks the kernel, and nobody else."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.dev.running import all_running
from gateway.diagnosis import own_sockets


def holder(port: int) -> str:
    """Who listens on `port` of this machine, as a sentence without its full stop; empty: nobody tells."""
    for each in all_running():
        if port == each.port:
            urls = ", ".join(each.url(app_port, sandbox_id) for sandbox_id, app_port in each.exposed)
            return f"another gateway (pid {each.pid}) has port {port}, for {urls}"
    pids = _pids(port)
    if not pids:
        return ""
    name = "another gateway" if is_gateway(pids[0]) else own_sockets.program(pids[0])
    return f"{name} (pid {pids[0]}) has port {port}"


def has_gateway(port: int) -> bool:
    """Whether a gateway, of whichever kind, is seen to listen on `port`."""
    return any(map(is_gateway, _pids(port)))


def _pids(port: int) -> list[int]:
    """Of who listens on `port`, as far as they are this user's to see."""
    try:
        found = own_sockets.listening({port})
    except OSError:
        return []
    return [pid for each in found if (pid := own_sockets.holder(each.inode))]


def is_gateway(pid: int) -> bool:
    """Whether process `pid` is a gateway of any installation: `gateway dev`, `python -m gateway serve`."""
    if pid == os.getpid():
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:8]
    except OSError:
        return False
    return any(word.rpartition(b"/")[2] == b"gateway" for word in words) and not {b"dev", b"serve"}.isdisjoint(words)

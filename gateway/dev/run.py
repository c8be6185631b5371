"""The command: prepare, say so, serve until told to stop."""

from __future__ import annotations

import os

import uvloop

from gateway.config import Settings
from gateway.dev.options import DevOptions
from gateway.dev.preparing import prepare
from gateway.dev.running import Published, Running, network
from gateway.dev.serving import serve


def run(settings: Settings, options: DevOptions) -> int:
    """Runs until Ctrl-C or SIGTERM; returns the exit status. Raises UserError with one sentence."""
    prepared = prepare(settings, options)
    exposed = [(each.sandbox_id, each.port) for each in prepared.exposed]
    said = Running(os.getpid(), prepared.port, options.domain, prepared.admin_url, exposed, network())
    published = Published(said)
    try:
        uvloop.run(serve(prepared, options))
    finally:
        published.close()
        prepared.close()
    return 0

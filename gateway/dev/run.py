"""The command: prepare, say so, serve until told to stop."""

from __future__ import annotations

import uvloop

from gateway.config import Settings
from gateway.dev.banner import banner
from gateway.dev.options import DevOptions
from gateway.dev.preparing import prepare
from gateway.dev.serving import serve


def run(settings: Settings, options: DevOptions) -> int:
    """Runs until Ctrl-C or SIGTERM; returns the exit status. Raises UserError with one sentence."""
    prepared = prepare(settings, options)
    try:
        uvloop.run(serve(prepared, banner(prepared, options), options.colour))
    finally:
        prepared.close()
    return 0

"""What `gateway reload` and `gateway status` ask of a running gateway."""

from __future__ import annotations

import time

from gateway.admin.reload import Reload
from gateway.config import Settings
from gateway.errors import UserError
from gateway.process.admin_client import AdminClient
from gateway.process.status_table import Status

ROLLED_WITHIN = 120.0
"""Seconds until all processes of a valid configuration serve; each takes half a second."""
INTERVAL = 0.2
"""Seconds between two looks how far it is."""


def admin_of(settings: Settings) -> str:
    """The URL of the admin listener of a gateway with `settings`, from this machine."""
    listen = settings.admin.listen
    host = {"::": "::1", "0.0.0.0": "127.0.0.1"}.get(listen.host, listen.host)
    return f"http://[{host}]:{listen.port}" if ":" in host else f"http://{host}:{listen.port}"


def fetch_status(client: AdminClient) -> Status:
    return client.fetch(Status, "GET", "/v1/status")


def reload(client: AdminClient) -> list[str]:
    """Reloads, and waits until it is rolled out: what to tell, line by line. Raises UserError if it is refused, or the
    roll fails.
    """
    asked = client.fetch(Reload, "POST", "/v1/reload")
    end, now = time.monotonic() + ROLLED_WITHIN, asked
    while now.state == "rolling" or (now.state == "waiting" and not now.draining):
        if time.monotonic() > end:
            raise UserError(
                f"the new configuration is valid, and not rolled out after {ROLLED_WITHIN:g} s: see the log"
            )
        time.sleep(INTERVAL)
        now = fetch_status(client).reload or now
    if now.state == "failed":
        raise UserError(f"the reload ended early: {now.error}; what was not replaced goes on as before")
    if now.state == "refused":  # another one, asked for meanwhile
        raise UserError(f"a later reload was refused: {now.error}")
    if now.state == "waiting":
        lines = ["valid; it is rolled out once processes that drain have ended (process.max_draining)"]
    else:
        lines = [f"reloaded: generation {now.generation} serves"]
    return lines + [f"not before a restart: {name}" for name in asked.needs_restart]

"""Which running gateway a command means that names none: the one that serves the URL asked about, or the only one.

Another gateway's directory answers with another gateway's truth, so in doubt nobody is asked, and the sentence names
those that run. Without a `gateway dev` it is the admin listener at its default address, as of `gateway serve`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dev.app_port import AppPort
from gateway.dev.holders import has_gateway
from gateway.dev.running import Running, all_running
from gateway.diagnosis.url import parse_url
from gateway.errors import UserError

_DEFAULT_PORT = 9090
DEFAULT_ADMIN = f"http://127.0.0.1:{_DEFAULT_PORT}"
"""Where `serve` has its own, unless a configuration says otherwise."""


def admin_of_url(url: str) -> str:
    """The admin listener of the gateway that serves `url`, by its port; by its domain, if no port is written.

    Raises UserError if several might, or none of those that are known.
    """
    asked, running = parse_url(url), all_running()
    serving = [each for each in running if each.port == asked.port_reached]
    if not serving and asked.port is None:
        serving = [each for each in running if asked.authority.lower().endswith(f".{each.domain}")]
    if len(serving) > 1:
        raise UserError(f"several gateways could be meant: write the port of the URL, or --admin\n{_list(serving)}")
    if serving:
        return serving[0].admin
    if any(each.admin == DEFAULT_ADMIN for each in running):  # so no `serve` has that address
        what = asked.authority if asked.port_reached is None else f"port {asked.port_reached}"
        raise UserError(f"no gateway of yours serves {what}; there are\n{_list(running)}")
    return DEFAULT_ADMIN


def admin_of_any() -> str:
    """The admin listener of the only gateway there is. Raises UserError if there are several."""
    running = all_running()
    admins = [each.admin for each in running]
    if running and DEFAULT_ADMIN not in admins and has_gateway(_DEFAULT_PORT):
        admins.append(DEFAULT_ADMIN)
    if len(admins) > 1:
        besides = f"\n  --admin {DEFAULT_ADMIN}" if len(admins) > len(running) else ""
        raise UserError(f"several gateways run: name one with --admin URL\n{_list(running)}{besides}")
    return admins[0] if admins else DEFAULT_ADMIN


def url_of_port(app: AppPort) -> tuple[str, str]:
    """The public URL of a port of this machine, and the admin listener of the gateway that serves it.

    Raises UserError if no gateway runs, or several that might.
    """
    running = all_running()
    if not running:
        raise UserError(
            f"no gateway dev of yours is running: start one with gateway dev {app.port}, or give the whole URL"
        )
    exposes = [each for each in running if any(port == app.port for _, port in each.exposed)]
    if len(exposes or running) > 1:
        raise UserError(f"several gateways could be meant; give the whole URL:\n{_list(exposes or running)}")
    [found] = exposes or running
    ids = [sandbox_id for sandbox_id, port in found.exposed if port == app.port]
    return found.url(app.port, app.sandbox_id or (ids or [found.exposed[0][0]])[0]), found.admin


def _list(running: Sequence[Running]) -> str:
    rows = []
    for each in running:
        urls = ", ".join(each.url(port, sandbox_id) for sandbox_id, port in each.exposed)
        rows.append(f"  --admin {each.admin}  {urls} (pid {each.pid})")
    return "\n".join(rows)

"""Which running gateway a command means that names none: the one that serves the URL asked about, or the only one.

Another gateway's directory answers with another gateway's truth, so in doubt nobody is asked, and the sentence names
those that run. Without a `gateway dev` it is the admin listener at its default address, as of `gateway serve`.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.dev.app_port import AppPort
from gateway.dev.running import Running, all_running
from gateway.diagnosis.url import parse_url
from gateway.errors import UserError

DEFAULT_ADMIN = "http://127.0.0.1:9090"
"""Where `serve` has its own, unless a configuration says otherwise."""


def admin_of_url(url: str) -> str:
    """The admin listener of the gateway that serves `url`. Raises UserError if several might."""
    port = parse_url(url).port_reached
    running = all_running()
    serves = [each for each in running if each.port == port]
    if serves:
        return serves[0].admin
    return _only(running, f"none of them serves port {port}" if port else "the URL has no port")


def admin_of_any() -> str:
    """The admin listener of the only gateway there is. Raises UserError if there are several."""
    return _only(all_running(), "name one with --admin URL")


def _only(running: Sequence[Running], why: str) -> str:
    if len(running) > 1:
        raise UserError(f"several gateways run, and {why}:\n{_list(running)}")
    return running[0].admin if running else DEFAULT_ADMIN


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

"""What the terminal says first: the URLs, and what one does next. Also how this program is typed."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gateway import __version__
from gateway.addresses import LOOPBACK, LOOPBACK4, authority, lack_of_ipv6, literal
from gateway.dev.holders import holder
from gateway.dev.keys import is_terminal
from gateway.dev.names import is_localhost, what_to_add
from gateway.dev.options import DEFAULT_DOMAIN, DevOptions
from gateway.dev.preparing import Prepared
from gateway.diagnosis.port_line import PortLine
from gateway.printable import printable
from gateway.tls import local_folder

REQUESTS_WITH_KEYS = "Requests (Ctrl-C stops, h shows the keys):"
_GREEN, _YELLOW, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[0m"
_DIFFERENT = "apps are reached at 127.0.0.1; in a sandbox over IPv6 only, so an app must listen on :: there. Here"


def banner(
    prepared: Prepared, options: DevOptions, found: Mapping[int, PortLine], strangers: Mapping[str, Sequence[str]]
) -> str:
    """Lines, the last one ended; `found` is what is at the exposed ports, `strangers` the names that lead nowhere or
    elsewhere, with their addresses.
    """
    strong: Callable[[str], str] = (lambda text: f"\x1b[1m{text}\x1b[0m") if options.colour else str
    port, suffix = prepared.port, prepared.port_suffix
    urls = [prepared.url(each) for each in prepared.exposed]
    width = max(map(len, urls))
    command = typed_command()
    certs = "" if options.domain == DEFAULT_DOMAIN else f" --domain {options.domain}"
    if not local_folder.is_of_user(options.certs, options.domain):
        certs += f" --certs {shlex.quote(str(options.certs))}"
    lines = [f"gateway {__version__}", ""]
    if options.listen_port not in (0, port):
        who = holder(options.listen_port) or f"port {options.listen_port} is not free"
        lines += [f"  {who}: this one has {port}", ""]
    for url, each in zip(urls, prepared.exposed, strict=True):
        what = f"→ {each.port}  the built-in demo, {authority(prepared.loopback, each.port)}"
        if (line := found.get(each.port)) is not None:
            what = port_text(each.port, line, " " * (width + 5), colour=options.colour).strip()
        lines.append(f"  {strong(url)}{' ' * (width - len(url))}   {what}")
    anywhere = f"https://<port>-{prepared.exposed[0].sandbox_id}.{options.domain}{suffix}/"
    lines += ["", f"  other ports {anywhere} leads to any port of {literal(prepared.loopback)}"]
    lines.append(f"  index       {prepared.index_url}{'':6}sandboxes and their ports, live")
    bind_it = " (bind it to ::)"
    if prepared.loopback is not LOOPBACK:
        bind_it = ""
        lines += [f"  no IPv6     {_DIFFERENT} {lack_of_ipv6()}"]
    if strangers:
        lines += [f"  names       {what_to_add(strangers)}"]
    curl = f"curl --cacert {shlex.quote(str(prepared.certificates.authority))}"
    if (host := prepared.host(prepared.exposed[0])) in strangers and not is_localhost(host):
        curl += f" --resolve {host}:{port}:{LOOPBACK4}"
    lines += [
        f"  try it      {curl} {urls[0]}",
        f"  your app    {command} dev 3000{'':9}exposes what listens on port 3000{bind_it}",
        f"  browsers    {command} certs trust{certs}{'':6}makes browsers on this machine trust the certificate",
        f"  why (not)?  {command} explain URL{'':6}says what happens to a request, step by step",
        f"  inspector   {prepared.admin_url}/{'':6}every exchange with its bodies, live; replay, copy as curl, HAR",
        "",
        REQUESTS_WITH_KEYS if is_terminal() else "Requests (Ctrl-C stops):",
        "",
    ]
    return "\n".join(lines)


def port_text(port: int, line: PortLine, indent: str, *, colour: bool) -> str:
    """What is at a port, behind `indent`; the advice stands below, within the same margin."""
    tint, plain = (_GREEN if line.ready else _YELLOW, _PLAIN) if colour else ("", "")
    text = f"{indent}→ {port}  {tint}{printable(line.state)}{plain}\n"
    if line.advice:
        text += f"{' ' * (len(indent) + len(f'→ {port}  '))}{printable(line.advice)}\n"
    return text


def typed_command() -> str:
    """This program as the user would type it."""
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        return f"{Path(sys.executable).name} -m gateway"
    try:
        return str(program.resolve().parent.joinpath(program.name).relative_to(Path.cwd()))
    except ValueError:
        found = shutil.which(program.name)
        return program.name if found and Path(found).samefile(program) else str(program)

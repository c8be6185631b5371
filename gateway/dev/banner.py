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
_WIDEST = 36
"""What is longer has no column."""
_GREEN, _YELLOW, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[0m"
_DIFFERENT = "apps are reached at 127.0.0.1; in a sandbox over IPv6 only, so an app must listen on :: there. Here"


def banner(
    prepared: Prepared, options: DevOptions, found: Mapping[int, PortLine], strangers: Mapping[str, Sequence[str]]
) -> str:
    """Lines, the last one ended; `found` is what is at the exposed ports, `strangers` the names that lead nowhere or
    elsewhere, with their addresses.
    """
    lines = [f"gateway {__version__}", ""]
    if options.listen_port not in (0, prepared.port):
        who = holder(options.listen_port) or f"port {options.listen_port} is not free"
        lines += [f"  {who}: this one has {prepared.port}", ""]
    requests = REQUESTS_WITH_KEYS if is_terminal() else "Requests (Ctrl-C stops):"
    lines += [*_urls(prepared, found, colour=options.colour), "", *_facts(prepared, strangers)]
    lines += [*_next(prepared, options), "", requests, ""]
    return "\n".join(lines)


def _urls(prepared: Prepared, found: Mapping[int, PortLine], *, colour: bool) -> list[str]:
    strong: Callable[[str], str] = (lambda text: f"\x1b[1m{text}\x1b[0m") if colour else str
    urls = [prepared.url(each) for each in prepared.exposed]
    width = max(map(len, urls))
    lines = []
    for url, each in zip(urls, prepared.exposed, strict=True):
        what = f"→ {each.port}  the built-in demo, {authority(prepared.loopback, each.port)}"
        if (line := found.get(each.port)) is not None:
            what = port_text(each.port, line, " " * (width + 5), colour=colour).strip()
        lines.append(f"  {strong(url)}{' ' * (width - len(url))}   {what}")
    return lines


def _facts(prepared: Prepared, strangers: Mapping[str, Sequence[str]]) -> list[str]:
    first = prepared.exposed[0]
    anywhere = f"https://<port>-{first.sandbox_id}.{prepared.domain}{prepared.port_suffix}/"
    lines = [f"  other ports {anywhere} leads to any port of {literal(prepared.loopback)}"]
    if prepared.loopback is not LOOPBACK:
        lines += [f"  no IPv6     {_DIFFERENT} {lack_of_ipv6()}"]
    if strangers:
        lines += [f"  names       {what_to_add(strangers)}"]
    curl = f"curl --cacert {shlex.quote(str(prepared.certificates.authority))}"
    if (host := prepared.host(first)) in strangers and not is_localhost(host):
        curl += f" --resolve {host}:{prepared.port}:{LOOPBACK4}"
    return [*lines, f"  try it      {curl} {prepared.url(first)}"]


def _next(prepared: Prepared, options: DevOptions) -> list[str]:
    """What one does next, and where one looks."""
    command = typed_command()
    certs = "" if options.domain == DEFAULT_DOMAIN else f" --domain {options.domain}"
    if not local_folder.is_of_user(options.certs, options.domain):
        certs += f" --certs {shlex.quote(str(options.certs))}"
    bind_it = " (bind it to ::)" if prepared.loopback is LOOPBACK else ""
    rows = [
        ("your app", f"{command} dev 3000", f"exposes what listens on port 3000{bind_it}"),
        ("browsers", f"{command} certs trust{certs}", "makes browsers on this machine trust the certificate"),
        ("why (not)?", f"{command} explain URL", "says what happens to a request, step by step"),
        ("index", prepared.index_url, "sandboxes and their ports, live"),
        ("inspector", f"{prepared.admin_url}/", "every exchange with its bodies, live; replay, copy as curl, HAR"),
    ]
    if (log := prepared.settings.log).access and log.path is not None:
        rows.append(("access log", shlex.quote(str(log.path)), "has every request, too (log.path)"))
    column = min(max(len(what) for _, what, _ in rows), _WIDEST)
    return [f"  {label:<11} {what:<{column}}   {meaning}" for label, what, meaning in rows]


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
    found = shutil.which(program.name)
    if found and program.exists() and Path(found).samefile(program):
        return program.name
    try:
        return str(program.resolve().parent.joinpath(program.name).relative_to(Path.cwd()))
    except ValueError:
        return str(program)

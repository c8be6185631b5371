"""The command line: verbs, their flags, and how a mistake is told.

Exit statuses: 0 ok, 1 the user's input or state (one sentence on stderr), 2 usage (argparse's).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from gateway import __version__, cli_types, descriptors, standard_streams
from gateway.build import BUILD
from gateway.cli_guesses import likely_of, with_verb
from gateway.config import Loaded, Settings, fingerprint, load, render_effective
from gateway.config.values import is_text, quote
from gateway.dev.finding import DEFAULT_ADMIN
from gateway.dev.options import DEFAULT_DOMAIN, DevOptions, Exposed
from gateway.errors import UserError
from gateway.printable import printable
from gateway.tls import openssl

if TYPE_CHECKING:
    from gateway.process.admin_client import AdminClient
    from gateway.process.sandboxes import Records

DEFAULT_DEV_PORT = 8443

ADMIN_VARIABLE = "GATEWAY_ADMIN_TOKEN"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    standard_streams.prepare()
    try:
        return _run(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        for line in str(error).splitlines():
            print(f"gateway: {printable(line)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except standard_streams.ReaderGone:
        return 0


def _run(arguments: Sequence[str]) -> int:
    parser = _parser()
    try:
        for argument in arguments:
            if not is_text(argument):
                parser.error(f"{quote(argument)} is not {sys.getfilesystemencoding().upper()}")
        options = parser.parse_args(with_verb(arguments))
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    finally:
        sys.stdout.flush()  # here, where a failure is told; of --help, too


class _Parser(argparse.ArgumentParser):
    """What was typed or pasted is quoted in its complaints, and may be anything."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))

    def _check_value(self, action: argparse.Action, value: str) -> None:
        """As argparse's own, which lists all choices and does not say the likely one (before Python 3.14)."""
        choices = [str(choice) for choice in action.choices or ()]
        if choices and value not in choices and (likely := likely_of(value, choices)):
            raise argparse.ArgumentError(action, f"there is no {quote(value)}: did you mean {likely}?")
        super()._check_value(action, value)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gateway",
        description="The public HTTPS door of a sandbox platform: https://<port>-<sandbox-id>.<domain> "
        "reaches [address of the sandbox]:<port>.",
        epilog="Settings: flag > environment (GATEWAY_EDGE__DOMAINS, …) > file > default.",
    )
    parser.add_argument("--version", action="version", version=f"gateway {__version__} ({BUILD})")
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    dev = verbs.add_parser("dev", help="see apps of this machine under their public URL")
    dev.add_argument(
        "exposed",
        nargs="*",
        type=cli_types.exposed,
        metavar="[ID=]PORT",
        help="what listens on PORT of this machine, as sandbox ID (default: local); none: a built-in demo app. "
        "localhost:PORT and http://localhost:PORT are understood, too",
    )
    dev.add_argument(
        "--listen-port",
        type=cli_types.port,
        default=DEFAULT_DEV_PORT,
        metavar="PORT",
        help="HTTPS port (default: %(default)s); if it is taken, the next free one",
    )
    dev.add_argument("--strict-port", action="store_true", help="an error instead of another port")
    dev.add_argument(
        "--loopback4",
        action="store_true",
        help="forward to what listens on 127.0.0.1 only, too, which a sandbox would refuse",
    )
    dev.add_argument(
        "--lan",
        action="store_true",
        help="let everybody in the local network open the exposed apps, under names that phones find",
    )
    dev.add_argument("--domain", default=DEFAULT_DOMAIN, help="the domain of the URLs (default: %(default)s)")
    _add_certs(dev)
    _add_config(dev, required=False)
    dev.add_argument(
        "--no-color", action="store_true", help="no colours (also: NO_COLOR, or output that is no terminal)"
    )
    dev.set_defaults(run=_dev)

    serve = verbs.add_parser("serve", help="run in production: a supervisor and its workers")
    _add_config(serve, required=True)
    serve.set_defaults(run=_serve)

    check = verbs.add_parser(
        "check",
        help="validate a configuration, print what is in force, and why, and what will be an outage all the same",
    )
    _add_config(check, required=True)
    check.add_argument("--strict", action="store_true", help="exit 1 for warnings, too")
    check.add_argument("--json", action="store_true", help="print findings and settings as JSON")
    check.set_defaults(run=_check)

    reload = verbs.add_parser("reload", help="roll out the configuration of a running gateway anew, as SIGHUP does")
    _add_running(reload, _reload)

    status = verbs.add_parser(
        "status", help="how a running gateway is: workers, failures, who is busy, certificates, limits"
    )
    _add_running(status, _status)
    status.add_argument("--json", action="store_true", help="print what /v1/status answers")

    explain = verbs.add_parser("explain", help="why does this URL (not) work? Each step of a request, with its time")
    explain.add_argument(
        "url",
        type=cli_types.url,
        metavar="URL",
        help="e.g. https://5000-abc123.sandbox.example.dev/; 5000: what `gateway dev` makes of that port",
    )
    where = explain.add_mutually_exclusive_group()
    where.add_argument("--config", type=Path, metavar="FILE", help="look from here, as a gateway with these settings")
    _add_admin(where)
    explain.add_argument("--json", action="store_true", help="print the report as JSON")
    explain.set_defaults(run=_explain)

    sandboxes = verbs.add_parser("sandboxes", help="register, list, show and remove sandboxes; back them up")
    actions = sandboxes.add_subparsers(title="actions", required=True, metavar="ACTION")
    add = actions.add_parser("add", help="create or replace a record")
    add.add_argument("id", type=cli_types.sandbox_id, metavar="ID", help="a-z, 0-9 and inner hyphens, e.g. abc123")
    add.add_argument("address", metavar="ADDRESS", help="the sandbox's IPv6 address, e.g. fd00::5")
    add.add_argument("--ipv4", metavar="A", help="where the same machine is looked at over IPv4 after a refusal")
    add.add_argument("--host", metavar="MASK", help="the Host field its apps are sent, e.g. localhost:{port}")
    add.add_argument(
        "--protocol",
        metavar="P",
        help="what its apps speak: auto, http1 or h2c (gRPC, HTTP/2 without TLS); by port: 'auto 50051=h2c'",
    )
    add.add_argument(
        "--lifetime",
        type=cli_types.seconds,
        metavar="SECONDS",
        help="the record is gone after that, unless it is added again; without, it stays",
    )
    add.add_argument("--if-match", metavar="GEN", help="only if this is the generation of the record there is")
    _add_records(add, _sandboxes_add)
    listing = actions.add_parser("list", help="all records, by id")
    listing.add_argument("--after", type=cli_types.sandbox_id, metavar="ID", help="only ids greater than this one")
    listing.add_argument("--limit", type=cli_types.count, metavar="N", help="at most N records")
    _add_records(listing, _sandboxes_list)
    show = actions.add_parser("show", help="one record")
    show.add_argument("id", type=cli_types.sandbox_id, metavar="ID")
    _add_records(show, _sandboxes_show)
    remove = actions.add_parser("remove", help="remove a record")
    remove.add_argument("id", type=cli_types.sandbox_id, metavar="ID")
    _add_records(remove, _sandboxes_remove)

    backup = actions.add_parser("backup", help="copy the embedded registry to a file, while the gateway runs")
    _add_copy(backup, "made, or replaced if it is an older backup", _sandboxes_backup)
    restore = actions.add_parser("restore", help="put a backup in the registry's place, while the gateway runs or not")
    _add_copy(restore, "the backup, which stays as it is", _sandboxes_restore)

    certs = verbs.add_parser("certs", help="the local certificate authority of `gateway dev`")
    certs.add_argument(
        "action",
        choices=("init", "show", "trust", "untrust", "renew"),
        help="init: make what is missing; show: what there is and who trusts it (changes nothing); trust: let this "
        "machine's browsers and tools trust it; untrust: the contrary; renew: make a new certificate now",
    )
    certs.add_argument(
        "--ca", action="store_true", help="renew: another authority, too, which has to be trusted anew; asks before"
    )
    certs.add_argument("--yes", action="store_true", help="renew --ca: do not ask")
    _add_certs(certs)
    _add_config(certs, required=False)
    certs.add_argument("--domain", default=DEFAULT_DOMAIN, help="the domain of the URLs (default: %(default)s)")
    certs.set_defaults(run=_certs)
    return parser


def _add_certs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--certs",
        type=Path,
        metavar="DIR",
        help="where the local authority and its certificate are kept (default: certs here if it holds one, else "
        "$XDG_DATA_HOME/gateway/certs/DOMAIN)",
    )


def _add_config(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument("--config", type=Path, required=required, metavar="FILE", help="TOML; see config/ for examples")


def _add_running(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the gateway's own configuration, which names its admin listener and token; it is validated here first",
    )
    _add_admin(where)
    parser.set_defaults(run=run)


def _add_records(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--config", type=Path, metavar="FILE", help="open the registry of this configuration itself")
    _add_admin(where)
    parser.add_argument("--json", action="store_true", help="JSON lines (also: output that is no terminal)")
    parser.set_defaults(run=run)


def _add_copy(parser: argparse.ArgumentParser, file: str, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help=file)
    _add_config(parser, required=True)
    parser.add_argument("--json", action="store_true", help="JSON (also: output that is no terminal)")
    parser.set_defaults(run=run)


def _add_admin(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--admin",
        type=cli_types.admin_url,
        metavar="URL",
        help="ask the running gateway with this admin listener (default: that of the `gateway dev` that is meant, else "
        f"{DEFAULT_ADMIN}); its token, if it asks for one, is read from ${ADMIN_VARIABLE}",
    )


def _load(options: argparse.Namespace, *, serve: bool) -> Loaded:
    return load(file=options.config, environ=os.environ, serve=serve)


def _dev(options: argparse.Namespace) -> int:
    settings = _load(options, serve=False).settings
    openssl.configure(settings.tls.groups)
    # Imported here: `gateway check` and `gateway --help` need no event loop, and start in a third of the time. And
    # whatever imports `ssl` has to come after OpenSSL's configuration.
    from gateway.dev.app_port import DEFAULT_ID
    from gateway.dev.run import run
    from gateway.observe import logs
    from gateway.tls import local_folder
    from gateway.tls.local_ca import LAN_DOMAIN

    domain = options.domain.lower()
    if options.lan:
        _check_extra("lan", "--lan", ("ifaddr", "segno", "zeroconf"))
    colour = sys.stdout.isatty() and not options.no_color and not os.environ.get("NO_COLOR")
    logs.configure("text", settings.log.level)
    exposed = [Exposed(app.sandbox_id or DEFAULT_ID, app.port) for app in options.exposed]
    asked = DevOptions(
        list(dict.fromkeys(exposed)),
        options.listen_port,
        local_folder.choose(_certs_folder(options, settings), domain),
        domain,
        bool(colour),
        options.strict_port,
        options.loopback4,
        local_folder.choose(_certs_folder(options, settings), LAN_DOMAIN) if options.lan else None,
    )
    return run(settings, asked)


def _check_extra(extra: str, flag: str, packages: Sequence[str]) -> None:
    """Raises UserError if one of the `packages` that `flag` needs is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        command = shlex.join([sys.executable, "-m", "pip", "install", f"sandbox-gateway[{extra}]"])
        raise UserError(f"{flag} needs packages that are not installed ({', '.join(missing)}): {command}")


def _serve(options: argparse.Namespace) -> int:
    loaded = _load(options, serve=True)
    settings = loaded.settings
    openssl.configure(settings.tls.groups)
    from gateway.observe import logs
    from gateway.process import preflight
    from gateway.process.start_line import start_line
    from gateway.process.supervisor import Supervisor

    logs.configure(settings.log.format, settings.log.level)
    with logs.held_back():
        logs.tell_start(*start_line(settings, fingerprint(_shown(loaded))))
        supervisor = Supervisor(lambda: _load(options, serve=True).settings)
    preflight.warn(settings)
    return supervisor.run()


def _check(options: argparse.Namespace) -> int:
    loaded = _load(options, serve=True)
    openssl.configure(loaded.settings.tls.groups)
    from gateway.process import preflight
    from gateway.process.preflight import report

    descriptors.raise_limit()  # as `serve` does
    subject = preflight.look(loaded.settings)
    findings = preflight.examine(subject)
    fails = any(each.level is preflight.Level.ERROR or options.strict for each in findings)
    rows = _shown(loaded)
    if options.json:
        settings = {path: {"value": value, "from": origin} for path, value, origin in rows}
        told = {"ok": not fails, "findings": report.as_json(findings), "settings": settings}
        told["configuration"] = fingerprint(rows)
        standard_streams.print_json(json.dumps(told, indent=2).encode())
        return 1 if fails else 0
    width = max(len(f"{path} = {value}") for path, value, _ in rows if len(value) <= 40)
    for path, value, origin in rows:
        print(printable(f"{f'{path} = {value}':<{width}}  # {origin}"))
    told_besides = [*report.notes(subject), f"configuration: {fingerprint(rows)}"]
    print("\n".join(["", *map(printable, told_besides), ""]))
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print("\n".join([*report.as_lines(findings, colour=bool(colour)), ""]).rstrip("\n"), end="\n\n" if findings else "")
    print(printable(f"{options.config}: {report.summary(findings)}"))
    return 1 if fails else 0


def _shown(loaded: Loaded) -> list[tuple[str, str, str]]:
    """The effective settings, without a password."""
    from gateway.directory.backends import without_password

    return [
        (path, f'"{without_password(value[1:-1])}"' if path == "directory.url" else value, origin)
        for path, value, origin in render_effective(loaded)
    ]


def _reload(options: argparse.Namespace) -> int:
    from gateway.process import operate

    print("\n".join(map(printable, operate.reload(_running(options)))))
    return 0


def _status(options: argparse.Namespace) -> int:
    from gateway.process import operate, status_table

    client = _running(options)
    if options.json:
        standard_streams.print_json(client.send("GET", "/v1/status")[1])
    else:
        print("\n".join(map(printable, status_table.render_status(operate.fetch_status(client), time.time()))))
    return 0


def _running(options: argparse.Namespace) -> AdminClient:
    """The gateway that `_add_running` names."""
    from gateway.admin.auth import read_token
    from gateway.dev import finding
    from gateway.process.admin_client import AdminClient
    from gateway.process.operate import admin_of

    token = os.environ.get(ADMIN_VARIABLE, "")
    if options.config is not None:
        settings = _load(options, serve=True).settings
        url, token = admin_of(settings), read_token(settings.admin.token_file) or token
    else:
        url = options.admin or finding.admin_of_any()
    return AdminClient(url, token, "name its configuration")


def _explain(options: argparse.Namespace) -> int:
    # Imported where they are needed, as above: to ask a running gateway takes no event loop of our own.
    from gateway.dev import finding
    from gateway.diagnosis import terminal
    from gateway.diagnosis.report import as_json
    from gateway.process.admin_client import fetch_report
    from gateway.process.waiting import waiting

    patient = "waiting for the sandbox and its app"
    url, admin = options.url, options.admin
    if not isinstance(url, str):
        url, admin = finding.url_of_port(url)
    if options.config is not None:
        from gateway.observe import logs
        from gateway.process.explain import examine

        settings = _load(options, serve=True).settings
        logs.configure("text", "error")  # the report says it all
        with waiting(patient):
            report = examine(settings, url)
    else:
        admin = admin or finding.admin_of_url(url)
        with waiting(patient):
            report = fetch_report(admin, url, os.environ.get(ADMIN_VARIABLE, ""))
    if options.json:
        standard_streams.print_json(as_json(report))
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        print(terminal.render(report, width=shutil.get_terminal_size().columns, colour=bool(colour)))
    return 0 if report.ok else 1


def _records(options: argparse.Namespace) -> Records:
    from gateway.dev import finding
    from gateway.process.sandboxes import Local, Remote

    if options.config is not None:
        return Local(_load(options, serve=False).settings)
    return Remote(options.admin or finding.admin_of_any(), os.environ.get(ADMIN_VARIABLE, ""))


def _sandboxes_add(options: argparse.Namespace) -> int:
    from gateway.process.sandboxes import print_records

    names = ("address", "ipv4", "host", "protocol", "lifetime")
    registration = {name: value for name in names if (value := getattr(options, name)) is not None}
    print_records([_records(options).add(options.id, registration, options.if_match)], as_json=options.json)
    return 0


def _sandboxes_list(options: argparse.Namespace) -> int:
    from gateway.process.sandboxes import every, print_records

    print_records(every(_records(options), options.after or "", options.limit), as_json=options.json)
    return 0


def _sandboxes_show(options: argparse.Namespace) -> int:
    from gateway.process.sandboxes import print_records

    print_records([_records(options).get(options.id)], as_json=options.json)
    return 0


def _sandboxes_remove(options: argparse.Namespace) -> int:
    from gateway.process.sandboxes import print_removed

    _records(options).remove(options.id)
    print_removed(options.id, as_json=options.json)
    return 0


def _sandboxes_backup(options: argparse.Namespace) -> int:
    from gateway.process.sandboxes import backup, print_copied

    count = backup(_load(options, serve=False).settings, options.file)
    print_copied("saved to", options.file, count, as_json=options.json)
    return 0


def _sandboxes_restore(options: argparse.Namespace) -> int:
    from gateway.process.sandboxes import print_copied, restore

    count = restore(_load(options, serve=False).settings, options.file)
    print_copied("restored from", options.file, count, as_json=options.json)
    return 0


def _certs(options: argparse.Namespace) -> int:
    from gateway.process import certs
    from gateway.tls import local_folder

    if options.ca and options.action != "renew":
        raise UserError("--ca goes with renew: gateway certs renew --ca")
    domain = options.domain.lower()
    folder = local_folder.choose(_certs_folder(options, _load(options, serve=False).settings), domain)
    return certs.VERBS[options.action](certs.Asked(folder, domain, new_authority=options.ca, agreed=options.yes))


def _certs_folder(options: argparse.Namespace, settings: Settings) -> Path | None:
    """What flag or setting name."""
    named: Path | None = options.certs or settings.tls.local_authority
    return named

"""`gateway certs`: the local authority made, shown, trusted, taken out again, and replaced only by who insists.

Owns what is told and asked; `tls` does what there is to do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import UserError
from gateway.printable import printable
from gateway.tls import local_ca, local_folder, trust
from gateway.tls.describe import describe
from gateway.tls.local_files import LocalFiles
from gateway.tls.trust import TrustOutcome


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says. `folder` is where the files of `domain` are, or are to be."""

    folder: Path
    domain: str
    new_authority: bool = False
    agreed: bool = False
    """To what `renew --ca` breaks."""


def init(asked: Asked) -> int:
    _made(asked)
    return show(asked)


def show(asked: Asked) -> int:
    """Changes nothing."""
    files = local_ca.find(asked.folder, asked.domain)
    lines = describe(files)
    if files.folder.is_relative_to(local_folder.BESIDE.absolute()) and (own := _own_besides(asked.domain)):
        lines.append(f"other folders: {own} is used there; --certs {files.folder} means this one everywhere")
    _print(lines)
    return 0


def install(asked: Asked) -> int:
    outcomes = trust.install(_made(asked))
    _print(_lines(outcomes))
    return 0 if any(outcome.done for outcome in outcomes) else 1


def remove(asked: Asked) -> int:
    try:
        files = local_ca.find(asked.folder, asked.domain)
    except local_ca.LocalAuthorityError as error:
        raise UserError(f"{error.problem}: nothing of it can be taken out") from None
    outcomes = trust.remove(files.authority.certificate)
    _print(_lines(outcomes))
    return 0 if all(outcome.done for outcome in outcomes) else 1


def renew(asked: Asked) -> int:
    if not asked.new_authority:
        local_ca.ensure(asked.folder, asked.domain, force=True)
        return show(asked)
    files = local_ca.find(asked.folder, asked.domain)
    path = files.authority.certificate
    try:
        trusted = [outcome for outcome in trust.status(path) if outcome.done]
    except local_ca.LocalAuthorityError:  # too damaged to be trusted, or to be looked for
        trusted = None
    _print(_breaks(files, trusted))
    if not (asked.agreed or _agrees()):
        raise UserError("nothing was changed (--yes: without being asked)")
    if trusted:
        _print(_lines(trust.remove(path)))
    local_ca.renew_authority(files.folder, asked.domain)
    return show(asked)


VERBS: dict[str, Callable[[Asked], int]] = {
    "init": init,
    "show": show,
    "trust": install,
    "untrust": remove,
    "renew": renew,
}


def _made(asked: Asked) -> Path:
    """The authority's file, with everything made that is missing."""
    if asked.domain == local_ca.LAN_DOMAIN:
        return local_ca.ensure_authority(asked.folder, asked.domain)
    return local_ca.ensure(asked.folder, asked.domain).authority


def _breaks(files: LocalFiles, trusted: Sequence[TrustOutcome] | None) -> list[str]:
    stores = ", ".join(outcome.store for outcome in trusted or ())
    where = f"Trusted by {stores}: it is taken out there." if stores else "No store of this machine trusts it."
    if trusted is None:
        where = "Which stores trust it cannot be told: it cannot be read."
    return [
        f"This replaces {files.authority.certificate} by another authority for {files.domain}.",
        where,
        "Whatever else was given the old one (phones, containers, --cacert copies, NODE_EXTRA_CA_CERTS) refuses the",
        "new one until it is told to trust it. Open pages fail until then; undoing this is not possible.",
    ]


def _agrees() -> bool:
    if not sys.stdin.isatty():
        return False
    try:
        return input("Replace it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _own_besides(domain: str) -> Path | None:
    try:
        return local_folder.of_user(domain)
    except local_ca.LocalAuthorityError:
        return None


def _lines(outcomes: Sequence[TrustOutcome]) -> list[str]:
    lines = []
    for outcome in outcomes:
        lines.append(f"{'done' if outcome.done else 'todo':<5} {outcome.store}: {outcome.message}")
        if outcome.command:
            lines.append(f"      {outcome.command}")
    return lines


def _print(lines: Sequence[str]) -> None:
    print("\n".join(map(printable, lines)))

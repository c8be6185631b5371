"""In which folder the local authority of a domain is kept.

It belongs to the user, as mkcert's does, so that every folder's `gateway dev` shows a certificate of the one authority
that browsers were told to trust. Another folder is named by flag or setting. A `certs/` where the command is run that
holds one already goes before the user's: until 0.1 there was no other place, and somebody may trust it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gateway.tls.errors import LocalAuthorityError
from gateway.tls.local_files import has_authority

BESIDE = Path("certs")


def choose(asked: Path | None, domain: str) -> Path:
    """The folder for `domain`; `asked` is what flag or setting name. Raises LocalAuthorityError for a user without a
    home.
    """
    if asked is not None:
        return asked.absolute()
    if has_authority(BESIDE, domain):
        return BESIDE.absolute()
    return of_user(domain)


def of_user(domain: str) -> Path:
    """The user's own folder for `domain`; each domain has one. Raises LocalAuthorityError for a user without a home."""
    return _data_home() / "gateway" / "certs" / domain


def is_of_user(folder: Path, domain: str) -> bool:
    """Whether `folder` is found without being named, wherever a command is run."""
    try:
        return folder == of_user(domain)
    except LocalAuthorityError:
        return False


def _data_home() -> Path:
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    if given.is_absolute():  # others are to be ignored (XDG Base Directory Specification)
        return given
    try:
        home = Path.home()
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        advice = "name the folder with --certs DIR, or set HOME or XDG_DATA_HOME"
        raise LocalAuthorityError(BESIDE.absolute(), "holds no local authority, and this user has no home", advice)
    return home.joinpath(*(("Library", "Application Support") if sys.platform == "darwin" else (".local", "share")))

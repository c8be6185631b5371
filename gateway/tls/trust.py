"""Puts the local authority where browsers and programs look for roots, and tells where it already is.

Owns the list of trust stores and how each is changed. It must not make certificates, and it never asks for a
password: what needs rights we lack is handed back as the command to paste. Nothing here fails because of the
machine; every store has its outcome.

Three kinds of stores on Linux: the system's (curl, Python, Go), Chromium's and Firefox's, the last two in
NSS's own database and changed with its `certutil`. At most one authority of ours is in a store: its key lies
in a development directory, so an older one must not stay trusted after it was replaced.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.tls.errors import LocalAuthorityError, cause_of
from gateway.tls.programs import as_root, find, run, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NICKNAME = "gateway local CA"
FILE_STEM = "gateway-local-ca"


@dataclass(frozen=True, slots=True)
class TrustOutcome:
    """One store after `install`, or as `status` found it. `command` is what to paste when it is not done."""

    store: str
    done: bool
    message: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class SystemStore:
    """A directory of root certificates and the command that makes the system read it again."""

    name: str
    anchors: Path
    refresh: tuple[str, ...]


SYSTEM_STORES = (
    SystemStore("Debian, Alpine", Path("/usr/local/share/ca-certificates"), ("update-ca-certificates",)),
    SystemStore("Fedora, RHEL", Path("/etc/pki/ca-trust/source/anchors"), ("update-ca-trust", "extract")),
    # Not `trust anchor --store`: that chooses the file name itself, so an older root of ours would stay.
    SystemStore("Arch", Path("/etc/ca-certificates/trust-source/anchors"), ("trust", "extract-compat")),
    SystemStore("openSUSE", Path("/etc/pki/trust/anchors"), ("update-ca-certificates",)),
)

_CHROMIUM = ".pki/nssdb"
# Where packages that do not share the home directory keep theirs. Chromium itself reads the first place only,
# some distributions patch it to follow the XDG directories; Firefox follows them since version 147.
_OTHER_CHROMIUM = ("snap/*/current/.pki/nssdb", ".var/app/*/.pki/nssdb", ".local/share/pki/nssdb")
_FIREFOX_PROFILES = (
    ".mozilla/firefox/*",
    ".config/mozilla/firefox/*",
    "snap/firefox/common/.mozilla/firefox/*",
    ".var/app/org.mozilla.firefox/.mozilla/firefox/*",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox/*",
)

_CERTUTIL_PACKAGES = {
    "apt-get": "apt-get install libnss3-tools",
    "dnf": "dnf install nss-tools",
    "pacman": "pacman -S nss",
    "zypper": "zypper install mozilla-nss-tools",
    "apk": "apk add nss-tools",
}

_LISTED = re.compile(r"(?P<nickname>\S.*?)\s+(?P<tls>[a-zA-Z]*),[a-zA-Z]*,[a-zA-Z]*\s*")
"""A line of `certutil -L`: nickname, then trust for TLS, mail and code."""


def install(
    authority: Path,
    *,
    home: Path | None = None,
    system: Sequence[SystemStore] = SYSTEM_STORES,
    platform: str = sys.platform,
) -> list[TrustOutcome]:
    """Puts `authority` into every store that can be reached, replacing older ones of ours. May be repeated.

    Raises LocalAuthorityError when `authority` itself cannot be read, nothing else.
    """
    root = _Root.read(authority)
    if platform != "linux":
        return [_foreign_platform(root, platform)]
    return [_install_system(root, system), *(_install_nss(root, store) for store in _nss_stores(home))]


def status(
    authority: Path,
    *,
    home: Path | None = None,
    system: Sequence[SystemStore] = SYSTEM_STORES,
    platform: str = sys.platform,
) -> list[TrustOutcome]:
    """The stores `install` would change; `done` where this very certificate, by fingerprint, is trusted now.

    Changes nothing. Raises LocalAuthorityError when `authority` itself cannot be read.
    """
    root = _Root.read(authority)
    if platform != "linux":
        return [_foreign_platform(root, platform)]
    return [_system_status(root, system), *(_nss_status(root, store) for store in _nss_stores(home))]


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file. Raises LocalAuthorityError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        problem = f"cannot be read ({cause_of(error)})"
    except ValueError:
        problem = "is not a certificate in PEM form"
    raise LocalAuthorityError(path, problem, "make the local certificates first: gateway certs init")


@dataclass(frozen=True, slots=True)
class _Root:
    path: Path
    fingerprint: bytes

    @classmethod
    def read(cls, authority: Path) -> _Root:
        # Absolute: the path ends up in commands that are pasted somewhere else.
        return cls(authority.absolute(), read_certificate(authority).fingerprint(hashes.SHA256()))

    def is_among(self, pem: bytes) -> bool:
        """Whether this very certificate stands in `pem`, which may be anything."""
        try:
            others = x509.load_pem_x509_certificates(pem)
        except ValueError:
            return False
        return any(other.fingerprint(hashes.SHA256()) == self.fingerprint for other in others)


def _foreign_platform(root: _Root, platform: str) -> TrustOutcome:
    if platform == "darwin":
        keychain = "/Library/Keychains/System.keychain"
        path = shlex.quote(str(root.path))
        command = f"sudo security add-trusted-cert -d -r trustRoot -k {keychain} {path}"
        message = "macOS asks for your password to change this; browsers read it too"
        return TrustOutcome("macOS keychain", False, message, command)
    if platform == "win32":
        message = "to be run as administrator; browsers read it too"
        return TrustOutcome("Windows store", False, message, f'certutil -addstore -f ROOT "{root.path}"')
    message = f"no known way to add a root on {platform}; import {root.path} in your browser's settings"
    return TrustOutcome("system store", False, message)


# --- the system's store -------------------------------------------------------------------------------------


def _install_system(root: _Root, stores: Sequence[SystemStore]) -> TrustOutcome:
    found = _system_status(root, stores)
    store = _present(stores)
    if found.done or store is None:
        return found
    target = _anchor(root, store)
    try:
        shutil.copyfile(root.path, target)
        target.chmod(0o644)
        for older in _older_anchors(root, store):
            older.unlink()
        problem = run(store.refresh).problem
        if problem:
            # Without the refresh nobody reads the file; were it still there, `status` would claim otherwise.
            target.unlink()
    except OSError as error:
        problem = cause_of(error)
    if problem:
        return TrustOutcome(found.store, False, f"not changed: {problem}", found.command)
    return TrustOutcome(found.store, True, "added; curl, OpenSSL and Go programs trust it now")


def _system_status(root: _Root, stores: Sequence[SystemStore]) -> TrustOutcome:
    store = _present(stores)
    if store is None:
        message = f"none found; install ca-certificates, or name the root: curl --cacert {root.path}"
        return TrustOutcome("system store", False, message)
    name = f"system store ({store.name})"
    target = _anchor(root, store)
    try:
        if root.is_among(target.read_bytes()):
            return TrustOutcome(name, True, f"trusted ({target})")
    except OSError:
        pass  # missing or unreadable, which is the same for whoever looks for a root there
    commands = [["install", "-m", "644", str(root.path), str(target)], list(store.refresh)]
    if older := _older_anchors(root, store):
        commands.insert(0, ["rm", "-f", *map(str, older)])
    return TrustOutcome(name, False, "not trusted", shown(*(as_root(command) for command in commands)))


def _present(stores: Sequence[SystemStore]) -> SystemStore | None:
    return next((store for store in stores if _exists(store.anchors) and find(store.refresh[0])), None)


def _anchor(root: _Root, store: SystemStore) -> Path:
    # The name carries the fingerprint because Debian's update-ca-certificates looks at names only: under an
    # old name, new content reaches the bundle but not the hashed links that OpenSSL follows.
    return store.anchors / f"{FILE_STEM}-{root.fingerprint.hex()[:16]}.crt"


def _older_anchors(root: _Root, store: SystemStore) -> list[Path]:
    target = _anchor(root, store)
    return sorted(path for path in store.anchors.glob(f"{FILE_STEM}-*.crt") if path != target)


# --- NSS databases of browsers ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _NssStore:
    name: str
    directory: Path

    @property
    def exists(self) -> bool:
        return _exists(self.directory / "cert9.db")

    def arguments(self, *more: str) -> list[str]:
        return ["certutil", "-d", f"sql:{self.directory}", *more]


def _nss_stores(home: Path | None) -> Iterator[_NssStore]:
    """Chromium's own store, there or not, then whichever others exist; none for a user without a home."""
    try:
        home = home or Path.home()
    except RuntimeError:
        return
    yield _NssStore(f"Chromium (~/{_CHROMIUM})", home / _CHROMIUM)
    for browser, patterns in (("Chromium", _OTHER_CHROMIUM), ("Firefox", _FIREFOX_PROFILES)):
        for pattern in patterns:
            for directory in sorted(home.glob(pattern)):
                store = _NssStore(f"{browser} (~/{directory.relative_to(home)})", directory)
                if store.exists:
                    yield store


def _install_nss(root: _Root, store: _NssStore) -> TrustOutcome:
    found = _nss_status(root, store)
    if found.done or find("certutil") is None:
        return found
    problem = None if store.exists else _make_database(store)
    if problem is None:
        run(store.arguments("-D", "-n", NICKNAME))  # fails when there is none, which is as well
        problem = run(_add_arguments(root, store)).problem
    if problem:
        command = _nss_status(root, store).command  # asked again: something may have been done
        return TrustOutcome(store.name, False, f"not changed: {problem}", command)
    return TrustOutcome(store.name, True, "added; restart the browser if it is running")


def _make_database(store: _NssStore) -> str | None:
    """Makes the empty database a browser makes on its first start. Returns what went wrong."""
    try:
        store.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        return cause_of(error)
    return run(store.arguments("-N", "--empty-password")).problem


def _nss_status(root: _Root, store: _NssStore) -> TrustOutcome:
    if find("certutil") is None:
        packages = (as_root(line.split()) for tool, line in _CERTUTIL_PACKAGES.items() if find(tool))
        message = "certutil, which reads and changes this store, is not installed; install it and try again"
        return TrustOutcome(store.name, False, message, next(map(shown, packages), None))
    if store.exists and any(root.is_among(pem) for pem in _trusted_certificates(store)):
        return TrustOutcome(store.name, True, "trusted")
    commands = [_add_arguments(root, store)]
    if not store.exists:
        commands[:0] = [["mkdir", "-p", str(store.directory)], store.arguments("-N", "--empty-password")]
    elif run(store.arguments("-L", "-n", NICKNAME)).problem is None:
        commands.insert(0, store.arguments("-D", "-n", NICKNAME))
    return TrustOutcome(store.name, False, "not trusted", shown(*commands))


def _trusted_certificates(store: _NssStore) -> Iterator[bytes]:
    """The PEM of every root trusted for TLS, under whatever name: people import the file in the browser, too.

    Only those are fetched: Firefox keeps hundreds of intermediates in the same database.
    """
    for line in run(store.arguments("-L")).output.decode(errors="replace").splitlines():
        listed = _LISTED.fullmatch(line)
        if listed and "C" in listed["tls"]:
            yield run(store.arguments("-L", "-n", listed["nickname"], "-a")).output


def _add_arguments(root: _Root, store: _NssStore) -> list[str]:
    return store.arguments("-A", "-t", "C,,", "-n", NICKNAME, "-i", str(root.path))


def _exists(path: Path) -> bool:
    return os.access(path, os.F_OK)  # unlike Path.exists, False where we may not look

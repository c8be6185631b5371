"""Chromium's and Firefox's stores: NSS's own databases, changed with its `certutil`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from gateway.tls.errors import cause_of
from gateway.tls.programs import as_root, find, run, shown
from gateway.tls.trust.files import exists
from gateway.tls.trust.root import ABSENT, REMOVED, Root, Store, TrustOutcome

NICKNAME = "gateway local CA"
"""How ours begin; up to 0.1 it was the whole name."""

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


def stores(home: Path | None) -> Iterator[Store]:
    """Chromium's own store, there or not, then whichever others exist; none for a user without a home."""
    try:
        home = home or Path.home()
    except RuntimeError:
        return
    yield _Nss(f"Chromium (~/{_CHROMIUM})", home / _CHROMIUM)
    for browser, patterns in (("Chromium", _OTHER_CHROMIUM), ("Firefox", _FIREFOX_PROFILES)):
        for pattern in patterns:
            for directory in sorted(home.glob(pattern)):
                store = _Nss(f"{browser} (~/{directory.relative_to(home)})", directory)
                if store.exists:
                    yield store


class _Nss(Store):
    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory

    @property
    def exists(self) -> bool:
        return exists(self._directory / "cert9.db")

    def status(self, root: Root) -> TrustOutcome:
        if lack := self._lack_of_certutil():
            return lack
        if self.exists and any(trusted for _, trusted in self._held(root)):
            return TrustOutcome(self.name, True, "trusted")
        commands = [self._add(root)]
        if not self.exists:
            commands[:0] = [["mkdir", "-p", str(self._directory)], self._certutil("-N", "--empty-password")]
        return TrustOutcome(self.name, False, "not trusted", shown(*commands))

    def add(self, root: Root) -> TrustOutcome:
        found = self.status(root)
        if found.done or find("certutil") is None:
            return found
        problem = None if self.exists else self._make_database()
        if problem is None:
            problem = run(self._add(root)).problem
        if problem:
            command = self.status(root).command  # asked again: something may have been done
            return TrustOutcome(self.name, False, f"not changed: {problem}", command)
        return TrustOutcome(self.name, True, "added; restart the browser if it is running")

    def remove(self, root: Root) -> TrustOutcome:
        if not self.exists:
            return TrustOutcome(self.name, True, ABSENT)
        if lack := self._lack_of_certutil():
            return lack
        held = [nickname for nickname, _ in self._held(root)]
        for nickname in held:
            command = self._certutil("-D", "-n", nickname)
            if problem := run(command).problem:
                return TrustOutcome(self.name, False, f"not changed: {problem}", shown(command))
        return TrustOutcome(self.name, True, f"{REMOVED}; restart the browser if it is running" if held else ABSENT)

    def _lack_of_certutil(self) -> TrustOutcome | None:
        if find("certutil") is not None:
            return None
        packages = (as_root(line.split()) for tool, line in _CERTUTIL_PACKAGES.items() if find(tool))
        message = "certutil, which reads and changes this store, is not installed; install it and try again"
        return TrustOutcome(self.name, False, message, next(map(shown, packages), None))

    def _make_database(self) -> str | None:
        """Makes the empty database a browser makes on its first start. Returns what went wrong."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            return cause_of(error)
        return run(self._certutil("-N", "--empty-password")).problem

    def _held(self, root: Root) -> Iterator[tuple[str, bool]]:
        """The nicknames under which `root` is there, and whether it is trusted for TLS: people import the file in the
        browser, too.

        Only roots that are trusted and ours by name are looked at: Firefox keeps hundreds of intermediates besides.
        """
        for line in run(self._certutil("-L")).output.decode(errors="replace").splitlines():
            if (listed := _LISTED.fullmatch(line)) is None:
                continue
            nickname, trusted = listed["nickname"], "C" in listed["tls"]
            if (trusted or nickname.startswith(NICKNAME)) and root.is_among(
                run(self._certutil("-L", "-n", nickname, "-a")).output
            ):
                yield nickname, trusted

    def _add(self, root: Root) -> list[str]:
        return self._certutil("-A", "-t", "C,,", "-n", f"{NICKNAME} {root.tag}", "-i", str(root.path))

    def _certutil(self, *more: str) -> list[str]:
        return ["certutil", "-d", f"sql:{self._directory}", *more]

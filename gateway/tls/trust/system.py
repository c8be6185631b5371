"""The system's store, which curl, OpenSSL, Python and Go read: a directory of roots and a command that reads it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.tls.errors import cause_of
from gateway.tls.programs import as_root, find, run, shown
from gateway.tls.trust.files import exists
from gateway.tls.trust.root import ABSENT, REMOVED, Root, Store, TrustOutcome

FILE_STEM = "gateway-local-ca"


@dataclass(frozen=True, slots=True)
class SystemStore:
    """A directory of root certificates and the command that makes the system read it again."""

    name: str
    anchors: Path
    refresh: tuple[str, ...]


SYSTEM_STORES = (
    SystemStore("Debian, Alpine", Path("/usr/local/share/ca-certificates"), ("update-ca-certificates",)),
    SystemStore("Fedora, RHEL", Path("/etc/pki/ca-trust/source/anchors"), ("update-ca-trust", "extract")),
    # Not `trust anchor --store`: that chooses the file name itself, so nobody would find the root to remove it.
    SystemStore("Arch", Path("/etc/ca-certificates/trust-source/anchors"), ("trust", "extract-compat")),
    SystemStore("openSUSE", Path("/etc/pki/trust/anchors"), ("update-ca-certificates",)),
)


def store(known: Sequence[SystemStore]) -> Store:
    """The first of `known` that is there."""
    found = next((each for each in known if exists(each.anchors) and find(each.refresh[0])), None)
    return _None() if found is None else _System(found)


class _None(Store):
    name = "system store"

    def status(self, root: Root) -> TrustOutcome:
        message = f"none found; install ca-certificates, or name the root: curl --cacert {root.path}"
        return TrustOutcome(self.name, False, message)

    def add(self, root: Root) -> TrustOutcome:
        return self.status(root)

    def remove(self, root: Root) -> TrustOutcome:
        return TrustOutcome(self.name, True, "none found")


class _System(Store):
    def __init__(self, store: SystemStore) -> None:
        self.name = f"system store ({store.name})"
        self._anchors = store.anchors
        self._refresh = list(store.refresh)

    def status(self, root: Root) -> TrustOutcome:
        target = self._anchor(root)
        if self._holds(root):
            return TrustOutcome(self.name, True, f"trusted ({target})")
        command = ["install", "-m", "644", str(root.path), str(target)]
        return TrustOutcome(self.name, False, "not trusted", self._as_root(command))

    def add(self, root: Root) -> TrustOutcome:
        found = self.status(root)
        if found.done:
            return found
        target = self._anchor(root)
        try:
            shutil.copyfile(root.path, target)
            target.chmod(0o644)
            problem = run(self._refresh).problem
            if problem:
                # Without the refresh nobody reads the file; were it still there, `status` would claim otherwise.
                target.unlink()
        except OSError as error:
            problem = cause_of(error)
        if problem:
            return TrustOutcome(self.name, False, f"not changed: {problem}", found.command)
        return TrustOutcome(self.name, True, "added; curl, OpenSSL and Go programs trust it now")

    def remove(self, root: Root) -> TrustOutcome:
        if not self._holds(root):
            return TrustOutcome(self.name, True, ABSENT)
        target = self._anchor(root)
        try:
            target.unlink()
            problem = run(self._refresh).problem
        except OSError as error:
            problem = cause_of(error)
        if problem:
            command = self._as_root(["rm", "-f", str(target)])
            return TrustOutcome(self.name, False, f"not changed: {problem}", command)
        return TrustOutcome(self.name, True, REMOVED)

    def _as_root(self, command: list[str]) -> str:
        return shown(as_root(command), as_root(self._refresh))

    def _holds(self, root: Root) -> bool:
        try:
            return root.is_among(self._anchor(root).read_bytes())
        except OSError:
            return False  # missing or unreadable, which is the same for whoever looks for a root there

    def _anchor(self, root: Root) -> Path:
        # The name carries the fingerprint because Debian's update-ca-certificates looks at names only: under an
        # old name, new content reaches the bundle but not the hashed links that OpenSSL follows.
        return self._anchors / f"{FILE_STEM}-{root.tag}.crt"

"""Node.js has roots of its own, and reads more from the file that NODE_EXTRA_CA_CERTS names.

A variable of the user's shell is theirs to set, so nothing is changed here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from gateway.tls.programs import find, shown
from gateway.tls.trust.root import ABSENT, Root, Store, TrustOutcome

VARIABLE = "NODE_EXTRA_CA_CERTS"
_OF_THE_SYSTEM = ("/etc/", "/usr/")
"""Bundles there are written by the system's store, anew at each change."""


def stores() -> Iterator[Store]:
    """None where there is no Node.js."""
    if os.environ.get(VARIABLE) or find("node"):
        yield _Node()


class _Node(Store):
    name = f"Node.js ({VARIABLE})"

    def status(self, root: Root) -> TrustOutcome:
        named = os.environ.get(VARIABLE, "")
        if _holds(named, root):
            return TrustOutcome(self.name, True, f"trusted ({named})")
        if named.startswith(_OF_THE_SYSTEM):
            return TrustOutcome(self.name, False, f"not trusted: {named} has what the system's store has")
        if named and Path(named).is_file():
            command = f"{shown(['cat', str(root.path)])} >> {shlex.quote(named)}"
            return TrustOutcome(self.name, False, f"not trusted: {named} has other roots; add this one", command)
        message = "not trusted; set this in the shell that starts Node.js, or in its profile"
        return TrustOutcome(self.name, False, message, f"export {VARIABLE}={shlex.quote(str(root.path))}")

    def add(self, root: Root) -> TrustOutcome:
        return self.status(root)

    def remove(self, root: Root) -> TrustOutcome:
        named = os.environ.get(VARIABLE, "")
        if not _holds(named, root):
            return TrustOutcome(self.name, True, ABSENT)
        if Path(named).absolute() == root.path:
            return TrustOutcome(self.name, False, f"this shell's {VARIABLE} names it", f"unset {VARIABLE}")
        return TrustOutcome(self.name, False, f"it stands in {named}, which is yours to change")


def _holds(named: str, root: Root) -> bool:
    try:
        return bool(named) and root.is_among(Path(named).read_bytes())
    except OSError:
        return False

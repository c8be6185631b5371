"""Java's store: the file `cacerts` of an installation, changed with its `keytool`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gateway.tls.programs import Finished, as_root, find, run, shown
from gateway.tls.trust.root import ABSENT, REMOVED, Root, Store, TrustOutcome

ALIAS = "gateway-local-ca"
_PASSWORD = "changeit"  # noqa: S105 - what every JDK ships its cacerts with; it protects nothing


def stores() -> Iterator[Store]:
    """The installation that JAVA_HOME names, else that of `keytool`; none where there is no Java."""
    home = os.environ.get("JAVA_HOME")
    own = Path(home, "bin", "keytool") if home else None
    program = str(own) if own is not None and own.is_file() else find("keytool")
    if program is not None:
        yield Java(program)


class Java(Store):
    name = "Java (cacerts)"

    def __init__(self, program: str) -> None:
        self.keystore = ["-cacerts", "-storepass", _PASSWORD]
        self._program = program

    def status(self, root: Root) -> TrustOutcome:
        listed = self._list()
        if listed.problem:
            return TrustOutcome(self.name, False, f"cannot be read: {listed.problem}")
        if _aliases(listed.output, root):
            return TrustOutcome(self.name, True, "trusted")
        return TrustOutcome(self.name, False, "not trusted", shown(as_root(self._add(root))))

    def add(self, root: Root) -> TrustOutcome:
        found = self.status(root)
        if found.done or found.command is None:
            return found
        if problem := run(self._add(root)).problem:
            return TrustOutcome(self.name, False, f"not changed: {problem}", found.command)
        return TrustOutcome(self.name, True, "added; restart what runs on Java")

    def remove(self, root: Root) -> TrustOutcome:
        listed = self._list()
        if listed.problem:
            return TrustOutcome(self.name, False, f"cannot be read: {listed.problem}")
        aliases = _aliases(listed.output, root)
        for alias in aliases:
            command = self._keytool("-delete", "-alias", alias)
            if problem := run(command).problem:
                return TrustOutcome(self.name, False, f"not changed: {problem}", shown(as_root(command)))
        return TrustOutcome(self.name, True, REMOVED if aliases else ABSENT)

    def _list(self) -> Finished:
        return run(self._keytool("-list", "-rfc"))

    def _add(self, root: Root) -> list[str]:
        return self._keytool("-importcert", "-noprompt", "-alias", f"{ALIAS}-{root.tag}", "-file", str(root.path))

    def _keytool(self, verb: str, *more: str) -> list[str]:
        return [self._program, verb, *self.keystore, *more]


def _aliases(listed: bytes, root: Root) -> list[str]:
    """Under which names `root` is there. Debian carries the system's roots over to Java under names of its own, and
    leaves them there when the system's store has given them up.
    """
    entries = listed.split(b"Alias name: ")[1:]
    return [each.partition(b"\n")[0].strip().decode(errors="replace") for each in entries if root.is_among(each)]

"""Systems whose own store asks for a password in a window: the command is handed to the user."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from gateway.tls.trust.root import Root, Store, TrustOutcome

_KEYCHAIN = "/Library/Keychains/System.keychain"


@dataclass(frozen=True, slots=True)
class _Foreign:
    name: str
    message: str
    add: Callable[[Root], str]
    remove: Callable[[Root], str]


_KNOWN = {
    "darwin": _Foreign(
        "macOS keychain",
        "macOS asks for your password to change this; browsers read it too",
        lambda root: f"sudo security add-trusted-cert -d -r trustRoot -k {_KEYCHAIN} {shlex.quote(str(root.path))}",
        lambda root: f"sudo security remove-trusted-cert -d {shlex.quote(str(root.path))}",
    ),
    "win32": _Foreign(
        "Windows store",
        "to be run as administrator; browsers read it too",
        lambda root: f'certutil -addstore -f ROOT "{root.path}"',
        lambda root: f"certutil -delstore ROOT {root.sha1}",
    ),
}


def store(platform: str) -> Store:
    return _ForeignStore(platform)


class _ForeignStore(Store):
    """Nothing is looked at or changed."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._known = _KNOWN.get(platform)
        self.name = self._known.name if self._known else "system store"

    def status(self, root: Root) -> TrustOutcome:
        return self._told(root, "add", f"import {root.path} in your browser's settings")

    def add(self, root: Root) -> TrustOutcome:
        return self.status(root)

    def remove(self, root: Root) -> TrustOutcome:
        return self._told(root, "remove", f"remove the root of {root.path} in your browser's settings")

    def _told(self, root: Root, verb: str, by_hand: str) -> TrustOutcome:
        if self._known is None:
            return TrustOutcome(self.name, False, f"no known way to {verb} a root on {self._platform}; {by_hand}")
        command = self._known.add(root) if verb == "add" else self._known.remove(root)
        return TrustOutcome(self.name, False, self._known.message, command)

"""Puts the local authority where browsers and programs look for roots, tells where it already is, and takes it out.

Owns the list of trust stores. It must not make certificates, and it never asks for a password: what needs rights we
lack is handed back as the command to paste. Nothing here fails because of the machine; every store has its outcome.

A store may hold several authorities of ours, each for its own domain, under a name with its fingerprint: to trust one
never takes away another. Who replaces an authority (`gateway certs renew --ca`) takes the old one out first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.tls.trust import foreign, java, node, nss, system
from gateway.tls.trust.root import Root, Store, TrustOutcome, read_certificate
from gateway.tls.trust.system import SYSTEM_STORES, SystemStore

__all__ = ["SYSTEM_STORES", "Machine", "SystemStore", "TrustOutcome", "install", "read_certificate", "remove", "status"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where stores are looked for."""

    home: Path | None = None
    """None: the user's."""
    system: Sequence[SystemStore] = SYSTEM_STORES
    platform: str = sys.platform

    def stores(self) -> list[Store]:
        if self.platform != "linux":
            return [foreign.store(self.platform)]
        return [system.store(self.system), *nss.stores(self.home), *java.stores(), *node.stores()]


HERE = Machine()


def install(authority: Path, machine: Machine = HERE) -> list[TrustOutcome]:
    """Puts `authority` into every store that can be reached. May be repeated.

    Raises LocalAuthorityError when `authority` itself cannot be read, nothing else.
    """
    return _each(authority, machine, lambda store, root: store.add(root))


def status(authority: Path, machine: Machine = HERE) -> list[TrustOutcome]:
    """The stores `install` would change; `done` where this very certificate, by fingerprint, is trusted now.

    Changes nothing. Raises LocalAuthorityError when `authority` itself cannot be read.
    """
    return _each(authority, machine, lambda store, root: store.status(root))


def remove(authority: Path, machine: Machine = HERE) -> list[TrustOutcome]:
    """Takes `authority`, by fingerprint, out of every store; `done` where it is trusted no more. May be repeated.

    Raises LocalAuthorityError when `authority` itself cannot be read, nothing else.
    """
    return _each(authority, machine, lambda store, root: store.remove(root))


def _each(authority: Path, machine: Machine, verb: Callable[[Store, Root], TrustOutcome]) -> list[TrustOutcome]:
    root = Root.read(authority)
    return [verb(store, root) for store in machine.stores()]

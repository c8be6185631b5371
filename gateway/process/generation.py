"""A generation: what the processes of one reading of the configuration are given.

Made whole before anything changes, so that whatever is wrong with new settings is found while the old ones serve. What
it has in common with the generation before goes on where the settings for it are the same: TLS contexts, and so session
tickets; what is known of the directory; what workers claim of each other's connections.

Sockets, channels and the lifeline are not its own: see `Wiring`.
"""

from __future__ import annotations

import importlib
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from gateway import cpus
from gateway.admin.auth import TokenFile
from gateway.config import Settings
from gateway.config.checks import check
from gateway.directory import backends
from gateway.directory.shared import Shared, share
from gateway.edge.local_reply import redirect_to_https
from gateway.errors import UserError
from gateway.observe import log_file
from gateway.process import admin, worker
from gateway.process.children import Program
from gateway.process.file_watch import FileWatch
from gateway.process.listening import ListeningSockets, Role
from gateway.process.reload_state import ReloadState
from gateway.process.shared_metrics import SharedMetrics
from gateway.process.worker import ListenSocket, Slot
from gateway.tls import effective, openssl
from gateway.tls.context import CertificatePair, ContextOptions
from gateway.tls.store import CertificateStore
from gateway.upstream.claims import Claims

log = logging.getLogger("gateway.process")


@dataclass(frozen=True, slots=True)
class Wiring:
    """What stays from the first generation to the last one."""

    listening: ListeningSockets
    channels: Sequence[tuple[socket.socket, socket.socket]]
    """By slot: the admin's end and the worker's of what one asks the other."""
    lifeline: int
    """As `Slot.lifeline`."""
    reload: ReloadState
    """How the last reload went, told by the supervisor to the admin process."""
    metrics: SharedMetrics
    """Where all processes count."""


class Generation:
    """`settings` are for this machine (`sockets.for_this_machine`)."""

    def __init__(self, settings: Settings, before: Generation | None = None) -> None:
        """Tries everything that can fail. Raises UserError, CertificateError among them, with one sentence."""
        self.number: int = before.number + 1 if before is not None else 1
        self.settings = settings
        if before is not None and before.settings.admin.token_file == settings.admin.token_file:
            self._token: TokenFile = before._token
        else:
            self._token = TokenFile(settings.admin.token_file)
        if before is not None and before.settings.tls == settings.tls:
            self._certificates: CertificateStore | None = before._certificates
        else:
            self._certificates = _certificates(settings, before._certificates if before is not None else None)
        self._shared: Shared
        if before is not None and before.settings.directory == settings.directory:
            self._shared = before._shared  # what is wrong there now, its watch tells, and is no reason not to reload
        else:
            backends.check(settings.directory)  # opened by the children, each for itself
            self._shared = share(settings.directory)
        if (
            settings.log.access
            and settings.log.path is not None
            and (before is None or before.settings.log != settings.log)
        ):
            log_file.check(settings.log.path)
        if settings.otel.endpoint:
            _import_otel()  # before the fork, so that workers share it
        self._claims: Claims = before._claims if before is not None else Claims()
        looks = [self._token.look, *([self._certificates.look] if self._certificates is not None else [])]
        self.file_watch = FileWatch(looks)
        """Of the files that are followed without a reload."""

    def __repr__(self) -> str:
        return f"<Generation {self.number}>"

    def worker(self, number: int, wiring: Wiring) -> Program:
        """What the worker of a slot runs."""
        settings, edge = self.settings, self.settings.edge
        redirect = redirect_to_https(edge.domains, edge.public_port) if edge.plain == "redirect" else None
        tls = self._certificates.context if self._certificates is not None else None
        sockets = tuple(
            ListenSocket(each.socket, tls) if each.role is Role.TLS else ListenSocket(each.socket, None, redirect)
            for each in wiring.listening.slots[number]
        )
        slot = Slot(
            number,
            sockets,
            wiring.listening.own,
            wiring.channels[number][1],
            wiring.lifeline,
            self._shared,
            self._claims,
            self._certificates,
            self.number,
        )
        return self._program(partial(worker.run, settings, slot))

    def admin(self, wiring: Wiring) -> Program:
        """What the admin process runs."""
        slot = admin.AdminSlot(
            self.settings,
            wiring.listening.own,
            self._token,
            wiring.listening.admin.socket,
            [end for end, _ in wiring.channels],
            wiring.lifeline,
            self._shared,
            wiring.reload,
            wiring.metrics,
            self._certificates,
        )
        return self._program(partial(admin.run, slot))

    def _program(self, run: partial[int]) -> Program:
        return Program(run, self.number, self.settings.process.drain_timeout)


def _import_otel() -> None:
    """Raises UserError if the extra is not installed."""
    try:
        importlib.import_module("gateway.observe.otel")
    except ImportError as error:
        how = "pip install --constraint constraints.txt '.[otel]' in a checkout"
        text = f"otel.endpoint needs OpenTelemetry: {how} ({error})"
        raise UserError(text) from None


def _certificates(settings: Settings, before: CertificateStore | None) -> CertificateStore | None:
    """None: nobody speaks TLS here. Raises CertificateError; `before` as in `CertificateStore`."""
    if not settings.edge.listen:
        return None
    pairs = [CertificatePair(pair.cert, pair.key) for pair in settings.tls.certificates]
    options = ContextOptions.of(settings)
    store = CertificateStore(pairs, options, before=before)
    store.look()  # tells what is wrong with some of them
    agreed, differences = effective.report(store.context, settings.tls.groups)
    log.info(agreed)
    for difference in differences:
        log.warning(difference)
    return store


RESTART = ("edge.listen", "edge.listen_plain", "admin.listen", "process.workers", "process.stuck_timeout")
"""What a running supervisor cannot change: its sockets and slots, and the clock that all its processes beat to."""


def applicable(settings: Settings, running: Settings) -> tuple[Settings, tuple[str, ...]]:
    """`settings` as far as a running gateway can take them, and the names of those that need a restart.

    Raises UserError if the others do not go with what stays: with an admin listener for everybody, no token.
    """
    names = RESTART if openssl.OWN_CALLS else (*RESTART, "tls.groups")  # else by the environment, at the start
    differing = tuple(name for name in names if _value(settings, name) != _value(running, name))
    for name in differing:
        section, _, key = name.partition(".")
        kept = msgspec.structs.replace(getattr(settings, section), **{key: _value(running, name)})
        settings = msgspec.structs.replace(settings, **{section: kept})
    if differing and (problems := check(settings, serving=True, wrong=())):
        why = "; ".join(f"{at}: {message}" for at, message in problems)
        raise UserError(f"needs a restart, because {', '.join(differing)} cannot change before: {why}")
    return settings, differing


def _value(settings: Settings, name: str) -> object:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)


def worker_count(settings: Settings) -> int:
    return settings.process.workers or cpus.usable()

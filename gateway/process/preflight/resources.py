"""Checks of what the gateway works with: sandboxes, where they may live, their apps, descriptors, processors, logs."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv6Address
from itertools import islice

from gateway import cpus, descriptors
from gateway.addresses import Address
from gateway.config import Settings
from gateway.config.values import format_duration
from gateway.directory import sqlite_file
from gateway.directory.file import read_table
from gateway.directory.sqlite_companions import fits
from gateway.errors import UserError
from gateway.observe import log_file
from gateway.process.preflight.finding import Check, Found, Level, Subject
from gateway.upstream.policy import AddressPolicy

LOOKED_AT = 100_000
"""Records of a registry that are looked at; each takes 20 µs."""
LOOKED_AT_QUICKLY = 2_000
"""The same where somebody waits to be served."""
LARGEST_QUICKLY = 64 * 1024
"""Octets of a table that is read then: one of 50,000 sandboxes takes six seconds."""
NAMED = 3
"""Of the prohibited ones, so many are named."""
OTEL = "opentelemetry"
WIDEST_PREFIX = 3
"""Bits of 2000::/3, which is the whole internet."""
APPS_KEEP_ALIVE = 5.0
"""Seconds that Node, uvicorn and Apache keep an idle connection by default."""


def prohibited(settings: Settings, *, quickly: bool = False) -> tuple[str, ...]:
    """Records of the directory that no request can reach, each with its reason, as far as no network has to be asked.

    Raises UserError for a table that cannot be read.
    """
    policy = AddressPolicy(settings.upstream.allow)
    return tuple(
        f"{name} at {address} ({why})"
        for name, address in _records(settings, quickly)
        if (why := policy.why_prohibited(address)) is not None
    )


def _records(settings: Settings, quickly: bool) -> Iterator[tuple[str, Address]]:
    path = settings.directory.path
    if settings.directory.backend == "file":
        if quickly and path.is_file() and path.stat().st_size > LARGEST_QUICKLY:
            return
        for sandbox in read_table(path).values():
            yield sandbox.id, sandbox.address
    elif settings.directory.backend == "sqlite" and path.is_file():
        most = LOOKED_AT_QUICKLY if quickly else LOOKED_AT
        try:
            # As `sqlite_file.inspect`: what lies beside it and is another file's is not touched.
            mode = "ro" if fits(path) else "ro&immutable=1"
            with closing(sqlite_file.connect(path, timeout=1.0, mode=mode)) as db:
                for name, text in islice(db.execute("SELECT id, address FROM sandboxes"), most):
                    try:
                        yield name, IPv6Address(text)
                    except ValueError:
                        continue  # a broken record, told where it is asked for
        except (OSError, sqlite3.Error):
            return  # an empty file, or one that `backends.check` has something to say about


def _outside_allow(subject: Subject) -> Iterator[Found]:
    directory, allow, found = subject.settings.directory, subject.settings.upstream.allow, subject.prohibited
    if found and allow:
        more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
        text = f"{directory.path} has sandboxes that are never dialed: {', '.join(found[:NAMED])}{more}"
        listed = ", ".join(f'"{network}"' for network in allow)
        yield Found(text, f'upstream.allow = [{listed}, "<their prefix>"], or other addresses in the records')


def _file_outside_allow(subject: Subject) -> Iterator[Found]:
    if subject.settings.directory.backend == "file":
        yield from _outside_allow(subject)


def _registered_outside_allow(subject: Subject) -> Iterator[Found]:
    if subject.settings.directory.backend != "file":
        yield from _outside_allow(subject)


def _nothing_allowed(subject: Subject) -> Iterator[Found]:
    if not subject.settings.upstream.allow:
        yield Found("upstream.allow is empty: no sandbox is ever dialed", 'upstream.allow = ["fd00::/8"]')


def _everything_allowed(subject: Subject) -> Iterator[Found]:
    for network in subject.settings.upstream.allow:
        if network.prefixlen <= WIDEST_PREFIX:
            text = (
                f"upstream.allow has {network}: who can write a record reaches the whole internet through the gateway"
            )
            yield Found(text, "name the prefixes that sandboxes live in")


def _apps_close_first(subject: Subject) -> Iterator[Found]:
    upstream = subject.settings.upstream
    unproven = min(upstream.idle_proven, upstream.idle_timeout)  # later it is proven, or gone
    if unproven >= APPS_KEEP_ALIVE:
        text = (
            f"connections to apps are used again unproven for {format_duration(unproven)}, and Node, uvicorn and Apache"
            f" close theirs after {format_duration(APPS_KEEP_ALIVE)}: some requests meet one that is being closed"
        )
        yield Found(text, 'upstream.idle_proven = "4s", whatever upstream.idle_timeout is')


def _directory(subject: Subject) -> Iterator[Found]:
    if isinstance(subject.directory, UserError):
        yield Found(str(subject.directory), "see directory.path in the configuration")


def _unwritable(subject: Subject) -> Iterator[Found]:
    settings = subject.settings.directory
    if settings.backend != "sqlite" or isinstance(subject.directory, UserError):
        return
    try:
        why = sqlite_file.obstacle(settings.path)
    except OSError:
        return
    if why:
        yield Found(f"{settings.path}: no sandbox can be registered or removed: {why}", "run it as the file's owner")


def _descriptors(subject: Subject) -> Iterator[Found]:
    if shortage := descriptors.shortage(subject.settings.limits.connections):
        text, _, mend = shortage.partition(": ")
        yield Found(text, mend)


def _quota(subject: Subject) -> Iterator[Found]:
    workers, limit = subject.settings.process.workers, cpus.quota()
    if limit is not None and workers > (worth := cpus.whole(limit)):
        text = f"process.workers = {workers} share a CPU quota of {limit:g}: all of them stand still when it is used up"
        yield Found(text, f"process.workers = {worth}, or 0, which counts the quota")


def _log_file(subject: Subject) -> Iterator[Found]:
    settings = subject.settings.log
    if settings.access and settings.path is not None and (why := log_file.obstacle(settings.path)):
        mend = f"make {settings.path.parent}, and let the gateway's user write there"
        yield Found(f"log.path: {settings.path} cannot be written: {why}", mend)


def _no_otel(subject: Subject) -> Iterator[Found]:
    if subject.settings.otel.endpoint and importlib.util.find_spec(OTEL) is None:
        yield Found(
            "otel.endpoint is set, and OpenTelemetry is not installed",
            "pip install --constraint constraints.txt '.[otel]' in a checkout",
        )


CHECKS = (
    Check("directory-broken", Level.ERROR, _directory, at_start=False),
    Check("registry-unwritable", Level.WARNING, _unwritable, at_start=False),
    Check("sandbox-outside-allow", Level.ERROR, _file_outside_allow),
    Check("registered-sandbox-outside-allow", Level.WARNING, _registered_outside_allow),
    Check("nothing-allowed", Level.ERROR, _nothing_allowed),
    Check("everything-allowed", Level.WARNING, _everything_allowed),
    Check("apps-close-first", Level.WARNING, _apps_close_first),
    Check("descriptors", Level.WARNING, _descriptors, at_start=False),
    Check("workers-above-quota", Level.WARNING, _quota),
    Check("log-unwritable", Level.ERROR, _log_file, at_start=False),
    Check("otel-missing", Level.ERROR, _no_otel, at_start=False),
)

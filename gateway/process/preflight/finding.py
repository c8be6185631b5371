"""What a check is, what it looks at, and what it finds. Knows none of the checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from gateway.config import Settings
from gateway.errors import UserError
from gateway.tls.errors import CertificateError
from gateway.tls.pair import Certificate


class Level(Enum):
    """How bad a finding is. What is not certain is never an error: somebody may have meant it."""

    ERROR = "error"
    """Somebody will not be served, for certain."""
    WARNING = "warning"
    """Somebody may not be served, or not for long."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The settings, with what was read and measured for them, once for all checks."""

    settings: Settings
    now: datetime
    certificates: tuple[Certificate, ...] = ()
    """Those of `tls.certificates` that can be read, if there is a TLS listener."""
    broken: tuple[CertificateError, ...] = ()
    """Why the others cannot."""
    prohibited: tuple[str, ...] = ()
    """Records that no request reaches, each with its reason."""
    directory: UserError | str = ""
    """What there is to say of it, or why it cannot be opened."""


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that a check has found."""

    text: str
    """What is the matter, and what comes of it."""
    mend: str
    """The line, of the configuration or of a shell, that mends it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    name: str
    level: Level
    look: Callable[[Subject], Iterable[Found]]
    at_start: bool = True
    """Whether `gateway serve` has it said at its start: what it does not say anyway."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is told."""

    check: str
    level: Level
    text: str
    mend: str

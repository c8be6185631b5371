"""What is valid and will be an outage all the same: the table of checks behind `gateway check`.

Settings that contradict each other are no business of this room: `config.checks` refuses them. Here a configuration is
held against the world: certificates and who they are for, records, descriptors, processors, who stands in front.
Nothing is changed, no network is asked, and what may be meant is a warning. `gateway serve` logs the same at its start
and at each reload.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from gateway.config import Settings
from gateway.directory import backends
from gateway.errors import UserError
from gateway.process.preflight import certificates, listeners, resources
from gateway.process.preflight.finding import Check, Finding, Level, Subject
from gateway.tls.errors import CertificateError
from gateway.tls.pair import Certificate, CertificatePair, read_pair

__all__ = ["CHECKS", "Finding", "Level", "examine", "look", "warn"]

log = logging.getLogger("gateway.process")

CHECKS: tuple[Check, ...] = (*certificates.CHECKS, *listeners.CHECKS, *resources.CHECKS)
"""In the order in which they are told."""


def look(settings: Settings, now: datetime | None = None, *, quickly: bool = False) -> Subject:
    """Reads what the checks ask of; `quickly`: not what takes seconds, nor what a start has read already."""
    readable: list[Certificate] = []
    broken: list[CertificateError] = []
    for pair in settings.tls.certificates if settings.edge.listen else ():
        try:
            readable.append(read_pair(CertificatePair(pair.cert, pair.key)))
        except CertificateError as error:
            broken.append(error)
    prohibited: tuple[str, ...] = ()
    directory: UserError | str = ""
    try:
        directory = "" if quickly else backends.check(settings.directory)
        prohibited = resources.prohibited(settings, quickly=quickly)
    except UserError as error:
        directory = error
    return Subject(settings, now or datetime.now(UTC), tuple(readable), tuple(broken), prohibited, directory)


def examine(subject: Subject, checks: tuple[Check, ...] = CHECKS) -> list[Finding]:
    """What is found, errors first."""
    found = [Finding(check.name, check.level, each.text, each.mend) for check in checks for each in check.look(subject)]
    return sorted(found, key=lambda finding: finding.level is not Level.ERROR)


def warn(settings: Settings) -> None:
    """Logs what is found and nobody else says. Never fails: advice must not end what it is for."""
    try:
        for finding in examine(look(settings, quickly=True), tuple(check for check in CHECKS if check.at_start)):
            log.warning("%s: %s. Mend: %s", finding.check, finding.text, finding.mend)
    except Exception:
        log.exception("the configuration could not be looked through for traps")

"""Says in the log, in good time and not too often, that a certificate is about to expire."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gateway.counting import counted

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.tls.pair import Certificate

DAYS = (0, 1, 3, 7, 14)
"""So many days before the end there is a line each."""
SHARE = 3
"""No line earlier than this part of the lifetime before its end: whoever renews by ACME has done so by then, and what
lives for six days is no news with three days left."""

log = logging.getLogger("gateway.tls")


class ExpiryNotices:
    """What was said of which certificate."""

    __slots__ = ("_said", "speaks")

    def __init__(self) -> None:
        self.speaks = True
        """As `FollowedPair.speaks`."""
        self._said: dict[Path, tuple[datetime, int]] = {}

    def look(self, certificates: Iterable[Certificate], now: datetime) -> None:
        """Says what has to be said of `certificates` and was not."""
        for certificate in certificates:
            days, path = days_to_tell(certificate, now), certificate.pair.cert
            if days is None:
                self._said.pop(path, None)
            elif self._said.get(path) != (saying := (certificate.not_after, days)):
                self._said[path] = saying
                log.log(logging.WARNING if self.speaks else logging.DEBUG, "%s", _sentence(certificate, now))


def days_to_tell(certificate: Certificate, now: datetime) -> int | None:
    """The line that is due: the least of `DAYS` within which it expires; None: none yet."""
    if not certificate.is_valid(now):
        return 0
    left = certificate.not_after - now
    longest = (certificate.not_after - certificate.not_before) / SHARE
    return next((days for days in DAYS if left <= timedelta(days=days) <= longest), None)


def _sentence(certificate: Certificate, now: datetime) -> str:
    if (invalid := certificate.invalidity(now)) is not None:
        return f"{invalid} It is served only for names that no valid one is for, and browsers warn of it."
    hours = int((certificate.not_after - now) / timedelta(hours=1))
    left = counted(hours // 24, "day") if hours >= 48 else counted(hours, "hour")
    return f"{certificate.pair.cert} expires in {left}, on {certificate.not_after:%Y-%m-%d at %H:%M UTC}: renew it"

"""The certificate store: the configured pairs, and the context that serves what is loaded of them.

Each process that serves or judges has one, forked with all that the supervisor had loaded, and looks at the files on
its own (`watch`): a renewal needs no signal, no roll, and no process that tells the others. What is wrong with one pair
leaves the others as they are; which of them is served for which name, `choice` says, and the clock has its say in it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.file_changes import INTERVAL
from gateway.tls.choice import choose
from gateway.tls.errors import CertificateError
from gateway.tls.expiry import ExpiryNotices
from gateway.tls.followed_pair import FollowedPair
from gateway.tls.live_contexts import LiveContexts, Prepared

if TYPE_CHECKING:
    import ssl

    from gateway.tls.context import ContextOptions
    from gateway.tls.pair import Certificate, CertificateFile, CertificatePair

log = logging.getLogger("gateway.tls")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class _Change:
    state: object
    """As `CertificateStore._state`."""
    prepared: Prepared


class CertificateStore:
    """Serves whatever can be served of `pairs`, through one context that stays."""

    def __init__(
        self,
        pairs: Sequence[CertificatePair],
        options: ContextOptions,
        clock: Callable[[], datetime] = _now,
        before: CertificateStore | None = None,
    ) -> None:
        """Raises CertificateError if nothing can be loaded at all; what is wrong with some of `pairs`, which are not
        none, the first look tells.

        If there is a store `before`, its settings are about to be replaced: what it has of the same pairs stays if
        their files are broken now, and a pair that it does not know must be whole (CertificateError).
        """
        self._clock = clock
        earlier = {each.pair: each.certificate for each in before._pairs} if before is not None else {}
        self._pairs: list[FollowedPair] = [FollowedPair(pair, earlier.get(pair)) for pair in pairs]
        self._expiry = ExpiryNotices()
        now, loaded = clock(), self.certificates
        if not loaded:
            raise next(each.trouble for each in self._pairs if each.trouble is not None)
        for each in self._pairs:
            if before is not None and each.pair not in earlier and each.trouble is not None:
                raise each.trouble
        self._live = LiveContexts(choose(loaded, now), options)
        self._served = self._state(now)
        self._trouble = ""  # what the last preparation failed of

    def __repr__(self) -> str:
        return f"<CertificateStore {self._pairs!r} {self._live!r}>"

    @property
    def context(self) -> ssl.SSLContext:
        """For every listener and every process, as long as the store lives."""
        return self._live.entry

    @property
    def certificates(self) -> list[Certificate]:
        """What is loaded, in the order of the configuration."""
        return [each.certificate for each in self._pairs if each.certificate is not None]

    def listen_only(self) -> None:
        """What is to be told of the files, another process tells: here it is logged at debug."""
        self._expiry.speaks = False
        for each in self._pairs:
            each.speaks = False

    def unserved(self, domains: Sequence[str]) -> list[str]:
        """A sentence for each of `domains` whose sandboxes had a certificate and have no valid one left."""
        return list(self._unserved(domains, self._clock()))

    # --- following the files -------------------------------------------------------------------------------------

    def files(self) -> list[CertificateFile]:
        """Of what is loaded."""
        return [each.file for each in self.certificates]

    def look(self) -> None:
        """Looks at the files, and serves what has changed. Takes a stat(2) for each, and some milliseconds if so."""
        change = self._read()
        if change is not None:
            self._use(change)

    async def watch(self) -> None:
        """Looks again and again until cancelled. Files are read in a thread: a network file system may hang."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(INTERVAL)
            change = await loop.run_in_executor(None, self._read)
            if change is not None:
                self._use(change)

    def _read(self) -> _Change | None:
        now = self._clock()
        for each in self._pairs:
            each.look(now)
        self._expiry.look(self.certificates, now)
        state = self._state(now)
        if state == self._served:
            return None
        try:
            change = _Change(state, self._live.prepare(choose(self.certificates, now)))
        except CertificateError as error:  # no descriptor, no memory: the next look tries again
            if self._trouble != (trouble := str(error)):
                self._trouble = trouble
                log.error("%s What was served before is served on.", error)
            return None
        self._trouble = ""
        return change

    def _use(self, change: _Change) -> None:
        self._live.use(change.prepared)
        self._served = change.state

    def _state(self, now: datetime) -> object:
        """What the choice among certificates depends on."""
        return [(certificate, certificate.is_valid(now)) for certificate in self.certificates]

    def _unserved(self, domains: Sequence[str], now: datetime) -> Iterator[str]:
        certificates = self.certificates
        for domain in domains:
            name = f"*.{domain.lower()}"
            for_it = [certificate for certificate in certificates if name in certificate.names]
            if any(certificate.is_valid(now) for certificate in for_it):
                continue
            # A pair that was never read may have been the one.
            unread = [] if for_it else [each.trouble for each in self._pairs if each.certificate is None]
            why = [*(certificate.invalidity(now) for certificate in for_it), *unread]
            if why:
                yield f"no valid certificate for {name}: {' '.join(map(str, why))}"

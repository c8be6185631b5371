"""The one road to a new connection, whoever takes it: a first request, one that found its record missing, a retry.

    refused lately? -> wait for a turn -> dial -> is the record still the same? -> connected
                                                    |--> (refused, silence) look what is there, if so -> remembered
                                                    `--> (still silence, no route) the record is doubted, if so

A dial may take seconds, in which its address may become somebody else's: before that was asked no octet is sent, and
nothing that was met there is said of the name, or held against it.

Asks the books first and keeps them. Failures are values here: what is remembered, or told to a crowd that waited for
one dial, is never an exception that was raised. Knows addresses and failures; no heads, and nobody who asks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.addresses import authority
from gateway.diagnosis.probe import is_looked_into
from gateway.errors import Failure, GatewayError, Reason
from gateway.upstream.refusals import Refusals
from gateway.upstream.turns import Turns
from gateway.wordings import ACCEPT_QUEUE_FULL, PORT_NOT_ANSWERING, QUEUE_SEEMS_FULL

if TYPE_CHECKING:
    from gateway.diagnosis.probe import Probe
    from gateway.directory.cache import DirectoryCache
    from gateway.directory.sandbox import Sandbox
    from gateway.upstream.connection import Http1Upstream
    from gateway.upstream.inquiry import Doubt
    from gateway.upstream.pool import Key, Pool

_EVICTING = (Reason.CONNECTION_TIMEOUT, Reason.DESTINATION_IP_UNROUTABLE)
"""A refusal proves a live host; silence and no route cast doubt on the record …"""
_UP = (ACCEPT_QUEUE_FULL, QUEUE_SEEMS_FULL, PORT_NOT_ANSWERING)
"""… unless the sandbox is known to be up."""


class Road:
    """One per worker."""

    def __init__(self, pool: Pool, directory: DirectoryCache, probe: Probe) -> None:
        self._pool = pool
        self._directory = directory
        self._probe = probe
        self._refusals = Refusals(pool.clock)
        self._turns = Turns()

    def known_failure(self, key: Key) -> Failure | None:
        """What there is to say of `key` without waiting: a target that has refused often enough just now."""
        refusal = self._refusals.instead_of_dialing(key)
        return refusal.failure if refusal is not None and refusal.looked else None

    async def connect(self, key: Key, sandbox: Sandbox) -> Http1Upstream | None:
        """A new connection to `sandbox`, which `key` stands for; None if its name leads elsewhere by now.

        Raises GatewayError with all that could be seen.
        """
        reached = await self._reach(key)
        if not isinstance(reached, Failure):
            return reached if await self._may_use(reached, sandbox) else None
        try:
            failure = await self._seen(key, sandbox, reached)
        except GatewayError:
            self._refusals.forget(key)
            raise
        if failure is not None:
            raise failure.error()
        self._refusals.forget(key)
        return None

    async def explain(self, error: GatewayError, key: Key, sandbox: Sandbox, doubt: Doubt) -> GatewayError:
        """`error`, met at a connection to `sandbox`, or what it means by what the app says when it is asked.

        Nobody else is asked, and nothing is said of anybody else: the address may be another's a moment later.
        """
        try:
            if not await self._holds(sandbox):
                return error
            explained = await self._pool.inquiry.explain(error, key, doubt)
            return explained if await self._holds(sandbox) else error
        except GatewayError:  # there is no record any more, or nobody can tell
            return error

    async def _holds(self, sandbox: Sandbox) -> bool:
        """Whether the record is still the same. Raises GatewayError: there is none any more, or nobody can tell."""
        return (await self._directory.fetch(sandbox.id)).origin == sandbox.origin

    async def _may_use(self, connection: Http1Upstream, sandbox: Sandbox) -> bool:
        """Whether the record is still the same; `connection` is closed if it is not, or if nobody can tell."""
        holds = False
        try:
            holds = await self._holds(sandbox)
        finally:
            if not holds:
                connection.close()
        if holds and (stillborn := connection.stillborn()) is not None:  # while the backend was asked
            raise stillborn.error()
        return holds

    async def _seen(self, key: Key, sandbox: Sandbox, failure: Failure) -> Failure | None:
        """`failure` with all that could be seen; None if the record is another one by now.

        Raises GatewayError(destination_not_found).
        """
        try:
            if not await self._holds(sandbox):
                return None
            if is_looked_into(failure):
                _, port = key
                told = await self._probe.explain(failure, sandbox.address, port, sandbox.ipv4, whose=sandbox.origin)
                if not await self._holds(sandbox):  # who has the address now is nobody's business
                    return None
                failure = told
                self._refusals.explain(key, failure)
            if failure.reason in _EVICTING and failure.wording not in _UP:
                self._directory.evict(sandbox.id)
        except GatewayError as error:
            if error.reason is not Reason.DIRECTORY_UNAVAILABLE:
                raise
            # Nobody can tell whether the record still holds: the failure is told as it was met.
        return failure

    async def _reach(self, key: Key) -> Http1Upstream | Failure:
        refusal = self._refusals.instead_of_dialing(key)
        if refusal is not None:
            return refusal.failure  # one look for all who come while it lasts
        if not self._turns.begin(key):
            failure = await self._wait(key)
            if failure is not None:
                return failure
        self._refusals.count(key)
        failure = None
        connection: Http1Upstream | None = None
        try:
            connection = await self._pool.dial(key)
        except GatewayError as error:
            failure = error.failure()
            if failure.reason is Reason.CONNECTION_REFUSED:
                self._refusals.remember(key, failure, dials=self._turns.under_way(key))
        finally:
            self._turns.end(key, failure, connected=connection is not None)
        if connection is not None:
            self._refusals.forget(key)
            return connection
        assert failure is not None  # anything else was raised
        return failure

    async def _wait(self, key: Key) -> Failure | None:
        """Waits for a turn as long as a dial would take; what is known instead of one."""
        patience = self._pool.timeouts.connect
        try:
            async with asyncio.timeout(patience):
                return await self._turns.wait(key)
        except TimeoutError:
            (_, _, address), port = key
            late = f"not begun within {patience:g} s, because others are on their way"
            detail = f"connect to {authority(address, port)}: {late}"
            return Failure(Reason.CONNECTION_TIMEOUT, detail)

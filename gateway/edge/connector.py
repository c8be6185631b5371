"""A new connection for an exchange, to whoever its name leads to once the connection is made.

    pool.connect -> is the record still the same? -> connected
        |---------> (refused, silence) look what is there, if so -> remembered
        `---------> (still silence, no route) the record is doubted, if so

A dial may take seconds, in which its address may become somebody else's: before that was asked no octet is sent, and
nothing that was met there is said of the name, or held against it. Where the name leads elsewhere by then, the exchange
asks again (`Exchange._reach`).

Failures are values here: what is remembered, or told to a crowd that waited for one dial, is never an exception that
was raised. Knows endpoints and failures; no heads, and nobody who asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.diagnosis.port_probe import is_probed
from gateway.endpoint import Endpoint
from gateway.errors import Failure, GatewayError, Reason
from gateway.wordings import ACCEPT_QUEUE_FULL, PORT_NOT_ANSWERING, QUEUE_SEEMS_FULL

if TYPE_CHECKING:
    from gateway.diagnosis.port_probe import PortProbe
    from gateway.diagnosis.protocol_probe import ProtocolProbe
    from gateway.directory.cache import DirectoryCache
    from gateway.directory.sandbox import Sandbox
    from gateway.endpoint import AppKey
    from gateway.upstream.pool import Pool
    from gateway.upstream.stream import UpstreamFailure, UpstreamStream

_EVICTING = (Reason.CONNECTION_TIMEOUT, Reason.DESTINATION_IP_UNROUTABLE)
"""A refusal proves a live host; silence and no route cast doubt on the record …"""
_KNOWN_UP = (ACCEPT_QUEUE_FULL, QUEUE_SEEMS_FULL, PORT_NOT_ANSWERING)
"""… unless the sandbox is known to be up."""


class Connector:
    """One per worker."""

    def __init__(self, pool: Pool, directory: DirectoryCache, probe: PortProbe, protocols: ProtocolProbe) -> None:
        self._pool = pool
        self._directory = directory
        self._probe = probe
        self._protocols = protocols

    async def connect(self, key: AppKey, sandbox: Sandbox) -> UpstreamStream | None:
        """A stream of a new connection to `sandbox`, whose endpoint it is; None if its name leads elsewhere by now.

        Raises GatewayError with all that could be seen.
        """
        reached, endpoint = await self._pool.connect(key), Endpoint(key[0], key[1])
        if not isinstance(reached, Failure):
            return reached if await self._may_use(reached, sandbox) else None
        try:
            failure = await self._examined(endpoint, sandbox, reached)
        except GatewayError:
            self._pool.refusals.forget(endpoint)
            raise
        if failure is not None:
            raise failure.error()
        self._pool.refusals.forget(endpoint)
        return None

    async def explain(self, failure: UpstreamFailure, endpoint: Endpoint, sandbox: Sandbox) -> GatewayError:
        """What `failure`, met at a connection to `sandbox`, means by what the app says when it is asked.

        Nobody else is asked, and nothing is said of anybody else: the address may be another's a moment later.
        """
        error = failure.error
        try:
            if not await self._is_current(sandbox):
                return error
            explained = await self._protocols.explain(failure, endpoint)
            return explained if await self._is_current(sandbox) else error
        except GatewayError:  # there is no record any more, or nobody can tell
            return error

    async def _is_current(self, sandbox: Sandbox) -> bool:
        """Whether the record is still the same. Raises GatewayError: there is none any more, or nobody can tell."""
        return (await self._directory.fetch(sandbox.id)).origin == sandbox.origin

    async def _may_use(self, stream: UpstreamStream, sandbox: Sandbox) -> bool:
        """Whether the record is still the same; `stream` is closed if it is not, or if nobody can tell."""
        holds = False
        try:
            holds = await self._is_current(sandbox)
        finally:
            if not holds:
                stream.close()
        if holds and (failure := stream.early_failure()) is not None:  # while the backend was asked
            raise failure.error()
        return holds

    async def _examined(self, endpoint: Endpoint, sandbox: Sandbox, failure: Failure) -> Failure | None:
        """`failure` with all that could be seen; None if the record is another one by now.

        Raises GatewayError(destination_not_found).
        """
        try:
            if not await self._is_current(sandbox):
                return None
            if is_probed(failure):
                told = await self._probe.explain(
                    failure, sandbox.address, endpoint.port, sandbox.ipv4, whose=sandbox.origin
                )
                if not await self._is_current(sandbox):  # who has the address now is nobody's business
                    return None
                failure = told
                self._pool.refusals.explain(endpoint, failure)
            if failure.reason in _EVICTING and failure.wording not in _KNOWN_UP:
                self._directory.evict(sandbox.id)
        except GatewayError as error:
            if error.reason is not Reason.DIRECTORY_UNAVAILABLE:
                raise
            # Nobody can tell whether the record still holds: the failure is told as it was met.
        return failure

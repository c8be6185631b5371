"""Is a port of a sandbox in use? The policy, one dial, and after a refusal a look at what does listen there.

Asked by platform code that waits for an app to start, so it is short: it ends with the connection, and sends nothing.
`gateway explain` is for people and goes on to HTTP.
"""

from __future__ import annotations

import asyncio

import msgspec
from msgspec.structs import replace

from gateway.addresses import authority
from gateway.app_protocol import AUTO, H2C, HTTP1, AppProtocol, protocol_of
from gateway.diagnosis.explain import DIAL_TIMEOUT, PROBE_TIMEOUT, Context
from gateway.directory.sandbox import Sandbox
from gateway.errors import Failure, GatewayError, Reason, Wording
from gateway.upstream.pool import Pool
from gateway.wordings import ACCEPT_QUEUE_FULL, FORWARDED_ON_LOOPBACK, LOOPBACK_ONLY, QUEUE_SEEMS_FULL, REJECTED

_STATES: dict[Reason | Wording, str] = {
    Reason.PORT_DENIED: "denied",
    Reason.DESTINATION_IP_PROHIBITED: "prohibited",
    Reason.CONNECTION_REFUSED: "refused",
    Reason.IPV4_ONLY_LISTENER: "ipv4_only",
    LOOPBACK_ONLY: "loopback_only",
    FORWARDED_ON_LOOPBACK: "loopback_only",
    Reason.CONNECTION_TIMEOUT: "timeout",
    ACCEPT_QUEUE_FULL: "stuck",
    QUEUE_SEEMS_FULL: "stuck",
    Reason.DESTINATION_IP_UNROUTABLE: "unroutable",
    REJECTED: "rejected",
    Reason.CONNECTION_TERMINATED: "terminated",
    # It greets whoever connects, and was quick enough to be heard: SSH, databases.
    Reason.HTTP_PROTOCOL_ERROR: "listening",
    Reason.UPSTREAM_SPEAKS_TLS: "listening",
    Reason.UPSTREAM_SPEAKS_HTTP2: "listening",
    Reason.UPSTREAM_SPEAKS_HTTP1: "listening",
    # By HTTP/2, which begins with the app's word.
    Reason.HTTP_RESPONSE_TIMEOUT: "stuck",
}
_SEEN: dict[Reason, AppProtocol] = {Reason.UPSTREAM_SPEAKS_HTTP1: HTTP1, Reason.UPSTREAM_SPEAKS_HTTP2: H2C}
"""What a port was seen to speak, against its record."""


class PortState(msgspec.Struct, frozen=True):
    """`detail` is what was observed; `url` the port's public URL, None if the gateway serves no domain: not for a check
    to know."""

    state: str
    detail: str
    url: str | None = None
    protocol: str = AUTO.value
    """What the app was seen to speak ("http1", "h2c"), else what is spoken to it by its record."""


def make_pool(context: Context) -> Pool:
    """What checks are made with. Nothing is left in it: a check's connection is never anybody else's."""
    settings = context.settings
    connect_timeout = min(settings.upstream.connect_timeout, DIAL_TIMEOUT)
    patient = replace(settings.upstream, connect_timeout=connect_timeout, response_header_timeout=DIAL_TIMEOUT)
    pool = Pool(replace(settings, upstream=patient), context.policy, asyncio.get_running_loop().time)
    pool.open_socket = context.open_socket
    return pool


async def check_port(sandbox: Sandbox, port: int, context: Context, pool: Pool) -> PortState:
    """The state of `port` (1 to 65535), after `DIAL_TIMEOUT + PROBE_TIMEOUT` seconds at most.

    Raises GatewayError for what is no property of the port: no descriptor left, a fault of ours.
    """
    said = protocol_of(sandbox.protocol, port)
    try:
        detail = await _dial(sandbox, port, said, context, pool)
    except GatewayError as error:
        state = _STATES.get(error.wording or error.reason) or _STATES.get(error.reason)
        if state is None:
            raise
        return PortState(state, error.detail, protocol=_SEEN.get(error.reason, said).value)
    return PortState("listening", detail, protocol=said.value)


async def _dial(sandbox: Sandbox, port: int, said: AppProtocol, context: Context, pool: Pool) -> str:
    if port in context.settings.upstream.deny_ports:
        raise GatewayError(Reason.PORT_DENIED, f"port {port} is in upstream.deny_ports")
    try:
        connection = await pool.dial((sandbox.origin, port, H2C if said is H2C else HTTP1))
    except GatewayError as error:
        failure = error.failure()
    else:
        connection.close()
        spoken = ", and speaks HTTP/2 without TLS (h2c)" if said is H2C else ""
        return f"{authority(sandbox.address, port)} accepts connections{spoken}"
    raise (await _probe(failure, sandbox, port, context)).error()


async def _probe(failure: Failure, sandbox: Sandbox, port: int, context: Context) -> Failure:
    """`failure`, or what it turns out to be once somebody has looked what listens there."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            return await context.probe.explain(failure, sandbox.address, port, sandbox.ipv4, whose=sandbox.origin)
    except TimeoutError:
        return failure

"""The last step of an examination: whether an app takes a WebSocket's handshake, or why not.

What that means for a URL is `explain`'s to say: an app need not have any.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gateway.diagnosis import hints
from gateway.diagnosis.answer_text import status
from gateway.diagnosis.app_request import AppRequest, send
from gateway.diagnosis.error_answer import ErrorAnswers
from gateway.diagnosis.report import Verdict
from gateway.endpoint import AppKey
from gateway.errors import GatewayError
from gateway.http.message import AS_TUNNEL, ResponseHead
from gateway.upstream.pool import Pool
from gateway.upstream.stream import UpstreamFailure

HANDSHAKE_TIMEOUT = 2.0
"""Seconds that it gets at most."""
_NO_SUCH_THING = (404, 405, 410, 501)
"""Statuses by which an app says that it has no WebSocket, as it does by answering a handshake as if it were a GET. With
any other it refuses this one: it wants a login, another Origin or another version (426)."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """How one went."""

    detail: str
    verdict: Verdict = "skipped"
    """`skipped`: it says nothing against an app, unless a WebSocket is what was asked for."""
    but: str = "no WebSocket opens here"
    """What there is to say of a URL that asks for one."""
    hint: str = ""


async def shake_hands(
    pool: Pool, key: AppKey, request: AppRequest, accept: bytes, error_answers: ErrorAnswers
) -> Handshake:
    """Asks for a WebSocket, and closes it again; `accept` is what Sec-WebSocket-Accept has to say."""
    try:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            stream = await pool.dial(key)
            answer = await send(stream, request, pool.connections, error_answers)
        if isinstance(answer, UpstreamFailure):
            raise hints.explain(request.head, answer)
    except TimeoutError:
        return Handshake(f"no answer to a handshake within {HANDSHAKE_TIMEOUT:g} s")
    except GatewayError as error:
        return Handshake(f"no answer to a handshake: {error.detail}")
    if answer.framing is not AS_TUNNEL:
        return _refused(answer)
    if answer.get(b"sec-websocket-accept") != accept:
        return Handshake("101, but with a wrong Sec-WebSocket-Accept: browsers will refuse it", "warning")
    return Handshake("101 Switching Protocols, by HTTP/1.1", "ok")


def _refused(answer: ResponseHead) -> Handshake:
    """By an app that may have WebSockets, or has none."""
    if answer.status < 300 or answer.status in _NO_SUCH_THING:
        return Handshake(f"the app has no WebSocket here (HTTP {answer.status})")
    usually = ", usually by its origin check" if answer.status == 403 else ""
    hint = answer.get(hints.FIELD.lower()) or b""
    return Handshake(
        f"the app refuses this handshake{usually}: {status(answer)}",
        but=f"the app refuses this WebSocket handshake ({status(answer)}{usually})",
        hint=hint.decode("ascii"),
    )

"""Asks a running gateway's admin listener for a report: `GET /v1/explain?url=`.

Plain synchronous standard library: one small request to this machine is no reason to start an event loop.
"""

from __future__ import annotations

import http.client
from urllib.parse import urlencode, urlsplit

import msgspec

from gateway.diagnosis.report import Report
from gateway.errors import UserError

TIMEOUT = 60.0
"""Seconds of silence; an examination takes half of that at most."""
MAX_ANSWER = 1024 * 1024
"""Octets of an answer that are read."""


class _Problem(msgspec.Struct):
    detail: str


def ask(admin: str, url: str, token: str = "") -> Report:
    """The report of the gateway whose admin listener is at `admin` (http://host:port).

    Raises UserError with one sentence: nobody answers there, who answers is no gateway, or it refuses.
    """
    if not (token.isascii() and token.isprintable()):
        raise UserError("the token has characters that no HTTP field can carry")
    status, body = _get(admin, f"/v1/explain?{urlencode({'url': url})}", token)
    try:
        if status == 200:
            return msgspec.json.decode(body, type=Report)
        problem = msgspec.json.decode(body, type=_Problem)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UserError(f"what answers at {admin} is not a gateway's admin listener (HTTP {status})") from None
    raise UserError(f"the gateway at {admin} does not say: {problem.detail}")


def _get(admin: str, target: str, token: str) -> tuple[int, bytes]:
    parts = urlsplit(admin)
    fields = {"Authorization": f"Bearer {token}"} if token else {}
    make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = make(parts.hostname or "", parts.port, timeout=TIMEOUT)
    try:
        connection.request("GET", parts.path.rstrip("/") + target, headers=fields)
        answer = connection.getresponse()
        return answer.status, answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UserError(
            f"no running gateway answers at {admin} ({said}): start one or name its admin listener with --admin URL, "
            "or look from here with --config FILE"
        ) from None
    finally:
        connection.close()

"""What a command asks of a running gateway's admin listener.

Plain synchronous standard library: one small request is no reason to start an event loop.
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from gateway.diagnosis.report import Report
from gateway.errors import UserError

TIMEOUT = 30.0
"""Seconds of silence."""
EXPLAIN_TIMEOUT = 64.0
"""The same of one that examines a URL, which takes half of that at most."""
MAX_ANSWER = 4 * 1024 * 1024
"""Octets of an answer that are read; a full page of records takes a tenth."""

T = TypeVar("T")


class _Problem(msgspec.Struct):
    detail: str


class Refused(UserError):
    """The gateway's own answer, and not a good one; the sentence is its problem's detail."""


class AdminClient:
    """The gateway whose admin listener is at `url` (http://host:port).

    `otherwise` says what a command can do if nobody answers there. Every method raises UserError with one sentence:
    nobody answers, who answers is no gateway, or it refuses.
    """

    def __init__(self, url: str, token: str, otherwise: str, timeout: float = TIMEOUT) -> None:
        if not (token.isascii() and token.isprintable()):
            raise UserError("the token has characters that no HTTP field can carry")
        self._url = url
        self._fields = {"Authorization": f"Bearer {token}"} if token else {}
        self._otherwise = otherwise
        self._timeout = timeout

    def fetch(
        self,
        kind: type[T],
        method: str,
        target: str,
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> T:
        """A good answer's JSON as a `kind`."""
        return self._decode(*self.send(method, target, body, fields), kind)

    def send(
        self, method: str, target: str, body: bytes | None = None, fields: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a good answer."""
        parts = urlsplit(self._url)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = make(parts.hostname or "", parts.port, timeout=self._timeout)
        json = {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request(
                method, parts.path.rstrip("/") + target, body, {**self._fields, **json, **(fields or {})}
            )
            answer = connection.getresponse()
            status, content = answer.status, answer.read(MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            said = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise UserError(
                f"no running gateway answers at {self._url} ({said}): start one or name its admin listener with "
                f"--admin URL, or {self._otherwise} with --config FILE"
            ) from None
        finally:
            connection.close()
        if 200 <= status < 300:
            return status, content
        raise Refused(self._decode(status, content, _Problem).detail)

    def _decode(self, status: int, content: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise UserError(f"what answers at {self._url} is not a gateway's admin listener (HTTP {status})") from None


def fetch_report(admin: str, url: str, token: str = "") -> Report:
    """What the gateway at `admin` says about `url`. Raises UserError as `AdminClient` does."""
    client = AdminClient(admin, token, "look from here", EXPLAIN_TIMEOUT)
    try:
        return client.fetch(Report, "GET", f"/v1/explain?{urlencode({'url': url})}")
    except Refused as refused:
        raise UserError(f"the gateway at {admin} does not say: {refused}") from None

"""Records of the access log, as far as a test cares."""

from __future__ import annotations

from typing import Any

from gateway.observe.access_log import AccessRecord

_USUAL: dict[str, Any] = {
    "time": 1_800_000_000.0,
    "request_id": "1",
    "remote": "::1",
    "method": "GET",
    "host": "5000-demo.sandbox.localhost",
    "path": "/",
    "protocol": "HTTP/1.1",
    "status": 200,
    "duration_ms": 5.0,
    "first_byte_ms": 3.0,
    "received": 0,
    "sent": 0,
}


def record(**said: object) -> AccessRecord:
    return AccessRecord(**{**_USUAL, **said})

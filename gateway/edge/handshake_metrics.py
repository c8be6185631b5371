"""How handshakes ended, counted."""

from __future__ import annotations

import ssl

from gateway.errors import GatewayError
from gateway.metrics import HANDSHAKE_FAILURES, HANDSHAKES, Cells

_VERSIONS = ("TLSv1.2", "TLSv1.3")
_NOTHING_IN_COMMON = (
    *("UNSUPPORTED_PROTOCOL", "NO_SHARED_CIPHER", "NO_SHARED_GROUP", "NO_SUITABLE", "WRONG_VERSION"),
    *("ALERT_HANDSHAKE_FAILURE", "ALERT_PROTOCOL_VERSION", "ALERT_INSUFFICIENT_SECURITY", "INAPPROPRIATE_FALLBACK"),
)
_REJECTED = (
    *("UNKNOWN_CA", "CERTIFICATE_UNKNOWN", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED"),
    *("CERTIFICATE_REVOKED", "UNSUPPORTED_CERTIFICATE"),
)
"""Parts of OpenSSL's names for what was met."""


def count_handshake(cells: Cells, version: str | None, resumed: bool | None) -> None:
    """One that has succeeded."""
    cells[HANDSHAKES.at(version if version in _VERSIONS else "other", "yes" if resumed else "no")] += 1


def count_failed_handshake(cells: Cells, error: Exception | None, ours: str) -> None:
    """`ours` is the cause where this side has ended it: a value of the label, or empty."""
    cells[HANDSHAKE_FAILURES.at(ours or _cause(error))] += 1


def _cause(error: Exception | None) -> str:
    if isinstance(error, GatewayError):
        return "no_tls"
    if not isinstance(error, ssl.SSLError):
        return "closed"
    name = getattr(error, "reason", None) or ""
    if "UNEXPECTED_EOF" in name:
        return "closed"
    if any(part in name for part in _NOTHING_IN_COMMON):
        return "nothing_in_common"
    if "ALERT" in name and any(part in name for part in _REJECTED):
        return "certificate_rejected"
    return "protocol"

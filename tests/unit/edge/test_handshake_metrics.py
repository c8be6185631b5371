"""Why handshakes fail, as it is counted."""

from __future__ import annotations

import ssl

import pytest

from gateway.edge.handshake_metrics import count_failed_handshake, count_handshake
from gateway.errors import GatewayError, Reason
from gateway.metrics import HANDSHAKE_FAILURES, HANDSHAKES, private
from gateway.observe.totals import Totals


def failure(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "ours", "cause"),
    [
        (None, "", "closed"),
        (ConnectionResetError(), "", "closed"),
        (None, "timeout", "timeout"),
        (failure("HTTP_REQUEST"), "limit", "limit"),
        (GatewayError(Reason.BAD_REQUEST, "SSH"), "", "no_tls"),
        (failure("UNSUPPORTED_PROTOCOL"), "", "nothing_in_common"),
        (failure("NO_SHARED_CIPHER"), "", "nothing_in_common"),
        (failure("TLSV1_ALERT_UNKNOWN_CA"), "", "certificate_rejected"),
        (failure("SSLV3_ALERT_CERTIFICATE_UNKNOWN"), "", "certificate_rejected"),
        (failure("SSLV3_ALERT_BAD_CERTIFICATE"), "", "certificate_rejected"),
        (failure("SSLV3_ALERT_HANDSHAKE_FAILURE"), "", "nothing_in_common"),
        (failure("TLSV1_ALERT_PROTOCOL_VERSION"), "", "nothing_in_common"),
        (failure("SSLV3_ALERT_CERTIFICATE_REVOKED"), "", "certificate_rejected"),
        (failure("UNEXPECTED_EOF_WHILE_READING"), "", "closed"),
        (failure("BAD_EXTENSION"), "", "protocol"),
        (ssl.SSLError(1, "without a reason"), "", "protocol"),
    ],
)
def test_a_failure_has_one_cause(error: Exception | None, ours: str, cause: str) -> None:
    cells = private()
    count_failed_handshake(cells, error, ours)
    assert dict(Totals.of([cells]).series(HANDSHAKE_FAILURES)) == {(cause,): 1}


@pytest.mark.parametrize(
    ("version", "resumed", "labels"),
    [
        ("TLSv1.3", False, ("TLSv1.3", "no")),
        ("TLSv1.2", True, ("TLSv1.2", "yes")),
        ("TLSv1.4", True, ("other", "yes")),
    ],
)
def test_a_success_has_its_version(version: str, resumed: bool, labels: tuple[str, str]) -> None:
    cells = private()
    count_handshake(cells, version, resumed)
    assert dict(Totals.of([cells]).series(HANDSHAKES)) == {labels: 1}

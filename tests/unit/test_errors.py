"""The Reason table as a contract: names, statuses, blame and texts that other programs and people rely on."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from gateway.errors import Blame, Failure, GatewayError, Reason, UserError
from gateway.wordings import WORDINGS

PROMISED = [
    # what users meet: name, status, RFC 9209 type, whether the same request may simply be sent again
    ("unknown_domain", 421, "http_request_error", False),
    ("invalid_hostname", 400, "http_request_error", False),
    ("invalid_port", 400, "http_request_error", False),
    ("port_denied", 403, "http_request_denied", False),
    ("destination_not_found", 404, "destination_not_found", False),
    ("connection_refused", 502, "connection_refused", True),
    ("ipv4_only_listener", 502, "connection_refused", True),
    ("upstream_speaks_tls", 502, "tls_protocol_error", False),
    ("upstream_speaks_http2", 502, "http_protocol_error", False),
    ("upstream_speaks_http1", 502, "http_protocol_error", False),
    ("connection_timeout", 504, "connection_timeout", True),
    ("destination_ip_unroutable", 502, "destination_ip_unroutable", True),
    ("destination_ip_prohibited", 502, "destination_ip_prohibited", False),
    ("connection_terminated", 502, "connection_terminated", True),
    ("http_response_incomplete", 502, "http_response_incomplete", False),
    ("http_protocol_error", 502, "http_protocol_error", False),
    ("http_response_timeout", 504, "http_response_timeout", False),
    ("http_response_header_section_size", 502, "http_response_header_section_size", False),
    ("directory_unavailable", 503, "destination_unavailable", True),
    ("connection_limit_reached", 429, "connection_limit_reached", True),
    ("proxy_internal_error", 500, "proxy_internal_error", False),
    # what the request's own faults are answered with
    ("bad_request", 400, "http_request_error", False),
    ("unexpected_proxy_header", 400, "http_request_error", False),
    ("method_not_allowed", 405, "http_request_denied", False),
    ("request_timeout", 408, "http_request_error", True),
    ("uri_too_long", 414, "http_request_error", False),
    ("expectation_failed", 417, "http_request_error", False),
    ("header_section_too_large", 431, "http_request_error", False),
    ("not_implemented", 501, "http_request_error", False),
    ("http_version_not_supported", 505, "http_request_error", False),
]

REGISTERED = {
    "dns_timeout",
    "dns_error",
    "destination_not_found",
    "destination_unavailable",
    "destination_ip_prohibited",
    "destination_ip_unroutable",
    "connection_refused",
    "connection_terminated",
    "connection_timeout",
    "connection_read_timeout",
    "connection_write_timeout",
    "connection_limit_reached",
    "tls_protocol_error",
    "tls_certificate_error",
    "tls_alert_received",
    "http_request_error",
    "http_request_denied",
    "http_response_incomplete",
    "http_response_header_section_size",
    "http_response_header_size",
    "http_response_body_size",
    "http_response_trailer_section_size",
    "http_response_trailer_size",
    "http_response_transfer_coding",
    "http_response_content_coding",
    "http_response_timeout",
    "http_upgrade_failed",
    "http_protocol_error",
    "proxy_internal_response",
    "proxy_internal_error",
    "proxy_configuration_error",
    "proxy_loop_detected",
}
"""The proxy error types of RFC 9209 section 2.3."""

PLACEHOLDERS = {"port", "sandbox", "address", "host", "domain"}


@pytest.mark.parametrize(("name", "status", "proxy_error", "may_retry"), PROMISED)
def test_a_promised_reason_is_in_the_table(name: str, status: int, proxy_error: str, may_retry: bool) -> None:
    row = Reason[name.upper()].row
    assert (row.name, row.status, row.proxy_error, row.may_retry) == (name, status, proxy_error, may_retry)


def test_names_are_unique() -> None:
    names = [reason.row.name for reason in Reason]
    assert len(set(names)) == len(names) == len(Reason.__members__)


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_row_is_complete(reason: Reason) -> None:
    row = reason.row
    assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", row.name)
    assert reason.name == row.name.upper()
    assert str(reason) == row.name
    assert 400 <= row.status <= 599
    assert row.proxy_error in REGISTERED
    assert row.title and row.explanation.endswith(".")
    assert row.checks and all(row.checks)


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_texts_use_only_what_is_known_of_a_request(reason: Reason) -> None:
    texts = [(each.title, each.explanation, *each.checks) for each in (reason.row, *WORDINGS.get(reason, ()))]
    for text in (text for each in texts for text in each):
        used = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
        assert used <= PLACEHOLDERS


def test_a_wording_says_something_else_than_its_row() -> None:
    for reason, wordings in WORDINGS.items():
        titles = [each.title for each in (reason.row, *wordings)]
        assert len(set(titles)) == len(titles)
        assert all(each.explanation.endswith(".") and each.checks and each.when for each in wordings)


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_blame_and_status_agree(reason: Reason) -> None:
    row = reason.row
    if row.blame is Blame.DOWNSTREAM:
        # 501 and 505 are how HTTP spells "you asked for something I do not know".
        assert row.status < 500 or row.status in (501, 505)
    else:
        assert row.status >= 500


def test_a_refused_connection_names_the_five_things_to_check() -> None:
    checks = Reason.CONNECTION_REFUSED.row.checks
    for check, words in zip(
        checks,
        [("`::`", "127.0.0.1", "0.0.0.0"), ("process", "running"), ("log",), ("Wait", "ready"), ("firewall", "`nft")],
        strict=True,
    ):
        assert all(word in check for word in words), check


def test_an_error_says_what_was_seen() -> None:
    error = Failure(Reason.CONNECTION_REFUSED, "connect to [fd00::5]:5000: refused", observed=("a", "b")).error()
    assert str(error) == "connection_refused: connect to [fd00::5]:5000: refused"
    assert (error.reason, error.detail, error.observed) == (
        Reason.CONNECTION_REFUSED,
        "connect to [fd00::5]:5000: refused",
        ("a", "b"),
    )
    assert str(GatewayError(Reason.OVERLOADED)) == "overloaded"
    assert not isinstance(error, UserError)

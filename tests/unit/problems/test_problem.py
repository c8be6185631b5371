"""Problems as documents: what is said of the case, and what to do about it."""

from __future__ import annotations

import pytest

from gateway.errors import Failure, GatewayError, Reason
from gateway.hostname import Target
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.problems.frameworks import fixes
from gateway.problems.page import LIKELY
from gateway.problems.problem import RequestContext, describe

TARGET = Target(5000, "abc123", "sandbox.example.dev")
DETAIL = "connect to [fd00::5]:5000: refused after 0.4 ms"
KNOWN = RequestContext("req-1", target=TARGET, address="fd00::5")


def test_the_first_check_of_a_refusal_is_how_to_bind() -> None:
    """Over IPv4 it is left out."""
    for reason in (Reason.CONNECTION_REFUSED, Reason.IPV4_ONLY_LISTENER):
        assert reason.row.checks[0].startswith("Bind to `::`")
        assert not any("`::`" in check for check in reason.row.checks[1:])


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_a_line_to_paste_is_offered_where_it_cures(reason: Reason) -> None:
    problem = describe(Failure(reason, DETAIL, process="node").error(), KNOWN)
    lines = problem.fix[len(reason.row.checks) :]
    if reason in (Reason.CONNECTION_REFUSED, Reason.IPV4_ONLY_LISTENER):
        assert lines == [f"{fix.framework}: {fix.line}" for fix in fixes(5000, "node")]
        assert len(lines) > LIKELY
    else:
        assert lines == []


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ((), []),
        ((3000,), ["port 3000 of this sandbox accepts connections"]),
        ((3000, 8000), ["ports 3000 and 8000 of this sandbox accept connections"]),
        ((80, 3000, 8000), ["ports 80, 3000 and 8000 of this sandbox accept connections"]),
    ],
)
def test_open_ports_are_an_observation(ports: tuple[int, ...], said: list[str]) -> None:
    error = Failure(Reason.CONNECTION_REFUSED, DETAIL, open_ports=ports).error()
    assert describe(error, KNOWN).observed == [DETAIL, *said]


def test_texts_show_what_a_hostname_looks_like_here() -> None:
    head = parse_request_head(f"GET / HTTP/1.1\r\nHost: {TARGET.host}\r\n\r\n".encode(), HeadLimits())
    problem = describe(GatewayError(Reason.INVALID_HOSTNAME), RequestContext("r", head, domain="a.example"))
    assert "5000-abc123.a.example" in problem.detail
    assert TARGET.host in problem.detail

"""What is at a port, in the words of the problem page."""

from __future__ import annotations

import pytest

from gateway.diagnosis import port_line
from gateway.diagnosis.findings import AppSocket, Findings, RefusalFindings, TimeoutFindings
from gateway.diagnosis.port_line import PortLine
from gateway.errors import Failure, Reason
from gateway.hostname import Target
from gateway.problems.problem import RequestContext, describe

TARGET = Target(5000, "local", "sandbox.localhost")
REFUSED = Failure(Reason.CONNECTION_REFUSED, "connect to [::1]:5000: Connection refused after 0.1 ms")
UNANSWERED = Failure(Reason.CONNECTION_TIMEOUT, "connect to [::1]:5000: no answer within 3 s")


def line(found: Findings, failure: Failure = REFUSED) -> PortLine:
    return port_line.failed(found.explain(failure, "::1", 5000), found, TARGET, "::1")


def test_who_listens_on_ipv4_only_and_the_pages_advice() -> None:
    found = RefusalFindings(ipv4=AppSocket("127.0.0.1", 5000, "python3", 4711))
    told = line(found)
    assert told.state == "python3 (pid 4711) listens on 127.0.0.1 only: a sandbox would refuse this"
    page = describe(found.explain(REFUSED, "::1", 5000).error(), RequestContext("", target=TARGET, address="::1"))
    assert told.advice == page.fix[0]
    assert not told.ready


@pytest.mark.parametrize(
    ("process", "advice"),
    [("flask", "Start it with flask run --host=:: --port=5000"), ("docker-proxy", "Start it with docker run -p ")],
)
def test_a_process_that_says_what_it_is_gets_its_own_line(process: str, advice: str) -> None:
    found = RefusalFindings(ipv4=AppSocket("0.0.0.0", 5000, process, 4711))
    assert line(found).advice.startswith(advice)
    assert line(found).state.startswith(f"{process} (pid 4711) listens on IPv4 only")


def test_nothing() -> None:
    assert line(RefusalFindings()) == PortLine(False, "nothing listens here yet")
    others = line(RefusalFindings(open_ports=(3000,))).state
    assert others == "nothing listens here yet; port 3000 of this sandbox accepts connections"


def test_a_stuck_app_is_told_as_one() -> None:
    queue = AppSocket("::", 5000, "node", 4711, waiting=2, is_full=True)
    told = line(TimeoutFindings(True, True, queue), UNANSWERED)
    assert told.state.startswith("The queue of the app on port 5000 is full")
    assert told.advice.startswith("Is the app stuck")


def test_ready() -> None:
    assert port_line.ready(AppSocket("::", 5000, "node", 4711)) == PortLine(True, "ready: node (pid 4711)")
    assert port_line.ready(None) == PortLine(True, "ready")


def test_ready_for_this_gateway_alone_says_what_a_sandbox_would_do() -> None:
    told = port_line.ready_leniently(AppSocket("127.0.0.1", 5000, "node", 4711), TARGET, REFUSED)
    assert told.ready
    assert "a sandbox would refuse this" in told.state

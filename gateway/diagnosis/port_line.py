"""What is at a port, in a line for whoever starts the app: the words of the problem page, before anybody meets it.

Values in, text out; what was found there `findings` knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.diagnosis.findings import AppSocket, Findings, RefusalFindings
from gateway.errors import Failure, Reason
from gateway.hostname import Target
from gateway.problems.frameworks import line_for
from gateway.problems.problem import RequestContext, describe


@dataclass(frozen=True, slots=True)
class PortLine:
    """`state` is what is there, `advice` what to do about it; empty: nothing."""

    ready: bool
    state: str
    advice: str = ""


def ready(listener: AppSocket | None) -> PortLine:
    """A connection was accepted; `listener` is who was seen to listen."""
    return PortLine(True, f"ready: {_who(listener)}" if listener and listener.process else "ready")


def ready_leniently(listener: AppSocket, target: Target, failure: Failure) -> PortLine:
    """As `failed`, where the gateway goes to 127.0.0.1 all the same."""
    refused = _unreachable(listener, target, failure)
    return PortLine(True, f"ready by --loopback4 alone: {refused.state}", refused.advice)


def failed(failure: Failure, found: Findings, target: Target, address: str) -> PortLine:
    """No connection was accepted at `address`, and this is what `failure` turned out to be."""
    if (listener := only_on_localhost(found)) is not None:
        return _unreachable(listener, target, failure)
    problem = describe(failure.error(), RequestContext("", target=target, address=address))
    if failure.reason is Reason.CONNECTION_REFUSED and failure.wording is None and not failure.process:
        others = f"; {problem.observed[-1]}" if failure.open_ports else ""
        return PortLine(False, f"nothing listens here yet{others}")
    return PortLine(False, "; ".join([problem.title, *failure.observed]), problem.fix[0] if problem.fix else "")


def only_on_localhost(found: Findings) -> AppSocket | None:
    """What listens where a sandbox's neighbours cannot reach it, if anything does and nothing else is seen."""
    if not isinstance(found, RefusalFindings) or found.by_now or found.elsewhere:
        return None
    return found.loopback or found.ipv4


def _unreachable(listener: AppSocket, target: Target, failure: Failure) -> PortLine:
    only = "IPv4 only" if listener.address == "0.0.0.0" else f"{listener.address} only"
    state = f"{_who(listener)} listens on {only}: a sandbox would refuse this"
    if line := line_for(target.port, listener.process):
        return PortLine(False, state, f"Start it with {line}")
    problem = describe(failure.error(), RequestContext("", target=target))
    return PortLine(False, state, problem.fix[0])


def _who(listener: AppSocket) -> str:
    return f"{listener.process} (pid {listener.pid})" if listener.process else "something"

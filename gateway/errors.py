"""A failure on its way: the exception that carries it, and the value that is kept of it.

What a failure is called, answered and said is the table's business (`gateway.reasons`), whose names are here too: who
raises needs both.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.reason_row import Blame, GrpcStatus
from gateway.reasons import Reason
from gateway.wordings import Wording

__all__ = ["Blame", "Failure", "GatewayError", "GrpcStatus", "Reason", "UserError", "Wording"]


class GatewayError(Exception):
    """A failure on its way to becoming a problem.

    `detail` says what was observed in this case ("connect to [fd00::5]:5000: refused after 0.4 ms"), never what it
    may mean: meaning is the row's, or that of the `wording` which stands in for it. Whoever knows more says it with
    a `Failure`, of which the further attributes are.
    """

    observed: tuple[str, ...] = ()
    process: str = ""
    open_ports: tuple[int, ...] = ()
    reset_code: int | None = None
    """With which the app has reset its stream (RFC 9113 section 7): who can, passes that on."""

    def __init__(self, reason: Reason, detail: str = "", *, wording: Wording | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.wording = wording
        super().__init__(f"{reason}: {detail}" if detail else str(reason))

    def failure(self) -> Failure:
        """What it says, to be kept: an exception that was raised leads to frames, and they to all that was at work."""
        return Failure(self.reason, self.detail, self.observed, self.process, self.open_ports, self.wording)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a GatewayError says, as a value: for whoever remembers it, or tells it to several.

    An exception must not be either. Raised, it holds its traceback, whose frames hold what they worked on, often the
    exception itself: a cycle for the garbage collector. Raised again for another, its traceback grows.
    """

    reason: Reason
    detail: str = ""
    observed: tuple[str, ...] = ()
    """Further facts, one sentence each."""
    process: str = ""
    """The name of the program that was seen to listen ("python3", "node"); empty: not known."""
    open_ports: tuple[int, ...] = ()
    """Other ports of the sandbox that accept connections."""
    wording: Wording | None = None

    def error(self) -> GatewayError:
        """A new exception that says it; raise it from where no variable holds it."""
        error = GatewayError(self.reason, self.detail, wording=self.wording)
        error.observed, error.process, error.open_ports = self.observed, self.process, self.open_ports
        return error


class UserError(Exception):
    """A mistake of whoever runs the command: one sentence on stderr, no traceback, exit status 1."""

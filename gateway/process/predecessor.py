"""At the start: is there a gateway whose addresses this one takes over?

The one that has started us, for a new version of the program (new_version.py); or one that is stopping and has, or had,
an address that is to be ours (rendezvous.py). One that runs and is not about to stop keeps what it has.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, MutableMapping

from gateway.config import Listen
from gateway.errors import UserError
from gateway.process.handover import State
from gateway.process.rendezvous import find
from gateway.process.takeover import Refusal, Takeover, take

log = logging.getLogger("gateway.process")

VARIABLE = "GATEWAY_HANDOVER_FD"
"""The descriptor of the connection to the gateway that has started this one."""


def succeed(addresses: Iterable[Listen], environ: MutableMapping[str, str]) -> Takeover | Refusal | None:
    """Takes over from the gateway there is; a refusal of one that keeps what it has; None: there is none.

    Raises UserError if this process was started to take over, and cannot.
    """
    descriptor = environ.pop(VARIABLE, "")
    if descriptor:
        return _from_parent(descriptor)
    refusal = None
    for connection in find(addresses):
        try:
            outcome = take(connection)
        except OSError as error:
            log.warning("a gateway is there and does not say whether it is stopping: %s", error.strerror or error)
            continue
        if isinstance(outcome, Takeover):
            log.info("taking over from the gateway with pid %d, which is stopping", outcome.pid)
            return outcome
        refusal = outcome
    return refusal


def _from_parent(descriptor: str) -> Takeover:
    try:
        connection = socket.socket(fileno=int(descriptor))
        connection.set_inheritable(False)
        outcome = take(connection)
    except (ValueError, OSError) as error:
        raise UserError(f"the gateway that has started this one hands nothing over: {error}") from None
    if isinstance(outcome, Refusal):
        raise UserError(f"the gateway that has started this one hands nothing over: {outcome.state}")
    log.info("taking over from the gateway with pid %d", outcome.pid)
    return outcome


def in_use(listen: Listen, refusal: Refusal) -> UserError:
    """What to do about an address that another gateway keeps."""
    pid = refusal.pid
    advice = {
        State.RUNNING: f"kill -HUP {pid} has it read its configuration again, kill -USR2 {pid} starts a new version of "
        "the program in its place",
        State.BUSY: "another one is already taking over from it",
    }.get(refusal.state, "it is of another version: stop it first")
    return UserError(f"cannot listen on {listen}: a gateway runs there (pid {pid}); {advice}")

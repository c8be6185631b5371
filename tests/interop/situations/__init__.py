"""What goes wrong with real apps and real networks, and what the gateway has to say about it: one table.

A row is a `situation`: its name, what is said of it, and a function that brings it about for real. The modules of this
package hold the rows, one module per kind; `stage` is what they build with, `telling` asks for the sentences in every
way there is to ask, and `tests/interop/test_situations.py` compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import Reason

if TYPE_CHECKING:
    from tests.interop.situations.stage import Stage

PATIENT = "patient"
"""A gateway with the timeouts that it has by default."""
HASTY = "hasty"
"""One that gives up after 0.7 s, for what never answers. Its rows are asked in all ways at once, unless they say so."""


@dataclass(frozen=True, slots=True)
class Where:
    """What is asked for. The name is a public one of `port` and `sandbox`, unless `host` says another."""

    sandbox: str
    port: int
    address: str = ""
    host: str = ""
    path: str = "/"
    scheme: str = "https"
    """`explain` is asked about this one."""
    facts: dict[str, str] = field(default_factory=dict)
    """What else the sentences of the row may name: `{pid}`."""


@dataclass(frozen=True, slots=True)
class Says:
    """The gateway answers itself. `{port}`, `{sandbox}`, `{address}` and the facts of `Where` are filled in; `{ms}`
    stands for any number of milliseconds."""

    reason: Reason
    title: str
    seen: str
    """The first observation; page, document and `explain` say it."""
    fix: str
    """The first of what to do."""
    also: tuple[str, ...] = ()
    """What else is observed."""
    port: str = "listening"
    """What the admin API calls the port's state; empty: it has none to speak of."""
    port_seen: str = "[{address}]:{port} accepts connections"
    """And what it observed, if it is "listening"; a failure to connect is observed by all alike."""
    reachable: str = ""
    """Where `explain` has good news all the same: it asks the app, and does not count what others ask."""


@dataclass(frozen=True, slots=True)
class Passes:
    """The app's own answer passes as it came, and nobody claims that anything is wrong with the port."""

    status: int
    explain: str
    """How `explain` concludes, without the milliseconds."""
    fix: str = ""
    """What `explain` advises; an error answer of an app's own has that. `{authority}` is the URL's."""
    hint: bool = False
    """The advice is in `X-Gateway-Hint`, too."""
    broken: bool = False
    """The answer ends before it is complete, which nobody may take for complete."""


@dataclass(frozen=True, slots=True)
class Situation:
    """One row."""

    name: str
    said: Says | Passes
    set_up: Callable[[Stage], Where]
    gateway: str
    needs: tuple[str, ...]
    """Components beside what every row needs."""
    at_once: bool
    """All ways are asked at the same time."""
    command: bool
    """`gateway explain` is run as the command here, and otherwise asked as the command asks."""


TABLE: dict[str, Situation] = {}


def situation(
    name: str,
    said: Says | Passes,
    *,
    needs: tuple[str, ...] = (),
    gateway: str = PATIENT,
    at_once: bool | None = None,
    command: bool = False,
) -> Callable[[Callable[[Stage], Where]], Callable[[Stage], Where]]:
    """Enters the function below into the table. It returns once the situation is there; the stage clears it away."""

    def enter(set_up: Callable[[Stage], Where]) -> Callable[[Stage], Where]:
        assert name not in TABLE, name
        together = gateway == HASTY if at_once is None else at_once
        TABLE[name] = Situation(name, said, set_up, gateway, needs, together, command)
        return set_up

    return enter

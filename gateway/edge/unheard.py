"""A connection of which nothing may have been heard yet: a browser opens some in advance, a balancer keeps spare ones.

In a drain nobody waits for them. What is sent with a connection's beginning may still be on its way, so each has
`Edge.drain_grace`; who has said nothing by then, as far as the kernel knows, is closed, and nothing has failed. Whoever
has spoken meanwhile has all the time there was before.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from gateway.socket_options import has_unread

if TYPE_CHECKING:
    from gateway.edge.edge import Edge


class Unheard(ABC):
    """Half of a `Downstream`: its deadline, and what a drain makes of that."""

    __slots__ = tuple[str, ...]()  # the other half is theirs who derive from it

    edge: Edge
    deadline: float
    """Loop time: `_due`, or earlier while draining."""
    _due: float
    """Loop time at which it has to have said everything."""

    def _await(self, seconds: float) -> None:
        """What it has to say is due in so many seconds."""
        edge = self.edge
        self.deadline = self._due = edge.clock() + seconds
        if edge.draining:
            self.drain(0.0)

    def drain(self, spread: float) -> None:
        if self._was_silent():
            self.deadline = min(self.deadline, self.edge.clock() + self.edge.drain_grace)

    def expire(self, now: float) -> None:
        if self.edge.draining and self._was_silent() and not self._has_unread():
            self.close()
        elif now < self._due:
            self.deadline = self._due
        else:
            self._too_late()

    @abstractmethod
    def close(self) -> None:
        """Closes it, which is nobody's fault and counted as none."""

    def _has_unread(self) -> bool:
        sock = self._socket()
        return sock is None or has_unread(sock)

    @abstractmethod
    def _socket(self) -> socket.socket | None:
        """None: the event loop has not taken it yet."""

    @abstractmethod
    def _was_silent(self) -> bool:
        """Whether nothing was read yet."""

    @abstractmethod
    def _too_late(self) -> None:
        """Ends it: it has not said everything in its time."""

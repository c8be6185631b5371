"""What all connections of one pool share, and what they tell it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Settings
    from gateway.http.head_parser import HeadLimits
    from gateway.metrics import Cells
    from gateway.transport import WriteBatcher
    from gateway.turns import Intake
    from gateway.upstream.stream import UpstreamConnection


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, each from the settings of the same name."""

    connect: float
    response_header: float
    response_idle: float
    """A response that has begun may be silent as long as a tunnel may: event streams are."""
    idle: float
    proven: float
    linger: float
    keepalive: float
    tunnel_grace: float

    @classmethod
    def of(cls, settings: Settings) -> Timeouts:
        upstream, timeouts = settings.upstream, settings.timeouts
        return cls(
            connect=upstream.connect_timeout,
            response_header=upstream.response_header_timeout,
            response_idle=timeouts.tunnel_idle,
            idle=upstream.idle_timeout,
            proven=upstream.idle_proven,
            linger=timeouts.linger,
            keepalive=timeouts.tcp_keepalive,
            tunnel_grace=upstream.tunnel_grace,
        )


@dataclass(slots=True)
class ConnectionContext:
    """One per pool, made before its connections."""

    clock: Callable[[], float]
    timeouts: Timeouts
    head_limits: HeadLimits
    intake: Intake
    write_batcher: WriteBatcher
    released: Callable[[UpstreamConnection, bool], None]
    """The connection is idle and can open a stream; True: the end of its last answer has been seen."""
    reopened: Callable[[UpstreamConnection], None]
    """It can open a stream beside others."""
    released_to_owner: Callable[[UpstreamConnection], None]
    """It is idle, and its owner's."""
    closed: Callable[[UpstreamConnection], None]
    cells: Cells
    """Where octets are counted: see `metrics`."""

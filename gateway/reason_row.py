"""What a row of the Reason table (reasons.py) says, and in which words. Imports nothing of ours."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

ASK_OPERATOR = "If it goes on, give the request id below to whoever runs this gateway."
"""The last check of what only the platform can mend."""


class Blame(Enum):
    """Whose doing a failure is: decides the log level and whom the text addresses."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"
    DIRECTORY = "directory"


class GrpcStatus(Enum):
    """The few gRPC status codes a gateway can honestly say (names and numbers as in gRPC's own table)."""

    UNKNOWN = 2
    """Whether the call was carried out is not known."""
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; the table's docstring says what each column answers."""

    name: str
    status: int
    grpc_status: GrpcStatus
    blame: Blame
    may_retry: bool
    proxy_error: str
    title: str
    explanation: str
    checks: tuple[str, ...]

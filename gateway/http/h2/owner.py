"""Who runs a session: what a session tells whoever reads and writes for it, and knows what its streams are for."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from mypy_extensions import trait

from gateway.http.h2.decoder import DecodedField
from gateway.http.h2.errors import ErrorCode
from gateway.http.h2.stream import Stream


@trait
class SessionOwner:
    """Called from within `Session.receive`; what its methods raise, but StreamFault in `request_received`, is a bug."""

    __slots__ = ()

    @abstractmethod
    def request_received(self, stream_id: int, fields: list[DecodedField] | None, ended: bool) -> None:
        """Server: a request's head; None: larger than the limits allow. `ended`: it has no content.

        Before it returns it has called `Session.adopt`, `reset` or `fault`, or it raises StreamFault.
        """

    def stream_refused(self) -> None:
        """Server: a stream was too many, and reset."""

    @abstractmethod
    def settings_received(self) -> None:
        """`Session.peer` may have changed."""

    @abstractmethod
    def ping_acknowledged(self) -> None:
        """One of our PINGs has come back."""

    @abstractmethod
    def going_away(self, last_stream_id: int, code: int) -> None:
        """The peer wants no more streams. Client: `never_taken` follows, for those of ours above `last_stream_id`. May
        come several times."""

    def never_taken(self, streams: list[Stream]) -> None:
        """Client: these the peer has not processed, and never will. They are over, and marked so; whoever uses one is
        to be told, at once or soon."""
        for stream in streams:
            stream.reset_received(ErrorCode.REFUSED_STREAM)


class Nobody(SessionOwner):
    """The owner of a session whose connection is over."""

    __slots__ = ()

    def request_received(self, stream_id: int, fields: list[DecodedField] | None, ended: bool) -> None:
        raise AssertionError("nothing is received any more")

    def settings_received(self) -> None: ...

    def ping_acknowledged(self) -> None: ...

    def going_away(self, last_stream_id: int, code: int) -> None: ...


NOBODY: Final = Nobody()

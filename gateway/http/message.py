"""Requests and responses after parsing and validation: what everything above a codec handles.

Field lists are lists of `(name, value)` byte pairs in the order they came, names in the letter case they came in
(some WebSocket stacks care). They hold end-to-end fields only: hop-by-hop fields have been taken out by `validate`
and live on as attributes.

Browsers and apps repeat themselves: most field sections on a connection equal the one before. So what a section says
is a value of its own (`RequestSection`, `ResponseSection`), made once, shared by every head that carries it, and
never changed.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from gateway.http.priority import DEFAULT_URGENCY
from gateway.http.roles import PASS

if TYPE_CHECKING:
    from gateway.http.trace_context import TraceParent

Field = tuple[bytes, bytes]
Fields = list[Field]


class Framing(Enum):
    """How a message's content is delimited, whichever version of HTTP carries it."""

    NONE = "none"
    """There is none."""
    LENGTH = "length"
    """As many octets as declared."""
    STREAM = "stream"
    """Until its sender says that it is complete."""
    TUNNEL = "tunnel"
    """No content: the switch to another protocol is granted, whose octets follow until one side closes."""


NO_BODY: Final = Framing.NONE
BY_LENGTH: Final = Framing.LENGTH
AS_STREAM: Final = Framing.STREAM
AS_TUNNEL: Final = Framing.TUNNEL
"""By themselves: through its class, CPython 3.11 takes 0.1 µs to find a member, thirty times a request.
So it is with every enum that the hot path compares."""


@mypyc_attr(acyclic=True)
class FieldLine:
    """One field: its pair, the role of its name (see `roles`), and how it is written, by HTTP/1.1 and as HPACK (from
    the first time that somebody needs that). Not to be changed: sections share it.
    """

    __slots__ = ("block", "line", "pair", "role")

    def __init__(self, pair: Field, role: int, line: bytes) -> None:
        self.pair = pair
        self.role = role
        self.line = line
        self.block: bytes | None = None

    def with_value(self, value: bytes) -> FieldLine:
        """The same field, of the same role, with another value."""
        name = self.pair[0]
        return FieldLine((name, value), self.role, name + b": " + value)

    def __repr__(self) -> str:
        return f"<FieldLine {self.line[:60]!r} role={self.role}>"


def plain_line(name: bytes, value: bytes) -> FieldLine:
    """A field of the gateway's own, or one whose role has been looked at."""
    return FieldLine((name, value), PASS, name + b": " + value)


@mypyc_attr(acyclic=True)
class FieldSection:
    """A list of fields. Not to be changed: it is shared.

    `block` is its HPACK octets, from the first time that somebody needs them.
    """

    __slots__ = ("_octets", "block", "field_lines")

    set_cookies = False
    """Whether there are cookies to confine, which only an app's answer can have."""
    locates = False
    """Whether it leads somewhere, as an app's answer can: Location, Content-Location, Refresh."""

    def __init__(self, field_lines: list[FieldLine]) -> None:
        self.field_lines = field_lines
        self._octets: bytes | None = None
        self.block: bytes | None = None

    @staticmethod
    def of(fields: Fields) -> FieldSection:
        """One of the gateway's own."""
        return FieldSection([plain_line(*pair) for pair in fields])

    @property
    def fields(self) -> Fields:
        """The pairs."""
        return [line.pair for line in self.field_lines]

    @property
    def lines(self) -> bytes:
        """As HTTP/1.1 writes it, without the empty line."""
        octets = self._octets
        if octets is None:
            lines = [line.line for line in self.field_lines]
            lines.append(b"")
            self._octets = octets = b"\r\n".join(lines)
        return octets

    def with_added(self, field: Field) -> FieldSection:
        """The same with one more field, last."""
        return self.with_lines([*self.field_lines, plain_line(*field)])

    def with_lines(self, field_lines: list[FieldLine]) -> FieldSection:
        """The same with other lines: what else was read of it stays."""
        return FieldSection(field_lines)

    def get(self, name: bytes) -> bytes | None:
        """The first value under `name` (lower case), or None."""
        for line in self.field_lines:
            key, value = line.pair
            if key.lower() == name:
                return value
        return None


@mypyc_attr(acyclic=True)
class RequestSection(FieldSection):
    """What a request's field section says, whatever its request line is. Made by `validate.request_section` only.

    `authority` is the Host field's value, checked but not parsed, and `host` the same as text. `forwarding` holds the
    fields that claim where the request came from (Forwarded, X-Forwarded-*, X-Real-Ip, Via, X-Request-Id): they are not
    in `fields`, because whether to believe them is the edge's decision.
    """

    __slots__ = (
        "authority",
        "binds",
        "content_length",
        "expects_continue",
        "forwarding",
        "framing",
        "grpc",
        "host",
        "max_forwards",
        "named",
        "probes",
        "trace_parent",
        "trailers_ok",
        "upgrade",
        "urgency",
        "user_agent",
    )

    def __init__(self, field_lines: list[FieldLine], forwarding: Fields, authority: bytes) -> None:
        super().__init__(field_lines)
        self.forwarding = forwarding
        self.authority = authority
        self.host = authority.decode("ascii", "backslashreplace")  # a log line must never be what fails
        self.framing = NO_BODY  # NONE, LENGTH or STREAM
        self.content_length = 0  # declared octets where framing is LENGTH
        self.upgrade: bytes | None = None  # the protocols asked for, a list without h2c, with any method and any body
        self.expects_continue = False
        self.trailers_ok = False  # TE: trailers
        self.max_forwards: bytes | None = None  # as it came, all lines joined
        self.binds = False  # credentials that log the connection in (RFC 4559 section 6)
        self.probes = False  # X-Gateway-Probe: asks whether the target accepts connections, and wants nothing of it
        self.named = False  # has an X-Request-Id
        self.grpc = False  # asks for gRPC by its Content-Type; gRPC-Web does not
        self.urgency = DEFAULT_URGENCY  # of the response, to whoever asks for it
        self.user_agent = ""  # printable, and not long
        self.trace_parent: TraceParent | None = None  # if it is valid

    def with_lines(self, field_lines: list[FieldLine]) -> RequestSection:
        other = RequestSection(field_lines, self.forwarding, self.authority)
        other.framing = self.framing
        other.content_length = self.content_length
        other.upgrade = self.upgrade
        other.expects_continue = self.expects_continue
        other.trailers_ok = self.trailers_ok
        other.max_forwards = self.max_forwards
        other.binds = self.binds
        other.probes = self.probes
        other.named = self.named
        other.grpc = self.grpc
        other.urgency = self.urgency
        other.user_agent = self.user_agent
        other.trace_parent = self.trace_parent
        return other


@mypyc_attr(acyclic=True)
class RequestHead:
    """A request head, which is valid once `validate.check_request` has returned; each codec has its own kind.

    `target` is origin-form or `*`. What the hot path reads of the section stands here again.
    """

    __slots__ = (
        "authority",
        "ends_here",
        "forwarding",
        "framing",
        "key_is_ours",
        "method",
        "octets",
        "protocol",
        "section",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, protocol: str, section: RequestSection) -> None:
        self.method = method
        self.target = target
        self.protocol = protocol  # it came by: "HTTP/1.1"
        self.section = section
        self.authority = section.authority
        self.forwarding = section.forwarding
        self.framing = section.framing
        self.upgrade = section.upgrade  # a switch of protocol is asked for
        self.octets = 0  # of it, as it came
        self.ends_here = False  # its sender wants the answer of whoever it has come to (Max-Forwards: 0)
        self.key_is_ours = False  # its Sec-WebSocket-Key was made here: nobody else can tell if the answer fits it

    def with_section(self, section: FieldSection) -> RequestHead:
        """The same with another section made of its own (`FieldSection.with_lines`), as it is sent on."""
        assert isinstance(section, RequestSection)
        other = RequestHead(self.method, self.target, self.protocol, section)
        other.octets = self.octets
        other.ends_here = self.ends_here
        other.key_is_ours = self.key_is_ours
        return other

    @property
    def fields(self) -> Fields:
        """The end-to-end fields."""
        return self.section.fields

    def get(self, name: bytes) -> bytes | None:
        """The first value of the end-to-end field `name` (lower case), or None."""
        return self.section.get(name)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} {self.target[:40]!r} at {self.authority!r} {self.framing.value}>"


@mypyc_attr(acyclic=True)
class ResponseSection(FieldSection):
    """What a response's field section says, whatever its status is. Made by `validate.response_section` only."""

    __slots__ = ("binds", "content_length", "dated", "locates", "set_cookies")

    def __init__(self, field_lines: list[FieldLine]) -> None:
        super().__init__(field_lines)
        self.content_length: int | None = None  # None: not declared
        self.set_cookies = False  # or deletes some: the edge confines that
        self.locates = False
        self.dated = False  # has a Date
        self.binds = False  # asks for, or goes on with, a login of the connection

    def with_lines(self, field_lines: list[FieldLine]) -> ResponseSection:
        other = ResponseSection(field_lines)
        other.content_length = self.content_length
        other.set_cookies = self.set_cookies
        other.locates = self.locates
        other.dated = self.dated
        other.binds = self.binds
        return other


@mypyc_attr(acyclic=True)
class ResponseHead:
    """A valid response head: an app's, of its codec's own kind, or one of the gateway's own.

    Not to be changed: answers of the same octets share it.
    """

    __slots__ = ("binds", "content_length", "dated", "framing", "section", "status", "upgrade")

    def __init__(
        self,
        status: int,
        section: FieldSection,
        framing: Framing = NO_BODY,
        content_length: int = 0,
        upgrade: bytes | None = None,
    ) -> None:
        self.status = status
        self.section = section
        self.framing = framing
        self.content_length = content_length  # declared octets where framing is LENGTH
        self.upgrade = upgrade  # the protocol of the tunnel that is granted, or which a 426 asks for
        self.dated = False  # has a Date of its own; a final head without one gets one when it is written
        self.binds = False  # as its section says

    def with_lines(self, field_lines: list[FieldLine]) -> ResponseHead:
        """The same with other lines; itself if they are its own."""
        section = self.section
        return self if field_lines is section.field_lines else self.with_section(section.with_lines(field_lines))

    def with_section(self, section: FieldSection) -> ResponseHead:
        """The same with another section: what else was read of it stays."""
        other = ResponseHead(self.status, section, self.framing, self.content_length, self.upgrade)
        other.dated = self.dated
        other.binds = self.binds
        return other

    @property
    def fields(self) -> Fields:
        """The end-to-end fields."""
        return self.section.fields

    def get(self, name: bytes) -> bytes | None:
        """The first value of the end-to-end field `name` (lower case), or None."""
        return self.section.get(name)

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} {self.framing.value}>"

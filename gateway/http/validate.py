"""The one gate for heads: whatever codec parsed it, a head becomes a value only here.

Parsers accept more than they should, and differ in what; request smuggling lives in the difference. So the rules are
ours, stated once for all versions of HTTP, and the codecs only deliver start-line parts and field pairs; what a head
says of its own connection is read by their `HopReader` (see `hop`). A section is validated apart from its start line,
because sections repeat and start lines do not. Request faults are raised as `bad_request` and its neighbours; response
faults as `http_protocol_error`.
"""

from __future__ import annotations

import re
from typing import Final

from mypy_extensions import i64

from gateway.errors import GatewayError, Reason
from gateway.http import trace_context
from gateway.http.fields import TOKEN
from gateway.http.hop import Hop, HopField, HopReader, bounded_members, protocols
from gateway.http.http1 import Http1ResponseHead
from gateway.http.lists import members
from gateway.http.message import (
    AS_STREAM,
    AS_TUNNEL,
    BY_LENGTH,
    NO_BODY,
    FieldLine,
    Fields,
    FieldSection,
    Framing,
    RequestHead,
    RequestSection,
    ResponseSection,
    plain_line,
)
from gateway.http.octets import TARGET
from gateway.http.priority import urgency_of
from gateway.http.roles import (
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CREDENTIALS,
    DATE,
    EXPECT,
    FORWARDING,
    HOP,
    HOST,
    LOCATION,
    MAX_FORWARDS,
    PASS,
    PRIORITY,
    PROBE,
    REQUEST_ID,
    SET_COOKIE,
    TRACE_PARENT,
    USER_AGENT,
)
from gateway.http.websocket import accept
from gateway.memo import remember
from gateway.printable import printable_ascii

COMMON_METHODS: Final = (b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS")
"""What hardly any request differs from, and what Allow names: whichever else an app knows is forwarded, too."""
IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))
"""RFC 9110 section 9.2.2; of the methods we forward, those that may be sent twice."""
MAX_METHOD: Final = 128
"""Octets of a method: every character of a token once is 77, no registered one has more than 17."""
_NOT_FORWARDED: Final = frozenset((b"CONNECT", b"TRACE", b"PRI"))
"""Methods that end here. CONNECT asks for a tunnel to anywhere; TRACE would show a script the cookies it cannot read
(RFC 9110 section 9.3.8); PRI is how HTTP/2 begins, and never a request (RFC 9113 section 11.6). In any letter case:
methods are case-sensitive, but Flask and Django turn them into capitals.
"""
MAX_USER_AGENT: Final = 256
"""Octets of what is written down: browsers have 120, and crawlers name themselves after that."""
AGENTS_REMEMBERED: Final = 1024
AUTHORITIES_REMEMBERED: Final = 4096
_DIGITS: Final = re.compile(rb"[0-9]+")
MOST_FORWARDS: Final = b"999999999"
"""Our maximum supported value of Max-Forwards (RFC 9110 section 7.6.2): what is larger goes on as this."""
_ZERO: Final = 0x30
_NOT_DECIMAL: Final = "Content-Length is not a decimal number"
_MOST_DIGITS: Final = 18
"""Of a Content-Length: what an `i64` holds, in anybody's program."""
# RFC 3986 host and port without userinfo: a reg-name, an IPv4 address or a bracketed IP literal. No name is longer
# than 255 octets, and what is looked up per request must not be.
_AUTHORITY: Final = re.compile(rb"([A-Za-z0-9._~!$&'()*+;=%-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::([0-9]{0,5}))?")
_ABSOLUTE_FORM: Final = re.compile(rb"(?i:(http)|https)://([^/?]*)(.*)")
_BINDING: Final = re.compile(
    rb"(?:^|[ \t,\x80-\xff])(?:ntlm|nego[a-z0-9]*|kerberos|credssp|pku2u|livessp)(?![!#$%&'*+\-.^_`|~0-9A-Za-z=])",
    re.IGNORECASE,
)
"""The schemes that log in a connection and not a request: those of Windows' security packages, of IIS; nego is
Negotiate, Nego2 and NegoEx. Wherever in a list of challenges one stands; within a quoted string, too, which costs a
connection and nothing else. It ends where its token does: JavaScript and Python part it from what follows at blanks
beyond ASCII's as well (U+00A0, U+0085)."""
_GRPC: Final = re.compile(rb"application/grpc(?:[ \t]*(?:;.*)?|\+.*)", re.IGNORECASE | re.DOTALL)
"""A gRPC request's media type; `application/grpc-web`, which HTTP/1.1 carries, is another."""


_EXPECTS: Final = plain_line(b"Expect", b"100-continue")
_REQUESTS_ONLY: Final = (FORWARDING, EXPECT, HOST, MAX_FORWARDS)
"""Roles that mean something in requests; in an answer they pass."""
_NOT_IN_TRAILERS: Final = frozenset(
    (
        b"trailer authorization proxy-authorization www-authenticate proxy-authenticate cookie "
        b"content-encoding content-type content-range"
    ).split()
)
"""Of the fields that pass in a head."""


def binds_connection(value: bytes) -> bool:
    """Whether challenges or credentials are of a scheme that logs in the connection (RFC 4559 section 6)."""
    return _BINDING.search(value) is not None


def is_target(octets: bytes) -> bool:
    """Whether `octets` may stand in a request target: visible ASCII, and no fragment."""
    return octets.translate(TARGET) == octets


def is_authority(value: bytes) -> bool:
    """Whether `value` is host[:port]: no userinfo, no path, no list, no quotes."""
    return _AUTHORITY.fullmatch(value) is not None


_authorities: Final[dict[bytes, None]] = {}
"""Sound ones, seen lately."""


def _check_authority(value: bytes) -> bytes:
    if value in _authorities:
        return value
    if not value:
        raise GatewayError(Reason.BAD_REQUEST, "the Host field is empty")
    if not is_authority(value):
        raise GatewayError(Reason.BAD_REQUEST, "the Host field is not host[:port]")
    remember(_authorities, value, None, AUTHORITIES_REMEMBERED)
    return value


def _bad(detail: str) -> GatewayError:
    return GatewayError(Reason.BAD_REQUEST, detail)


def _decimal(length: bytes) -> int:
    """What a Content-Length says: `0`, or digits that do not begin with a zero, which not everybody reads alike."""
    size = len(length)
    if not 0 < size <= _MOST_DIGITS or (size > 1 and length[0] == _ZERO):
        raise _bad(_NOT_DECIMAL)
    number: i64 = 0
    for octet in length:
        digit: i64 = octet - _ZERO
        if not 0 <= digit <= 9:
            raise _bad(_NOT_DECIMAL)
        number = number * 10 + digit
    return number


def request_section(
    hop_reader: HopReader, lines: list[FieldLine], authority: bytes | None = None
) -> tuple[RequestSection, Hop]:
    """What the field lines of a request say, and what of it concerns its connection only, as `hop_reader` reads it.

    `authority` is what the request asks for beside its fields, if its version of HTTP can say so; then Host may be
    missing. Raises GatewayError with the reason whose status HTTP asks for: 400, 417 or 501.
    """
    passing: list[FieldLine] = []
    forwarding: Fields = []
    hop_fields: list[HopField] = []
    host: bytes | None = None
    length: bytes | None = None
    max_forwards: bytes | None = None
    user_agent = b""
    trace_parents: list[bytes] = []
    priority: list[bytes] = []
    expects_continue = probes = binds = named = grpc = False

    for line in lines:
        role = line.role
        if role == PASS:
            passing.append(line)
            continue
        value = line.pair[1]
        if role >= DATE:
            passing.append(line)
            if role == USER_AGENT:
                user_agent = value
            elif role == TRACE_PARENT:
                trace_parents.append(value)
            elif role == CONTENT_TYPE:
                grpc = _GRPC.fullmatch(value) is not None
            elif role == PRIORITY:
                priority.append(value)
        elif role == HOST:
            if host is not None:
                raise _bad("the request has two Host fields")
            host = value
        elif role >= CONNECTION:
            hop_fields.append((role, value if role != HOP else b""))
        elif role == CONTENT_LENGTH:
            # RFC 9112 section 6.3 lets equal duplicates be merged; two parsers that merge differently are an attack.
            if length is not None:
                raise _bad("the request has two Content-Length fields")
            length = value
            passing.append(line)
        elif role == FORWARDING:
            forwarding.append(line.pair)
        elif role == REQUEST_ID:
            forwarding.append(line.pair)
            named = True
        elif role == CREDENTIALS:
            passing.append(line)
            binds = binds or binds_connection(value)
        elif role == EXPECT:
            # RFC 9110 section 10.1.1: a list, which may be empty.
            for expectation in bounded_members(value.lower(), "Expect"):
                if expectation != b"100-continue":
                    raise GatewayError(Reason.EXPECTATION_FAILED, "only 100-continue is known")
                expects_continue = True
        elif role == PROBE:
            probes = True
        elif role == MAX_FORWARDS:
            max_forwards = value if max_forwards is None else max_forwards + b"," + value
            passing.append(line)

    hop = hop_reader.read(tuple(hop_fields), length is not None) if hop_fields else hop_reader.none
    if hop.nominated:
        passing = _without(passing, hop.nominated)
    if expects_continue and hop.interim:
        passing.append(_EXPECTS)
    section = RequestSection(passing, forwarding, _authority(host, authority))
    section.trailers_ok = hop.trailers_ok
    section.probes = probes
    section.max_forwards = max_forwards
    section.binds = binds
    section.named = named
    section.grpc = grpc
    if priority:
        section.urgency = urgency_of(b",".join(priority))
    section.user_agent = _printable(user_agent)
    if trace_parents:
        section.trace_parent = trace_context.parse(trace_parents)
    if length is not None:
        section.content_length = _decimal(length)
        if section.content_length:
            section.framing = BY_LENGTH
    elif hop.streams:
        section.framing = AS_STREAM
    if section.framing is not NO_BODY:
        section.expects_continue = expects_continue and hop.interim
    section.upgrade = hop.upgrade
    return section, hop


_agents: Final[dict[bytes, str]] = {}


def _printable(user_agent: bytes) -> str:
    printable = _agents.get(user_agent)
    if printable is None:
        printable = printable_ascii(user_agent[:MAX_USER_AGENT].decode("latin-1"), "·")
        if len(user_agent) <= MAX_USER_AGENT:
            remember(_agents, user_agent, printable, AGENTS_REMEMBERED)
    return printable


def _authority(host: bytes | None, authority: bytes | None) -> bytes:
    """Whom a request is for, by its Host field or by what it says beside its fields."""
    # RFC 9112 section 3.2: a server MUST respond with 400 to a request that lacks a Host field or has more than one.
    # For HTTP/1.0 too: without a name there is nothing this gateway could route by.
    if authority is None:
        if host is None:
            raise _bad("the request has no Host field")
        return _check_authority(host)
    # RFC 9113 section 8.3.1: both may come, and must not name different entities. A default port is no difference (RFC
    # 3986 section 6.2.3), whichever scheme's: a name leads to the same sandbox by both. What goes on is `authority`.
    if host is not None and host != authority and not _is_same(host, authority):
        raise _bad("the Host field and “:authority” differ")
    return _check_authority(authority)


def _is_same(host: bytes, authority: bytes) -> bool:
    return is_authority(host) and any(
        _host_and_port(host, port) == _host_and_port(authority, port) for port in (443, 80)
    )


def offers(upgrade: bytes | None, protocol: bytes) -> bool:
    """Whether `protocol` (lower case) is among those that `upgrade`, a head's attribute, names."""
    return upgrade is not None and protocol in upgrade.lower().split(b", ")


def check_request(head: RequestHead) -> None:
    """What makes `head` valid, whose section is and whose target is not empty; its target becomes origin-form.

    Raises GatewayError with the reason whose status HTTP asks for: 400, 405 or 501.
    """
    method, target, section = head.method, head.target, head.section
    if target.translate(TARGET) != target:
        raise _bad("the request target has a character that is not allowed")
    if method not in COMMON_METHODS:
        _check_method(method)
    elif method == b"OPTIONS" and section.max_forwards is not None:
        _count_hop(head, section.max_forwards)
    if target[0] != 0x2F:
        head.target = _origin_form(method, target, section.authority)


def _check_method(method: bytes) -> None:
    # RFC 9110 section 9.1: a token, case-sensitive; whether one is known is the app's to say.
    if TOKEN.fullmatch(method) is None:
        raise _bad("the method has a character that is not allowed")
    # RFC 9112 section 3: a server that receives a longer method than any it implements SHOULD respond with 501.
    if len(method) > MAX_METHOD:
        raise GatewayError(Reason.NOT_IMPLEMENTED, f"the method has more than {MAX_METHOD} octets")
    if method.upper() in _NOT_FORWARDED:
        raise GatewayError(Reason.METHOD_NOT_ALLOWED, f"{method.decode()} is not forwarded")


def _count_hop(head: RequestHead, max_forwards: bytes) -> None:
    """RFC 9110 section 7.6.2: an intermediary MUST answer a request whose Max-Forwards is 0, and MUST forward others
    with one less. What cannot be counted is refused, as Apache does.
    """
    if _DIGITS.fullmatch(max_forwards) is None:
        raise _bad("Max-Forwards is not a decimal number")
    digits = max_forwards.lstrip(b"0")
    if not digits:
        head.ends_here = True
        return
    left = b"%d" % (int(digits) - 1) if len(digits) <= len(MOST_FORWARDS) else MOST_FORWARDS
    lines = head.section.field_lines
    head.section = head.section.with_lines(
        [line.with_value(left) if line.role == MAX_FORWARDS else line for line in lines]
    )


def _origin_form(method: bytes, target: bytes, host: bytes) -> bytes:
    if target == b"*" and method == b"OPTIONS":
        return target
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise _bad("the request target is neither a path nor a URL")
    # RFC 9112 section 3.2.2 says the absolute-form's authority replaces Host. Where the two differ somebody is
    # confusing somebody, so they must agree.
    default_port = 80 if match[1] else 443
    if _host_and_port(match[2], default_port) != _host_and_port(host, default_port):
        raise _bad("the request target names another host than the Host field")
    rest = match[3]
    if not rest and method == b"OPTIONS":
        return b"*"  # RFC 9112 section 3.2.4: the last proxy turns an empty path of OPTIONS into the asterisk
    return rest if rest[:1] == b"/" else b"/" + rest


def _host_and_port(authority: bytes, default_port: int) -> tuple[bytes, int] | None:
    """What `authority` is compared by (RFC 3986 section 6.2.3): letter case, the dot of the root and the scheme's own
    port make no difference. None: it is no host[:port].
    """
    match = _AUTHORITY.fullmatch(authority)
    return (match[1].lower().removesuffix(b"."), int(match[2] or default_port)) if match else None


def _without(lines: list[FieldLine], nominated: frozenset[bytes]) -> list[FieldLine]:
    """Without the fields that Connection nominates: they were meant for this hop only."""
    return [line for line in lines if line.pair[0].lower() not in nominated]


def response_section(hop_reader: HopReader, lines: list[FieldLine]) -> tuple[ResponseSection, Hop]:
    """What the field lines of a response say, and what of it concerns its connection only, as `hop_reader` reads it.

    Raises GatewayError(http_protocol_error) for everything a careful recipient must not guess about.
    """
    passing: list[FieldLine] = []
    hop_fields: list[HopField] = []
    length: bytes | None = None
    set_cookies = dated = locates = binds = False
    try:
        for line in lines:
            role = line.role
            if role == PASS or role >= USER_AGENT:
                passing.append(line)
            elif role == DATE:
                dated = True
                passing.append(line)
            elif role == SET_COOKIE:
                set_cookies = True
                passing.append(line)
            elif role == LOCATION:
                locates = True
                passing.append(line)
            elif role == CONTENT_LENGTH:
                if length is not None:
                    raise _bad("two Content-Length fields")
                # RFC 9110 section 8.6: 1*DIGIT. Written anew, because not everybody reads 0017 as 17.
                name, said = line.pair
                length = said.lstrip(b"0") or said[-1:] if said.startswith(b"0") else said
                passing.append(line if length == said else plain_line(name, length))
            elif role >= CONNECTION:
                hop_fields.append((role, line.pair[1] if role != HOP else b""))
            elif role == CREDENTIALS:
                passing.append(line)
                binds = binds or binds_connection(line.pair[1])
            elif role in _REQUESTS_ONLY:
                passing.append(line)
        content_length = _decimal(length) if length is not None else None
        hop = hop_reader.read(tuple(hop_fields), length is not None) if hop_fields else hop_reader.none
    except GatewayError as error:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer has a bad head: {error.detail}") from None
    if hop.nominated:
        passing = _without(passing, hop.nominated)
    section = ResponseSection(passing)
    section.set_cookies = set_cookies
    section.locates = locates
    section.dated = dated and b"date" not in hop.nominated
    section.binds = binds
    section.content_length = content_length
    return section, hop


def trailer_fields(lines: list[FieldLine]) -> Fields:
    """What of a trailer section goes on."""
    # Trailers must not do what only heads may (RFC 9110 section 6.5.1); those are dropped, the rest goes on.
    return [line.pair for line in lines if _allowed_in_trailers(line)]


def _allowed_in_trailers(line: FieldLine) -> bool:
    # One variable to many frameworks, see `fields.classify`.
    return (line.role == PASS or line.role >= USER_AGENT) and line.pair[0].lower().replace(
        b"_", b"-"
    ) not in _NOT_IN_TRAILERS


def check_switch(request: RequestHead, answer: Http1ResponseHead) -> None:
    """RFC 9110 section 7.8: a server MUST NOT switch to a protocol that the request did not name, MUST name the one it
    switches to, and whoever sends Upgrade MUST name that in Connection.

    Raises GatewayError(http_protocol_error) if `answer`, a 101, is not such an answer to `request`.
    """
    wrong = ""
    names = members((answer.hop.upgrade or b"").lower())
    if request.upgrade is None:
        wrong = "the app switched protocols though nobody asked"
    elif not names:
        wrong = "the app's 101 has no Upgrade field"
    elif not answer.hop.switches:
        wrong = "the app's 101 has no “Connection: upgrade”"
    # More than one if they stand upon each other.
    elif not all(offers(request.upgrade, name) for name in names):
        wrong = "the app switched to another protocol than asked for"
    # RFC 6455 section 4.1: whoever made the key MUST fail the connection.
    elif request.key_is_ours and answer.get(b"sec-websocket-accept") != accept(
        request.get(b"sec-websocket-key") or b""
    ):
        wrong = "the app's 101 has a Sec-WebSocket-Accept that does not fit the key"
    if wrong:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, wrong)


def response_head(
    status: int, phrase: bytes, section: ResponseSection, hop: Hop, request_method: bytes
) -> Http1ResponseHead:
    """A response head from its status line's parts and its section, in answer to a `request_method` request.

    Raises GatewayError(http_protocol_error) if the status is none.
    """
    if not 100 <= status <= 599:
        raise GatewayError(Reason.HTTP_PROTOCOL_ERROR, f"the answer has status {status}")
    upgrade = None
    if hop.upgrade is not None:
        if status == 426:
            # RFC 9110 section 15.5.22: it MUST name what is required. In any other answer that is a mere offer, to us.
            upgrade = b", ".join(protocols(hop.upgrade)) or None
        elif status == 101 and hop.switches:
            upgrade = b", ".join(members(hop.upgrade)) or None
    framing = AS_TUNNEL if status == 101 else answer_framing(status, section, request_method)
    length = section.content_length or 0 if framing is BY_LENGTH else 0
    head = Http1ResponseHead(status, phrase, forwarded_answer(status, section), hop, framing, length, upgrade)
    head.dated = section.dated
    head.binds = section.binds
    return head


def answer_framing(status: int, section: ResponseSection, request_method: bytes) -> Framing:
    """How the content of an answer is delimited (RFC 9112 section 6.3, steps in its order; RFC 9110 section 6.4.1)."""
    # 1: HEAD, 1xx, 204 and 304 end with the head, whatever the fields say.
    if status < 200 or status == 204 or status == 304 or request_method == b"HEAD":
        return NO_BODY
    # 4: a coding decides, and then there is no length. 6: then Content-Length. 8: else its sender says where it ends.
    if section.content_length is None:
        return AS_STREAM
    return BY_LENGTH if section.content_length else NO_BODY


def forwarded_answer(status: int, section: ResponseSection) -> FieldSection:
    """`section` as it may be sent on under `status`."""
    # RFC 9110 section 8.6: Content-Length MUST NOT be sent in 1xx and 204.
    if section.content_length is not None and (status < 200 or status == 204):
        return section.with_lines([line for line in section.field_lines if line.pair[0].lower() != b"content-length"])
    return section

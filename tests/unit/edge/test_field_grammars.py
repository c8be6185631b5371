"""Every field whose value the gateway reads, by its grammar: list, parameters, quoted string, token in any letter case,
number with zeros before it.

The table is complete: `test_every_field_that_is_read_stands_here` looks for reads in the code. What is dropped or
passed unread is no matter of grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from gateway.diagnosis.hints import is_readable
from gateway.edge.cookies import confine
from gateway.edge.forwarded import _CLAIMS, MAX_VIAS, Peer
from gateway.edge.host_rewrite import rewrite_response
from gateway.errors import GatewayError, Reason
from gateway.hostname import HostnameParser, Target
from gateway.http import roles
from gateway.http.fields import _ROLES_BY_NAME
from gateway.http.head_parser import HeadLimits, parse_request_head, parse_response_head
from gateway.http.message import FieldSection, RequestHead, ResponseHead, ResponseSection
from gateway.http.validate import check_switch
from gateway.problems.cross_site import is_cross_site
from gateway.problems.negotiation import Form, negotiate
from gateway.problems.websocket import asks_for_close

LIMITS = HeadLimits()
TARGET = Target(5000, "a", "example.dev")
ROOMS = ("edge", "http", "problems", "upstream")
BAD, WRONG = Reason.BAD_REQUEST, Reason.HTTP_PROTOCOL_ERROR

Lines = tuple[bytes, ...]
"""The values of one field, line by line."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field and what the gateway makes of it."""

    name: str
    grammar: str
    """In words, with the section of RFC 9110 if no other is named."""
    read: Callable[[str, Lines], object]
    cases: tuple[tuple[Lines, object], ...]
    """Values, and what is read of them or why they are refused."""


def _request(name: str, lines: Lines, more: bytes = b"", start: bytes = b"GET / HTTP/1.1") -> RequestHead:
    fields = b"".join(b"%b: %b\r\n" % (name.encode(), line) for line in lines)
    host = b"" if name == "Host" else b"Host: 5000-a.example.dev\r\n"
    return parse_request_head(start + b"\r\n" + host + fields + more + b"\r\n", LIMITS)


def _answer(name: str, lines: Lines, more: bytes = b"", start: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    fields = b"".join(b"%b: %b\r\n" % (name.encode(), line) for line in lines)
    return parse_response_head(start + b"\r\n" + fields + more + b"\r\n", LIMITS, b"GET")


def _section(head: ResponseHead) -> ResponseSection:
    assert isinstance(head.section, ResponseSection)
    return head.section


# --- how each is read ----------------------------------------------------------------------------------------------


def _target(name: str, lines: Lines) -> str:
    return HostnameParser(["example.dev"]).parse(_request(name, lines).authority.decode()).host


def _logs_in_asked(name: str, lines: Lines) -> bool:
    return _request(name, lines).section.binds


def _logs_in_answered(name: str, lines: Lines) -> bool:
    return _answer(name, lines).binds


def _length_asked(name: str, lines: Lines) -> int:
    return _request(name, lines).section.content_length


def _length_answered(name: str, lines: Lines) -> int | None:
    return _section(_answer(name, lines)).content_length


def _persists_asked(name: str, lines: Lines) -> tuple[bool, bool]:
    """Whether the connection persists, and whether X-Hop goes on."""
    head = _request(name, lines, b"X-Hop: 1\r\n")
    return head.keep_alive, head.get(b"x-hop") is not None


def _persists_answered(name: str, lines: Lines) -> tuple[bool, bool]:
    head = _answer(name, lines, b"X-Hop: 1\r\n")
    return head.hop.keep_alive, head.get(b"x-hop") is not None


def _hops_left(name: str, lines: Lines) -> bytes | None:
    head = _request(name, lines, start=b"OPTIONS * HTTP/1.1")
    return None if head.ends_here else head.get(b"max-forwards")


def _told(*wanted: str) -> Callable[[str, Lines], tuple[str, ...]]:
    """What an app behind a trusted proxy is told."""

    def read(name: str, lines: Lines) -> tuple[str, ...]:
        head = _request(name, lines)
        peer = Peer(ip_address("10.0.0.1"), b"http", [ip_network("10.0.0.0/8")])
        told = {key.decode(): value.decode() for key, value in peer.added(head).fields}
        return tuple(told[each] for each in wanted)

    return read


def _request_id(name: str, lines: Lines) -> bytes | None:
    peer = Peer(ip_address("10.0.0.1"), b"http", [ip_network("10.0.0.0/8")])
    return peer.request_id(_request(name, lines))


def _form(name: str, lines: Lines) -> Form:
    return negotiate(_request(name, lines)).form


def _script_form(name: str, lines: Lines) -> Form:
    """As JSON if it is a page script's, not a style or image."""
    return negotiate(_request(name, lines, b"Sec-Fetch-Mode: cors\r\n")).form


def _allowed(name: str, lines: Lines) -> dict[str, str]:
    given = {
        "Origin": b"https://a.test",
        "Access-Control-Request-Method": b"GET",
        "Access-Control-Request-Headers": b"x-gateway-probe",
    }
    more = b"".join(b"%b: %b\r\n" % (other.encode(), value) for other, value in given.items() if other != name)
    intent = negotiate(_request(name, lines, more, b"OPTIONS / HTTP/1.1"))
    return {key.decode().removeprefix("Access-Control-Allow-"): value.decode() for key, value in intent.cors}


def _one_allowed(of: str) -> Callable[[str, Lines], str | None]:
    return lambda name, lines: _allowed(name, lines).get(of)


def _led_back(name: str, lines: Lines) -> list[bytes]:
    told = FieldSection.of([(b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"a.test")])
    shown = rewrite_response(_answer(name, lines).section.field_lines, b"localhost", TARGET, told)
    return [line.pair[1] for line in shown]


def _confirmed(name: str, lines: Lines) -> list[bytes]:
    """What of it goes on from a trusted proxy whose client is 203.0.113.1."""
    proxy = Peer(ip_address("10.0.0.1"), b"http", [ip_network("10.0.0.0/8")])
    added = proxy.added(_request(name, lines, b"X-Forwarded-For: 203.0.113.1\r\n"))
    return [value for key, value in added.fields if key == name.encode()]


def _key_is_one(name: str, lines: Lines) -> bool:
    return asks_for_close(_request(name, lines, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), always=True)


def _fits_our_key(name: str, lines: Lines) -> bool:
    """Of a handshake whose key was made here: RFC 6455's own example."""
    asked = _request(
        "Sec-WebSocket-Key", (b"dGhlIHNhbXBsZSBub25jZQ==",), b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    )
    ours = RequestHead(b"GET", b"/", "HTTP/2", asked.section)
    ours.key_is_ours = True
    more = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    check_switch(ours, _answer(name, lines, more, b"HTTP/1.1 101 Switching Protocols"))
    return True


# --- the table -----------------------------------------------------------------------------------------------------

LOGINS = (
    ((b"NTLM",), True),
    ((b"negotiate YII=",), True),
    ((b"Basic realm=x, NTLM",), True),
    ((b'Digest realm="a, b"', b"Nego2"), True),
    ((b",\tKERBEROS",), True),
    ((b"Basic bnRsbQ==",), False),
    ((b"Bearer ntlm.x",), False),
    ((b'Digest realm="ntlm"',), False),
)
"""Whether a login of the connection itself is among them."""
REQUESTS = [
    Field(
        "User-Agent",
        "products and comments (10.1.5); any text, of which a part is written down",
        lambda name, lines: _request(name, lines).section.user_agent,
        (
            ((b"Mozilla/5.0 (X11) x/1",), "Mozilla/5.0 (X11) x/1"),
            ((b"",), ""),
            ((b"\xff\t\xc2\x9b31m",), "····31m"),
            ((b"a" * 300,), "a" * 256),
            ((b"a", b"b"), "b"),
        ),
    ),
    Field(
        "Priority",
        "a dictionary (9218, 4 and 8941, 3.2)",
        lambda name, lines: _request(name, lines).section.urgency,
        (
            ((b"u=1, i",), 1),
            ((b"i;u=2\t, u=0;x",), 0),
            ((b"u=5", b"i"), 5),
            ((b"u=5", b"u=6"), 6),
            ((b"u=8",), 3),
            ((b"U=1",), 3),
            ((b"u=1.5, xu=1",), 3),
            ((b"",), 3),
        ),
    ),
    Field(
        "traceparent",
        "version, trace, parent and flags in lower-case hexadecimal digits (Trace Context 3.2)",
        lambda name, lines: _request(name, lines).section.trace_parent,
        (
            ((b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",), ("a" * 32, "b" * 16, True)),
            ((b"00-" + b"A" * 32 + b"-" + b"b" * 16 + b"-01",), None),
            ((b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01",) * 2, None),
        ),
    ),
    *(
        Field(name, "credentials, their scheme in any letter case (11.4)", _logs_in_asked, LOGINS)
        for name in ("Authorization", "Proxy-Authorization")
    ),
    Field(
        "Host",
        "one host, in any letter case, and a port (7.2)",
        _target,
        (
            ((b"5000-a.example.dev",), "5000-a.example.dev"),
            ((b"5000-A.Example.DEV.:0443",), "5000-a.example.dev"),
            ((b"5000-a.example.dev:",), "5000-a.example.dev"),
            ((b"5000-a.example.dev", b"5000-a.example.dev"), BAD),
            ((b"5000-a.example.dev, 5000-a.example.dev",), BAD),
            ((b'"5000-a.example.dev"',), BAD),
        ),
    ),
    Field(
        "Content-Length",
        "one number; zeros before it are refused, for a parser that reads them as octal (8.6)",
        _length_asked,
        (((b"17",), 17), ((b"0",), 0), ((b"0017",), BAD), ((b"17", b"17"), BAD), ((b"17, 17",), BAD), ((b"+17",), BAD)),
    ),
    Field(
        "Transfer-Encoding",
        "a list of which exactly one member is known, in any letter case (9112, 6.1)",
        lambda name, lines: _request(name, lines).framing.value,
        (
            ((b"chunked",), "stream"),
            ((b"CHUNKED",), "stream"),
            ((b"chunked,",), Reason.NOT_IMPLEMENTED),
            ((b"gzip, chunked",), Reason.NOT_IMPLEMENTED),
            ((b"chunked;q=1",), Reason.NOT_IMPLEMENTED),
            ((b"chunked", b"chunked"), BAD),
        ),
    ),
    Field(
        "Connection",
        "a list of tokens in any letter case (7.6.1)",
        _persists_asked,
        (
            ((b"",), (True, True)),
            ((b"Keep-Alive, X-HOP",), (True, False)),
            ((b", ,cLOSE,",), (False, True)),
            ((b"x-hop", b"close"), (False, False)),
            ((b'"close"',), (True, True)),
            ((b'"x, close',), (False, True)),
        ),
    ),
    Field(
        "Upgrade",
        "a list of protocols (7.8)",
        lambda name, lines: _request(name, lines, b"Connection: upgrade\r\n").upgrade,
        (
            ((b"WebSocket",), b"WebSocket"),
            ((b"websocket, foo/2",), b"websocket, foo/2"),
            ((b"websocket", b",foo ,"), b"websocket, foo"),
            ((b"h2c, websocket",), b"websocket"),
            ((b"",), None),
        ),
    ),
    Field(
        "Expect",
        "a list of expectations in any letter case, of which one is known (10.1.1)",
        lambda name, lines: _request(name, lines, b"Content-Length: 1\r\n").section.expects_continue,
        (
            ((b"100-Continue",), True),
            ((b"",), False),
            ((b" ,",), False),
            ((b"", b"100-continue, 100-continue"), True),
            ((b"100-continue, foo",), Reason.EXPECTATION_FAILED),
            ((b'foo="a, 100-continue"',), Reason.EXPECTATION_FAILED),
        ),
    ),
    Field(
        "TE",
        "a list of codings with parameters and weights, and a keyword in any letter case (10.1.4)",
        lambda name, lines: _request(name, lines).section.trailers_ok,
        (
            ((b"gzip, trailers",), True),
            ((b"gzip;q=0.5", b"Trailers"), True),
            ((b",trailers,",), True),
            ((b"",), False),
            ((b'foo;x="a, trailers"',), False),
            ((b"trailers;q=0",), False),
        ),
    ),
    Field(
        "Max-Forwards",
        "one number, which may have zeros before it (7.6.2)",
        _hops_left,
        (((b"5",), b"4"), ((b"005",), b"4"), ((b"00",), None), ((b"",), BAD), ((b"5, 4",), BAD), ((b"5", b"5"), BAD)),
    ),
    Field(
        "X-Forwarded-For",
        "a list of addresses, with or without brackets, quotes never (no standard)",
        _told("X-Forwarded-For"),
        (
            ((b"203.0.113.1",), ("203.0.113.1, 10.0.0.1",)),
            ((b"203.0.113.1 ,,[2001:DB8::1]:0443",), ("203.0.113.1, 2001:db8::1, 10.0.0.1",)),
            ((b"203.0.113.1", b"203.0.113.2"), ("203.0.113.1, 203.0.113.2, 10.0.0.1",)),
            ((b'"203.0.113.1"',), ("10.0.0.1",)),
        ),
    ),
    Field(
        "X-Forwarded-Proto",
        "a list of schemes in any letter case (no standard)",
        _told("X-Forwarded-Proto"),
        (
            ((b"https",), ("https",)),
            ((b"HTTPS",), ("https",)),
            ((b"http, https",), ("https",)),
            ((b"https", b""), ("https",)),
            ((b"gopher",), ("http",)),
        ),
    ),
    Field(
        "X-Forwarded-Host",
        "a list of hosts (no standard)",
        _told("X-Forwarded-Host", "X-Forwarded-Port"),
        (
            ((b"a.test:8443",), ("a.test:8443", "8443")),
            ((b"a.test:08443",), ("a.test:08443", "8443")),
            ((b"b.test, a.test",), ("a.test", "80")),
            ((b"a.test,",), ("a.test", "80")),
            ((b'"a.test"',), ("5000-a.example.dev", "80")),
        ),
    ),
    Field(
        "Forwarded",
        "a list of parameters, tokens or quoted strings, names in any letter case (7239, 4)",
        _told("X-Forwarded-For", "X-Forwarded-Proto"),
        (
            ((b"for=203.0.113.1;proto=https",), ("203.0.113.1, 10.0.0.1", "https")),
            ((b'FOR="[2001:DB8::1]:443"; Proto="HTTPS"',), ("2001:db8::1, 10.0.0.1", "https")),
            ((b'for="a, for=203.0.113.1", for=203.0.113.2',), ("203.0.113.2, 10.0.0.1", "http")),
            ((b",for=203.0.113.1", b"for=203.0.113.2,"), ("203.0.113.1, 203.0.113.2, 10.0.0.1", "http")),
        ),
    ),
    Field(
        "CF-Connecting-IP",
        "one address (no standard); the others of CLIENT_NAMES are read as this one",
        _confirmed,
        (((b"203.0.113.1",), [b"203.0.113.1"]), ((b"[203.0.113.1]:1",), [b"203.0.113.1"]), ((b"a, 203.0.113.1",), [])),
    ),
    Field(
        "Via",
        "a list of protocols and names, comments behind them (7.6.3)",
        _told("Via"),
        (
            ((b"1.0 fred", b"1.1 b (x)"), ("1.0 fred, 1.1 b (x), 1.1 gateway",)),
            ((b"",), ("1.1 gateway",)),
            ((b",".join([b"1.1 gateway"] * MAX_VIAS),), Reason.PROXY_LOOP_DETECTED),
            ((b"HTTP/1.1 gateway (x), " * MAX_VIAS,), Reason.PROXY_LOOP_DETECTED),
            ((b"2.0 gateway, 1.1 gateway, " * (MAX_VIAS // 2),), Reason.PROXY_LOOP_DETECTED),
            ((b"1.1 gateway2, " * MAX_VIAS,), ("1.1 gateway2, " * (MAX_VIAS - 1) + "1.1 gateway2,, 1.1 gateway",)),
        ),
    ),
    Field(
        "X-Request-Id",
        "one id; of a list the last, which is the nearest proxy's (no standard)",
        _request_id,
        (((b"abc-1",), b"abc-1"), ((b"x, abc-1",), b"abc-1"), ((b"x", b"abc-1,"), b"abc-1"), ((b'"a b"',), None)),
    ),
    Field(
        "X-Gateway-Probe",
        "whatever it says (ours)",
        lambda name, lines: _request(name, lines).section.probes,
        (((b"1",), True), ((b"",), True), ((b"0", b"0"), True)),
    ),
    Field(
        "Accept",
        "a list of media types in any letter case, with parameters and weights (12.5.1)",
        _form,
        (
            ((b"Text/HTML",), Form.HTML),
            ((b"text/html;q=0.1, application/json;Q=0.5",), Form.JSON),
            ((b"text/html;q=0.1", b"application/json"), Form.JSON),
            ((b'text/html;x="a,b;q=1" ; q=0.1,, application/json;q=0.5',), Form.JSON),
            ((b'text/html;q=0, text/plain;x="application/json"',), Form.TEXT),
            ((b"",), Form.TEXT),
        ),
    ),
    Field(
        "Sec-Fetch-Mode",
        "a structured token, parameters ignored (Fetch Metadata, 2.2; 9651, 3.3.4)",
        _form,
        (((b"navigate",), Form.HTML), ((b"navigate;a=1",), Form.HTML), ((b"cors",), Form.JSON), ((b"",), Form.TEXT)),
    ),
    Field(
        "Sec-Fetch-Dest",
        "a structured token, parameters ignored (Fetch Metadata, 2.1; 9651, 3.3.4)",
        _script_form,
        (((b"empty",), Form.JSON), ((b"empty ;a",), Form.JSON), ((b"script",), Form.TEXT)),
    ),
    Field(
        "Sec-Fetch-Site",
        "a structured token, parameters ignored (Fetch Metadata, 2.3; 9651, 3.3.4)",
        lambda name, lines: is_cross_site(_request(name, lines), "a.test"),
        (
            *(((value,), False) for value in (b"same-origin", b"same-site;a=1", b"none")),
            *(((value,), True) for value in (b"cross-site", b"Same-Origin", b"")),
        ),
    ),
    Field(
        "Content-Type",
        "one media type in any letter case, with parameters (8.3)",
        _form,
        (
            ((b"application/grpc",), Form.GRPC),
            ((b"Application/GRPC-Web+Proto ; x=1",), Form.GRPC),
            ((b"application/grpcx",), Form.TEXT),
        ),
    ),
    Field(
        "Origin",
        "one serialized origin (6454, 7)",
        _one_allowed("Origin"),
        (((b"https://b.test",), "https://b.test"), ((b"null",), "null"), ((b"a b",), "*"), ((b"",), "*")),
    ),
    Field(
        "Access-Control-Request-Method",
        "one token (Fetch, 3.3.2)",
        _one_allowed("Headers"),
        (
            ((b"GET",), "X-Gateway-Probe"),
            ((b"HEAD",), "X-Gateway-Probe"),
            *(((value,), None) for value in (b"get", b"POST", b"PUT", b"GET, PUT", b"RDG_OUT_DATA", b"*", b"")),
        ),
    ),
    Field(
        "Access-Control-Request-Headers",
        "a list of tokens (Fetch, 3.3.2)",
        _one_allowed("Headers"),
        (
            ((b"x-gateway-probe",), "X-Gateway-Probe"),
            ((b"X-Gateway-Probe", b",x-gateway-probe ,"), "X-Gateway-Probe"),
            ((b"x-gateway-probe,x-a",), None),
            ((b"x-gateway-probe", b"x-a"), None),
            ((b"x-gateway-probe x-a",), None),
            ((b"*",), None),
            ((b",",), None),
            ((b"",), None),
        ),
    ),
    Field(
        "Sec-WebSocket-Key",
        "base64 of sixteen octets (6455, 4.2.1)",
        _key_is_one,
        (((b"dGhlIHNhbXBsZSBub25jZQ==",), True), ((b"dGhlIHNhbXBsZQ==",), False), ((b"",), False)),
    ),
]

ANSWERS = [
    Field(
        "Sec-WebSocket-Accept",
        "what the key asks for, as it stands (6455, 4.2.2)",
        _fits_our_key,
        (
            ((b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",), True),
            ((b"s3pplmbitxaq9kygzzhzrbk+xoo=",), Reason.HTTP_PROTOCOL_ERROR),
            ((b"",), Reason.HTTP_PROTOCOL_ERROR),
        ),
    ),
    *(
        Field(name, "a list of challenges, their schemes in any letter case (11.3)", _logs_in_answered, LOGINS)
        for name in ("WWW-Authenticate", "Proxy-Authenticate")
    ),
    Field(
        "Content-Length",
        "one number, which may have zeros before it (8.6)",
        _length_answered,
        (((b"0017",), 17), ((b"000",), 0), ((b"17", b"17"), WRONG), ((b"17, 17",), WRONG), ((b"0x17",), WRONG)),
    ),
    Field(
        "Transfer-Encoding",
        "a list of which exactly one member is known, in any letter case (9112, 6.1)",
        lambda name, lines: _answer(name, lines).framing.value,
        (((b"Chunked",), "stream"), ((b"gzip, chunked",), WRONG), ((b"chunked", b"chunked"), WRONG), ((b"",), WRONG)),
    ),
    Field(
        "Connection",
        "a list of tokens in any letter case (7.6.1)",
        _persists_answered,
        (((b"x-hop,, Close",), (False, False)), ((b"",), (True, True)), ((b"keep-alive", b"CLOSE"), (False, True))),
    ),
    Field(
        "Upgrade",
        "a list of protocols (7.8)",
        lambda name, lines: _answer(name, lines, b"Connection: upgrade\r\n", b"HTTP/1.1 426 Upgrade Required").upgrade,
        (((b"WebSocket",), b"WebSocket"), ((b"foo/2,, h2c", b"websocket"), b"foo/2, websocket"), ((b"",), None)),
    ),
    Field(
        "Set-Cookie",
        "one cookie a line, never a list (6265, 3); its attributes are test_cookies' matter",
        lambda name, lines: _section(_answer(name, lines)).set_cookies,
        (((b"a=1, b=2; Path=/",), True), ((b"a=1", b"b=1"), True)),
    ),
    Field(
        "Clear-Site-Data",
        "a list of quoted strings, compared as they stand (Clear Site Data, 3.1)",
        lambda name, lines: [line.pair for line in confine(_answer(name, lines).section.field_lines, TARGET)],
        (
            ((b'"cache" ,"cookies",, "storage"',), [(b"Clear-Site-Data", b'"cache", "storage"')]),
            ((b'"Cookies"', b"cache"), []),
        ),
    ),
    Field(
        "Location",
        "a URI reference (10.2.2)",
        _led_back,
        (((b"HTTP://Localhost/a",), [b"https://a.test/a"]), ((b"/a",), [b"/a"]), ((b"",), [b""])),
    ),
    Field(
        "Content-Location",
        "a URI reference (8.7)",
        _led_back,
        (((b"//localhost:80/a",), [b"https://a.test/a"]), ((b"a",), [b"a"])),
    ),
    Field(
        "Refresh",
        "seconds and a URL, loosely (HTML, 4.2.5.3)",
        _led_back,
        (((b"1 ;\tURL = 'http://localhost/a'",), [b"1 ;\tURL = 'https://a.test/a'"]), ((b"1",), [b"1"])),
    ),
    Field(
        "Date",
        "whatever it says (6.6.1)",
        lambda name, lines: _answer(name, lines).dated,
        (((b"Sun, 06 Nov 1994 08:49:37 GMT",), True), ((b"",), True)),
    ),
    Field(
        "Content-Type",
        "one media type in any letter case, with parameters (8.3)",
        lambda name, lines: is_readable(_answer(name, lines)),
        (((b"Text/HTML;charset=utf-8",), True), ((b"APPLICATION/json",), True), ((b"image/png",), False)),
    ),
    Field(
        "Content-Disposition",
        "one type in any letter case, with parameters that may be quoted (6266, 4.1)",
        lambda name, lines: is_readable(_answer(name, lines)),
        (
            ((b"Attachment",), False),
            ((b'ATTACHMENT ; filename="a;b"',), False),
            ((b'inline; filename="attachment"',), True),
            ((b"",), True),
        ),
    ),
    Field(
        "Content-Encoding",
        "a list of codings in any letter case (8.4)",
        lambda name, lines: is_readable(_answer(name, lines)),
        (((b"gzip",), False), ((b"identity, gzip",), False), ((b"Identity",), True), ((b"",), True), ((b" ,",), True)),
    ),
]


def _cases(table: list[Field]) -> list[object]:
    return [
        pytest.param(field, lines, value, id=f"{field.name}: {b' / '.join(lines)[:40].decode('latin-1')}")
        for field in table
        for lines, value in field.cases
    ]


@pytest.mark.parametrize(("field", "lines", "value"), [*_cases(REQUESTS), *_cases(ANSWERS)])
def test_a_field_is_read_by_its_grammar(field: Field, lines: Lines, value: object) -> None:
    try:
        read = field.read(field.name, lines)
    except GatewayError as error:
        read = error.reason
    assert read == value


UNREAD = (roles.COOKIE, roles.DROPPED, roles.HOP, roles.MARK, roles.FORWARDING)
"""Dropped, whatever they say; of the claims, `forwarded` reads a few by name; of cookies, HTTP/2 counts the lines."""
_READS = re.compile(r'(?:\.get|said|_lines)\((?:head, )?b"([a-z-]+)"\)')


def test_every_field_that_is_read_stands_here() -> None:
    read = {name.decode() for name, role in _ROLES_BY_NAME.items() if role not in UNREAD}
    for room in ROOMS:
        for module in (Path(__file__).parents[3] / "gateway" / room).glob("*.py"):
            read.update(_READS.findall(module.read_text()))
    read.update(claim.decode() for claim in _CLAIMS)
    missing = read - {field.name.lower() for field in (*REQUESTS, *ANSWERS)}
    assert not missing, f"give these a row each, by their grammar: {missing}"

"""RFC 9113 section 8: what makes a request of a field section, and what does not.

A malformed request is answered with 400 where its head could be read, and its stream is reset where not; the app hears
nothing of it.
"""

from __future__ import annotations

import pytest

from gateway.reasons import Reason
from tests.behaviour.harness import Gateway
from tests.behaviour.http2.stage import Outcome, Refuses, Resets, Serves, Stage, open_stage, perform
from tests.support.h2_frames import Code, Fields, Flag, Type, frame, literal

HOST = b"<host>"
"""Stands for the app's name."""
METHOD, SCHEME, AUTHORITY, PATH = PSEUDO = [
    *((b":method", b"GET"), (b":scheme", b"http"), (b":authority", HOST), (b":path", b"/"))
]
MALFORMED = Refuses()
UNREADABLE = Resets((Code.PROTOCOL_ERROR,))
"""It does not even say what is asked for, and of whom."""


def get(*more: tuple[bytes, bytes]) -> Fields:
    return [*PSEUDO, *more]


def but(**other: bytes) -> Fields:
    """A good request with other pseudo-fields."""
    return [(name, other.get(name[1:].decode(), value)) for name, value in PSEUDO]


def without(*names: bytes) -> Fields:
    return [pair for pair in PSEUDO if pair[0] not in names]


def refused(reason: Reason) -> Outcome:
    return Refuses(reason.row.status, reason.row.name.encode())


ROWS: dict[str, tuple[Fields, Outcome]] = {
    "a request": (get(), Serves()),
    # --- 8.2.1: names and values ---------------------------------------------------------------------------------
    "an upper case name": (get((b"X-Upper", b"a")), MALFORMED),
    "one upper case letter": (get((b"x-uppeR", b"a")), MALFORMED),
    "an empty name": (get((b"", b"a")), MALFORMED),
    "a name with a space": (get((b"x a", b"a")), MALFORMED),
    "a name that ends with a space": (get((b"x ", b"a")), MALFORMED),
    "a name with a colon": (get((b"x:a", b"a")), MALFORMED),
    "a name with a line end": (get((b"x\r\nevil", b"a")), MALFORMED),
    "a name with NUL": (get((b"x\0", b"a")), MALFORMED),
    "a name that is not ASCII": (get((b"x-\xff", b"a")), MALFORMED),
    "a name with DEL": (get((b"x-\x7f", b"a")), MALFORMED),
    "an empty value": (get((b"x-empty", b"")), Serves()),
    "a value with CR LF": (get((b"x", b"a\r\nevil: b")), MALFORMED),
    "a value with CR": (get((b"x", b"a\rb")), MALFORMED),
    "a value with LF": (get((b"x", b"a\nb")), MALFORMED),
    "a value with NUL": (get((b"x", b"a\0b")), MALFORMED),
    "a value with another control": (get((b"x", b"a\x1fb")), MALFORMED),
    "a value with obs-text": (get((b"x", b"\xe4\xff")), Serves()),
    "a value with a tab inside": (get((b"x", b"a\tb")), Serves()),
    "a value that begins with a space": (get((b"x", b" a")), MALFORMED),
    "a value that ends with a space": (get((b"x", b"a ")), MALFORMED),
    "a value that begins with a tab": (get((b"x", b"\ta")), MALFORMED),
    "a value that ends with a tab": (get((b"x", b"a\t")), MALFORMED),
    # --- 8.2.2: what was the connection's ------------------------------------------------------------------------
    "connection": (get((b"connection", b"close")), MALFORMED),
    "proxy-connection": (get((b"proxy-connection", b"keep-alive")), MALFORMED),
    "keep-alive": (get((b"keep-alive", b"timeout=5")), MALFORMED),
    "transfer-encoding": (get((b"transfer-encoding", b"chunked")), MALFORMED),
    "transfer-encoding of nothing": (get((b"transfer-encoding", b"identity")), MALFORMED),
    "upgrade": (get((b"upgrade", b"websocket")), MALFORMED),
    "te: trailers": (get((b"te", b"trailers")), Serves()),
    "te of anything else": (get((b"te", b"gzip")), MALFORMED),
    "te: trailers and more": (get((b"te", b"trailers, deflate;q=0.5")), MALFORMED),
    # --- 8.3: pseudo-fields --------------------------------------------------------------------------------------
    "a pseudo-field behind a field": ([METHOD, SCHEME, AUTHORITY, (b"x", b"a"), PATH], MALFORMED),
    "an unknown pseudo-field": ([*PSEUDO, (b":unknown", b"a")], MALFORMED),
    "a pseudo-field of answers": ([*PSEUDO, (b":status", b"200")], MALFORMED),
    "an upper case pseudo-field": ([(b":Method", b"GET"), SCHEME, AUTHORITY, PATH], UNREADABLE),
    "a pseudo-field without a name": ([*PSEUDO, (b":", b"a")], MALFORMED),
    "no field at all": ([], UNREADABLE),
    "fields without pseudo-fields": ([(b"host", HOST), (b"x", b"a")], UNREADABLE),
    "no :method": (without(b":method"), UNREADABLE),
    "no :scheme": (without(b":scheme"), MALFORMED),
    "no :path": (without(b":path"), UNREADABLE),
    "two :method": ([METHOD, *PSEUDO], MALFORMED),
    "two :scheme": ([SCHEME, *PSEUDO], MALFORMED),
    "two :path": ([PATH, *PSEUDO], MALFORMED),
    "two :authority": ([AUTHORITY, *PSEUDO], MALFORMED),
    "two :path, the second another": ([*PSEUDO, (b":path", b"/other")], MALFORMED),
    "any order of the pseudo-fields": ([PATH, AUTHORITY, SCHEME, METHOD], Serves()),
    "an empty :path": (but(path=b""), UNREADABLE),
    "a :path without a slash": (but(path=b"x"), MALFORMED),
    "a :path that is a URL": (but(path=b"http://elsewhere.example/"), MALFORMED),
    "a :path of two lines": (but(path=b"/ HTTP/1.1\r\nHost: evil"), MALFORMED),
    "a :path with a space": (but(path=b"/a b"), MALFORMED),
    "a :path with a tab": (but(path=b"/a\tb"), MALFORMED),
    "a :path with NUL": (but(path=b"/\0"), MALFORMED),
    "a :path with a fragment": (but(path=b"/#part"), MALFORMED),
    "a :path that is not ASCII": (but(path=b"/\xc3\xa4"), MALFORMED),
    "* without OPTIONS": (but(path=b"*"), MALFORMED),
    "an empty :method": (but(method=b""), MALFORMED),
    "a :method with a space": (but(method=b"GET /evil HTTP/1.1"), MALFORMED),
    "a :method of two lines": (but(method=b"GET\r\nx: y"), MALFORMED),
    "an empty :scheme": (but(scheme=b""), MALFORMED),
    "a :scheme with a colon": (but(scheme=b"http://x"), MALFORMED),
    "an empty :authority": (but(authority=b""), MALFORMED),
    "an :authority with userinfo": (but(authority=b"user@" + HOST), MALFORMED),
    "an :authority with a path": (but(authority=HOST + b"/x"), MALFORMED),
    "an :authority of two": (but(authority=HOST + b",other.example"), MALFORMED),
    "an :authority with a space": (but(authority=b"a b"), MALFORMED),
    "an :authority of two lines": (but(authority=HOST + b"\r\nx: y"), MALFORMED),
    "host instead of :authority": ([*without(b":authority"), (b"host", HOST)], Serves()),
    "host beside an equal :authority": (get((b"host", HOST)), Serves()),
    "host beside another :authority": (get((b"host", b"5001-box.sandbox.localhost")), MALFORMED),
    "neither host nor :authority": (without(b":authority"), UNREADABLE),
    "two hosts": ([*without(b":authority"), (b"host", HOST), (b"host", HOST)], MALFORMED),
    # --- 8.1.1: content-length where there is no content ---------------------------------------------------------
    "content-length of 0": (get((b"content-length", b"0")), Serves()),
    "content-length of what never comes": (get((b"content-length", b"5")), MALFORMED),
    "content-length twice": (get((b"content-length", b"0"), (b"content-length", b"0")), MALFORMED),
    "content-length of a list": (get((b"content-length", b"0, 0")), MALFORMED),
    "content-length with a sign": (get((b"content-length", b"+0")), MALFORMED),
    "content-length that is negative": (get((b"content-length", b"-1")), MALFORMED),
    "content-length of nothing": (get((b"content-length", b"")), MALFORMED),
    "content-length beyond every number": (get((b"content-length", b"9" * 30)), MALFORMED),
    # --- 8.5: CONNECT, and methods that are not for us -----------------------------------------------------------
    "CONNECT": ([(b":method", b"CONNECT"), AUTHORITY], refused(Reason.METHOD_NOT_ALLOWED)),
    "CONNECT with a path": (but(method=b"CONNECT"), MALFORMED),
    "CONNECT without an authority": ([(b":method", b"CONNECT")], UNREADABLE),
    "TRACE": (but(method=b"TRACE"), refused(Reason.METHOD_NOT_ALLOWED)),
    # --- what HTTP/1.1 refuses, too ------------------------------------------------------------------------------
    "an expectation of something else": (get((b"expect", b"the-unexpected")), refused(Reason.EXPECTATION_FAILED)),
    "a path too long": (but(path=b"/" + b"x" * 9000), refused(Reason.URI_TOO_LONG)),
    "too many fields": (get(*[(b"a", b"b")] * 101), refused(Reason.HEADER_SECTION_TOO_LARGE)),
    "too many crumbs": (get(*[(b"cookie", b"a=b")] * 101), refused(Reason.HEADER_SECTION_TOO_LARGE)),
    "fields too large": (get(*[(b"a", b"b" * 3000)] * 15), refused(Reason.HEADER_SECTION_TOO_LARGE)),
    "one field too large": (get((b"a", b"b" * 9000)), refused(Reason.HEADER_SECTION_TOO_LARGE)),
    # --- RFC 8441 ------------------------------------------------------------------------------------------------
    ":protocol without CONNECT": ([*get(), (b":protocol", b"websocket")], MALFORMED),
    ":protocol without :path": (
        [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, AUTHORITY],
        UNREADABLE,
    ),
    ":protocol without :scheme": ([(b":method", b"CONNECT"), (b":protocol", b"websocket"), AUTHORITY, PATH], MALFORMED),
    ":protocol without :authority": (
        [(b":method", b"CONNECT"), (b":protocol", b"websocket"), SCHEME, PATH],
        UNREADABLE,
    ),
    "two :protocol": ([*but(method=b"CONNECT"), *[(b":protocol", b"websocket")] * 2], MALFORMED),
    ":protocol of nothing": ([*but(method=b"CONNECT"), (b":protocol", b"")], refused(Reason.NOT_IMPLEMENTED)),
}


@pytest.mark.parametrize("row", ROWS)
async def test_a_head(gateway: Gateway, row: str) -> None:
    fields, outcome = ROWS[row]

    def play(stage: Stage) -> None:
        block = literal(*[(name, value.replace(HOST, stage.host)) for name, value in fields])
        stage.client.send_headers(stage.take(), block, end=True)

    await perform(await open_stage(gateway), play, outcome)


async def test_fields_come_to_the_app_as_they_are(gateway: Gateway) -> None:
    """:authority is Host, crumbs are one Cookie (8.2.3), and the priority (RFC 9218) passes."""

    def play(stage: Stage) -> None:
        fields = [*(pair for pair in stage.pseudo if pair[0] != b":path"), (b":path", b"/a?b=c%20d")]
        more = [(b"cookie", b"a=b"), (b"x-twice", b"1"), (b"cookie", b"c=d"), (b"x-twice", b"2"), (b"cookie", b"e=f")]
        stage.stream = stage.client.request_of([*fields, *more, (b"priority", b"u=1, i"), (b"te", b"trailers")])

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    [asked, _] = stage.asked
    assert asked.start == b"GET /a?b=c%20d HTTP/1.1"
    assert (asked.get(b"Host"), asked.get(b"Cookie")) == (stage.host, b"a=b; c=d; e=f")
    assert [value for name, value in asked.fields if name.lower() == b"x-twice"] == [b"1", b"2"]
    assert asked.get(b"Priority") == b"u=1, i"


async def test_options_of_the_whole_server(gateway: Gateway) -> None:
    def play(stage: Stage) -> None:
        stage.stream = stage.client.request(stage.host, method=b"OPTIONS", path=b"*")

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    assert stage.asked[0].start == b"OPTIONS * HTTP/1.1"


# --- what comes behind the head ---------------------------------------------------------------------------------------

BROKEN = Resets((Code.PROTOCOL_ERROR,), reaches=True)
CUT = (b"content-length", b"5")
WHOLE = Flag.END_STREAM | Flag.END_HEADERS
MORE = {
    "less than declared": ((CUT,), [(Type.DATA, Flag.END_STREAM, b"four")]),
    "less than declared, in two": ((CUT,), [(Type.DATA, 0, b"four"), (Type.DATA, Flag.END_STREAM, b"")]),
    "less than declared, and trailers": (
        (CUT,),
        [(Type.DATA, 0, b"four"), (Type.HEADERS, WHOLE, literal((b"a", b"b")))],
    ),
    "more than declared": ((CUT,), [(Type.DATA, Flag.END_STREAM, b"sixsix")]),
    "more than declared, in two": ((CUT,), [(Type.DATA, 0, b"fives"), (Type.DATA, Flag.END_STREAM, b"x")]),
    "nothing of what was declared": ((CUT,), [(Type.DATA, Flag.END_STREAM, b"")]),
    "nothing of what was declared, and trailers": ((CUT,), [(Type.HEADERS, WHOLE, literal((b"a", b"b")))]),
    "trailers without an end": ((), [(Type.DATA, 0, b"a"), (Type.HEADERS, Flag.END_HEADERS, literal((b"a", b"b")))]),
    "trailers with a pseudo-field": ((), [(Type.DATA, 0, b"a"), (Type.HEADERS, WHOLE, literal((b":method", b"GET")))]),
    "trailers with a path": ((), [(Type.DATA, 0, b"a"), (Type.HEADERS, WHOLE, literal((b":path", b"/evil")))]),
    "trailers in upper case": ((), [(Type.DATA, 0, b"a"), (Type.HEADERS, WHOLE, literal((b"X-Sum", b"1")))]),
    "trailers with a line end": ((), [(Type.DATA, 0, b"a"), (Type.HEADERS, WHOLE, literal((b"x", b"1\r\nb: c")))]),
    "trailers with a connection's field": (
        (),
        [(Type.DATA, 0, b"a"), (Type.HEADERS, WHOLE, literal((b"connection", b"close")))],
    ),
}


@pytest.mark.parametrize("row", MORE)
async def test_a_body(gateway: Gateway, row: str) -> None:
    """What reached the app of it is cut off there, and never taken for the whole."""
    declared, frames = MORE[row]

    def play(stage: Stage) -> None:
        stage.begin(*declared)
        # In one piece: what is declared goes on when it has come, and what comes too much may come too late.
        stage.client.send(b"".join(frame(type, flags, stage.stream, payload) for type, flags, payload in frames))

    stage = await open_stage(gateway)
    await perform(stage, play, Malformed())
    assert [each.start for each in stage.asked] == [b"GET /again HTTP/1.1"], "no whole request came of it"


class Malformed(Outcome):
    """A problem if its time is not over, or a reset: the app may have the head already."""

    reaches = True

    def prove(self, stage: Stage) -> None:
        stream = stage.client.stream(stage.stream)
        stage.client.wait(lambda: stream.over or stage.client.goaway, "an end of the stream")
        if stream.status:
            Refuses().prove(stage)
        else:
            BROKEN.prove(stage)


async def test_a_body_in_pieces_with_trailers(gateway: Gateway) -> None:
    def play(stage: Stage) -> None:
        client, id = stage.client, stage.begin((b"content-length", b"5"), (b"trailer", b"x-sum"))
        client.send_frame(Type.DATA, 0, id, b"fi")
        client.send_frame(Type.DATA, 0, id, b"")
        client.send_frame(Type.DATA, 0, id, b"ves")
        client.send_headers(id, literal((b"x-sum", b"1")), end=True)

    stage = await open_stage(gateway)
    await perform(stage, play, Serves())
    assert stage.asked[0].body == b"fives"

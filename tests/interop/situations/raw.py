"""Apps by hand: they hang up, are late, speak something else, break off. Each is in a sandbox of its own."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from gateway.errors import Reason
from tests.interop.situations import HASTY, Passes, Says, Where, situation
from tests.interop.situations.stage import Stage, answer, asked

HEAD = b"HTTP/1.1 200 OK\r\n"


def app(name: str, said: Says | Passes, *, gateway: str = "patient") -> Callable[..., None]:
    """A row whose app is the function below, which gets each of its connections."""

    def enter(serve: Callable[[socket.socket], None]) -> None:
        @situation(name, said, gateway=gateway)
        def _(stage: Stage) -> Where:
            def until_over(connection: socket.socket) -> None:
                serve(connection)
                if gateway == HASTY:
                    stage.over.wait(30)

            box = stage.sandbox()
            return box.where(box.app(until_over))

    return enter


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# --- hangs up ---------------------------------------------------------------------------------------------------------


CRASHED = "Read the app's log: did it crash, or was it restarted, while at work on the request?"


def terminated(seen: str, title: str = "The app closed the connection without answering", fix: str = CRASHED) -> Says:
    return Says(Reason.CONNECTION_TERMINATED, title, seen, fix)


@app("hangs up after the request", terminated("the app closed the connection before answering"))
def _(connection: socket.socket) -> None:
    asked(connection)


@app("resets after the request", terminated("the app reset the connection before answering"))
def _(connection: socket.socket) -> None:
    asked(connection)
    reset(connection)


@app(
    "hangs up within its answer's head",
    terminated(
        "the app closed the connection in the middle of its answer's head",
        "The app's answer broke off within its head",
        "Read the app's log: did it crash, or was it restarted, while answering?",
    ),
)
def _(connection: socket.socket) -> None:
    answer(HEAD + b"Content-Type: text/html\r\nX-")(connection)


# --- stuck ------------------------------------------------------------------------------------------------------------


def late(seen: str) -> Says:
    return Says(
        Reason.HTTP_RESPONSE_TIMEOUT,
        "The app on port {port} did not answer in time",
        seen,
        "Is the app stuck, or stopped in a debugger?",
    )


@app("accepts and says nothing", late("no answer within 0.7 s"), gateway=HASTY)
def _(connection: socket.socket) -> None:
    asked(connection)


@app("accepts and reads nothing", late("no answer within 0.7 s"), gateway=HASTY)
def _(connection: socket.socket) -> None:
    pass


@app("trickles its head", late("no answer within 0.7 s"), gateway=HASTY)
def _(connection: socket.socket) -> None:
    asked(connection)
    connection.sendall(HEAD + b"X-Part: 1\r\n")


@app("100 Continue and then nothing", late("no answer within 0.7 s"), gateway=HASTY)
def _(connection: socket.socket) -> None:
    asked(connection)
    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


@app("begins a status line and stops", late("no answer within 0.7 s"), gateway=HASTY)
def _(connection: socket.socket) -> None:
    asked(connection)
    connection.sendall(HEAD[:9])


# --- no valid HTTP ----------------------------------------------------------------------------------------------------


def nonsense(seen: str) -> Says:
    return Says(
        Reason.HTTP_PROTOCOL_ERROR,
        "What answers on port {port} does not speak valid HTTP",
        seen,
        "Is the port right? Databases, SSH and other services listen on ports of their own.",
    )


def another_service(seen: str) -> Says:
    return Says(
        Reason.HTTP_PROTOCOL_ERROR,
        "What listens on port {port} is not a web server",
        seen,
        "Is the port right? Use the one your web app listens on: databases, SSH and other services have ports of their "
        "own.",
    )


def quoted(octets: bytes) -> str:
    """As a sentence shows them."""
    return "".join(chr(octet) if 32 <= octet < 127 else "·" for octet in octets)


GREETINGS: dict[str, tuple[bytes, str]] = {
    "SMTP": (b"220 mail.example ESMTP Postfix\r\n", "as SMTP and FTP servers greet"),
    "POP3": (b"+OK ready\r\n", "as POP3 servers greet"),
    "IMAP": (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", "as IMAP servers greet"),
    "MySQL": (b"J\0\0\0\n8.0.36\0" + bytes(20), "a MySQL or MariaDB server's greeting"),
    "VNC": (b"RFB 003.008\n", "a VNC server's version"),
    "NATS": (b'INFO {"server_id":"NA","version":"2"}\r\n', "a NATS server's greeting"),
}
for name, (greeting, what) in GREETINGS.items():
    shown = quoted(greeting)

    @app(f"a greeting as {name} has it", another_service(f"the answer begins with “{shown}”: {what}"))
    def _(connection: socket.socket, greeting: bytes = greeting) -> None:
        connection.sendall(greeting)
        asked(connection)


@app("greets in two lines", nonsense("the answer begins with “hello··”"))
def _(connection: socket.socket) -> None:
    answer(b"hello\r\nthere\r\n")(connection)


@app("answers -ERR and is no Redis", nonsense("the answer begins with “-ERR what?··”"))
def _(connection: socket.socket) -> None:
    connection.sendall(b"-ERR what?\r\n" if asked(connection) else b"")


@app("answers Unauthorized without a head", nonsense("the answer begins with “Unauthorized”"))
def _(connection: socket.socket) -> None:
    answer(b"Unauthorized")(connection)


for name, octets, seen in (
    ("garbage", b"\x00\x01\x02 hello there \xff\xfe\r\n\r\n", "the answer begins with “··· hello there ··”"),
    ("a body without a head", b"<!doctype html>\n<p>hello\n", "the answer begins with “<!doctype html>·”"),
    ("two words of an older protocol", b"ICY 200 OK\r\nicy-name: x\r\n\r\n", "the answer begins with “ICY 200 OK”"),
    ("a head without a status line", b"Status: 200 OK\r\n\r\nhello", "the answer begins with “Status: 200 OK”"),
    ("a word before its head", b"debug\n" + HEAD + b"\r\n", "the answer begins with “debug·”"),
):
    app(f"answers with {name}", nonsense(seen))(answer(octets))


def broken_head(seen: str) -> Says:
    return Says(
        Reason.HTTP_PROTOCOL_ERROR,
        "The app's answer on port {port} is not valid HTTP",
        seen,
        "Mend what was observed where the head is written: by the app, by its framework, or by a proxy before it.",
    )


for name, octets, seen in (
    (
        "a status line of HTTP/2",
        b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "the answer begins with “HTTP/2 200 OK”",
    ),
    (
        "a status of four digits",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        "the answer begins with “HTTP/1.1 2000 OK”",
    ),
    (
        "a field name with a blank",
        HEAD + b"Bad Name: x\r\nContent-Length: 0\r\n\r\n",
        "the answer has a malformed field (a character not allowed in a name)",
    ),
    (
        "a line without a colon",
        HEAD + b"nonsense\r\nContent-Length: 0\r\n\r\n",
        "the answer has a malformed field (no colon)",
    ),
    (
        "two lengths",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "the answer has a bad head: two Content-Length fields",
    ),
    (
        "a negative length",
        HEAD + b"Content-Length: -1\r\n\r\n",
        "the answer has a bad head: Content-Length is not a decimal number",
    ),
    (
        "an unknown transfer coding",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        "the answer has a bad head: Transfer-Encoding that contradicts Content-Length or HTTP/1.0, or is not “chunked”",
    ),
    (
        "a switch of protocols nobody asked for",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "the app switched protocols though nobody asked",
    ),
    ("lines that end in LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "the answer's head has a bare CR or LF"),
):
    app(f"answers with {name}", broken_head(seen))(answer(octets))


TOO_LARGE = "The app's header section is too large"
for name, octets, seen in (
    (
        "a field too large",
        HEAD + b"Set-Cookie: a=%b\r\n\r\n" % (b"x" * 70_000),
        "the answer's head has more than 32768 octets",
    ),
    ("too many fields", HEAD + b"X-A: 1\r\n" * 3000 + b"\r\n", "the answer has more than 100 fields"),
):
    app(
        f"answers with {name}",
        Says(
            Reason.HTTP_RESPONSE_HEADER_SECTION_SIZE,
            TOO_LARGE,
            seen,
            "Look for a cookie or a field that grows with every request.",
        ),
    )(answer(octets))


# --- answers that break off, or that are the app's own ----------------------------------------------------------------

BROKEN = Passes(200, "Reachable: the app answers 200 OK after {ms} ms.", broken=True)
for name, octets in {
    "a truncated body": HEAD + b"Content-Length: 10\r\n\r\nabc",
    "chunks that end before the last": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "chunks of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
}.items():
    app(f"answers with {name}", BROKEN)(answer(octets))


OWN_ANSWER = "The answer is the app's own: check the path, and read the app's log."
for status, phrase in (404, b"Not Found"), (500, b"Internal Server Error"), (502, b"Bad Gateway"):
    octets = b"HTTP/1.1 %d %b\r\nContent-Length: 4\r\n\r\nown\n" % (status, phrase)
    explain = f"Reachable: the app answers {status} {phrase.decode()} after {{ms}} ms."
    app(f"answers {status}", Passes(status, explain, OWN_ANSWER))(answer(octets))

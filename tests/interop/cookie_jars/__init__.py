"""The cookie jars of programs: each says which of many Set-Cookie fields it would send to somebody else.

A jar is a function of `Fields`, as they come in an answer of `HOST`; it returns the numbers of those after which a
fresh jar sends a cookie to any of `NEIGHBOURS`. The jars of other languages are programs beside this file: hosts as
arguments, one field a line on standard input, numbers on standard output.
"""

from __future__ import annotations

import asyncio
import http.client
import http.cookiejar
import http.cookies
import io
import subprocess
import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.request import Request

import aiohttp
from yarl import URL

from tests.support.components import COMPONENTS, Component, command
from tests.support.process import ROOT

DOMAIN = "sandbox.example.dev"
HOST = f"5000-abc123.{DOMAIN}"
NEIGHBOURS = [
    f"5000-other.{DOMAIN}",
    f"8000-abc123.{DOMAIN}",  # the same sandbox's other port
    f"5000-xabc123.{DOMAIN}",  # ends as ours does
    DOMAIN,
    "other.example.dev",
]

HERE = Path(__file__).parent
TOUGH_COOKIE = ROOT / "tests" / ".build" / "node_modules" / "tough-cookie"
COMPONENTS["tough-cookie"] = Component((TOUGH_COOKIE / "package.json").is_file, "bash tests/setup.sh")
COMPONENTS["go"] = command("go", "golang-go")
COMPONENTS["javac"] = command("javac", "default-jdk-headless")

Fields = Sequence[tuple[bytes, bytes]]
Jar = Callable[[Fields], set[int]]


# --- Python ---------------------------------------------------------------------------------------------------------


class _Answer(http.client.HTTPResponse):
    """What http.cookiejar wants to know of one; requests gives it the same."""

    def __init__(self, field: tuple[bytes, bytes]) -> None:
        self.fp = io.BufferedReader(io.BytesIO())
        self.headers = http.client.parse_headers(io.BytesIO(b"%b: %b\r\n\r\n" % field))


def http_cookiejar(fields: Fields, **policy: bool) -> set[int]:
    """`http.cookiejar`, and with it requests, httpx and urllib."""
    leaked = set()
    for number, field in enumerate(fields):
        jar = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(**policy))
        with warnings.catch_warnings():
            # Some dates it cannot compare; it takes nothing then.
            warnings.filterwarnings("ignore", "http.cookiejar bug!")
            jar.extract_cookies(_Answer(field), Request(f"https://{HOST}/"))
        for neighbour in NEIGHBOURS:
            request = Request(f"https://{neighbour}/")
            jar.add_cookie_header(request)
            if request.get_header("Cookie"):
                leaked.add(number)
    return leaked


def http_cookiejar_2965(fields: Fields) -> set[int]:
    """As somebody has it who wants Set-Cookie2 read."""
    return http_cookiejar(fields, rfc2965=True)


def aiohttp_jar(fields: Fields) -> set[int]:
    return _aiohttp(fields, lambda jar, value: jar.update_cookies_from_headers([value], URL(f"https://{HOST}/")))


def http_cookies(fields: Fields) -> set[int]:
    """`http.cookies` reads, as it did for aiohttp before 3.12 and still does for many."""

    def take(jar: aiohttp.CookieJar, value: str) -> None:
        cookies = http.cookies.SimpleCookie[str]()
        with suppress(http.cookies.CookieError):
            cookies.load(value)
        jar.update_cookies(cookies, URL(f"https://{HOST}/"))

    return _aiohttp(fields, take)


def _aiohttp(fields: Fields, take: Callable[[aiohttp.CookieJar, str], None]) -> set[int]:
    return asyncio.run(_aiohttp_in_loop(fields, take))


async def _aiohttp_in_loop(fields: Fields, take: Callable[[aiohttp.CookieJar, str], None]) -> set[int]:
    leaked = set()
    for number, (name, value) in enumerate(fields):
        if name.lower() != b"set-cookie":
            continue
        for encoding in ("utf-8", "latin-1"):
            jar = aiohttp.CookieJar()
            take(jar, value.decode(encoding, "surrogateescape"))
            if any(jar.filter_cookies(URL(f"https://{neighbour}/")) for neighbour in NEIGHBOURS):
                leaked.add(number)
    return leaked


# --- other languages ------------------------------------------------------------------------------------------------


def _program(arguments: Sequence[str], fields: Fields) -> set[int]:
    lines = b"".join([b"%b: %b\n" % field for field in fields])
    done = subprocess.run([*arguments, HOST, *NEIGHBOURS], input=lines, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return {int(number) for number in done.stdout.split()}


def java(fields: Fields) -> set[int]:
    return _program(["java", "-Dfile.encoding=ISO-8859-1", str(HERE / "Jar.java")], fields)


def go(fields: Fields) -> set[int]:
    return _program(["go", "run", str(HERE / "jar.go")], fields)


def tough_cookie(fields: Fields) -> set[int]:
    return _program(["node", str(HERE / "jar.cjs"), str(TOUGH_COOKIE)], fields)


# --- curl -----------------------------------------------------------------------------------------------------------


def curl(fields: Fields) -> set[int]:
    return _curl(fields, b"HTTP/1.1 200 OK\r\n%b: %b\r\nContent-Length: 0\r\n\r\n")


def curl_103(fields: Fields) -> set[int]:
    """As it comes in an interim answer."""
    return _curl(fields, b"HTTP/1.1 103 Early Hints\r\n%b: %b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _curl(fields: Fields, answer: bytes) -> set[int]:
    """One curl asks for all, with a server in between, and prints its jar."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.wfile.write(answer % fields[int(self.path[1:])])

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        return {number for number in range(len(fields)) if _leaks_from_curl(server.server_port, number)}
    finally:
        server.shutdown()
        server.server_close()


def _leaks_from_curl(port: int, number: int) -> bool:
    arguments = ["curl", "-s", "-o", "/dev/null", "-c", "-", "--connect-to", f"::127.0.0.1:{port}"]
    done = subprocess.run([*arguments, f"http://{HOST}/{number}"], capture_output=True, timeout=60, check=True)
    cookies = [line.split("\t") for line in done.stdout.decode("latin-1").splitlines() if line.count("\t") == 6]
    return any(cookie[0].removeprefix("#HttpOnly_").lstrip(".").lower() != HOST for cookie in cookies)


JARS: dict[str, tuple[Jar, tuple[str, ...]]] = {
    # name: the jar, and what it needs
    "http.cookiejar": (http_cookiejar, ()),
    "http.cookiejar with RFC 2965": (http_cookiejar_2965, ()),
    "http.cookies": (http_cookies, ()),
    "aiohttp": (aiohttp_jar, ()),
    "Java": (java, ("javac",)),
    "Go": (go, ("go",)),
    "tough-cookie": (tough_cookie, ("node", "tough-cookie")),
    "curl": (curl, ("curl",)),
    "curl, 103": (curl_103, ("curl",)),
}

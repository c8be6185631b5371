"""Headless Chromium, driven over ChromeDriver's W3C interface with nothing but the standard library.

The browser gets a home directory of its own, so its certificate store holds exactly what the test put there;
no flag makes it accept a certificate it does not trust.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.process import Child, free_port

ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    # Without these it looks for updates and the like, on a network that may be closed.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-proxy-server",
)
SCRIPT_TIMEOUT = 60.0


class BrowserError(Exception):
    """What ChromeDriver answered instead of a value; `kind` is the protocol's word for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


def trust(home: Path, authority: Path) -> None:
    """Makes Chromium's certificate store below `home` and puts `authority` in it as a root for TLS."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for arguments in (
        ["-N", "--empty-password"],
        ["-A", "-t", "C,,", "-n", "the gateway's local authority", "-i", str(authority)],
    ):
        subprocess.run(["certutil", "-d", f"sql:{store}", *arguments], check=True, timeout=30)


class Browser(Child):
    """One ChromeDriver with one browser window."""

    def __init__(self, home: Path, *arguments: str) -> None:
        """`arguments` are Chromium's, beside those that every test needs."""
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self._arguments = arguments
        # One that it takes itself may be somebody's on the other family, and then it ends.
        self._port = free_port()
        super().__init__(["chromedriver", f"--port={self._port}"], cwd=home, env={"HOME": str(home)})
        self._session = ""

    def ready(self) -> None:
        self.wait_until(lambda: "started successfully" in self.log, "ChromeDriver is ready")

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._session = self._start_session()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", "")  # ends the browser; without it, ending the driver would leave it behind
        finally:
            super().__exit__(kind, error, traceback)

    def _start_session(self) -> str:
        arguments = [*ARGUMENTS, *self._arguments, f"--user-data-dir={self.home / 'profile'}"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # as root, Chromium starts in no other way
        capabilities = {
            "browserName": "chrome",
            "acceptInsecureCerts": False,
            "timeouts": {"script": int(SCRIPT_TIMEOUT * 1000), "pageLoad": 30_000},
            "goog:chromeOptions": {"args": arguments},
        }
        value = self._request("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        session: str = value["sessionId"]
        return session

    # --- what a test does -----------------------------------------------------------------------------------

    def open(self, url: str) -> None:
        """Loads the page. Raises BrowserError, with Chromium's own `net::ERR_…`, when it cannot."""
        self._call("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._call("GET", "/url"))

    @property
    def title(self) -> str:
        return str(self._call("GET", "/title"))

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.evaluate("return document.body?.innerText ?? ''"))

    def evaluate(self, script: str, *arguments: object) -> Any:
        """The value of a function body, run in the page; a promise is awaited."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    # --- the protocol ---------------------------------------------------------------------------------------

    def _call(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        return self._request(method, f"/session/{self._session}{path}", body)

    def _request(self, method: str, path: str, body: dict[str, object] | None = None) -> Any:
        connection = http.client.HTTPConnection("localhost", self._port, timeout=SCRIPT_TIMEOUT + 30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = json.load(connection.getresponse())["value"]
        finally:
            connection.close()
        if isinstance(answer, dict) and "error" in answer:
            raise BrowserError(answer["error"], answer["message"])
        return answer

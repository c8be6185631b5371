"""A gateway in front of a registry: the process, its admin API, and what fresh connections are answered."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.interop.harness import AppProcess, Connection, ServeProcess

FRESH_CONNECTIONS = 12
"""Enough for both workers to be met: SO_REUSEPORT spreads connections by their ports."""


class Registered(ServeProcess):
    """`gateway serve` with some backend; `backend` are the lines of that section."""

    def __init__(self, backend: str, *, directory: Path, workers: int = 2) -> None:
        super().__init__({}, directory=directory)
        config = directory / "gateway.toml"
        before, _, rest = config.read_text().partition("[directory]\n")
        rest = rest.partition("[upstream]")[2].replace("workers = 2", f"workers = {workers}")
        config.write_text(f"{before}[directory]\n{backend}\n[upstream]{rest}")

    def workers(self) -> set[int]:
        """Their process ids, from readiness."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=5) as answer:
            return {worker["pid"] for worker in json.loads(answer.read())["workers"] if worker}

    def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON of an admin request."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.admin_port}/v1/{path}",
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def statuses(self, app: AppProcess, name: str) -> set[tuple[int, str | None]]:
        """What fresh connections are answered: enough of them that every worker is asked."""
        return {self.get(app, name) for _ in range(FRESH_CONNECTIONS)}

    def get(self, app: AppProcess, name: str) -> tuple[int, str | None]:
        with closing(Connection(self, app.port, name)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("X-Gateway-Error")

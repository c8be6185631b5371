"""Somebody else of a gateway, with a connection of its own: `python -m tests.support.bystander PORT HOST`.

A program of its own, so that it waits for nobody but the gateway. It asks once in `PAUSE` until its input ends, then
prints what was not answered with 200, and how many seconds each answer took, as JSON.
"""

from __future__ import annotations

import http.client
import json
import select
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from tests.support.process import ROOT, clean_environment

PAUSE = 0.01
"""Seconds between an answer and the next request."""


class Bystander:
    """Context manager; `failures` and `seconds` once it is left."""

    def __init__(self, port: int, host: str) -> None:
        self.failures: list[str] = []
        self.seconds: list[float] = []
        self._command = [sys.executable, "-m", "tests.support.bystander", str(port), host]

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=clean_environment(), stdin=pipe, stdout=pipe, text=True
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "asking\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        said, _ = self._process.communicate()
        assert self._process.returncode == 0
        self.failures, self.seconds = json.loads(said)

    def part(self, share: float) -> float:
        """The seconds that this share of the answers took at most."""
        return sorted(self.seconds)[min(int(len(self.seconds) * share), len(self.seconds) - 1)]


def main(port: int, host: str) -> None:
    failures, seconds = [], []
    connection = http.client.HTTPConnection("::1", port, timeout=30)
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        begun = time.perf_counter()
        try:
            connection.request("GET", "/", headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failures.append(f"status {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(repr(error))
            connection.close()
        seconds.append(time.perf_counter() - begun)
        if len(seconds) == 1:
            print("asking", flush=True)
    connection.close()
    print(json.dumps([failures, seconds]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

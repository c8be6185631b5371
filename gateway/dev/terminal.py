"""The terminal of `gateway dev`, while it serves: what is said there between the lines of requests, and its keys."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gateway.dev.banner import port_text
from gateway.dev.keys import Key, Keys, is_terminal
from gateway.diagnosis.port_line import PortLine
from gateway.observe.sink import LogSink


class Terminal:
    """Standard output, which `sink` writes to; or whatever stands in its place."""

    def __init__(self, sink: LogSink, colour: bool) -> None:
        self._sink = sink
        self.colour = colour

    def say(self, lines: str) -> None:
        self._sink.write(lines.encode())

    def remark(self, sentence: str) -> None:
        """Between the lines of requests, which begin with a time as well."""
        self.say(f"{time.strftime('%H:%M:%S')}  … {sentence}\n")

    def hint(self, sentences: str) -> None:
        """What the app did, and below it the line that mends it."""
        did, _, line = sentences.partition(". ")
        self.remark(f"{did}\n            {line}" if line else did)

    def port(self, port: int, line: PortLine) -> None:
        """What is at a port by now."""
        self.say(port_text(port, line, f"{time.strftime('%H:%M:%S')}  ", colour=self.colour))

    @contextmanager
    def keys(self, keys: Mapping[str, Key]) -> Iterator[None]:
        """Listens to keys, if this is a terminal."""
        if not is_terminal():
            yield
            return
        listening = Keys(keys, sys.stdin.fileno())
        listening.open()
        try:
            yield
        finally:
            listening.close()

"""A Redis server of a test's own: a free port on the loopback interface, its data in a directory that it leaves empty.

Its data survive `stop` and `start`, as those of a Redis that is looked after do.
"""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.support.components import require
from tests.support.process import Child, free_port


class RedisServer(Child):
    """In use once it answers. `certificate` and `key` (PEM files) add a port that speaks TLS; `more` are options."""

    def __init__(
        self,
        *,
        password: str = "",
        certificate: Path | None = None,
        key: Path | None = None,
        more: Sequence[str] = (),
    ) -> None:
        require("redis-server")
        self._directory = tempfile.TemporaryDirectory(prefix="redis-")
        self.port = free_port()
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._directory.name]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        if password:
            command += ["--requirepass", password]
        if certificate is not None and key is not None:
            self.tls_port = free_port()
            command += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
            command += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
        super().__init__([*command, *more])

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def ready(self) -> None:
        self.wait_until(self._answers, f"it answers on port {self.port}")

    def start_again(self) -> None:
        self.start()
        self.ready()

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                # Still reading its data, it says -LOADING.
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def kill(self) -> None:
        """As a machine does that loses its power."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stopped(self, code: int) -> None:
        assert code in (0, -signal.SIGKILL), self.log

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            self._directory.cleanup()

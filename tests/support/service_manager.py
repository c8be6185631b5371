"""What systemd is to a service: it hears what the service says of itself, and keeps and passes on sockets."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.support.process import poll

_CREDENTIALS = struct.Struct("3i")

PASSES_ON = """
import os, socket, sys
path, *command = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as channel:
    channel.connect(path)
    _, descriptors, _, _ = socket.recv_fds(channel, 16, 253)
high = [os.dup2(descriptor, 500 + number) for number, descriptor in enumerate(descriptors)]
for number, descriptor in enumerate(high):
    os.dup2(descriptor, 3 + number, inheritable=True)
    os.close(descriptor)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(high))}
os.execv(command[0], command)
"""
"""Becomes a command that is given the descriptors from 3 on, as sd_listen_fds(3) says."""


class Message(NamedTuple):
    """Its lines, and the process that sent it."""

    lines: list[str]
    pid: int


class ServiceManager:
    """`environ` goes into the environment of the service."""

    def __init__(self, directory: Path, **variables: str) -> None:
        self._path, self._store_path = directory / "notify", directory / "store"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._store = socket.socket(socket.AF_UNIX)
        self._store.bind(str(self._store_path))
        self._store.listen()
        self.environ = {"NOTIFY_SOCKET": str(self._path), **variables}
        self.messages: list[Message] = []
        self.stored: list[int] = []
        self._thread = threading.Thread(target=self._hear, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"END", str(self._path))
        self._thread.join()
        self._socket.close()
        self._store.close()
        self._forget()

    def hears(self, line: str, count: int = 1, pid: int = 0) -> Message:
        """The last message with this line, once there are so many (of that process)."""

        def look() -> Message | None:
            found = [each for each in self.messages if line in each.lines and pid in (0, each.pid)]
            return found[-1] if len(found) >= count else None

        return poll(look, f"{line} is heard, not only {self.messages}")

    def passing_on(self, command: list[str]) -> list[str]:
        """`command`, given what is stored."""
        return [sys.executable, "-c", PASSES_ON, str(self._store_path), *command]

    def pass_on(self) -> None:
        """To the command that was started so."""
        self._store.settimeout(30)
        channel, _ = self._store.accept()
        with channel:
            socket.send_fds(channel, [b"here"], self.stored)

    def _hear(self) -> None:
        size = 16 * socket.CMSG_SPACE(253)
        while True:
            octets, ancillary, _, _ = self._socket.recvmsg(4096, size)
            lines, pid, descriptors = octets.decode().split("\n"), 0, list[int]()
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                    pid = _CREDENTIALS.unpack(content)[0]
                elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    descriptors = [each for (each,) in struct.iter_unpack("i", content)]
            if lines == ["END"]:
                return
            if "FDSTOREREMOVE=1" in lines:
                self._forget()
            self.stored += descriptors
            self.messages.append(Message(lines, pid))

    def _forget(self) -> None:
        while self.stored:
            os.close(self.stored.pop())

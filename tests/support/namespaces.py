"""Networks that a test makes, connects with cables and leaves again: one for the gateway's machine, one per sandbox.

A namespace belongs to the thread that enters it, to what the thread starts there and to the sockets it opens; it is
gone with the last of them. Nothing of the machine's own network is touched, and nothing has a name outside. Takes
root, which `unshare --map-root-user --net` gives to everybody; Linux only.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tests.support.components import COMPONENTS, Component, makes_namespaces

COMPONENTS["networks"] = Component(
    lambda: os.geteuid() == 0 and makes_namespaces(), "run the tests as root, or under: unshare --map-root-user --net"
)
# linux/sched.h
_CLONE_NEWNET = 0x40000000
_MINE = "/proc/thread-self/ns/net"


class Namespace:
    """A network with nothing but its own loopback. Context manager, which only forgets it: `inside` enters."""

    def __init__(self) -> None:
        with _and_back():
            _call("unshare", _CLONE_NEWNET)
            self._there = os.open(_MINE, os.O_RDONLY)
        self.ip("link set lo up")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is there meanwhile, and so is what it starts."""
        with _and_back():
            _call("setns", self._there, _CLONE_NEWNET)
            yield

    def ip(self, *lines: str) -> None:
        """Commands of `ip`, in one go."""
        with self.inside():
            run(["ip", "-batch", "-"], "\n".join((*lines, "")))

    def nft(self, rules: str) -> None:
        """What `nft -f` reads."""
        with self.inside():
            run(["nft", "-f", "-"], rules)

    def connect(self, name: str, other: Namespace, its_name: str) -> None:
        """A cable: interface `name` here, `its_name` there; both are up and have no address yet."""
        self.ip(f"link add {name} type veth peer name {its_name} netns /proc/{os.getpid()}/fd/{other._there}")
        for namespace, interface in (self, name), (other, its_name):
            namespace.ip(f"link set {interface} addrgenmode none", f"link set {interface} up")

    def close(self) -> None:
        os.close(self._there)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def run(command: Sequence[str], lines: str) -> None:
    """A command that reads `lines`. AssertionError with its own words if it fails."""
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{lines}"


@contextmanager
def _and_back() -> Iterator[None]:
    here = os.open(_MINE, os.O_RDONLY)
    try:
        yield
    finally:
        _call("setns", here, _CLONE_NEWNET)
        os.close(here)


def _call(name: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")

"""Networks for tests: with IPv6, with IPv4 alone, and a process that has no sockets of AF_INET6 at all.

As a program it runs a command in one:

    python tests/support/network.py {with-ipv6,without-ipv6,without-inet6} COMMAND …

The first two make a network namespace of their own with nothing but loopback and, with IPv6, a link that leads nowhere.
That takes root or a kernel that lets everybody make user namespaces; `prefix` says whether that is so. The third is a
filter on socket(2) and works anywhere on Linux. Uses the standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

WITH_IPV6, WITHOUT_IPV6, WITHOUT_INET6 = "with-ipv6", "without-ipv6", "without-inet6"

_SWITCHES = Path("/proc/sys/net/ipv6/conf")
_LINK = """
link add link0 type veth peer name link1
link set link0 up
link set link1 up
"""
# linux/sockios.h, linux/if.h
_GET_FLAGS, _SET_FLAGS, _UP, _RUNNING = 0x8913, 0x8914, 0x1, 0x40
_IFREQ = struct.Struct("16sh14x")
# linux/prctl.h, linux/seccomp.h, linux/filter.h, linux/audit.h; socket(2)'s number on each architecture
_NO_NEW_PRIVS, _SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ARCHITECTURES = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
_EAFNOSUPPORT = 97


def has_ipv6() -> bool:
    """Whether this process can listen on ::1, as nearly every test with sockets does."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def prefix(kind: str) -> list[str] | None:
    """What stands before a command to run it in such a network; None: this machine or this user makes none."""
    enter = [sys.executable, str(Path(__file__).resolve()), kind]
    if kind == WITHOUT_INET6:
        return enter if platform.machine() in _ARCHITECTURES and sys.platform == "linux" else None
    unshare = _unshare()
    return unshare and [*unshare, *enter]


@cache
def _unshare() -> list[str] | None:
    """How a network namespace is made here."""
    program = shutil.which("unshare")
    for options in ["--net"], ["--map-root-user", "--net"]:
        if program:
            command = [program, *options, sys.executable, str(Path(__file__).resolve()), WITH_IPV6, "true"]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return [program, *options]
    return None


def inside(pid: int) -> list[str]:
    """What stands before a command to run it in the network of process `pid`, which `prefix` has started."""
    mine, its = (Path("/proc", process, "ns", "user").readlink() for process in ("self", str(pid)))
    user = [] if mine == its else ["--user", "--preserve-credentials"]
    return ["nsenter", f"--target={pid}", *user, "--net"]


# --- inside --------------------------------------------------------------------------------------------------------


def _flags(sock: socket.socket, name: bytes) -> int:
    flags: int = _IFREQ.unpack(fcntl.ioctl(sock, _GET_FLAGS, _IFREQ.pack(name, 0)))[1]
    return flags


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SET_FLAGS, _IFREQ.pack(b"lo", _flags(sock, b"lo") | _UP))


def _link_up() -> None:
    """A link beside loopback, both of its ends here: without one a browser says that it is offline."""
    ip = shutil.which("ip")
    if ip is None or subprocess.run([ip, "-batch", "-"], input=_LINK, text=True, capture_output=True).returncode:
        return
    deadline = time.monotonic() + 10.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        # The kernel notices on its own time that an end has another.
        while not all(_flags(sock, name) & _RUNNING for name in (b"link0", b"link1")) and time.monotonic() < deadline:
            time.sleep(0.01)


def _switch(value: str) -> None:
    """disable_ipv6 of the namespace; left alone where it is so already: /proc/sys may be read-only in a container."""
    for interface in ("all", "default", "lo"):
        switch = _SWITCHES / interface / "disable_ipv6"
        if switch.read_text().strip() != value:
            switch.write_text(value)


def _with_ipv6() -> None:
    _switch("0")
    _loopback_up()
    if not has_ipv6():
        sys.exit("no ::1 even in a network namespace of its own")
    _link_up()


def _without_ipv6() -> None:
    if _SWITCHES.exists():
        _switch("1")
    _loopback_up()


def _without_inet6() -> None:
    """socket(AF_INET6, …) fails as on a kernel booted with ipv6.disable=1, for this process and what it runs."""
    architecture, number = _ARCHITECTURES[platform.machine()]
    program = [
        (_LOAD, 0, 0, 4),  # of struct seccomp_data: architecture
        (_JUMP_IF_EQUAL, 0, 5, architecture),
        (_LOAD, 0, 0, 0),  # the call's number
        (_JUMP_IF_EQUAL, 0, 3, number),
        (_LOAD, 0, 0, 16),  # its first argument, the low half
        (_JUMP_IF_EQUAL, 0, 1, socket.AF_INET6),
        (_RETURN, 0, 0, _ERRNO | _EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, pointer, 0, 0):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")


_KINDS: dict[str, Callable[[], None]] = {
    WITH_IPV6: _with_ipv6,
    WITHOUT_IPV6: _without_ipv6,
    WITHOUT_INET6: _without_inet6,
}


def main(arguments: Sequence[str]) -> None:
    kind, *command = arguments
    _KINDS[kind]()
    sys.stdout.flush()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Which sockets listen here, told by the kernel and read from /proc: both ways say the same of real sockets."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from gateway.diagnosis import own_sockets
from gateway.diagnosis.own_sockets import Listening
from tests.support.clock import Clock
from tests.support.process import poll

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")

MANY = 600
"""Listening sockets, of which the kernel tells in more than one message."""
NO_SUCH_PROTOCOL = 31
"""Of netlink: as on a kernel without socket diagnostics."""


@pytest.fixture(params=["asked", "read"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Leaves one way to find out."""
    if request.param == "asked":
        monkeypatch.setattr(own_sockets, "_read_table", pytest.fail)
    else:
        monkeypatch.setattr(own_sockets, "_SOCK_DIAG", NO_SUCH_PROTOCOL)
    return str(request.param)


def server(stack: ExitStack, host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return stack.enter_context(socket.create_server((host, 0), family=family))


def told(ports: set[int], host: str) -> list[Listening]:
    """What is found at the address `host`: on another one, `ports` may be somebody else's at the same time.

    Without the queues, which have tests of their own.
    """
    found = [each for each in own_sockets.listening(ports) if str(each.address) == host]
    return [Listening(each.address, each.port, each.inode) for each in found]


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "0.0.0.0", "127.8.9.10", *(pytest.param(host, marks=pytest.mark.ipv6) for host in ("::1", "::"))],
)
def test_what_listens_is_found(host: str) -> None:
    with ExitStack() as stack:
        sock = server(stack, host)
        port = sock.getsockname()[1]
        address = IPv6Address(host) if ":" in host else IPv4Address(host)
        assert told({port}, host) == [Listening(address, port, inode(sock))]
    assert told({port}, host) == []


@pytest.mark.ipv6
@pytest.mark.usefixtures("way")
def test_an_ipv4_address_in_a_socket_of_both_families_is_ipv4() -> None:
    with socket.socket(socket.AF_INET6) as sock:  # what Java does
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::ffff:127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        assert told({port}, "127.0.0.1") == [Listening(IPv4Address("127.0.0.1"), port, inode(sock))]


@pytest.mark.usefixtures("way")
def test_connections_and_other_ports_do_not_listen() -> None:
    with ExitStack() as stack:
        asked, other = server(stack, "127.0.0.1"), server(stack, "127.0.0.1")
        port = asked.getsockname()[1]
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        stack.enter_context(asked.accept()[0])
        assert told({port}, "127.0.0.1") == [Listening(IPv4Address("127.0.0.1"), port, inode(asked))]
        both = {port, other.getsockname()[1]}
        assert {each.inode for each in told(both, "127.0.0.1")} == {inode(asked), inode(other)}


@pytest.mark.usefixtures("way")
def test_many_are_all_found() -> None:
    with ExitStack() as stack:
        sockets = [server(stack, "127.0.0.1") for _ in range(MANY)]
        found = told({sock.getsockname()[1] for sock in sockets}, "127.0.0.1")
        assert {each.inode for each in found} == {inode(sock) for sock in sockets}


def test_a_kernel_that_refuses_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_sockets, "_TCP", 255)  # of which it has no diagnostics
    with pytest.raises(FileNotFoundError):
        list(own_sockets._ask_kernel(socket.AF_INET))
    with ExitStack() as stack:
        port = server(stack, "127.0.0.1").getsockname()[1]
        assert [each.port for each in told({port}, "127.0.0.1")] == [port]


def test_where_neither_tells_it_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(own_sockets, "_SOCK_DIAG", NO_SUCH_PROTOCOL)
    monkeypatch.setattr(own_sockets, "_PROC", tmp_path)
    with pytest.raises(OSError, match="No such file"):
        own_sockets.listening({80})


def test_tables_are_read_in_the_machines_byte_order() -> None:
    def row(packed: bytes) -> bytes:
        return b"".join(b"%08X" % word for word in struct.unpack(f"={len(packed) // 4}I", packed))

    for address in (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::5:1"), IPv6Address("::")):
        assert own_sockets._address(row(address.packed)) == address
    assert own_sockets._address(row(IPv6Address("::ffff:192.0.2.1").packed)) == IPv4Address("192.0.2.1")


# --- who waits --------------------------------------------------------------------------------------------------------


@pytest.mark.ipv6
def test_a_queue_that_fills(way: str) -> None:
    with socket.socket(socket.AF_INET6) as app, ExitStack() as stack:
        app.bind(("::1", 0))
        app.listen(1)  # Linux lets one more wait
        port = app.getsockname()[1]

        def queue() -> tuple[int, int | None, bool]:
            (found,) = (each for each in own_sockets.listening({port}) if each.address == IPv6Address("::1"))
            return found.waiting, found.room, found.is_full

        room = 1 if way == "asked" else None
        assert queue() == (0, room, False)
        stack.enter_context(socket.create_connection(("::1", port)))
        assert queue() == (1, room, room is None)  # /proc does not tell how many may wait
        stack.enter_context(socket.create_connection(("::1", port)))
        assert queue() == (2, room, True)
        stack.enter_context(app.accept()[0])
        assert queue() == (1, room, room is None)


@pytest.mark.ipv6
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
def test_what_is_connected_and_unanswered(host: str) -> None:
    address = IPv6Address(host) if ":" in host else IPv4Address(host)
    with ExitStack() as stack:
        app, other = server(stack, host), server(stack, host)
        port = app.getsockname()[1]

        def awaited(silent: float = 0.0) -> list[bool]:
            """Of those over which nothing has come for so many seconds."""
            seen = [each for each in own_sockets.connections(address) if each.port == port]
            return [each.awaited > 0 for each in seen if each.acknowledged >= silent]

        assert awaited() == []
        stack.enter_context(socket.create_connection(other.getsockname()[:2]))
        client = stack.enter_context(socket.create_connection(app.getsockname()[:2]))
        accepted = stack.enter_context(app.accept()[0])
        poll(lambda: awaited() == [True], "it waits for a first word", 5)
        accepted.sendall(b"220 hello\r\n")
        poll(lambda: awaited(0.05) == [False], "it has been answered", 5)
        client.recv(100)
        poll(lambda: spoken(client, awaited), "it waits for another word", 5)
        (seen,) = [each for each in own_sockets.connections(address) if each.port == port]
        assert 0 <= seen.acknowledged < 5


def spoken(client: socket.socket, awaited: Callable[[], list[bool]]) -> bool:
    client.sendall(b"QUIT\r\n")
    return awaited() == [True]


def test_of_many_connections_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    connection = own_sockets._connection
    monkeypatch.setattr(own_sockets, "_connection", lambda message: read.append(message) or connection(message))
    monkeypatch.setattr(own_sockets, "MOST_CONNECTIONS", 3)
    with ExitStack() as stack:
        app = server(stack, "127.0.0.9")
        for _ in range(5):
            stack.enter_context(socket.create_connection(app.getsockname()))
        assert len(own_sockets.connections(IPv4Address("127.0.0.9"))) == 3
    assert len(read) == 3, "the others cost nothing, either"


def test_without_diagnostics_no_connections_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_sockets, "_SOCK_DIAG", NO_SUCH_PROTOCOL)
    with pytest.raises(OSError):
        own_sockets.connections(IPv4Address("127.0.0.1"))


# --- whose they are -------------------------------------------------------------------------------------------------


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """What process 42 is called, given what /proc says of it."""
    monkeypatch.setattr(own_sockets, "_PROC", tmp_path)

    def name(comm: str, exe: str) -> str:
        folder = tmp_path / "42"
        folder.mkdir()
        (folder / "comm").write_text(comm + "\n")
        (folder / "exe").symlink_to(exe)
        return own_sockets.program(42)

    return name


@pytest.mark.parametrize(
    ("comm", "exe", "shown"),
    [
        ("python3", "/usr/bin/python3.11", "python3"),
        ("next-server (v1", "/usr/bin/node", "next-server (v1"),
        ("MainThread", "/usr/local/bin/node", "node"),
        ("node-MainThread", "/usr/local/bin/node", "node"),
        ("\x1b[31mred\nX-Y: z", "/bin/x", "·[31mred·X-Y: z"),
    ],
)
def test_a_process_is_called_by_its_program(
    process: Callable[[str, str], str], comm: str, exe: str, shown: str
) -> None:
    assert process(comm, exe) == shown


def test_a_process_that_has_gone_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_sockets, "_PROC", tmp_path)
    assert own_sockets.program(42) == ""
    assert own_sockets.holder(64) == 0


def test_without_proc_nobody_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_sockets, "_PROC", tmp_path / "nothing")
    assert own_sockets.holder(64) == 0


def test_the_search_for_a_process_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        sock = server(stack, "127.0.0.1")
        assert own_sockets.holder(inode(sock)) == os.getpid()
        monkeypatch.setattr(own_sockets, "NAMING_TIME", -1.0)
        assert own_sockets.holder(inode(sock)) == 0


def test_all_searches_together_have_a_share_of_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a million descriptors: whoever asks for one port after the other holds up nobody else."""

    def slowly(link: Path) -> str:
        began = time.thread_time()
        while time.thread_time() - began < 0.001:
            pass
        return ""

    def search(_: int) -> float:
        began = time.thread_time()
        assert own_sockets.holder(64) == 0
        return time.thread_time() - began

    clock = Clock()
    monkeypatch.setattr(own_sockets, "_target", slowly)
    monkeypatch.setattr(own_sockets, "NAMING_TIME", 0.03)
    monkeypatch.setattr(own_sockets, "NAMING_MOST", 0.06)
    monkeypatch.setattr(own_sockets, "_cpu_budget", own_sockets.CpuBudget(clock))
    with ThreadPoolExecutor(8) as threads:
        spent = sum(threads.map(search, range(24)))
    assert spent < 0.3, "each would have had 0.03 s"
    monkeypatch.undo()
    monkeypatch.setattr(own_sockets, "_cpu_budget", budget := own_sockets.CpuBudget(clock))
    with ExitStack() as stack:
        sock = server(stack, "127.0.0.1")
        budget._left = 0.0
        assert own_sockets.holder(inode(sock)) == 0
        clock.now += own_sockets.NAMING_TIME / own_sockets.NAMING_SHARE
        assert own_sockets.holder(inode(sock)) == os.getpid()

"""What is told to the service manager, by a manager of the test's; what comes from it, in a process of its own."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.process import systemd
from gateway.process.systemd import ServiceManager

ABSTRACT = pytest.param("@", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux has them"))


class Manager:
    """The receiving end of sd_notify."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def heard_with_descriptors(self) -> tuple[list[str], list[int]]:
        octets, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
        return octets.decode().split("\n"), descriptors

    def heard_nothing(self) -> bool:
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["/", ABSTRACT])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"@gateway-test-{os.getpid()}-{tmp_path.name}" if request.param == "@" else str(tmp_path / "n")
    manager = Manager(name)
    yield manager
    manager.close()


def test_each_message(manager: Manager) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "OTHER": "stays"}
    told = ServiceManager(environ)
    assert told
    assert environ == {"OTHER": "stays"}
    assert told.variables == {"NOTIFY_SOCKET": manager.address}
    told.ready("2 workers\nserve")
    assert manager.heard() == ["READY=1", "STATUS=2 workers serve"]
    told.reloading()
    reloading, monotonic = manager.heard()
    assert reloading == "RELOADING=1"
    assert monotonic.partition("=")[0] == "MONOTONIC_USEC"
    assert int(monotonic.partition("=")[2]) > 0
    told.status("so far")
    assert manager.heard() == ["STATUS=so far"]
    told.stopping("draining")
    assert manager.heard() == ["STOPPING=1", "STATUS=draining"]
    told.main_pid(17)
    assert manager.heard() == ["MAINPID=17"]


def test_without_one_nothing_is_told() -> None:
    told = ServiceManager({})
    assert not told
    told.ready("")
    told.reloading()
    told.alive()
    assert not told.keep([])
    assert told.timeout() == float("inf")


@pytest.mark.parametrize("address", ["vsock:2:1", "relative"])
def test_what_cannot_be_told_is_said_once(address: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": address})
    told.ready("")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    told = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    told.ready("")
    told.ready("")
    assert [record.getMessage() for record in caplog.records] == [
        "the service manager cannot be told READY=1: No such file or directory"
    ]


def test_one_that_does_not_read_holds_nobody_up(manager: Manager, caplog: pytest.LogCaptureFixture) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": manager.address})
    for _ in range(10_000):
        told.status("x")
        if caplog.records:
            break
    assert len(caplog.records) == 1


def test_the_watchdog_is_told_at_half_its_time(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("gateway.process.systemd.time.monotonic", lambda: now)
    told = ServiceManager({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "20000000", "WATCHDOG_PID": ""})
    assert told.variables["WATCHDOG_USEC"] == "20000000"
    told.alive()
    assert manager.heard() == ["WATCHDOG=1"]
    assert told.timeout() == 10
    now += 9.9
    told.alive()
    assert manager.heard_nothing()
    now += 0.2
    told.alive()
    assert manager.heard() == ["WATCHDOG=1"]
    told.main_pid(17)  # whose watchdog it is from now on
    assert manager.heard() == ["MAINPID=17"]
    now += 100
    told.alive()
    assert manager.heard_nothing()


@pytest.mark.parametrize(
    "variables",
    [
        {"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "nonsense"},
        {"WATCHDOG_USEC": "9" * 5000},
        {},
    ],
)
def test_the_watchdog_of_another_process_or_none(manager: Manager, variables: dict[str, str]) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": manager.address, **variables})
    told.alive()
    assert manager.heard_nothing()


def test_sockets_are_kept_where_there_is_room(manager: Manager) -> None:
    told = ServiceManager({"NOTIFY_SOCKET": manager.address, "FDSTORE": "2"})
    assert told.variables["FDSTORE"] == "2"
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        assert told.keep([first, second])
        lines, descriptors = manager.heard_with_descriptors()
        assert lines == ["FDSTORE=1", "FDNAME=gateway"]
        same = [os.fstat(each).st_ino for each in descriptors]
        assert same == [os.fstat(each.fileno()).st_ino for each in (first, second)]
        for each in descriptors:
            os.close(each)
        assert not told.keep([first, second, second])
        assert manager.heard_nothing()
        assert not ServiceManager({"NOTIFY_SOCKET": manager.address}).keep([first])
    told.forget()
    assert manager.heard() == ["FDSTOREREMOVE=1", "FDNAME=gateway"]


TAKES = """
import os, sys
from gateway.process.systemd import inherited_sockets
environ = {"LISTEN_PID": sys.argv[1] or str(os.getpid()), "LISTEN_FDS": sys.argv[2], "LISTEN_FDNAMES": "a:b", "X": "y"}
sockets = inherited_sockets(environ)
assert environ == {"X": "y"}, environ
assert not any(sock.get_inheritable() for sock in sockets)
print([(sock.fileno(), sock.getsockname()[1]) for sock in sockets])
print([n for n in (3, 4, 5) if os.path.exists(f"/proc/self/fd/{n}")] if sys.platform == "linux" else "")
"""


def given(pid: str, count: str, *, passed: list[int]) -> list[str]:
    """What a process finds that is given the descriptors `passed` from 3 on."""
    layout = "".join(f"os.dup2({each}, {3 + index}, True)\n" for index, each in enumerate(passed))
    script = f"import os, sys\n{layout}os.execv(sys.executable, [sys.executable, '-c', {TAKES!r}, *sys.argv[1:]])"
    done = subprocess.run(
        [sys.executable, "-c", script, pid, count],
        capture_output=True,
        text=True,
        check=True,
        pass_fds=passed,
    )
    return done.stdout.splitlines()


def test_sockets_that_were_passed_on() -> None:
    """And nothing else that was."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_UNIX) as other,
        Path(os.devnull).open() as file,
    ):
        # Numbers out of the way of those that they are put on.
        passed = [fcntl.fcntl(each, fcntl.F_DUPFD, 50) for each in (listening, file, other)]
        try:
            port = listening.getsockname()[1]
            assert given("", "3", passed=passed) == [f"[(3, {port})]", "[3]"]
            assert given("1", "3", passed=passed)[0] == "[]", "another process is meant"
            assert given("", "nonsense", passed=passed)[0] == "[]"
            assert given("", "999999", passed=passed[:1])[0].startswith(f"[(3, {port})")
        finally:
            for each in passed:
                os.close(each)


def test_what_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix, socket.socket() as idle:
        assert systemd.listens(tcp)
        assert not systemd.listens(unix)
        assert not systemd.listens(idle)

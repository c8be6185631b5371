"""The look after a refusal, with real sockets: what it finds, what it never offers, and what it leaves behind."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path

import pytest

from gateway.addresses import Bound
from gateway.diagnosis import own_sockets
from gateway.diagnosis import port_probe as probe_module
from gateway.diagnosis.findings import AppSocket, RefusalFindings, TimeoutFindings
from gateway.diagnosis.port_probe import (
    IPV4_TIMEOUT,
    PER_SANDBOX_AT_ONCE,
    PER_SANDBOX_PER_SECOND,
    PROBES_AT_ONCE,
    PROBES_PER_SECOND,
    REMEMBERED,
    PortProbe,
)
from gateway.errors import Failure, Reason
from gateway.hostname import Target
from gateway.problems.problem import RequestContext, describe
from gateway.tasks import Tasks
from gateway.upstream.policy import SPECIAL_RANGES
from gateway.wordings import FORWARDED_ON_LOOPBACK, LOOPBACK_ONLY
from tests.support.clock import Clock
from tests.support.process import Child, free_port

pytestmark = pytest.mark.ipv6

HERE = IPv6Address("::1")
HERE_IPV4 = IPv4Address("127.0.0.1")
LOOPBACK = IPv4Network("127.0.0.0/8")
NOTHING = RefusalFindings()
DETAIL = "connect to [fd00::5]:5000: Connection refused after 0.4 ms"

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.cancel()


@pytest.fixture
async def askers() -> AsyncIterator[Tasks]:
    """Those who wait for a look: none of the probe's own tasks."""
    askers = Tasks()
    yield askers
    await askers.cancel()


@pytest.fixture
def probe(clock: Clock, tasks: Tasks) -> PortProbe:
    return PortProbe(clock, tasks)


@pytest.fixture
def ports(monkeypatch: pytest.MonkeyPatch) -> tuple[int, ...]:
    """Three ports that nothing holds, in place of the plausible ones, which somebody else here may hold."""
    ports = tuple(sorted({free_port(), free_port(), free_port()}))
    monkeypatch.setattr(probe_module, "PLAUSIBLE_PORTS", ports)
    return ports


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address counts as another machine's, so that a look dials; loopback stands in for that machine."""
    monkeypatch.setattr(probe_module, "is_own", lambda address: False)


@contextmanager
def listening(host: str, port: int = 0, *, backlog: int = 16) -> Iterator[int]:
    """Something that accepts on `host` alone; yields the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # An address such as ::ffff:127.0.0.1 needs a socket of both families; nothing else here does.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not host.startswith("::ffff:"))
        sock.bind((host, port))
        sock.listen(backlog)
        yield sock.getsockname()[1]


@contextmanager
def silent(host: str) -> Iterator[int]:
    """A port that neither accepts nor refuses: its queue is full, so further SYNs are dropped."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:
        port = stack.enter_context(listening(host, backlog=0))
        for _ in range(8):
            filler = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            filler.settimeout(0.2)
            try:
                filler.connect((host, port))
            except TimeoutError:
                break
        else:
            pytest.fail("this kernel does not drop SYNs when a queue is full")
        yield port


async def test_what_was_dialed_over_ipv4_is_not_looked_for_over_ipv4(probe: PortProbe, ports: tuple[int, ...]) -> None:
    """`gateway dev` without IPv6: a neighbour's port is offered if it takes IPv4, and nothing is "IPv4 only"."""
    on_ipv4, on_ipv6, on_both = ports
    with listening("127.0.0.1", on_ipv4), listening("::1", on_ipv6), listening("0.0.0.0", on_both):
        found = await probe.find(IPv4Address("127.0.0.1"), free_port())
        assert found == RefusalFindings(None, tuple(sorted((on_ipv4, on_both))))
        # Started meanwhile: still not "only".
        found = await probe.find(IPv4Address("127.0.0.1"), on_ipv4, IPv4Address("127.0.0.1"))
        assert found.ipv4 is None


def descriptors() -> set[str]:
    """The sockets this process has open."""
    links = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            links.add(str(entry.readlink()))
        except FileNotFoundError:  # the descriptor that listed them
            continue
    return {link for link in links if link.startswith("socket:")}


class Dials:
    """Notes the connects of the running loop, which still happen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, int]] = []
        self._begun = asyncio.Semaphore(0)
        loop = asyncio.get_running_loop()
        real = loop.sock_connect

        async def sock_connect(sock: socket.socket, address: tuple[str, int]) -> None:
            self.seen.append(address)
            self._begun.release()
            await real(sock, address)

        monkeypatch.setattr(loop, "sock_connect", sock_connect)

    async def begun(self, count: int) -> None:
        """Returns when `count` more have begun."""
        for _ in range(count):
            await self._begun.acquire()


@pytest.fixture
async def dials(monkeypatch: pytest.MonkeyPatch) -> Dials:
    return Dials(monkeypatch)


# --- this machine: the kernel's books -----------------------------------------------------------------------------

LISTENER = """
import socket, sys, threading
sock = socket.create_server((sys.argv[1], 0))
print("port", sock.getsockname()[1], flush=True)
threading.Event().wait()
"""


class App(Child):
    def __init__(self, host: str, program: str = sys.executable) -> None:
        super().__init__([program, "-c", LISTENER, host])
        self.port = 0

    def ready(self) -> None:
        found = self.wait_until(lambda: re.search(r"port (\d+)\n", self.log), "the app names its port")
        self.port = int(found[1])


@on_linux
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "127.8.9.10"])
async def test_an_app_on_ipv4_only_is_found_with_its_process(
    probe: PortProbe, ports: tuple[int, ...], host: str
) -> None:
    with App(host) as app:
        findings = await probe.find(HERE, app.port)
        assert findings.ipv4 is not None
        assert findings.ipv4 == AppSocket(host, app.port, findings.ipv4.process, app.pid)
        assert findings.ipv4.process.startswith("python")


@on_linux
async def test_a_forwarder_publishes_and_no_framework_is_blamed(
    probe: PortProbe, ports: tuple[int, ...], tmp_path: Path
) -> None:
    program = tmp_path / "docker-proxy"
    program.symlink_to(Path(sys.executable).resolve())
    with App("127.0.0.1", str(program)) as app:
        told = (await probe.find(HERE, app.port)).explain(refused(), "::1", app.port)
    assert (told.reason, told.process) == (Reason.IPV4_ONLY_LISTENER, "docker-proxy")
    where = Target(app.port, "box", "sandbox.localhost")
    problem = describe(told.error(), RequestContext("id", target=where, address="::1"))
    assert problem.title == f"Port {app.port} is published on IPv4 only"
    assert problem.fix[0].startswith(f"Publish port {app.port} on `::`")
    assert problem.fix[2] == f'Docker: docker run -p "[::]:{app.port}:{app.port}" IMAGE'
    assert not any("flask" in line.lower() for line in problem.fix)


def test_a_forwarder_on_localhost_alone() -> None:
    told = RefusalFindings(loopback=AppSocket("::1", 5000, "kubectl", 7)).explain(refused(), "fd00::5", 5000)
    assert (told.reason, told.wording) == (Reason.CONNECTION_REFUSED, FORWARDED_ON_LOOPBACK)
    told = RefusalFindings(loopback=AppSocket("::1", 5000, "node", 7)).explain(refused(), "fd00::5", 5000)
    assert (told.reason, told.wording) == (Reason.CONNECTION_REFUSED, LOOPBACK_ONLY)
    assert told.detail == "something listens on [::1]:5000 but not on [fd00::5]:5000"
    both = RefusalFindings(AppSocket("127.0.0.1", 5000), loopback=AppSocket("::1", 5000)).explain(
        refused(), "fd00::5", 5000
    )
    assert both.detail == "something listens on [::1]:5000 and 127.0.0.1:5000 but not on [fd00::5]:5000"


def test_an_app_at_another_address_is_named_and_not_called_the_only_one() -> None:
    elsewhere, ipv4 = AppSocket("fd00::9", 5000, "java", 7), AppSocket("127.0.0.1", 5000, "java", 7)
    for loopback in (None, AppSocket("::1", 5000, "java", 7)):
        told = RefusalFindings(ipv4, (), loopback, elsewhere).explain(refused(), "fd00::5", 5000)
        assert (told.reason, told.wording, told.process) == (Reason.CONNECTION_REFUSED, None, "java")
        also = "[::1]:5000 and " if loopback else ""
        assert told.observed[-2:] == (
            f"something listens on {also}[fd00::9]:5000 and 127.0.0.1:5000 but not on [fd00::5]:5000",
            "the process is java (pid 7)",
        )


@on_linux
async def test_who_listens_where_the_connection_was_refused_is_told(probe: PortProbe, ports: tuple[int, ...]) -> None:
    with listening("::1", ports[0]), listening("127.0.0.1", ports[0]):
        told = (await probe.find(HERE, ports[0])).explain(refused(), "::1", ports[0])
    assert told.reason is Reason.CONNECTION_REFUSED
    *_, listens, process = told.observed
    assert listens == (
        f"something listens on [::1]:{ports[0]} by now: it has just begun to, or a firewall refuses in its place"
    )
    assert process.endswith(f"(pid {os.getpid()})")


@on_linux
async def test_an_ipv4_address_in_a_socket_of_both_families_is_ipv4(probe: PortProbe, ports: tuple[int, ...]) -> None:
    with listening("::ffff:127.0.0.1") as port:  # what Java does
        findings = await probe.find(HERE, port)
    assert findings.ipv4 is not None
    assert (findings.ipv4.address, findings.ipv4.pid) == ("127.0.0.1", os.getpid())


async def test_where_nothing_listens_nothing_is_found(probe: PortProbe, ports: tuple[int, ...]) -> None:
    assert await probe.find(HERE, free_port()) == NOTHING


@on_linux
async def test_an_app_that_has_started_meanwhile_is_not_called_ipv4_only(
    probe: PortProbe, ports: tuple[int, ...]
) -> None:
    port = ports[0]
    with listening("127.0.0.1", port), listening("::1", port):
        assert (await probe.find(HERE, port)).ipv4 is None


@pytest.mark.parametrize("host", ["::", "::1"])
async def test_other_ports_are_found(probe: PortProbe, ports: tuple[int, ...], host: str) -> None:
    with listening(host, ports[0]), listening(host, ports[2]):
        assert await probe.find(HERE, free_port()) == RefusalFindings(None, (ports[0], ports[2]))


async def test_the_asked_port_and_ports_on_ipv4_are_no_other_ports(probe: PortProbe, ports: tuple[int, ...]) -> None:
    with listening("::1", ports[0]), listening("127.0.0.1", ports[1]):
        assert (await probe.find(HERE, ports[0])).open_ports == ()


@pytest.mark.parametrize("mine", ["::1", None], ids=["address", "everywhere"])
async def test_our_own_ports_are_never_offered(
    clock: Clock, tasks: Tasks, ports: tuple[int, ...], mine: str | None
) -> None:
    host = mine or "::"
    probe = PortProbe(clock, tasks, own=((IPv6Address(mine) if mine else None, ports[0]),))
    with listening(host, ports[0]), listening("::1", ports[1]):
        assert (await probe.find(HERE, free_port())).open_ports == (ports[1],)


async def test_denied_ports_are_never_offered(clock: Clock, tasks: Tasks, ports: tuple[int, ...]) -> None:
    probe = PortProbe(clock, tasks, denied_ports=(ports[0],))
    with listening("::1", ports[0]), listening("::1", ports[1]):
        assert (await probe.find(HERE, free_port())).open_ports == (ports[1],)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.usefixtures("ports")
async def test_the_gateways_own_listener_is_no_app(clock: Clock, tasks: Tasks, host: str) -> None:
    with listening(host) as port:
        assert await PortProbe(clock, tasks, own=((IPv4Address(host), port),)).find(HERE, port) == NOTHING


@on_linux
async def test_an_app_beside_our_own_listener_is_one(clock: Clock, tasks: Tasks) -> None:
    """The same port at another address of this machine."""
    with listening("127.0.0.1") as port, listening("127.0.0.2", port):
        found = await PortProbe(clock, tasks, own=((HERE_IPV4, port),)).find(HERE, port)
        assert found.ipv4 is not None
        assert found.ipv4.address == "127.0.0.2"


@on_linux
@pytest.mark.usefixtures("ports")
async def test_another_gateways_listener_is_no_app(probe: PortProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is that of one that is about to end: whoever runs this program is none."""
    listener = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1]); time.sleep(99)"
    )
    with Child([sys.executable, "-c", listener, "some", "arguments"]) as other:
        port = int(other.wait_until(lambda: other.log.strip(), "it listens"))
        found = await probe.find(HERE, port)
        assert found.ipv4 is not None and found.ipv4.pid == other.pid
        monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", listener, "own", "ones"])
        monkeypatch.setattr(sys, "argv", ["-c", "own", "ones"])
        assert await PortProbe(Clock(), probe._tasks).find(HERE, port) == NOTHING


@on_linux
async def test_on_this_machine_nothing_is_dialed(probe: PortProbe, dials: Dials) -> None:
    with listening("127.0.0.1") as port:
        assert (await probe.find(HERE, port, HERE_IPV4)).ipv4 is not None
    assert dials.seen == []


async def test_where_the_machine_does_not_tell_loopback_is_dialed(
    clock: Clock, tasks: Tasks, ports: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(ports: object) -> list[own_sockets.Listening]:
        raise OSError("no such protocol")

    monkeypatch.setattr(own_sockets, "listening", unable)
    with listening("127.0.0.1") as port, listening("::1", ports[1]):
        found = await PortProbe(clock, tasks).find(HERE, port)
        assert found == RefusalFindings(AppSocket("127.0.0.1", port), (ports[1],))
        own = await PortProbe(clock, tasks, own=((HERE_IPV4, port),)).find(HERE, port)
        assert own == RefusalFindings(None, (ports[1],))


async def test_reading_does_not_hold_the_loop(
    probe: PortProbe, ports: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, askers: Tasks
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    real = probe_module._read

    def slow(address: IPv6Address, port: int, others: tuple[int, ...], own: Sequence[Bound]) -> RefusalFindings:
        reading.set()
        assert go_on.wait(30)
        return real(address, port, others, own)

    monkeypatch.setattr(probe_module, "_read", slow)
    with listening("127.0.0.1") as port:
        look = askers.spawn(probe.find(HERE, port), "ask")
        await asyncio.to_thread(reading.wait, 30)
        assert not look.done()  # and this line was reached, so the loop runs
        go_on.set()
        assert (await look).ipv4 is not None


# --- another machine: dialing --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("elsewhere")
async def test_the_records_ipv4_address_is_dialed_where_allowed(
    clock: Clock, tasks: Tasks, ports: tuple[int, ...]
) -> None:
    with listening("127.0.0.1") as port, listening("::1", ports[1]):
        probe = PortProbe(clock, tasks, allow_ipv4=(LOOPBACK,))
        assert await probe.find(HERE, port, HERE_IPV4) == RefusalFindings(AppSocket("127.0.0.1", port), (ports[1],))
        assert await probe.find(HERE, port) == RefusalFindings(None, (ports[1],))
    assert len(tasks) == 0


@pytest.mark.usefixtures("elsewhere")
async def test_ports_are_dialed_and_closed_ones_are_not(
    clock: Clock, tasks: Tasks, ports: tuple[int, ...], dials: Dials
) -> None:
    asked = free_port()
    with listening("::1", ports[0]), listening("::1", ports[1]):
        found = await PortProbe(clock, tasks, denied_ports=(ports[0],)).find(HERE, asked)
    assert found.open_ports == (ports[1],)
    assert sorted(dials.seen) == [("::1", ports[1]), ("::1", ports[2])]


@pytest.mark.usefixtures("elsewhere")
async def test_a_sandbox_elsewhere_may_use_our_own_ports(clock: Clock, tasks: Tasks, ports: tuple[int, ...]) -> None:
    """It has its own: what this gateway listens on says nothing about another machine."""
    with listening("127.0.0.1") as port, listening("::1", ports[0]):
        probe = PortProbe(clock, tasks, allow_ipv4=(LOOPBACK,), own=((None, port), (None, ports[0])))
        assert await probe.find(HERE, port, HERE_IPV4) == RefusalFindings(AppSocket("127.0.0.1", port), (ports[0],))


@pytest.mark.usefixtures("elsewhere")
async def test_silence_is_waited_for_once_and_not_for_long(
    clock: Clock, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent("127.0.0.1") as port, listening("::1") as open_port, ExitStack() as stack:
        quiet = [stack.enter_context(silent("::1")) for _ in range(5)]
        monkeypatch.setattr(probe_module, "PLAUSIBLE_PORTS", (*quiet, open_port))
        monkeypatch.setattr(probe_module, "PORT_TIMEOUT", 1.0)
        probe = PortProbe(clock, tasks, allow_ipv4=(LOOPBACK,))
        started = time.monotonic()
        assert await probe.find(HERE, port, HERE_IPV4) == RefusalFindings(None, (open_port,))
        elapsed = time.monotonic() - started
    # Waited for one after the other, they would take 5.5 s on a machine without delays; it takes 1.5 s.
    assert IPV4_TIMEOUT <= elapsed < IPV4_TIMEOUT + 4.5


@pytest.mark.parametrize(
    ("ipv4", "allowed"),
    [
        ("10.0.0.5", False),  # outside what is listed
        ("172.16.0.1", True),
        ("8.8.8.8", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("169.254.0.1", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_what_may_be_dialed_over_ipv4(probe: PortProbe, clock: Clock, tasks: Tasks, ipv4: str, allowed: bool) -> None:
    address = IPv4Address(ipv4)
    narrow = PortProbe(clock, tasks, allow_ipv4=(IPv4Network("172.16.0.0/12"),))
    everything = PortProbe(clock, tasks, allow_ipv4=(IPv4Network("0.0.0.0/0"),))
    itself = PortProbe(clock, tasks, allow_ipv4=(IPv4Network("0.0.0.0/0"), IPv4Network(ipv4)))
    assert not probe._may_dial(address, 5000)
    assert narrow._may_dial(address, 5000) is allowed
    special = any(address in network for network, _ in SPECIAL_RANGES)
    assert everything._may_dial(address, 5000) is not special
    assert itself._may_dial(address, 5000)


def test_link_local_does_not_open_metadata(clock: Clock, tasks: Tasks) -> None:
    probe = PortProbe(clock, tasks, allow_ipv4=(IPv4Network("169.254.0.0/16"),))
    assert probe._may_dial(IPv4Address("169.254.1.1"), 80)
    assert not probe._may_dial(IPv4Address("169.254.169.254"), 80)


def test_a_record_cannot_lead_to_the_gateways_own_door(clock: Clock, tasks: Tasks) -> None:
    probe = PortProbe(clock, tasks, allow_ipv4=(LOOPBACK,), own=((None, 443),))
    assert probe._may_dial(HERE_IPV4, 80)
    assert not probe._may_dial(HERE_IPV4, 443)


@pytest.mark.usefixtures("elsewhere")
async def test_an_ipv4_address_that_is_not_allowed_is_not_dialed(
    probe: PortProbe, ports: tuple[int, ...], dials: Dials
) -> None:
    with listening("127.0.0.1") as port:
        assert (await probe.find(HERE, port, HERE_IPV4)).ipv4 is None
    assert not any(host == "127.0.0.1" for host, _ in dials.seen)


# --- few looks -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("elsewhere")
async def test_the_same_look_within_a_second_is_answered_from_memory(
    clock: Clock, tasks: Tasks, ports: tuple[int, ...], dials: Dials
) -> None:
    probe = PortProbe(clock, tasks)
    asked = free_port()
    with listening("::1", ports[0]):
        found = await probe.find(HERE, asked)
    assert found.open_ports == (ports[0],)
    dialed = len(dials.seen)
    clock.now += REMEMBERED - 0.001
    assert await probe.find(HERE, asked) == found
    assert len(dials.seen) == dialed
    assert await probe.find(HERE, asked, HERE_IPV4) == NOTHING  # another question
    assert await probe.find(HERE, asked, whose="another's") == NOTHING  # the address has been given away
    clock.now += 0.002
    assert await probe.find(HERE, asked) == NOTHING


async def test_no_more_than_so_many_looks_are_started_in_a_second(
    probe: PortProbe, clock: Clock, ports: tuple[int, ...]
) -> None:
    with listening("127.0.0.1") as port:
        for offset in range(PROBES_PER_SECOND):
            clock.now += 0.01
            await probe.find(HERE, 1 + offset, whose=offset)
        assert await probe.find(HERE, port) == NOTHING
        clock.now += 1.0 - 0.01 * PROBES_PER_SECOND
        assert await probe.find(HERE, port) == NOTHING
        clock.now += 0.02
        assert (await probe.find(HERE, port)).ipv4 is not None


async def test_what_is_remembered_is_bounded(probe: PortProbe, clock: Clock, ports: tuple[int, ...]) -> None:
    for port in range(1, 4 * PROBES_PER_SECOND):
        await probe.find(HERE, port, whose=port)
        clock.now += 1 / PROBES_PER_SECOND
        assert len(probe._known) <= 2 * PROBES_PER_SECOND


@pytest.mark.usefixtures("elsewhere")
async def test_one_look_for_all_who_ask_and_not_too_many_at_once(
    clock: Clock, tasks: Tasks, askers: Tasks, ports: tuple[int, ...], dials: Dials
) -> None:
    probe = PortProbe(clock, tasks, allow_ipv4=(LOOPBACK,))
    with silent("127.0.0.1") as port, ExitStack() as stack:
        asked = [port, *(stack.enter_context(silent("127.0.0.1")) for _ in range(PROBES_AT_ONCE - 1))]
        asking = [askers.spawn(probe.find(HERE, each, HERE_IPV4, whose=each), "ask") for each in asked]
        again = [askers.spawn(probe.find(HERE, port, HERE_IPV4, whose=port), "ask again") for _ in range(50)]
        await asyncio.sleep(0)  # every asker has asked
        assert len(probe._running) == PROBES_AT_ONCE
        with listening("127.0.0.1") as other:
            assert await probe.find(HERE, other, HERE_IPV4) == NOTHING
            for ask in (*asking, *again):
                assert await ask == NOTHING
            assert not len(probe._running)
            assert (await probe.find(HERE, other, HERE_IPV4)).ipv4 is not None
    assert dials.seen.count(("127.0.0.1", port)) == 1


# --- after silence -------------------------------------------------------------------------------------------------


@on_linux
@pytest.mark.parametrize("host", ["::1", "127.0.0.1"])
async def test_a_full_queue_here_is_found_with_its_process(probe: PortProbe, ports: tuple[int, ...], host: str) -> None:
    with silent(host) as port, listening(host, ports[1]):
        found = await probe.find(ip_address(host), port, timed_out=True)
    assert isinstance(found, TimeoutFindings)
    assert (found.is_here, found.is_listed, found.refusing_ports) == (True, True, ())
    assert found.queue is not None and found.queue.is_full and found.queue.waiting >= 1
    assert (found.queue.address, found.queue.pid) == (host, os.getpid())
    assert found.connections == len(found.awaited) >= 1
    assert found.open_ports == (ports[1],)


@on_linux
async def test_who_has_room_here_is_told_as_that(probe: PortProbe, ports: tuple[int, ...]) -> None:
    with listening("::", backlog=5) as port:
        found = await probe.find(HERE, port, timed_out=True)
    assert isinstance(found, TimeoutFindings)
    assert found.queue == AppSocket("::", port, found.queue.process if found.queue else "", os.getpid())
    assert not found.is_stuck
    nothing = await probe.find(HERE, free_port(), timed_out=True)
    assert nothing == TimeoutFindings(is_here=True, is_listed=True, is_acknowledged=nothing.is_acknowledged)


@on_linux
async def test_of_those_who_share_a_port_the_stuck_one_is_told(probe: PortProbe, ports: tuple[int, ...]) -> None:
    with ExitStack() as stack:
        stuck, idle = (stack.enter_context(socket.socket(socket.AF_INET6)) for _ in range(2))
        for sock in (stuck, idle):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stuck.bind(("::1", 0))
        stuck.listen(0)
        stack.enter_context(socket.create_connection(stuck.getsockname()[:2]))
        idle.bind(stuck.getsockname())
        idle.listen(5)
        found = await probe.find(HERE, stuck.getsockname()[1], timed_out=True)
    assert isinstance(found, TimeoutFindings)
    assert found.is_stuck


@on_linux
@pytest.mark.usefixtures("elsewhere")
async def test_elsewhere_other_ports_tell_whether_it_runs(
    clock: Clock, tasks: Tasks, probe: PortProbe, ports: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    with silent("::1") as port, listening("::1", ports[1]):
        found = await probe.find(HERE, port, timed_out=True)
        assert isinstance(found, TimeoutFindings)
        assert (found.is_here, found.is_listed, found.queue) == (False, False, None)
        assert (found.open_ports, found.refusing_ports) == ((ports[1],), (ports[0], ports[2]))
        assert found.is_stuck
        assert len(tasks) == 0
        # Whose other ports are as silent may be off.
        monkeypatch.setattr(probe_module, "PLAUSIBLE_PORTS", (port,))
        monkeypatch.setattr(own_sockets, "connections", lambda address: [])
        assert await PortProbe(clock, tasks).find(HERE, 1, timed_out=True) == TimeoutFindings()


@pytest.mark.usefixtures("elsewhere", "ports")
async def test_silence_keeps_nobody_from_being_told_of_a_refusal(probe: PortProbe, clock: Clock) -> None:
    for port in range(1, PROBES_PER_SECOND + 1):
        await probe.find(HERE, port, timed_out=True, whose=port)
    assert await probe.find(HERE, PROBES_PER_SECOND + 1, timed_out=True) == TimeoutFindings(), "there have been enough"
    assert not probe._rates[True].take(clock(), None)
    assert probe._rates[False].take(clock(), None)
    clock.now += 1.0
    assert probe._rates[True].take(clock(), None)


@pytest.mark.parametrize("is_silent", [True, False])
async def test_a_sandbox_asked_for_many_ports_leaves_its_neighbour_a_look(
    clock: Clock, tasks: Tasks, askers: Tasks, ports: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    """At once, as when its ports are silent, and one after the other."""
    began: list[tuple[str, int]] = []
    ended = asyncio.Event()

    async def find(address: IPv6Address, port: int, *_: object) -> RefusalFindings | TimeoutFindings:
        began.append((str(address), port))
        await ended.wait()
        return TimeoutFindings() if is_silent else RefusalFindings()

    probe = PortProbe(clock, tasks)
    monkeypatch.setattr(probe, "_after_timeout" if is_silent else "_after_refusal", find)
    neighbour = IPv6Address("fd00::2")
    for port in range(1, 1000):
        askers.spawn(probe.find(HERE, port, whose="hostile", timed_out=is_silent), "ask")
    await asyncio.sleep(0)
    askers.spawn(probe.find(neighbour, 5000, whose="neighbour", timed_out=is_silent), "ask")
    await turns_until(lambda: (str(neighbour), 5000) in began)
    assert len(began) == PER_SANDBOX_AT_ONCE + 1
    ended.set()
    await turns_until(lambda: not probe._running)
    for port in range(1000, 2000):
        await probe.find(HERE, port, whose="hostile", timed_out=is_silent)
    await probe.find(neighbour, 5001, whose="neighbour", timed_out=is_silent)
    assert began[-1] == (str(neighbour), 5001)
    assert len(began) == PER_SANDBOX_PER_SECOND + 2


async def turns_until(condition: Callable[[], bool]) -> None:
    """A few turns of the event loop, where nothing else is waited for."""
    for _ in range(10):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("not within 10 turns")


async def test_what_is_not_looked_into_is_told_as_it_is(probe: PortProbe) -> None:
    unroutable = Failure(Reason.DESTINATION_IP_UNROUTABLE, DETAIL)
    assert await probe.explain(unroutable, HERE, 5000) is unroutable


@pytest.mark.parametrize("is_silent", [True, False])
async def test_without_a_descriptor_nothing_is_found_and_nothing_dialed(
    probe: PortProbe, dials: Dials, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    def is_own(address: object) -> bool:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(probe_module, "is_own", is_own)
    assert await probe.find(HERE, 1, HERE_IPV4, timed_out=is_silent) == (TimeoutFindings() if is_silent else NOTHING)
    assert dials.seen == []


# --- nothing is left behind ----------------------------------------------------------------------------------------


@on_linux
@pytest.mark.usefixtures("elsewhere")
async def test_every_socket_is_closed_when_all_is_cancelled(
    clock: Clock, tasks: Tasks, dials: Dials, monkeypatch: pytest.MonkeyPatch, askers: Tasks
) -> None:
    with silent("::1") as first, silent("::1") as second, silent("127.0.0.1") as port:
        monkeypatch.setattr(probe_module, "PLAUSIBLE_PORTS", (first, second))
        probe = PortProbe(clock, tasks, allow_ipv4=(LOOPBACK,))
        before = descriptors()
        asking = askers.spawn(probe.find(HERE, port, HERE_IPV4), "ask")
        await dials.begun(3)
        assert len(descriptors() - before) == 3
        await tasks.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert descriptors() == before
    assert (len(tasks), len(probe._running), probe._known) == (0, 0, {})


@on_linux
@pytest.mark.usefixtures("elsewhere")
async def test_an_asker_who_goes_away_leaves_the_look_to_the_others(
    clock: Clock, tasks: Tasks, ports: tuple[int, ...], dials: Dials, askers: Tasks
) -> None:
    probe = PortProbe(clock, tasks)
    before = descriptors()
    asked = free_port()
    with listening("::1", ports[0]):
        first = askers.spawn(probe.find(HERE, asked), "ask")
        second = askers.spawn(probe.find(HERE, asked), "ask")
        await dials.begun(1)
        first.cancel()
        assert (await second).open_ports == (ports[0],)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert descriptors() == before
    assert len(tasks) == 0


@pytest.mark.usefixtures("elsewhere")
async def test_a_look_that_is_cancelled_takes_its_dials_with_it(
    clock: Clock, tasks: Tasks, askers: Tasks, dials: Dials, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = PortProbe(clock, tasks)
    with silent("::1") as first, silent("::1") as second:
        monkeypatch.setattr(probe_module, "PLAUSIBLE_PORTS", (first, second))
        monkeypatch.setattr(probe_module, "PORT_TIMEOUT", 3600.0)
        asking = askers.spawn(probe.find(HERE, 1), "ask")
        await dials.begun(2)
        [look] = map(probe._running.get, probe._running)
        assert look is not None
        dialing = asyncio.all_tasks() - {look, asking, asyncio.current_task()}
        assert len(dialing) == 2
        look.cancel()
        _, left = await asyncio.wait(dialing, timeout=30)
        assert left == set()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_a_look_cancelled_before_it_began_is_forgotten(probe: PortProbe, tasks: Tasks, askers: Tasks) -> None:
    asking = askers.spawn(probe.find(HERE, 1), "ask")
    await asyncio.sleep(0)
    [look] = map(probe._running.get, probe._running)
    assert look is not None
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not len(probe._running)


# --- the explanation -----------------------------------------------------------------------------------------------


def refused() -> Failure:
    return Failure(Reason.CONNECTION_REFUSED, DETAIL, observed=("seen before",))


def test_without_an_ipv4_listener_the_refusal_stays_and_learns_the_open_ports() -> None:
    error = RefusalFindings(None, (3000, 8000)).explain(refused(), "fd00::5", 5000)
    assert (error.reason, error.detail, error.observed) == (Reason.CONNECTION_REFUSED, DETAIL, ("seen before",))
    assert (error.open_ports, error.process) == ((3000, 8000), "")


def test_an_ipv4_listener_is_named_and_the_refusal_kept() -> None:
    findings = RefusalFindings(AppSocket("127.0.0.1", 5000, "python3", 4242), (8000,))
    error = findings.explain(refused(), "fd00::5", 5000)
    assert error.reason is Reason.IPV4_ONLY_LISTENER
    assert error.detail == "something listens on 127.0.0.1:5000 but not on [fd00::5]:5000"
    assert error.observed == (DETAIL, "seen before", "the process is python3 (pid 4242)")
    assert (error.process, error.open_ports) == ("python3", (8000,))


def test_an_ipv4_listener_that_cannot_be_seen_is_not_named() -> None:
    error = RefusalFindings(AppSocket("10.0.0.5", 5000)).explain(Failure(Reason.CONNECTION_REFUSED), "fd00::5", 5000)
    assert error.detail == "something listens on 10.0.0.5:5000 but not on [fd00::5]:5000"
    assert (error.observed, error.process, error.open_ports) == ((), "", ())


def test_the_plausible_ports() -> None:
    assert probe_module.PLAUSIBLE_PORTS == (3000, 3001, 4200, 5000, 5173, 8000, 8080, 8888)

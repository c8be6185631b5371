"""The DNS directory: a real server's answers, and from servers that misbehave what no real one would send.

What it promises as any directory does stands in test_conformance.py.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from ipaddress import IPv6Address
from typing import cast

import dns.message
import dns.rcode
import dns.rrset
import pytest
import uvloop

from gateway.config.values import Listen
from gateway.directory import dns as dns_module
from gateway.directory.availability import Availability
from gateway.directory.dns import DnsDirectory
from gateway.directory.sandbox import DirectoryError, RecordError, Sandbox
from gateway.errors import UserError
from gateway.tasks import Tasks
from tests.support.dns_server import UNLOADED_ZONE, ZONE, DnsServer

LONG = [f"long 30 AAAA fd00::{number + 0x10:x}" for number in range(100)]
"""More than an answer over UDP may hold."""

RECORDS = [
    "demo 30 AAAA fd00::5",
    "default AAAA fd00::6",
    "several 30 AAAA fd00::b",
    "several 30 AAAA fd00::a",
    "several 30 AAAA fd00::c",
    "ipv4-only 30 A 192.0.2.1",
    "alias 20 CNAME demo",
    "alias-of-nothing 20 CNAME nothing",
    "alias-of-ipv4 20 CNAME ipv4-only",
    "alias-elsewhere 20 CNAME demo.elsewhere.test.",
    "delegated NS ns.elsewhere.test.",
    *LONG,
]


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(*RECORDS) as server:
        yield server


@pytest.fixture
def directory(server: DnsServer) -> DnsDirectory:
    return DnsDirectory(ZONE, [server.address])


async def outage(directory: DnsDirectory, sandbox_id: str = "demo") -> str:
    with pytest.raises(DirectoryError) as error:
        await directory.fetch(sandbox_id)
    sentence = str(error.value)
    assert sentence.startswith(f"DNS, AAAA of {sandbox_id}.")
    assert "\n" not in sentence
    return sentence


# --- what a server knows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sandbox_id", "address", "ttl"),
    [
        ("demo", "fd00::5", 30.0),
        ("default", "fd00::6", 60.0),
        ("several", "fd00::a", 30.0),
        ("alias", "fd00::5", 20.0),
        ("long", "fd00::10", 30.0),
    ],
)
async def test_a_record_its_ttl_and_its_generation(
    directory: DnsDirectory, sandbox_id: str, address: str, ttl: float
) -> None:
    assert await directory.fetch(sandbox_id) == Sandbox(sandbox_id, IPv6Address(address), address, ttl=ttl)


@pytest.mark.parametrize("sandbox_id", ["nobody", "ipv4-only", "alias-of-nothing", "alias-of-ipv4"])
async def test_no_name_and_no_address_are_no_sandbox(directory: DnsDirectory, sandbox_id: str) -> None:
    assert await directory.fetch(sandbox_id) is None


@pytest.mark.parametrize("sandbox_id", ["", "a.demo", "demo.", "*", "Demo", "-demo", "demo\\000", "a" * 58])
async def test_what_is_no_id_is_never_asked_for(sandbox_id: str) -> None:
    with udp_socket() as silent:
        assert await DnsDirectory(ZONE, [address_of(silent)]).fetch(sandbox_id) is None
        with pytest.raises(BlockingIOError):
            silent.recv(1)


async def test_a_truncated_answer_is_asked_for_again_over_tcp(server: DnsServer, directory: DnsDirectory) -> None:
    query = dns.message.make_query(f"long.{ZONE}", "AAAA", use_edns=0, payload=dns_module.PAYLOAD)
    with pytest.raises(dns.message.Truncated):
        await dns_module.dns.asyncquery.udp(query, "127.0.0.1", 5, server.port, raise_on_truncation=True)
    assert await directory.fetch("long") is not None


@pytest.mark.ipv6
async def test_a_server_is_asked_over_ipv6_too(server: DnsServer) -> None:
    assert await DnsDirectory(ZONE, [f"[::1]:{server.port}"]).fetch("demo") is not None


def test_it_works_on_the_loop_that_workers_run(server: DnsServer) -> None:
    async def both() -> list[Sandbox | None]:
        directory = DnsDirectory(ZONE, [server.address])
        return [await directory.fetch("demo"), await directory.fetch("long")]

    assert all(uvloop.run(both()))


async def test_a_changed_zone_is_seen_when_asked_again() -> None:
    with DnsServer("demo 30 AAAA fd00::5", "goes AAAA fd00::6") as server:
        directory = DnsDirectory(f"{ZONE}.", [server.address])
        before = await directory.fetch("demo")
        assert await directory.fetch("goes") is not None
        server.replace("demo 10 AAAA fd00::7", "comes AAAA fd00::8")
        after = await directory.fetch("demo")
        assert before is not None
        assert after == Sandbox("demo", IPv6Address("fd00::7"), "fd00::7", ttl=10.0)
        assert after.generation != before.generation
        assert await directory.fetch("goes") is None
        assert await directory.fetch("comes") is not None


async def test_watching_reports_nothing_and_does_not_end(directory: DnsDirectory) -> None:
    tasks = Tasks()
    watching = tasks.spawn(
        directory.watch(lambda names: pytest.fail(f"reported {names}"), Availability(directory.where)), "watch"
    )
    assert await directory.fetch("demo") is not None
    assert not watching.done()
    await tasks.cancel()
    await directory.close()


# --- what a server cannot tell ------------------------------------------------------------------------------------


async def test_servfail_and_refused_are_outages_by_name(server: DnsServer) -> None:
    assert (await outage(DnsDirectory(UNLOADED_ZONE, [server.address]))).endswith("answered SERVFAIL")
    assert (await outage(DnsDirectory("elsewhere.test", [server.address]))).endswith("answered REFUSED")


async def test_an_alias_that_leads_elsewhere_is_an_outage(directory: DnsDirectory) -> None:
    assert "alias of demo.elsewhere.test" in await outage(directory, "alias-elsewhere")


async def test_one_name_that_cannot_be_told_is_no_outage_of_the_others(directory: DnsDirectory) -> None:
    for name in ("alias-elsewhere", "delegated"):
        with pytest.raises(RecordError):
            await directory.fetch(name)


async def test_a_zone_that_cannot_be_told_is_one(server: DnsServer) -> None:
    for zone in (UNLOADED_ZONE, "elsewhere.test"):  # SERVFAIL, REFUSED
        with pytest.raises(DirectoryError) as error:
            await DnsDirectory(zone, [server.address]).fetch("demo")
        assert type(error.value) is DirectoryError


async def test_a_server_that_only_knows_whom_to_ask_is_an_outage(directory: DnsDirectory) -> None:
    assert "which other servers to ask" in await outage(directory, "delegated")


def udp_socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("127.0.0.1", 0))
    opened.setblocking(False)
    return opened


def address_of(opened: socket.socket) -> str:
    return f"127.0.0.1:{opened.getsockname()[1]}"


async def test_silence_is_an_outage_in_time() -> None:
    with udp_socket() as silent:
        started = asyncio.get_running_loop().time()
        sentence = await outage(DnsDirectory(ZONE, [address_of(silent)]))
        assert asyncio.get_running_loop().time() - started < dns_module.BUDGET + 0.5
        assert sentence.endswith("no answer in 0.8 s")
        assert silent.recv(4096) and silent.recv(4096), "one lost packet would have been forgiven"


async def test_a_closed_port_is_an_answer() -> None:
    with udp_socket() as closed:
        address = address_of(closed)
    monotonic = asyncio.get_running_loop().time
    started = monotonic()
    assert "Connection refused" in await outage(DnsDirectory(ZONE, [address]))
    assert monotonic() - started < dns_module.TRY


def test_a_closed_port_is_an_answer_on_the_loop_that_workers_run() -> None:
    with udp_socket() as closed:
        address = address_of(closed)

    async def ask() -> float:
        started = asyncio.get_running_loop().time()
        assert "Connection refused" in await outage(DnsDirectory(ZONE, [address]))
        return asyncio.get_running_loop().time() - started

    assert uvloop.run(ask()) < dns_module.TRY


async def test_many_silent_servers_take_no_longer() -> None:
    with udp_socket() as one, udp_socket() as two, udp_socket() as three:
        servers = [address_of(each) for each in (one, two, three)]
        started = asyncio.get_running_loop().time()
        sentence = await outage(DnsDirectory(ZONE, servers))
        assert asyncio.get_running_loop().time() - started < dns_module.BUDGET + 0.5
        assert all(server in sentence for server in servers)


Reply = Callable[[dns.message.Message, bytes], list[bytes]]


@asynccontextmanager
async def misbehaving(reply: Reply) -> AsyncIterator[str]:
    """The address of a server that answers each question with the datagrams that `reply` makes of it."""

    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.DatagramTransport", transport)

        def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
            for each in reply(dns.message.from_wire(data), data):
                self.transport.sendto(each, peer)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    yield "127.0.0.1:{1}".format(*transport.get_extra_info("sockname"))
    transport.close()


def answer(question: dns.message.Message, address: str = "fd00::5") -> dns.message.Message:
    made = dns.message.make_response(question)
    made.answer.append(dns.rrset.from_text(question.question[0].name, 30, "IN", "AAAA", address))
    return made


def another_id(question: dns.message.Message) -> bytes:
    made = answer(question, "fd00::bad")
    made.id ^= 1
    return made.to_wire()


def another_question(question: dns.message.Message) -> bytes:
    made = dns.message.make_response(dns.message.make_query(f"other.{ZONE}", "AAAA", id=question.id))
    return made.to_wire()


NONSENSE: dict[str, Reply] = {
    "garbage": lambda question, wire: [b"\xff" * 40],
    "cut": lambda question, wire: [answer(question).to_wire()[:-9]],
    "another id": lambda question, wire: [another_id(question)],
    "another question": lambda question, wire: [another_question(question)],
    "the question itself": lambda question, wire: [wire],
}


@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_told_from_silence(reply: Reply, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_module, "TRY", 0.2)
    async with misbehaving(reply) as address:
        assert (await outage(DnsDirectory(ZONE, [address]))).endswith("nothing but malformed answers in 0.2 s")


@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_does_not_keep_us_from_the_answer(reply: Reply) -> None:
    def both(question: dns.message.Message, wire: bytes) -> list[bytes]:
        return [*reply(question, wire), answer(question).to_wire()]

    async with misbehaving(both) as address:
        sandbox = await DnsDirectory(ZONE, [address]).fetch("demo")
        assert sandbox is not None
        assert sandbox.address == IPv6Address("fd00::5")


async def test_an_alias_of_itself_is_malformed() -> None:
    def reply(question: dns.message.Message, wire: bytes) -> list[bytes]:
        made = dns.message.make_response(question)
        name = question.question[0].name
        made.answer.append(dns.rrset.from_text(name, 30, "IN", "CNAME", name.to_text()))
        return [made.to_wire()]

    async with misbehaving(reply) as address:
        assert "malformed answer" in await outage(DnsDirectory(ZONE, [address]))


async def test_truncated_and_nothing_on_tcp_says_so() -> None:
    def reply(question: dns.message.Message, wire: bytes) -> list[bytes]:
        made = dns.message.make_response(question)
        made.flags |= dns.flags.TC
        return [made.to_wire()]

    async with misbehaving(reply) as address:
        assert "refused" in (await outage(DnsDirectory(ZONE, [address]))).lower()


# --- several servers ----------------------------------------------------------------------------------------------


async def test_the_next_server_is_asked_when_one_cannot_tell(server: DnsServer) -> None:
    def failing(question: dns.message.Message, wire: bytes) -> list[bytes]:
        made = dns.message.make_response(question)
        made.set_rcode(dns.rcode.SERVFAIL)
        return [made.to_wire()]

    with udp_socket() as silent:
        async with misbehaving(failing) as address:
            directory = DnsDirectory(ZONE, [address, address_of(silent), server.address])
            assert await directory.fetch("demo") is not None


async def test_the_server_that_answered_is_asked_first_from_then_on(server: DnsServer) -> None:
    with udp_socket() as silent:
        directory = DnsDirectory(ZONE, [address_of(silent), server.address])
        for _ in range(3):
            assert await directory.fetch("demo") is not None
        assert silent.recv(4096)
        with pytest.raises(BlockingIOError):
            silent.recv(4096)


async def test_a_server_that_fails_once_is_asked_once_more() -> None:
    asked: list[bytes] = []

    def lossy(question: dns.message.Message, wire: bytes) -> list[bytes]:
        asked.append(wire)
        return [answer(question).to_wire()] if len(asked) > 1 else []

    async with misbehaving(lossy) as address:
        assert await DnsDirectory(ZONE, [address]).fetch("demo") is not None
        assert len(asked) == 2


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", Listen("192.0.2.1", 53)),
        ("127.0.0.1:5353", Listen("127.0.0.1", 5353)),
        ("2001:db8::1", Listen("2001:db8::1", 53)),
        ("[2001:DB8:0::1]:5353", Listen("2001:db8::1", 5353)),
    ],
)
def test_a_name_server_is_an_address_and_perhaps_a_port(text: str, server: Listen) -> None:
    assert DnsDirectory(ZONE, [text])._servers == (server,)


@pytest.mark.parametrize(
    "text", ["", "ns.example.net", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "[::1", "::1:x"]
)
def test_a_broken_name_server_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"^directory\.nameservers: expected an address"):
        DnsDirectory(ZONE, [text])


@pytest.mark.parametrize("zone", ["", ".", "a..b", "a" * 64, ".".join(["a" * 60] * 4)])
def test_a_broken_zone_is_one_sentence(zone: str) -> None:
    with pytest.raises(UserError, match=r"^directory\.zone: expected a zone"):
        DnsDirectory(zone, ["192.0.2.1"])


def test_without_name_servers_the_systems_are_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    class Resolver:
        nameservers = ("192.0.2.53", "2001:db8::53")
        port = 53

    monkeypatch.setattr(dns_module.dns.resolver, "Resolver", Resolver)
    assert [str(server) for server in DnsDirectory(ZONE)._servers] == ["192.0.2.53:53", "[2001:db8::53]:53"]


def test_a_system_without_name_servers_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise dns_module.dns.resolver.NoResolverConfiguration("cannot open /etc/resolv.conf")

    monkeypatch.setattr(dns_module.dns.resolver, "Resolver", none)
    with pytest.raises(UserError, match=r"none are set, and the system has none either"):
        DnsDirectory(ZONE)

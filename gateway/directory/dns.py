"""The DNS directory: the AAAA record of `<id>.<zone>`, asked of chosen name servers or of the system's.

For platforms whose sandboxes already have names. A record is used as long as its TTL says (the cache sets bounds); DNS
reports no changes, so a moved sandbox is noticed when its TTL has run out, and a new one when the negative TTL of the
gateway has, and of whatever resolver stands between. The address stands in for the generation: DNS has none. Of several
addresses the lowest is taken, because every worker has to take the same. A records are not asked for.

"There is none" is said only of what a server has said so: NXDOMAIN, or an answer without the address but not
elsewhere. Whatever else comes is an outage, told by its name. Knows nothing of the cache in front.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address
from typing import Any

import dns.asyncbackend
import dns.asyncquery
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from gateway.config.values import Listen, parse_nameserver, quote
from gateway.directory.sandbox import DirectoryError, RecordError, Sandbox, WatchObserver
from gateway.errors import UserError
from gateway.hostname import is_sandbox_id

BUDGET = 2.0
"""Seconds for an answer, whatever has to be tried for it."""
TRY = 0.8
"""Seconds for one attempt over UDP, and again for the one over TCP that a truncated answer leads to."""
ROUNDS = 2
"""How often each server is asked: one lost packet is no outage."""
PAYLOAD = 1232
"""Octets of an answer over UDP that need no fragments on any IPv6 path (DNS flag day 2020)."""


class DnsDirectory:
    """A `Directory`. Holds nothing open between questions."""

    reports_changes = False
    at_once = 64  # each with a socket of its own

    def __init__(self, zone: str, nameservers: Sequence[str] = ()) -> None:
        """`nameservers` such as "192.0.2.1", "2001:db8::1", "[2001:db8::1]:5353"; none: those of /etc/resolv.conf, as
        it is now. Raises UserError."""
        self._zone = _zone(zone)
        self._servers = tuple(_server(text) for text in nameservers) or _system_servers()
        self.where = f"DNS, zone {self._zone.to_text(omit_final_dot=True)} at {', '.join(map(str, self._servers))}"

    def __repr__(self) -> str:
        return f"<DnsDirectory {self._zone} {' '.join(map(str, self._servers))}>"

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        """As `Directory.fetch`. The first server that knows is believed, and asked first from then on."""
        if not is_sandbox_id(sandbox_id):
            return None  # and no text from a hostname becomes a name that is not below the zone
        name = dns.name.Name((sandbox_id.encode(), *self._zone.labels))
        failures: dict[Listen, str] = {}
        spoke: set[Listen] = set()
        served: list[bool] = []
        try:
            async with asyncio.timeout(BUDGET):
                for server in self._servers * ROUNDS:
                    failures.setdefault(server, f"no answer in {BUDGET:g} s")
                    try:
                        sandbox = _sandbox(sandbox_id, await _ask(server, name))
                    except _Failure as failure:
                        failures[server] = str(failure)
                        if failure.spoke:
                            spoke.add(server)
                    else:
                        if server != self._servers[0]:
                            self._servers = (server, *(other for other in self._servers if other != server))
                        return sandbox
                served = [await self._serves_zone(server) for server in spoke]
        except TimeoutError:
            pass  # `failures` says how far it came
        told = "; ".join(f"{server}: {failure}" for server, failure in failures.items())
        kind = RecordError if any(served) else DirectoryError
        raise kind(f"DNS, AAAA of {name.to_text(omit_final_dot=True)}: {told}")

    async def _serves_zone(self, server: Listen) -> bool:
        """Whether a server that could not tell about one name can tell about the zone; else it is away for all."""
        try:
            answer = await _ask(server, self._zone, dns.rdatatype.SOA)
        except _Failure:
            return False
        return answer.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
        """Runs until cancelled and reports nothing: a record's TTL is all that DNS says about change."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """There is nothing to give back."""


# --- one question -------------------------------------------------------------------------------------------------


class _Failure(Exception):
    """One server could not tell; its text says what came instead, `spoke` whether it was an answer."""

    def __init__(self, text: str, *, spoke: bool = True) -> None:
        super().__init__(text)
        self.spoke = spoke


class _Heard:
    """A datagram socket of dnspython's that counts what it has received: silence and nonsense are different outages.

    It is connected, or nobody would say that there is no server on that port.
    """

    def __init__(self, inner: Any) -> None:
        self.family = inner.family
        self._inner = inner
        self.datagrams = 0

    async def sendto(self, what: bytes, _: object, *timeout: float | None) -> int:
        sent: int = await self._inner.sendto(what, None, *timeout)
        return sent

    async def recvfrom(self, *arguments: Any) -> Any:
        received = await self._inner.recvfrom(*arguments)
        self.datagrams += 1
        return received


async def _ask(
    server: Listen, name: dns.name.Name, kind: dns.rdatatype.RdataType = dns.rdatatype.AAAA
) -> dns.message.QueryMessage:
    """The answer of `server`, over TCP if it is too long for UDP. Raises _Failure."""
    query = dns.message.make_query(name, kind, use_edns=0, payload=PAYLOAD)
    try:
        try:
            return await _ask_udp(server, query)
        except dns.message.Truncated:
            answer = await dns.asyncquery.tcp(query, server.host, TRY, server.port)
    except dns.exception.Timeout:
        raise _Failure(f"no answer in {TRY:g} s", spoke=False) from None
    except OSError as error:
        # asyncio puts words of its own in the place of strerror.
        raise _Failure(os.strerror(error.errno) if error.errno else type(error).__name__, spoke=False) from None
    except EOFError:
        raise _Failure("closed the connection without an answer", spoke=False) from None
    except dns.exception.DNSException as error:
        raise _malformed(error) from None
    assert isinstance(answer, dns.message.QueryMessage)
    return answer


async def _ask_udp(server: Listen, query: dns.message.QueryMessage) -> dns.message.QueryMessage:
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    backend: Any = dns.asyncbackend.get_default_backend()
    async with await backend.make_socket(family, socket.SOCK_DGRAM, destination=(server.host, server.port)) as inner:
        heard: Any = _Heard(inner)
        try:
            # What is no answer to this question is passed over: anybody can send such, and giving up at the first would
            # let them keep us from the real one (CVE-2023-29483).
            answer = await dns.asyncquery.udp(
                query,
                server.host,
                TRY,
                server.port,
                ignore_unexpected=True,
                raise_on_truncation=True,
                ignore_errors=True,
                sock=heard,
            )
        except dns.exception.Timeout:
            if heard.datagrams:
                raise _Failure(f"nothing but malformed answers in {TRY:g} s", spoke=False) from None
            raise
    assert isinstance(answer, dns.message.QueryMessage)
    return answer


def _sandbox(sandbox_id: str, answer: dns.message.QueryMessage) -> Sandbox | None:
    """The record in `answer`, None if it says that there is none. Raises _Failure."""
    code = answer.rcode()
    if code == dns.rcode.NXDOMAIN:
        return None
    if code != dns.rcode.NOERROR:
        raise _Failure(f"answered {dns.rcode.to_text(code)}")
    try:
        chain = answer.resolve_chaining()
    except dns.exception.DNSException as error:
        raise _malformed(error) from None
    if chain.answer is None:
        _check_none(answer, chain)
        return None
    address = min(IPv6Address(record.to_text()) for record in chain.answer)
    return Sandbox(sandbox_id, address, str(address), ttl=float(chain.minimum_ttl))


def _check_none(answer: dns.message.QueryMessage, chain: dns.message.ChainingResult) -> None:
    """Raises _Failure unless an answer without an address says that there is none (RFC 2308 section 2.2)."""
    authority = {rrset.rdtype for rrset in answer.authority}
    if dns.rdatatype.SOA in authority:
        return
    if chain.cnames:
        target = chain.canonical_name.to_text(omit_final_dot=True)
        raise _Failure(f"the name is an alias of {target}, which this server does not look up")
    if dns.rdatatype.NS in authority:
        raise _Failure("knows only which other servers to ask: it is no resolver, and the zone is not its own")


def _malformed(error: dns.exception.DNSException) -> _Failure:
    words = str(error).strip().rstrip(".")
    return _Failure(f"malformed answer ({words or type(error).__name__})")


# --- settings -----------------------------------------------------------------------------------------------------


def _zone(text: str) -> dns.name.Name:
    try:
        zone = dns.name.from_text(text)
        dns.name.Name((b"a" * 57, *zone.labels))  # the longest id has to fit before it
    except (dns.exception.DNSException, UnicodeError) as error:
        raise UserError(f"directory.zone: expected a zone such as sandboxes.internal: {quote(text)}: {error}") from None
    if zone == dns.name.root:
        raise UserError("directory.zone: expected a zone such as sandboxes.internal, not the root of all names")
    return zone


def _server(text: str) -> Listen:
    try:
        return parse_nameserver(text)
    except ValueError as error:
        raise UserError(f"directory.nameservers: {error}") from None


def _system_servers() -> tuple[Listen, ...]:
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise UserError(f"directory.nameservers: none are set, and the system has none either: {error}") from None
    return tuple(Listen(str(server), resolver.port) for server in resolver.nameservers)

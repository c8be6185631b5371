"""A DNS server of a test's own: Knot, authoritative for one zone, on a free port of both loopback addresses.

A second zone is configured and has no file: asked for it, the server says SERVFAIL; asked for any other, REFUSED.
"""

from __future__ import annotations

import signal
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import dns.exception
import dns.message
import dns.query

from tests.support.components import program, require
from tests.support.process import Child, free_port, poll

ZONE = "sandboxes.test"
UNLOADED_ZONE = "unloaded.test"

_CONFIGURATION = """
server:
    rundir: "{directory}"
    listen: [ "127.0.0.1@{port}", "::1@{port}" ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
control:
    listen: "{directory}/knot.sock"
database:
    storage: "{directory}"
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: "{directory}"
    zonefile-sync: -1
    journal-content: none
zone:
  - domain: {zone}
    file: "zone"
  - domain: {unloaded}
    file: "no such file"
"""


class DnsServer(Child):
    """In use once it serves its zone, which begins with `lines` of a zone file, names relative to ZONE."""

    def __init__(self, *lines: str) -> None:
        require("knotd", "IPv6")
        self._directory = tempfile.TemporaryDirectory(prefix="knot-")
        self._folder = Path(self._directory.name)
        self._serial = 0
        self.port = _free_port()
        configuration = self._folder / "knot.conf"
        configuration.write_text(
            _CONFIGURATION.format(directory=self._folder, port=self.port, zone=ZONE, unloaded=UNLOADED_ZONE)
        )
        self._write(lines)
        super().__init__([program("knotd") or "knotd", "-c", str(configuration)])

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ready(self) -> None:
        self.wait_until(self._serves_the_last_zone, f"it serves version {self._serial} of its zone")

    def replace(self, *lines: str) -> None:
        """Makes these the records of the zone; returns when they are served."""
        assert self.process is not None
        self._write(lines)
        self.process.send_signal(signal.SIGHUP)
        self.ready()

    def _write(self, lines: Iterable[str]) -> None:
        self._serial += 1
        head = [
            f"$ORIGIN {ZONE}.",
            "$TTL 60",
            f"@ SOA ns.invalid. hostmaster.invalid. {self._serial} 3600 600 86400 5",
            "@ NS ns.invalid.",
        ]
        new = self._folder / "zone.new"
        new.write_text("\n".join([*head, *lines, ""]))
        new.replace(self._folder / "zone")

    def _serves_the_last_zone(self) -> bool:
        query = dns.message.make_query(ZONE, "SOA")
        try:
            answer = dns.query.udp(query, "127.0.0.1", port=self.port, timeout=0.5)
        except (dns.exception.Timeout, OSError):
            return False
        return any(record.serial == self._serial for rrset in answer.answer for record in rrset)

    def stopped(self, code: int) -> None:
        assert code == 0, self.log

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            self._directory.cleanup()


def _free_port() -> int:
    """A port that nothing holds, neither over UDP nor over TCP."""

    def look() -> int | None:
        port = free_port()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagram:
            datagram.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            try:
                datagram.bind(("::", port))
            except OSError:
                return None
            return port

    return poll(look, "a port is free for UDP and TCP")

"""What the terminal says of the local network: who can reach what, where a phone begins, and what may be in the way."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import segno

from gateway.dev.lan.interfaces import LanAddress
from gateway.tls.programs import as_root, shown


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell of."""

    addresses: Sequence[LanAddress]
    urls: Sequence[str]
    ports: tuple[int, int]
    """Of the apps, and of the page for phones."""
    page: str
    """URL of the latter."""
    fingerprint: str


def lines(told: Told, *, draws: bool) -> str:
    """Lines, the last one ended; with a QR code if it `draws`."""
    by_interface: dict[str, list[str]] = {}
    for each in told.addresses:
        by_interface.setdefault(each.interface, []).append(str(each.address))
    where = " and ".join(f"{interface} ({', '.join(own)})" for interface, own in by_interface.items())
    text = [
        f"  LAN         everybody in the network of {where} can open, without a password:",
        *(f"              {url}" for url in told.urls),
        "              and through this gateway nothing else: no other port, not the index, not the inspector",
        f"  phone       {told.page} has the authority to install, and the links",
        f"              its SHA-256 is {told.fingerprint}",
        *(f"              {line}" for line in (_code(told.page) if draws else ())),
        f"  firewall    if the phone gets no answer: {_firewall(told)}",
    ]
    return "".join(f"{line}\n" for line in ("", *text, ""))


def _code(url: str) -> list[str]:
    """Of blocks, light as the text of a dark terminal: cameras take the contrary as well."""
    out = io.StringIO()
    segno.make(url, error="m").terminal(out, compact=True, border=2)
    return out.getvalue().splitlines()


def _firewall(told: Told) -> str:
    tcp = list(map(str, told.ports))
    if shutil.which("ufw"):
        commands = [as_root(["ufw", "allow", f"{','.join(tcp)}/tcp"]), as_root(["ufw", "allow", "5353/udp"])]
    elif shutil.which("firewall-cmd"):
        commands = [as_root(["firewall-cmd", *(f"--add-port={port}/tcp" for port in tcp), "--add-service=mdns"])]
    else:
        return f"let in {' and '.join(tcp)} (TCP) and 5353 (UDP, multicast DNS); guest networks keep devices apart"
    return shown(*commands)

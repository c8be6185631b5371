"""What the terminal says of the local network."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from gateway.dev.lan import telling
from gateway.dev.lan.interfaces import LanAddress
from gateway.dev.lan.telling import Told, lines

TOLD = Told(
    [LanAddress("wlan0", ip_address("192.168.7.5")), LanAddress("eth0", ip_address("10.0.0.5"))],
    ["https://5000-anna.local:8443/"],
    (8443, 8444),
    "http://192.168.7.5:8444/",
    "AB:CD",
)


def test_who_can_reach_what() -> None:
    text = lines(TOLD, draws=False)
    assert "everybody in the network of wlan0 (192.168.7.5) and eth0 (10.0.0.5) can open, without a password" in text
    for part in (*TOLD.urls, TOLD.page, "AB:CD", "nothing else"):
        assert part in text
    assert "█" not in text
    assert "█" in lines(TOLD, draws=True)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("ufw", "ufw allow 8443,8444/tcp && sudo ufw allow 5353/udp"),
        ("firewall-cmd", "firewall-cmd --add-port=8443/tcp --add-port=8444/tcp --add-service=mdns"),
        ("", "8443 and 8444 (TCP) and 5353 (UDP, multicast DNS)"),
    ],
)
def test_what_may_be_in_the_way(monkeypatch: pytest.MonkeyPatch, program: str, says: str) -> None:
    monkeypatch.setattr(telling.shutil, "which", lambda name: name if name == program else None)
    monkeypatch.setattr(telling, "as_root", lambda command: ["sudo", *command])
    assert says in lines(replace(TOLD), draws=False)

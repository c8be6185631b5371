"""What the exposed apps are called in the local network."""

from __future__ import annotations

import pytest

from gateway.dev.lan import names
from gateway.dev.lan.names import LanNames, machine_name
from gateway.dev.options import Exposed
from gateway.hostname import HostnameParser


def test_names_are_read_as_any_other() -> None:
    exposed = [Exposed("local", 5000), Exposed("shop", 3000)]
    own = LanNames("anna", exposed)
    assert own.hosts == ["5000-anna.local", "3000-shop-anna.local"]
    for host, each in zip(own.hosts, exposed, strict=True):
        target = HostnameParser(["sandbox.localhost", "local"]).parse(host)
        assert (target.port, target.sandbox_id) == (each.port, own.alias_of[each])


def test_others_have_a_number() -> None:
    own = LanNames("anna", [Exposed("demo", 5000)])
    assert own.next().hosts == ["5000-anna-2.local"]
    assert own.next().next().hosts == ["5000-anna-3.local"]


def test_the_longest_fit_a_label() -> None:
    own = LanNames("m" * 63, [Exposed("s" * 57, 65535)])
    for each in own, own.next():
        [host] = each.hosts
        assert len(host.removesuffix(".local")) <= 63
        HostnameParser(["local"]).parse(host)


@pytest.mark.parametrize(
    ("port", "authorities"),
    [(8443, {b"1-anna.local:8443"}), (443, {b"1-anna.local:443", b"1-anna.local"})],
)
def test_a_browser_leaves_out_the_port_that_https_implies(port: int, authorities: set[bytes]) -> None:
    assert LanNames("anna", [Exposed("local", 1)]).authorities(port) == authorities


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("anna", "anna"),
        ("Annas-MacBook.fritz.box", "annas-macbook"),
        ("Büro_PC", "b-ro-pc"),
        ("localhost", "gateway"),
        ("--", "gateway"),
        ("", "gateway"),
    ],
)
def test_the_machines_name_is_made_fit(monkeypatch: pytest.MonkeyPatch, said: str, name: str) -> None:
    monkeypatch.setattr(names.socket, "gethostname", lambda: said)
    assert machine_name() == name

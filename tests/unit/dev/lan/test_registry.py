"""A sandbox is found by its own id first, and by the one that the local network knows it under."""

from __future__ import annotations

from ipaddress import IPv6Address

from gateway.dev.lan.registry import LanRegistry
from gateway.directory.sandbox import Sandbox

LOCAL = Sandbox("local", IPv6Address("::1"), "1")
SHOP = Sandbox("shop", IPv6Address("fd00::5"), "1")


async def test_an_alias_leads_to_its_sandbox() -> None:
    registry = LanRegistry({"local": LOCAL})
    registry.aliases = {"anna": "local"}
    found = await registry.fetch("anna")
    assert found is not None
    assert (found.id, found.address) == ("anna", LOCAL.address)
    assert await registry.fetch("bert") is None


async def test_a_machine_that_is_called_like_a_sandbox_does_not_take_its_name() -> None:
    registry = LanRegistry({"local": LOCAL, "shop": SHOP})
    registry.aliases = {"shop": "local"}
    assert await registry.fetch("shop") == SHOP

"""What an examination knows of a gateway that is not running: its listeners are those of its configuration."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from gateway.config import Listen, Settings
from gateway.process.explain import configured_listeners


def test_every_configured_listener_is_our_own() -> None:
    replace, settings = msgspec.structs.replace, Settings()
    settings = replace(
        settings,
        edge=replace(
            settings.edge, listen=(Listen("::", 443), Listen("::1", 8443)), listen_plain=(Listen("0.0.0.0", 80),)
        ),
        admin=replace(settings.admin, listen=Listen("127.0.0.1", 9090)),
    )
    assert list(configured_listeners(settings)) == [
        (None, 443),
        (IPv6Address("::1"), 8443),
        (IPv4Address("0.0.0.0"), 80),
        (IPv4Address("127.0.0.1"), 9090),
    ]

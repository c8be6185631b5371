"""A dial that fails says what the kernel said, and whose doing it is."""

from __future__ import annotations

import errno
import os
import socket
import sys

import pytest

from gateway.errors import GatewayError, Reason
from gateway.upstream.dial import connected_socket

IPV6_RECVERR = 25


async def outcome(address: str = "::1", port: int = 9) -> GatewayError:
    with pytest.raises(GatewayError) as met:
        await connected_socket(address, port, 5.0)
    return met.value


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EMFILE, Reason.OVERLOADED),
        (errno.ENOBUFS, Reason.OVERLOADED),
        (errno.EAFNOSUPPORT, Reason.DESTINATION_IP_UNROUTABLE),
        (errno.EACCES, Reason.DESTINATION_IP_UNROUTABLE),  # of connect it would be a firewall
        (errno.EINVAL, Reason.PROXY_INTERNAL_ERROR),  # of connect it would be a blackhole route
        (errno.EXDEV, Reason.PROXY_INTERNAL_ERROR),  # a word nobody has thought of is no guess
    ],
)
async def test_without_a_socket(number: int, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> socket.socket:
        raise OSError(number, "…")

    with monkeypatch.context() as patched:
        patched.setattr("gateway.upstream.dial.socket.socket", fail)
        error = await outcome()
    assert error.reason is reason
    assert os.strerror(number) in error.detail


@pytest.mark.ipv6
async def test_refused() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        port = listener.getsockname()[1]
    error = await outcome(port=port)
    assert error.reason is Reason.CONNECTION_REFUSED
    assert error.detail.startswith(f"connect to [::1]:{port}: Connection refused after ")


@pytest.mark.ipv6
async def test_connected() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        sock = await connected_socket("::1", listener.getsockname()[1], 5.0)
        assert sock.getpeername() == listener.getsockname()
        assert not sock.getblocking()
        # An ICMPv6 error, which others may forge, ends no connection that has been made.
        assert sys.platform != "linux" or sock.getsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR) == 0
        sock.close()

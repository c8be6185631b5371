"""Every word of the kernel has one meaning, and none of them is our own fault unless it is."""

from __future__ import annotations

import errno
import socket

import pytest

from gateway import errnos
from gateway.errors import Blame, Reason

SOCKET = {"EACCES", "EAFNOSUPPORT", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPROTONOSUPPORT"}
CONNECT = {
    *("EACCES", "EPERM", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "ECONNREFUSED", "ENETUNREACH"),
    *("ETIMEDOUT", "EHOSTUNREACH", "EHOSTDOWN", "ENETDOWN", "ENONET", "ECONNRESET", "ECONNABORTED", "EINVAL", "EPROTO"),
    *("EMSGSIZE", "ENOBUFS", "ENOMEM", "ENODEV", "ENETRESET"),
}
MISTAKES = {"EALREADY", "EISCONN", "EBADF", "EFAULT", "ENOTSOCK", "EPROTOTYPE", "EINPROGRESS", "EDESTADDRREQ", "EINTR"}
READ_AND_WRITE = {
    *("ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "ENETDOWN", "ECONNABORTED", "ENETRESET"),
    *("ENOTCONN", "EACCES", "EPERM", "ENOBUFS", "ENOMEM", "EMSGSIZE", "EPROTO", "EHOSTDOWN", "ECONNREFUSED"),
}
BY_THE_OTHER_SIDE = {"ECONNRESET", "EPIPE", "ENOTCONN"}


def number(name: str) -> int:
    value: int = getattr(errno, name)
    return value


@pytest.mark.parametrize("name", sorted(SOCKET | CONNECT))
def test_what_a_dial_meets_is_not_our_fault(name: str) -> None:
    assert errnos.MEANINGS[number(name)].dialing is not Reason.PROXY_INTERNAL_ERROR


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_mistake_of_the_program_is(name: str) -> None:
    assert number(name) not in errnos.MEANINGS


def test_only_what_this_machine_lacks_is_blamed_on_it() -> None:
    ours = {errno.errorcode[value] for value, row in errnos.MEANINGS.items() if row.dialing.row.blame is Blame.GATEWAY}
    assert ours == {"EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRINUSE", "EADDRNOTAVAIL", "EAGAIN"}


@pytest.mark.parametrize("name", sorted(READ_AND_WRITE))
def test_how_a_connection_ended_says_more_than_reset(name: str) -> None:
    how = errnos.ended(OSError(number(name), "…"))
    if name in BY_THE_OTHER_SIDE:
        assert how in ("reset the connection", "closed the connection")
        assert errnos.lost(OSError(number(name), "…")) == "the connection was reset"
    else:
        assert "reset" not in how and "closed" not in how
        assert errnos.lost(OSError(number(name), "…")) == f"the other side {how}"


def test_an_end_without_a_number() -> None:
    assert errnos.ended(None) == "closed the connection"
    assert errnos.lost(None) == "the connection was closed"
    assert errnos.ended(RuntimeError()) == "reset the connection"
    assert errnos.ended(OSError(errno.EXDEV, "…")) == "was lost (Invalid cross-device link)"


@pytest.mark.ipv6
def test_what_accept_says_of_a_listener_and_of_a_connection() -> None:
    of_connections = {
        "ECONNABORTED",
        "EPROTO",
        "ENETDOWN",
        "EHOSTDOWN",
        "ENONET",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "EPERM",
    }
    assert not {number(name) for name in of_connections} & (errnos.LISTENER_GONE | errnos.EXHAUSTED)
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        listener.shutdown(socket.SHUT_RD)
        with pytest.raises(OSError) as met:
            listener.accept()
    assert met.value.errno in errnos.LISTENER_GONE

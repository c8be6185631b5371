"""The role of a field name: in every spelling, for names nobody has heard of, and with a memory that has an end."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError, Reason
from gateway.http import fields, roles
from gateway.http.fields import KNOWN_ROLES, MAX_REMEMBERED_NAMES, classify

ROLES = [
    (b"Host", roles.HOST),
    (b"Content-Length", roles.CONTENT_LENGTH),
    (b"Transfer-Encoding", roles.TRANSFER_ENCODING),
    (b"Connection", roles.CONNECTION),
    (b"Upgrade", roles.UPGRADE),
    (b"Expect", roles.EXPECT),
    (b"TE", roles.TE),
    (b"Keep-Alive", roles.HOP),
    (b"Proxy-Connection", roles.HOP),
    (b"HTTP2-Settings", roles.DROPPED),
    (b"Proxy", roles.DROPPED),
    (b"Forwarded", roles.FORWARDING),
    (b"X-Forwarded-For", roles.FORWARDING),
    (b"X-Forwarded-Host", roles.FORWARDING),
    (b"X-Forwarded-Proto", roles.FORWARDING),
    (b"X-Forwarded-Port", roles.FORWARDING),
    (b"X-Forwarded-Client-Cert", roles.FORWARDING),
    (b"X-Real-Ip", roles.FORWARDING),
    (b"Via", roles.FORWARDING),
    (b"True-Client-IP", roles.FORWARDING),
    (b"X-Original-URL", roles.FORWARDING),
    (b"X-Envoy-Anything", roles.FORWARDING),
    (b"X.Forwarded.For", roles.FORWARDING),
    (b"HTTP_CLIENT_IP", roles.FORWARDING),
    (b"HTTP-Referer", roles.PASS),
    (b"Alt-Svc", roles.DROPPED),
    (b"Set-Cookie2", roles.DROPPED),
    (b"Clear-Site-Data", roles.SET_COOKIE),
    (b"X-Gateway-Error", roles.MARK),
    (b"X-Gateway-Hint", roles.MARK),
    (b"Proxy-Status", roles.MARK),
    (b"X-Request-Id", roles.REQUEST_ID),
    (b"Set-Cookie", roles.SET_COOKIE),
    (b"Cookie", roles.COOKIE),
    (b"Content-Type", roles.CONTENT_TYPE),
    (b"Priority", roles.PRIORITY),
    (b"Sec-WebSocket-Key", roles.PASS),
    (b"X-Hosts", roles.PASS),
    (b"Hostx", roles.PASS),
    (b"Content-Length-X", roles.PASS),
]


@pytest.mark.parametrize(("name", "role"), ROLES)
def test_a_name_has_one_role_in_every_letter_case(name: bytes, role: int) -> None:
    assert {classify(name), classify(name.lower()), classify(name.upper()), classify(name.swapcase())} == {role}


ALIASES = [
    (b"X_Forwarded_For", roles.FORWARDING),
    (b"X_FORWARDED_FOR", roles.FORWARDING),
    (b"X-Forwarded_For", roles.FORWARDING),
    (b"X_Forwarded-For", roles.FORWARDING),
    (b"X_Forwarded_Anything", roles.FORWARDING),
    (b"X_Real_Ip", roles.FORWARDING),
    (b"X-Real_IP", roles.FORWARDING),
    (b"Content_Length", roles.DROPPED),
    (b"Transfer_Encoding", roles.DROPPED),
    (b"Keep_Alive", roles.DROPPED),
    (b"HTTP2_Settings", roles.DROPPED),
    (b"X_Gateway_Error", roles.DROPPED),
    (b"Proxy_Status", roles.DROPPED),
    (b"X_Request_Id", roles.DROPPED),
    (b"Set_Cookie", roles.DROPPED),
    (b"X_Custom", roles.PASS),
    (b"_", roles.PASS),
    (b"Content__Length", roles.PASS),
]


@pytest.mark.parametrize(("name", "role"), ALIASES)
def test_an_underscore_hides_nothing(name: bytes, role: int) -> None:
    """CVE-2026-39858: X_Forwarded_For and X-Forwarded-For are one variable to CGI and its heirs."""
    assert classify(name) is role


def test_an_alias_never_frames_or_routes_a_message() -> None:
    deciding = {
        roles.HOST,
        roles.CONTENT_LENGTH,
        roles.TRANSFER_ENCODING,
        roles.CONNECTION,
        roles.UPGRADE,
        roles.EXPECT,
    }
    names = [name for name, role in ROLES if role in deciding and b"-" in name]
    assert names
    assert not deciding & {classify(name.replace(b"-", b"_")) for name in names}


@pytest.mark.parametrize("octet", range(256))
def test_a_name_is_a_token(octet: int) -> None:
    token = octet < 0x80 and (chr(octet).isalnum() or chr(octet) in "!#$%&'*+-.^_`|~")
    for name in (b"%c" % octet, b"X%c" % octet, b"%cX" % octet):
        if token:
            assert classify(name) == roles.PASS
        else:
            with pytest.raises(GatewayError) as error:
                classify(name)
            assert error.value.reason is Reason.BAD_REQUEST
            assert name not in KNOWN_ROLES


def test_an_empty_name_is_no_token() -> None:
    with pytest.raises(GatewayError):
        classify(b"")


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, int]:
    """The memory, empty for this test."""
    remembered: dict[bytes, int] = {}
    monkeypatch.setattr(fields, "KNOWN_ROLES", remembered)
    return remembered


@pytest.mark.pure
def test_a_spelling_is_remembered(forgetful: dict[bytes, int]) -> None:
    classify(b"X-Forwarded-For")
    assert forgetful == {b"X-Forwarded-For": roles.FORWARDING}


@pytest.mark.pure
def test_hostile_names_cannot_grow_the_memory(forgetful: dict[bytes, int]) -> None:
    for number in range(MAX_REMEMBERED_NAMES + 100):
        assert classify(b"x-%d" % number) == roles.PASS
    assert len(forgetful) == MAX_REMEMBERED_NAMES
    assert classify(b"X-Forwarded-For") == roles.FORWARDING
    assert len(forgetful) == MAX_REMEMBERED_NAMES


@pytest.mark.pure
@pytest.mark.parametrize(("length", "remembered"), [(64, True), (65, False), (8000, False)])
def test_long_names_are_not_kept(forgetful: dict[bytes, int], length: int, remembered: bool) -> None:
    name = b"x" * length
    assert classify(name) == roles.PASS
    assert (name in forgetful) is remembered


def test_the_memory_is_what_the_validator_asks() -> None:
    classify(b"X-Some-Name")
    assert KNOWN_ROLES[b"X-Some-Name"] == roles.PASS
    assert not KNOWN_ROLES[b"X-Some-Name"], "the hot loop tests truth"

"""The role of a field name: in every spelling, for names nobody has heard of, and with a memory that has an end."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError, Reason
from gateway.http import fields
from gateway.http.fields import MAX_REMEMBERED_NAMES, Role, classify, known_role

ROLES = [
    (b"Host", Role.HOST),
    (b"Content-Length", Role.CONTENT_LENGTH),
    (b"Transfer-Encoding", Role.TRANSFER_ENCODING),
    (b"Connection", Role.CONNECTION),
    (b"Upgrade", Role.UPGRADE),
    (b"Expect", Role.EXPECT),
    (b"TE", Role.TE),
    (b"Keep-Alive", Role.HOP),
    (b"Proxy-Connection", Role.HOP),
    (b"HTTP2-Settings", Role.DROPPED),
    (b"Proxy", Role.DROPPED),
    (b"Forwarded", Role.FORWARDING),
    (b"X-Forwarded-For", Role.FORWARDING),
    (b"X-Forwarded-Host", Role.FORWARDING),
    (b"X-Forwarded-Proto", Role.FORWARDING),
    (b"X-Forwarded-Port", Role.FORWARDING),
    (b"X-Forwarded-Client-Cert", Role.FORWARDING),
    (b"X-Real-Ip", Role.FORWARDING),
    (b"Via", Role.FORWARDING),
    (b"True-Client-IP", Role.FORWARDING),
    (b"X-Original-URL", Role.FORWARDING),
    (b"X-Envoy-Anything", Role.FORWARDING),
    (b"X.Forwarded.For", Role.FORWARDING),
    (b"HTTP_CLIENT_IP", Role.FORWARDING),
    (b"HTTP-Referer", Role.PASS),
    (b"Alt-Svc", Role.DROPPED),
    (b"Set-Cookie2", Role.DROPPED),
    (b"Clear-Site-Data", Role.SET_COOKIE),
    (b"X-Gateway-Error", Role.MARK),
    (b"X-Gateway-Hint", Role.MARK),
    (b"Proxy-Status", Role.MARK),
    (b"X-Request-Id", Role.REQUEST_ID),
    (b"Set-Cookie", Role.SET_COOKIE),
    (b"Cookie", Role.PASS),
    (b"Content-Type", Role.CONTENT_TYPE),
    (b"Priority", Role.PRIORITY),
    (b"Sec-WebSocket-Key", Role.PASS),
    (b"X-Hosts", Role.PASS),
    (b"Hostx", Role.PASS),
    (b"Content-Length-X", Role.PASS),
]


@pytest.mark.parametrize(("name", "role"), ROLES)
def test_a_name_has_one_role_in_every_letter_case(name: bytes, role: Role) -> None:
    assert {classify(name), classify(name.lower()), classify(name.upper()), classify(name.swapcase())} == {role}


ALIASES = [
    (b"X_Forwarded_For", Role.FORWARDING),
    (b"X_FORWARDED_FOR", Role.FORWARDING),
    (b"X-Forwarded_For", Role.FORWARDING),
    (b"X_Forwarded-For", Role.FORWARDING),
    (b"X_Forwarded_Anything", Role.FORWARDING),
    (b"X_Real_Ip", Role.FORWARDING),
    (b"X-Real_IP", Role.FORWARDING),
    (b"Content_Length", Role.DROPPED),
    (b"Transfer_Encoding", Role.DROPPED),
    (b"Keep_Alive", Role.DROPPED),
    (b"HTTP2_Settings", Role.DROPPED),
    (b"X_Gateway_Error", Role.DROPPED),
    (b"Proxy_Status", Role.DROPPED),
    (b"X_Request_Id", Role.DROPPED),
    (b"Set_Cookie", Role.DROPPED),
    (b"X_Custom", Role.PASS),
    (b"_", Role.PASS),
    (b"Content__Length", Role.PASS),
]


@pytest.mark.parametrize(("name", "role"), ALIASES)
def test_an_underscore_hides_nothing(name: bytes, role: Role) -> None:
    """CVE-2026-39858: X_Forwarded_For and X-Forwarded-For are one variable to CGI and its heirs."""
    assert classify(name) is role


def test_an_alias_never_frames_or_routes_a_message() -> None:
    deciding = {Role.HOST, Role.CONTENT_LENGTH, Role.TRANSFER_ENCODING, Role.CONNECTION, Role.UPGRADE, Role.EXPECT}
    names = [name for name, role in ROLES if role in deciding and b"-" in name]
    assert names
    assert not deciding & {classify(name.replace(b"-", b"_")) for name in names}


@pytest.mark.parametrize("octet", range(256))
def test_a_name_is_a_token(octet: int) -> None:
    token = octet < 0x80 and (chr(octet).isalnum() or chr(octet) in "!#$%&'*+-.^_`|~")
    for name in (b"%c" % octet, b"X%c" % octet, b"%cX" % octet):
        if token:
            assert classify(name) is Role.PASS
        else:
            with pytest.raises(GatewayError) as error:
                classify(name)
            assert error.value.reason is Reason.BAD_REQUEST
            assert known_role(name) is None


def test_an_empty_name_is_no_token() -> None:
    with pytest.raises(GatewayError):
        classify(b"")


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, Role]:
    """The memory, empty for this test."""
    remembered: dict[bytes, Role] = {}
    monkeypatch.setattr(fields, "_remembered", remembered)
    return remembered


def test_a_spelling_is_remembered(forgetful: dict[bytes, Role]) -> None:
    classify(b"X-Forwarded-For")
    assert forgetful == {b"X-Forwarded-For": Role.FORWARDING}


def test_hostile_names_cannot_grow_the_memory(forgetful: dict[bytes, Role]) -> None:
    for number in range(MAX_REMEMBERED_NAMES + 100):
        assert classify(b"x-%d" % number) is Role.PASS
    assert len(forgetful) == MAX_REMEMBERED_NAMES
    assert classify(b"X-Forwarded-For") is Role.FORWARDING
    assert len(forgetful) == MAX_REMEMBERED_NAMES


@pytest.mark.parametrize(("length", "remembered"), [(64, True), (65, False), (8000, False)])
def test_long_names_are_not_kept(forgetful: dict[bytes, Role], length: int, remembered: bool) -> None:
    name = b"x" * length
    assert classify(name) is Role.PASS
    assert (name in forgetful) is remembered


def test_the_memory_is_what_the_validator_asks() -> None:
    classify(b"X-Some-Name")
    assert known_role(b"X-Some-Name") is Role.PASS
    assert not known_role(b"X-Some-Name"), "the hot loop tests truth"

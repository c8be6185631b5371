"""A problem told by a WebSocket's close code."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError, Reason
from gateway.hostname import Target
from gateway.http.head_parser import HeadLimits, parse_request_head
from gateway.http.message import RequestHead
from gateway.problems.problem import RequestContext
from gateway.problems.websocket import accept_and_close, asks_for_close

LIMITS = HeadLimits(32768, 8192, 8192, 100)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
"""RFC 6455 section 1.3, whose answer is ACCEPT."""
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def handshake(
    target: bytes = b"/?gateway_close=1", upgrade: bytes = b"websocket", key: bytes = KEY, more: bytes = b""
) -> RequestHead:
    return parse_request_head(
        b"GET %b HTTP/1.1\r\nHost: 5000-box.sandbox.localhost\r\nConnection: Upgrade\r\nUpgrade: %b\r\n"
        b"Sec-WebSocket-Key: %b\r\nSec-WebSocket-Version: 13\r\n%b\r\n" % (target, upgrade, key, more),
        LIMITS,
    )


@pytest.mark.parametrize(
    ("target", "asks"),
    [
        (b"/?gateway_close=1", True),
        (b"/socket?a=b&gateway_close=1&c", True),
        (b"/", False),
        (b"/?gateway_close=0", False),
        (b"/?xgateway_close=1", False),
        (b"/gateway_close=1", False),
    ],
)
def test_the_query_asks(target: bytes, asks: bool) -> None:
    assert asks_for_close(handshake(target), always=False) is asks
    assert asks_for_close(handshake(target), always=True)


def test_only_a_websocket_handshake_is_accepted() -> None:
    assert asks_for_close(handshake(upgrade=b"WebSocket"), always=True)
    assert not asks_for_close(handshake(upgrade=b"something"), always=True)
    for key in (b"", b"short", b"dGhlIHNhbXBsZQ==", b"!" * 24):
        assert not asks_for_close(handshake(key=key), always=True)
    plain = parse_request_head(b"GET /?gateway_close=1 HTTP/1.1\r\nHost: a\r\n\r\n", LIMITS)
    assert not asks_for_close(plain, always=True)


def closed(error: GatewayError) -> tuple[bytes, int, str]:
    circumstances = RequestContext("id-1", handshake(), Target(5000, "box", "sandbox.localhost"), "fd00::5")
    head, frame = accept_and_close(error, circumstances)
    assert head.status == 101
    assert head.get(b"sec-websocket-accept") == ACCEPT
    assert (head.get(b"proxy-status") or b"").startswith(b"gateway; error=connection_refused")
    assert frame[0] == 0x88, "one final Close frame, unmasked"
    assert frame[1] == len(frame) - 2 <= 125
    return head.get(b"x-gateway-error") or b"", int.from_bytes(frame[2:4]), frame[4:].decode()


def test_the_code_is_the_status_and_the_reason_says_why() -> None:
    mark, code, reason = closed(GatewayError(Reason.CONNECTION_REFUSED, "connect to [fd00::5]:5000: refused"))
    assert mark == b"connection_refused"
    assert code == 4502
    assert reason == "connection_refused: Nothing reachable listens on port 5000"


@pytest.mark.parametrize(
    ("offers", "selected"),
    [
        ([], None),
        ([b"vite-hmr"], b"vite-hmr"),
        ([b"graphql-transport-ws, graphql-ws"], b"graphql-transport-ws"),
        ([b"", b" ,mqtt,", b"mqttv3.1"], b"mqtt"),
        ([b"a b"], None),
        ([b'"quoted, one"'], None),
        ([b","], None),
    ],
)
def test_the_first_subprotocol_offered_is_selected(offers: list[bytes], selected: bytes | None) -> None:
    asked = handshake(more=b"".join(b"Sec-WebSocket-Protocol: %b\r\n" % offer for offer in offers))
    head, _ = accept_and_close(GatewayError(Reason.CONNECTION_REFUSED, "refused"), RequestContext("id-1", asked))
    assert head.get(b"sec-websocket-protocol") == selected


def test_a_long_reason_ends_between_two_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    for padding in range(3):
        long = "x" * padding + "“”" * 100
        monkeypatch.setattr("gateway.problems.websocket.describe", lambda *_, t=long: _Described(t))
        _, _, reason = closed(GatewayError(Reason.CONNECTION_REFUSED, "refused"))
        assert reason.endswith("…")
        assert 115 <= len(reason.encode()) <= 123


class _Described:
    status, reason = 502, "connection_refused"

    def __init__(self, title: str) -> None:
        self.title = title

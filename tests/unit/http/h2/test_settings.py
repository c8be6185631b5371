"""SETTINGS: what is announced, and what may be said to us."""

from __future__ import annotations

import pytest

from gateway.http.h2.errors import ConnectionFault, ErrorCode
from gateway.http.h2.settings import PeerSettings, SessionLimits
from tests.support.h2_frames import Setting, settings

LIMITS = SessionLimits(concurrent_streams=7, window=8, header_list_told=9)


def test_what_a_server_announces() -> None:
    assert dict(LIMITS.announced(server=True)) == {
        Setting.MAX_CONCURRENT_STREAMS: 7,
        Setting.INITIAL_WINDOW_SIZE: 8,
        Setting.MAX_HEADER_LIST_SIZE: 9,
        Setting.ENABLE_CONNECT_PROTOCOL: 1,
        Setting.NO_RFC7540_PRIORITIES: 1,
    }


def test_what_a_client_announces() -> None:
    assert dict(LIMITS.announced(server=False)) == {
        Setting.ENABLE_PUSH: 0,
        Setting.INITIAL_WINDOW_SIZE: 8,
        Setting.MAX_HEADER_LIST_SIZE: 9,
    }


def test_the_last_value_counts() -> None:
    peer = PeerSettings()
    peer.take(settings((4, 1), (3, 5), (4, 2), (6, 3), (99, 1), (8, 1), (5, 16_384)), from_server=True)
    assert (peer.initial_window, peer.max_concurrent_streams) == (2, 5)
    assert peer.connect_protocol


def test_the_smallest_table_counts() -> None:
    peer = PeerSettings()
    peer.take(settings((1, 100), (1, 5_000)), from_server=False)
    assert peer.header_table_size == 100


BAD = {
    "INITIAL_WINDOW_SIZE": ((4, 2**31), ErrorCode.FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE too small": ((5, 16_383), ErrorCode.PROTOCOL_ERROR),
    "MAX_FRAME_SIZE too large": ((5, 2**24), ErrorCode.PROTOCOL_ERROR),
    "ENABLE_PUSH": ((2, 2), ErrorCode.PROTOCOL_ERROR),
    "ENABLE_CONNECT_PROTOCOL": ((8, 2), ErrorCode.PROTOCOL_ERROR),
    "NO_RFC7540_PRIORITIES": ((9, 2), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("from_server", [True, False])
def test_values_out_of_range(name: str, from_server: bool) -> None:
    pair, code = BAD[name]
    with pytest.raises(ConnectionFault) as raised:
        PeerSettings().take(settings(pair), from_server=from_server)
    assert raised.value.code is code


@pytest.mark.parametrize("pair", [(4, 2**31 - 1), (5, 16_384), (5, 2**24 - 1), (2, 0), (8, 0), (9, 1), (1, 2**32 - 1)])
def test_values_at_the_edge(pair: tuple[int, int]) -> None:
    PeerSettings().take(settings(pair), from_server=True)


def test_only_a_client_may_allow_push() -> None:
    PeerSettings().take(settings((2, 1)), from_server=False)
    with pytest.raises(ConnectionFault):
        PeerSettings().take(settings((2, 1)), from_server=True)


def test_connect_protocol_is_not_taken_back() -> None:
    """RFC 8441 section 3."""
    peer = PeerSettings()
    peer.take(settings((8, 1)), from_server=True)
    with pytest.raises(ConnectionFault):
        peer.take(settings((8, 0)), from_server=True)

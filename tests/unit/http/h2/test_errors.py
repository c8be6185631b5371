"""Codes and faults, for people."""

from __future__ import annotations

from gateway.http.h2.errors import ConnectionFault, ErrorCode, StreamFault
from tests.support.h2_frames import Code


def test_codes_are_the_registered_ones() -> None:
    assert {code.name: code.value for code in ErrorCode} == {code.name: code.value for code in Code}


def test_names_of_codes_that_anybody_may_send() -> None:
    assert ErrorCode.name_of(8) == "CANCEL"
    assert ErrorCode.name_of(0x2A) == "0x2a"
    assert ErrorCode.name_of(0xFFFFFFFF) == "0xffffffff"


def test_faults_say_what_they_are() -> None:
    assert str(ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PING on a stream")) == "PROTOCOL_ERROR: PING on a stream"
    assert str(StreamFault(ErrorCode.CANCEL, "not wanted")) == "CANCEL: not wanted"

"""The key of a WebSocket handshake."""

from __future__ import annotations

from gateway.http.websocket import accept


def test_the_example_of_the_rfc() -> None:
    """RFC 6455 section 1.3."""
    assert accept(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

"""How long an HTTP/1.1 connection from downstream waits, where sockets would show it too slowly."""

from __future__ import annotations

import pytest

from gateway.edge.exchange import Exchange
from gateway.edge.http1 import Http1Downstream
from tests.support.seam import HOST, gateway
from tests.support.wire import Wire

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled


@pytest.mark.parametrize(
    ("content_type", "setting"),
    [(b"text/plain", "body_idle"), (b"application/grpc-web", "body_idle"), (b"application/grpc+proto", "tunnel_idle")],
)
async def test_how_long_a_body_may_be_silent_before_its_answer(
    monkeypatch: pytest.MonkeyPatch, content_type: bytes, setting: str
) -> None:
    """A call of gRPC is a conversation from its beginning on: its answer may begin when there is something to say."""
    monkeypatch.setattr(Exchange, "begin", lambda exchange: None)
    async with gateway() as g:
        connection = Http1Downstream(g.edge, g.peer, lambda: None)
        connection.connection_made(Wire())
        head = b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.data_received(head % (HOST, content_type))
        patience = connection.deadline - g.edge.clock()
        assert patience == pytest.approx(getattr(g.edge.timeouts, setting), abs=1.0)
        connection.connection_lost(None)

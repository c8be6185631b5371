"""Nobody is invited to send again what may have been carried out already (RFC 9110 section 9.2.2)."""

from __future__ import annotations

import pytest

from gateway.errors import GrpcStatus
from tests.behaviour.harness import App, Gateway, Message, OpenGateway

IDEMPOTENT = (b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE")
OTHERS = (b"POST", b"PATCH", b"PROPFIND")
CALL = b"Content-Type: application/grpc\r\n"


def asked(app: App, method: bytes, more: bytes = b"", length: int = 3) -> bytes:
    return b"%b /order HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\nabc" % (method, app.host, more, length)


async def refused(gateway: Gateway, method: bytes, more: bytes = b"") -> Message:
    """The answer to a request that no app has got."""
    app = await gateway.app()
    app.stop()
    browser = await gateway.connect()
    browser.send(asked(app, method, more))
    return await browser.answer(method)


async def read_and_dropped(gateway: Gateway, method: bytes, more: bytes = b"", said: bytes = b"") -> Message:
    """The answer to a request that the app has read before it died."""
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(asked(app, method, more))
    upstream = await app.accept()
    assert (await upstream.request()).body == b"abc"
    if said:
        upstream.send(said)
    upstream.close()
    return await browser.answer(method)


@pytest.mark.parametrize("method", [*IDEMPOTENT, *OTHERS])
async def test_what_no_app_has_got_may_be_sent_again(gateway: Gateway, method: bytes) -> None:
    answer = await refused(gateway, method)
    assert answer.reason == b"connection_refused"
    assert answer.get(b"Retry-After") == b"1"


@pytest.mark.parametrize("method", IDEMPOTENT)
async def test_what_is_idempotent_may_be_sent_again(gateway: Gateway, method: bytes) -> None:
    answer = await read_and_dropped(gateway, method)
    assert answer.reason == b"connection_terminated"
    assert answer.get(b"Retry-After") == b"1"


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 20"], ids=["", "interim", "torn"])
@pytest.mark.parametrize("method", OTHERS)
async def test_what_an_app_has_read_is_not_ordered_twice(gateway: Gateway, method: bytes, said: bytes) -> None:
    answer = await read_and_dropped(gateway, method, said=said)
    assert answer.reason == b"connection_terminated"
    assert answer.get(b"Retry-After") is None


async def test_half_a_post_has_been_passed_on(open_gateway: OpenGateway) -> None:
    gateway = await open_gateway(timeouts={"body_idle": 0.2})
    app = await gateway.app()
    browser = await gateway.connect()
    browser.send(asked(app, b"POST", length=6))
    upstream = await app.accept()
    await upstream.head()
    answer = await browser.answer()
    assert answer.reason == b"request_timeout"
    assert answer.get(b"Retry-After") is None


async def test_a_call_that_was_never_made_is_unavailable(gateway: Gateway) -> None:
    answer = await refused(gateway, b"POST", CALL)
    assert answer.get(b"Grpc-Status") == b"%d" % GrpcStatus.UNAVAILABLE.value
    assert answer.get(b"Retry-After") == b"1"


async def test_of_a_call_that_may_have_been_made_nothing_is_known(gateway: Gateway) -> None:
    """Of gRPC-Web, which comes to apps by HTTP/1.1; gRPC's own is told in test_h2c.py."""
    answer = await read_and_dropped(gateway, b"POST", b"Content-Type: application/grpc-web\r\n")
    assert answer.reason == b"connection_terminated"
    assert answer.get(b"Grpc-Status") == b"%d" % GrpcStatus.UNKNOWN.value
    assert answer.get(b"Retry-After") is None

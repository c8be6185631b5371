"""Fixtures of the behaviour tests: gateways that must leave nothing behind, on the event loop of production."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from tests.behaviour.harness import DOMAIN, Gateway, OpenGateway, Options, TlsSides, until
from tests.behaviour.protocols import BOTH
from tests.support.event_loop import Loop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], Loop]]:
    """Transports differ in what matters here (half-close, aborts, TLS shutdown): tests run on the workers' loop."""
    return {"uvloop": Loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kept = BOTH.get(metafunc.definition.path.name)
    if kept is not None and "spoken" in metafunc.fixturenames and metafunc.definition.name not in kept:
        metafunc.parametrize("spoken", ["http1", "http2"])


@pytest.fixture(scope="session")
def tls_sides(tmp_path_factory: pytest.TempPathFactory) -> TlsSides:
    certificates = local_ca.ensure(tmp_path_factory.mktemp("certs"), DOMAIN)
    server = server_context([CertificatePair(certificates.certificate, certificates.key)])
    return TlsSides(server, ssl.create_default_context(cafile=certificates.authority), certificates.authority)


def _descriptors() -> dict[str, str]:
    """Open descriptors and what they are; the one that lists them is gone by the time it is looked at."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[entry.name] = str(entry.readlink())
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
async def no_descriptor_is_left(tls_sides: TlsSides) -> AsyncIterator[None]:
    # libuv opens a descriptor of its own with the loop's first server, and keeps it.
    (await asyncio.get_running_loop().create_server(asyncio.Protocol, "::1", 0)).close()
    await asyncio.sleep(0)
    before = _descriptors()
    yield
    await until(lambda: len(_descriptors()) <= len(before), f"{_descriptors()}, before {before}")


@pytest.fixture
def spoken() -> str:
    """What browsers speak; `protocols.py` says which tests are run for HTTP/2, too."""
    return "http1"


@pytest.fixture
async def open_gateway(tls_sides: TlsSides, no_descriptor_is_left: None, spoken: str) -> AsyncIterator[OpenGateway]:
    """Makes gateways; each is proven clean after the test (`Gateway.finish`)."""
    async with AsyncExitStack() as opened:

        async def open_one(**options: Any) -> Gateway:
            gateway = Gateway(tls_sides, Options(**options), spoken)
            opened.push_async_callback(gateway.finish)
            return gateway

        yield open_one


@pytest.fixture
async def gateway(open_gateway: OpenGateway) -> Gateway:
    return await open_gateway()

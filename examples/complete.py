"""From a sandbox to its public URL: register it, start an app in it, wait for the app, fetch it as a browser would.

    gateway dev                      # in one terminal, and in another, from the same directory:
    python examples/complete.py

Here this machine stands for the sandbox. GATEWAY_ADMIN and GATEWAY_CA say where another gateway's admin listener and
the certificate of its authority are, PORT which port the app takes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from gateway.client import Gateway
from gateway.tls.local_folder import choose

ADMIN = os.environ.get("GATEWAY_ADMIN", "http://127.0.0.1:9090")
AUTHORITY = os.environ.get("GATEWAY_CA") or choose(None, "sandbox.localhost") / "ca.pem"
PORT = int(os.environ.get("PORT", "5050"))


async def main(site: Path) -> None:
    async with Gateway(ADMIN) as gateway:
        sandbox = await gateway.sandboxes.register("complete", address="::1")
        print(f"registered {sandbox.id} at [{sandbox.address}], generation {sandbox.generation}")
        app = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "http.server", str(PORT), "--bind", "::", "--directory", site
        )
        try:
            await sandbox.wait_until_ready(PORT, timeout=30)
            url = f"https://{sandbox.expose(PORT)}/"
            print(f"ready: {url}")
            print(await fetch(url))
        finally:
            app.terminate()
            await app.wait()
            await gateway.sandboxes.remove(sandbox.id)


async def fetch(url: str) -> str:
    """The page at `url`; nobody but the gateway's own authority is believed."""
    connector = aiohttp.TCPConnector(resolver=Resolver(), ssl=ssl.create_default_context(cafile=AUTHORITY))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as answer:
        answer.raise_for_status()
        return await answer.text()


class Resolver(aiohttp.ThreadedResolver):
    """Names below .localhost are this machine: browsers and curl know that, not every system's resolver does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        return await super().resolve("localhost" if host.endswith(".localhost") else host, port, family)


if __name__ == "__main__":
    with TemporaryDirectory() as directory:
        Path(directory, "index.html").write_text("Hello from a sandbox\n", encoding="utf-8")
        asyncio.run(main(Path(directory)))

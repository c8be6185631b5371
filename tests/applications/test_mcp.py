"""MCP over streamable HTTP, both ends its SDK's: a tool that reports progress; an unknown Host and its hint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import MASKED, PLAIN, PYTHON, Application, Applications, python_program
from tests.interop.harness import curl
from tests.support.components import require

SERVER = """
import sys
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings

server = MCPServer("adder")

@server.tool()
async def add(numbers: list[int], context: Context) -> int:
    for number in range(len(numbers)):
        await context.report_progress(number + 1, len(numbers))
    return sum(numbers)

port, *hosts = sys.argv[1:]
known = TransportSecuritySettings(allowed_hosts=[f"localhost:{port}", *hosts])
server.run("streamable-http", host="::1", port=int(port), transport_security=known)
"""

CLIENT = """
import asyncio, json, sys
from mcp import Client

async def conversation(url):
    progress = []
    async def note(done, total, message):
        progress.append(done)
    async with Client(url) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("add", {"numbers": [1, 2, 3]}, progress_callback=note)
    return [names, result.content[0].text, progress]

async def main():
    print(json.dumps([await conversation(url) for url in sys.argv[1:]]))

asyncio.run(main())
"""


@pytest.fixture
def hosts() -> list[str]:
    return ["{authority}"]


@pytest.fixture
def app(gateway: Applications, tmp_path: Path, hosts: list[str]) -> Iterator[Application]:
    require("mcp")
    with python_program(gateway, SERVER, tmp_path, *hosts) as running:
        yield running


def test_a_tool_is_called(app: Application, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    urls = [app.url("/mcp", sandbox) for sandbox in (PLAIN, MASKED)]
    said = app.gateway.client(PYTHON, tmp_path / "client.py", *urls)
    assert json.loads(said.splitlines()[-1]) == [[["add"], "6", [1, 2, 3]]] * 2


@pytest.mark.parametrize("hosts", [[]])
def test_an_unknown_host_is_refused_with_a_hint(app: Application) -> None:
    json_ = ("--header", "Content-Type: application/json", "--data", "{}")
    answer = curl(app.url("/mcp"), app.gateway.ca, *json_)
    assert (answer.status, answer.text) == (421, "Invalid Host header")
    assert answer.header("X-Gateway-Hint") == (
        f"the app refused its public name. MCP server: TransportSecuritySettings(allowed_hosts=['{app.authority()}'])"
    )

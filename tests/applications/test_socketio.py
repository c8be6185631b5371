"""Socket.IO with its own script in a browser: long polling, the upgrade to WebSocket, and a megabyte back and forth."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import MASKED, PLAIN, Application, Applications, node_program
from tests.support.components import require
from tests.support.devtools import DevTools

PROGRAM = """
import {createServer} from "node:http";
import {Server} from "socket.io";

const http = createServer((request, response) => {
  response.setHeader("Content-Type", "text/html");
  response.end('<title>Socket.IO</title><script src="/socket.io/socket.io.js"></script>');
});
const io = new Server(http, {maxHttpBufferSize: 1e7});
io.on("connection", (socket) => {
  socket.on("echo", (message, acknowledge) => acknowledge(message));
  socket.on("everybody", (message) => io.emit("said", message));
});
http.listen(Number(process.argv[2]), "::1");
"""

# What two sockets of one page saw, once both have heard what one of them says to everybody.
CONVERSATION = """
const [transports, last] = arguments;
return new Promise((resolve, reject) => {
  const sockets = [0, 1].map(() => io({transports, forceNew: true}));
  const heard = sockets.map((socket) => new Promise((said) => socket.on("said", said)));
  sockets.forEach((socket) => socket.on("connect_error", (error) => reject(String(error))));
  const settled = (socket) => new Promise((done) => socket.on("connect", () => {
    if (socket.io.engine.transport.name === last) done();
    socket.io.engine.on("upgrade", done);
  }));
  Promise.all(sockets.map(settled)).then(() => {
    const sent = new Uint8Array(1000000).map((_, at) => at * 7);
    sockets[0].emit("echo", sent, async (message) => {
      const back = new Uint8Array(message);
      const same = back.length === sent.length && back.every((value, at) => value === sent[at]);
      sockets[1].emit("everybody", "größe");
      const both = await Promise.all(heard);
      const used = sockets.map((socket) => socket.io.engine.transport.name);
      sockets.forEach((socket) => socket.disconnect());
      resolve([same, both, used]);
    });
  });
});
"""


@pytest.fixture
def app(gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("socket.io")
    with node_program(gateway, PROGRAM, tmp_path) as running:
        yield running


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
@pytest.mark.parametrize("transports", [["polling", "websocket"], ["websocket"], ["polling"]], ids="-then-".join)
def test_a_conversation(app: Application, browser: DevTools, transports: list[str], sandbox: str) -> None:
    browser.open(app.url(sandbox=sandbox))
    last = transports[-1]
    assert browser.evaluate(CONVERSATION, transports, last) == [True, ["größe", "größe"], [last, last]]

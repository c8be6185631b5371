"""A shell over WebSocket: terminado, of which Jupyter's terminals are made, with a browser at its other end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import MASKED, PLAIN, Application, Applications, python_program
from tests.support.components import require
from tests.support.devtools import DevTools

PROGRAM = """
import sys
from terminado import SingleTermManager, TermSocket
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

class Page(RequestHandler):
    def get(self):
        self.write("<title>A terminal</title>")

manager = SingleTermManager(shell_command=["sh"])
app = Application([("/", Page), ("/terminal", TermSocket, {"term_manager": manager})])
app.listen(int(sys.argv[1]), "::1")
IOLoop.current().start()
"""

# Types each line once the terminal has shown the mark of the one before; resolves to all that it showed.
TYPED = """
const lines = arguments[0];
return new Promise((resolve, reject) => {
  const socket = new WebSocket("wss://" + location.host + "/terminal");
  let shown = "";
  const type = () => socket.send(JSON.stringify(["stdin", lines.shift()[0] + "\\r"]));
  let mark;
  socket.onmessage = ({data}) => {
    const [kind, text] = JSON.parse(data);
    if (kind === "setup") { mark = lines[0][1]; type(); }
    if (kind !== "stdout") return;
    shown += text;
    if (!shown.includes(mark)) return;
    if (lines.length) { mark = lines[0][1]; type(); }
    else { socket.onclose = null; socket.close(); resolve(shown); }
  };
  socket.onclose = ({code}) => reject("closed with " + code);
});
"""


@pytest.fixture
def app(gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("terminado")
    with python_program(gateway, PROGRAM, tmp_path) as running:
        yield running


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
def test_what_is_typed_is_done_and_shown(app: Application, browser: DevTools, sandbox: str) -> None:
    browser.open(app.url(sandbox=sandbox))
    # Of sums, so that the mark is in what the shell answers and not in what it echoes.
    shown = browser.evaluate(TYPED, [["echo $((20000 + 345))", "20345"], ["seq 60000; echo $((70000 + 1))", "70001"]])
    assert shown.count("\r\n") > 60_000 and "\r\n59999\r\n60000\r\n" in shown

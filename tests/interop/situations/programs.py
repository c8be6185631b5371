"""Apps of the common frameworks, as people start them: at the right address, or at one that nobody reaches."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from gateway.errors import Reason
from tests.interop.harness import GO_BINARY
from tests.interop.situations import Passes, Says, Where, situation
from tests.interop.situations.raw import OWN_ANSWER
from tests.interop.situations.stage import ELSEWHERE, Box, Program, Stage
from tests.support.process import ROOT, free_port

PYTHON = Path(sys.executable).name
"""As the kernel names its processes."""
WORKS = Passes(200, "Reachable: the app answers 200 OK after {ms} ms.")


# --- at the right address ---------------------------------------------------------------------------------------------


def flask(box: Box, host: str = "::") -> Program:
    return box.example(sys.executable, "examples/flask/app.py", host=host)


def express(box: Box, host: str = "::") -> Program:
    return box.example("node", "examples/express/server.js", host=host)


def uvicorn(box: Box, host: str) -> Program:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", "examples/fastapi", "--host", host]
    return box.program(*command, "--port", str(port), port=port, cwd=ROOT)


@situation("Flask on ::", WORKS, needs=("flask",), command=True)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(flask(box).port)


@situation("uvicorn on ::", WORKS, needs=("fastapi", "uvicorn"))
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(uvicorn(box, "::").port)


@situation("Express on ::", WORKS, needs=("node", "express"))
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(express(box).port)


@situation("Go's net/http", WORKS, needs=("go example",))
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(box.example(GO_BINARY).port)


@situation("Python's http.server on ::", WORKS)
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    box.program(sys.executable, "-m", "http.server", str(port), "--bind", "::", port=port)
    return box.where(port)


@situation(
    "PHP's own server on ::",
    Passes(404, "Reachable: the app answers 404 Not Found after {ms} ms.", OWN_ANSWER),
    needs=("php-cli",),
)
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    box.program("php", "-S", f"[::]:{port}", port=port)
    return box.where(port)


# --- at the wrong one -------------------------------------------------------------------------------------------------

REFUSED = "connect to [{address}]:{port}: Connection refused after {ms} ms"
BIND = (
    "Bind to `::` (all IPv6 addresses), port {port}, not to 127.0.0.1, 0.0.0.0 or, if the sandbox has its own address, "
    "localhost (::1)."
)


def ipv4_only(listener: str, *also: str) -> Says:
    return Says(
        Reason.IPV4_ONLY_LISTENER,
        "The app on port {port} listens on IPv4 only",
        f"something listens on {listener}:{{port}} but not on [{{address}}]:{{port}}",
        "Bind to `::` (all IPv6 addresses, and on Linux all IPv4 ones too), port {port}, and start the app again.",
        also=(REFUSED, *also),
        port="ipv4_only",
    )


NAMED = "the process is {process} (pid {pid})"


def on_this_machine(box: Box, program: Program, process: str) -> Where:
    return Where(box.id, program.port, box.address, facts={"process": process, "pid": str(program.pid)})


@situation(
    "Flask on 127.0.0.1 of a sandbox",
    Says(Reason.CONNECTION_REFUSED, "Nothing reachable listens on port {port}", REFUSED, BIND, port="refused"),
    needs=("flask",),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(flask(box, "127.0.0.1").port)


@situation("Flask on 0.0.0.0 of a sandbox whose IPv4 address is known", ipv4_only("{ipv4}"), needs=("flask",))
def _(stage: Stage) -> Where:
    box = stage.sandbox(ipv4=True)
    port = flask(box, "0.0.0.0").port
    return Where(box.id, port, box.address, facts={"ipv4": f"10.7.{box.id[1:]}.2"})


@situation("Flask on 127.0.0.1 of this machine", ipv4_only("127.0.0.1", NAMED), needs=("flask",), command=True)
def _(stage: Stage) -> Where:
    box = stage.own()
    return on_this_machine(box, flask(box, "127.0.0.1"), PYTHON)


@situation("uvicorn on 0.0.0.0 of this machine", ipv4_only("0.0.0.0", NAMED), needs=("fastapi", "uvicorn"))
def _(stage: Stage) -> Where:
    box = stage.own()
    return on_this_machine(box, uvicorn(box, "0.0.0.0"), PYTHON)


@situation("Express on 127.0.0.1 of this machine", ipv4_only("127.0.0.1", NAMED), needs=("node", "express"))
def _(stage: Stage) -> Where:
    box = stage.own()
    return on_this_machine(box, express(box, "127.0.0.1"), "node")


@situation("PHP's own server on localhost of this machine", ipv4_only("127.0.0.1", NAMED), needs=("php-cli",))
def _(stage: Stage) -> Where:
    box, port = stage.own(), free_port()
    return on_this_machine(box, box.program("php", "-S", f"127.0.0.1:{port}", port=port), "php")


@situation(
    "Vite on localhost of a sandbox",
    Says(Reason.CONNECTION_REFUSED, "Nothing reachable listens on port {port}", REFUSED, BIND, port="refused"),
    needs=("node", "vite"),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(vite(box, "localhost").port)


@situation(
    "Vite on localhost, the sandbox at another address of this machine",
    Says(
        Reason.CONNECTION_REFUSED,
        "Over IPv6, port {port} listens on localhost only",
        "something listens on [::1]:{port} but not on [{address}]:{port}",
        "Bind to `::` (all IPv6 addresses), port {port}, and start the app again.",
        also=(REFUSED, NAMED),
        port="loopback_only",
    ),
    needs=("node", "vite"),
)
def _(stage: Stage) -> Where:
    box = stage.another_own()
    return on_this_machine(box, vite(box, "::1"), "node")


FORWARDER = """
import socket, sys, threading
def relay(one, other):
    while data := one.recv(65536):
        other.sendall(data)
    other.shutdown(socket.SHUT_WR)
listener = socket.create_server((sys.argv[2], int(sys.argv[1])))
while True:
    visitor, _ = listener.accept()
    behind = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
    for ends in (visitor, behind), (behind, visitor):
        threading.Thread(target=relay, args=ends).start()
"""


@situation(
    "a container's port published on 0.0.0.0",
    replace(
        ipv4_only("0.0.0.0", NAMED),
        title="Port {port} is published on IPv4 only",
        fix="Publish port {port} on `::` (all IPv6 addresses): the command that forwards it has to change, not the "
        "app.",
    ),
    needs=("flask",),
)
def _(stage: Stage) -> Where:
    """The process that listens has the name of Docker's; the kernel has it from the file's."""
    box, port = stage.own(), free_port()
    behind = flask(box, "127.0.0.1").port
    program = stage.folder / "docker-proxy"
    program.symlink_to(Path(sys.executable).resolve())
    proxy = box.program(program, "-c", FORWARDER, str(port), "0.0.0.0", str(behind), port=port)
    return on_this_machine(box, proxy, "docker-proxy")


# --- dev servers and WebSockets ---------------------------------------------------------------------------------------


@situation(
    "Vite on :: that does not know the host",
    Passes(
        403,
        "Reachable: the app answers 403 Forbidden after {ms} ms.",
        f"the app refused its public name. Vite: server.allowedHosts: ['.{ELSEWHERE}'] in vite.config, "
        'or upstream.host = "localhost:{as_it_is}" in the gateway',
        hint=True,
    ),
    needs=("node", "vite"),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    port = vite(box, "::").port
    return Where(box.id, port, box.address, host=f"{port}-{box.id}.{ELSEWHERE}", facts={"as_it_is": "{port}"})


def vite(box: Box, host: str) -> Program:
    port = free_port()
    config = box.stage.folder / "vite.config.mjs"
    config.write_text("export default {cacheDir: 'cache'};\n")
    (box.stage.folder / "index.html").write_text("<!doctype html><title>hello</title>\n")
    command = ["node", ROOT / "examples" / "vite" / "node_modules" / "vite" / "bin" / "vite.js"]
    # It opens the port, to see whether it is free, and closes it again, before it serves.
    return box.program(*command, "--host", host, "--port", str(port), "--strictPort", port=port, says="ready in")


REFUSES = """
import socket, sys
from websockets.http11 import Response
from websockets.datastructures import Headers
from websockets.sync.server import serve

status, phrase = int(sys.argv[2]), sys.argv[3]
def refuse(connection, request):
    if status != 101:
        return Response(status, phrase, Headers({"Content-Length": "0", "Connection": "close"}))

serve(lambda connection: connection.recv(), "::", int(sys.argv[1]), family=socket.AF_INET6, process_request=refuse
      ).serve_forever()
"""

REFUSED = (
    "the app refused the WebSocket, usually by its origin check. It has to accept https://{authority} "
    "(docs/frameworks.md), or has no such route, if it is FastAPI or Starlette"
)
for status, phrase, concluded, fix in (
    (
        403,
        "Forbidden",
        "the app refuses this WebSocket handshake (403 Forbidden, usually by its origin check)",
        REFUSED,
    ),
    (401, "Unauthorized", "the app refuses this WebSocket handshake (401 Unauthorized)", OWN_ANSWER),
    (426, "Upgrade Required", "the app refuses this WebSocket handshake (426 Upgrade Required)", OWN_ANSWER),
    (404, "Not Found", "no WebSocket opens here", OWN_ANSWER),
):

    @situation(
        f"a WebSocket answered {status}",
        Passes(status, f"Reachable: the app answers {status} {phrase} after {{ms}} ms. But {concluded}.", fix),
    )
    def _(stage: Stage, status: int = status, phrase: str = phrase) -> Where:
        box = stage.sandbox()
        port = box.python(REFUSES, str(status), phrase).port
        return Where(box.id, port, box.address, scheme="wss")


@situation("a WebSocket that opens", Passes(426, "Reachable: a WebSocket opens after {ms} ms."))
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return Where(box.id, box.python(REFUSES, "101", "").port, box.address, scheme="wss")

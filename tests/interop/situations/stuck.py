"""Apps that have stopped to answer, and what their queue does then."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from gateway.errors import Reason
from tests.interop.harness import tls_connection
from tests.interop.situations import HASTY, PATIENT, Says, Where, situation
from tests.interop.situations.network import rule
from tests.interop.situations.programs import flask
from tests.interop.situations.raw import late, terminated
from tests.interop.situations.stage import Box, Program, Stage, asked, waiting
from tests.support.process import poll


@situation("Flask stopped in a debugger", late("no answer within 0.7 s"), needs=("flask",), gateway=HASTY)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(stopped(stage, flask(box)).port)


def stopped(stage: Stage, program: Program) -> Program:
    os.kill(program.pid, signal.SIGSTOP)
    stage.stack.callback(os.kill, program.pid, signal.SIGCONT)
    return program


SEEMS_STUCK = "The app on port {port} seems stuck"


def queue_full(seen: str, *also: str, title: str = "The queue of the app on port {port} is full") -> Says:
    return Says(
        Reason.CONNECTION_TIMEOUT,
        title,
        seen,
        "Is the app stuck, or stopped in a debugger? Read its log, or start it again.",
        also=also,
        port="stuck",
    )


UNANSWERED = "connect to [{address}]:{port}: no answer within 0.7 s"
HELD = (
    "the gateway's machine has 2 connections to [{address}]:{port}; 2 of them without an answer, the longest for {s} s"
)
UP = "the sandbox is up: it refuses connections to ports 3000, 3001, 4200, 5000, 5173, 8000, 8080, 8888"


@situation(
    "an app that is stuck, with a small queue", queue_full(HELD, UNANSWERED, UP, title=SEEMS_STUCK), gateway=HASTY
)
def _(stage: Stage) -> Where:
    return stuck(stage.sandbox())


@situation(
    "an app on this machine that is stuck, with a small queue",
    queue_full(
        "{process} (pid {pid}) listens on [::]:{port}: 2 connections in its queue, which is full",
        *(UNANSWERED, HELD),
    ),
    gateway=HASTY,
)
def _(stage: Stage) -> Where:
    return stuck(stage.own())


def stuck(box: Box) -> Where:
    """The app takes nobody on; the gateway itself has filled the queue, with requests that still wait."""
    with box.network.inside():
        listener = box.stage.stack.enter_context(socket.socket(socket.AF_INET6))
        listener.bind(("::", 0))
        listener.listen(1)
    port = int(listener.getsockname()[1])
    gateway = box.stage.machine.gateway(PATIENT)
    host = gateway.host(port, box.id)
    for _ in range(3):
        visitor = box.stage.stack.enter_context(tls_connection(gateway, host))
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    with box.network.inside():
        poll(lambda: waiting(port) > 1, "the queue is full")
    name = Path("/proc/self/comm").read_text().strip()
    return Where(box.id, port, box.address, facts={"process": name, "pid": str(os.getpid())})


@situation(
    "a firewall drops new connections, and one that was made before waits for an answer",
    queue_full(
        "the gateway's machine has 1 connection to [{address}]:{port}; 1 of them without an answer, for {s} s",
        *(UNANSWERED, UP),
        title=SEEMS_STUCK,
    ),
    needs=("nft",),
    gateway=HASTY,
)
def _(stage: Stage) -> Where:
    """A long poll, say: nothing that can be seen from outside tells it from a full queue."""
    held: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        held.append(asked(connection))
        stage.over.wait(30)

    box = stage.sandbox()
    port = box.app(serve)
    gateway = stage.machine.gateway(PATIENT)
    host = gateway.host(port, box.id)
    visitor = stage.stack.enter_context(tls_connection(gateway, host))
    visitor.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    poll(lambda: held, "a request is under way")
    rule(box.network, "input", f"tcp dport {port} tcp flags syn drop")
    return box.where(port)


CRASHES = """
import http.server, os, socket, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def handle_one_request(self):
        self.rfile.readline()
        os.abort()
class Server(socketserver.ForkingTCPServer):
    address_family = socket.AF_INET6
Server(("::", int(sys.argv[1])), Handler).serve_forever()
"""


@situation(
    "a worker of a preforking server crashes at work", terminated("the app closed the connection before answering")
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(box.python(CRASHES).port)

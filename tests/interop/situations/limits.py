"""Too many at once, and requests that go round in circles."""

from __future__ import annotations

import socket

from gateway.errors import Reason
from tests.interop.harness import tls_connection
from tests.interop.situations import Passes, Says, Where, situation
from tests.interop.situations.raw import OWN_ANSWER
from tests.interop.situations.servers import nginx
from tests.interop.situations.stage import LIMITED, Stage, asked
from tests.support.process import poll


@situation(
    "as many requests as one sandbox may have",
    Says(
        Reason.CONNECTION_LIMIT_REACHED,
        "Too many requests at once for sandbox {sandbox}",
        "1 exchange under way",
        "Wait for some of them to finish and try again.",
        reachable="Reachable: the app answers 200 OK after {ms} ms.",
    ),
    gateway=LIMITED,
)
def _(stage: Stage) -> Where:
    held: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        head = asked(connection)
        if b"GET /held " in head:
            held.append(head)
            stage.over.wait(30)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    box = stage.sandbox()
    port = box.app(serve)
    gateway = stage.machine.gateway(LIMITED)
    host = gateway.host(port, box.id)
    connection = stage.stack.enter_context(tls_connection(gateway, host))
    connection.sendall(f"GET /held HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    poll(lambda: held, "a request is under way")
    return box.where(port)


@situation(
    "a proxy in the sandbox whose target is its own public URL",
    # The innermost gateway's answer, passed on by nginx: what says whose it was is not believed of an app's answer.
    Passes(502, "Reachable: the app answers 502 Bad Gateway after {ms} ms.", OWN_ANSWER),
    needs=("nginx",),
)
def _(stage: Stage) -> Where:
    gateway = stage.machine.gateway("patient")
    box = stage.own()
    server = nginx(
        box,
        f"""
        location / {{
            proxy_pass https://[::1]:{gateway.tls_port};
            proxy_set_header Host $http_host;
            proxy_set_header Via $http_via;
        }}
        """,
    )
    return box.where(server.port)

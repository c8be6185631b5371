"""Connections without TLS that do nothing, as an HTTP balancer in front holds them.

python -m bench.load.plain_idle --port P --host H --hosts A,B --connections 5000 [--websocket]
"""

from __future__ import annotations

import socket
import time

from bench.load.engine import CONNECTIONS_PER_SOURCE, PATIENCE, arguments, browser_request
from bench.load.result import ready, say
from bench.load.websocket import accepted, handshake
from bench.upstream import BODY


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--websocket", action="store_true")
    parser.add_argument("--hosts", required=True)
    options = parser.parse_args()
    hosts = options.hosts.split(",")
    held, started = list[socket.socket](), time.perf_counter()
    for number in range(options.connections):
        source = (f"127.0.0.{2 + number // CONNECTIONS_PER_SOURCE}", 0)
        sock = socket.create_connection(("127.0.0.1", options.port), PATIENCE, source)
        host, answer = hosts[number % len(hosts)], b""
        sock.sendall(handshake(host) if options.websocket else browser_request(host))
        while not (accepted(answer) if options.websocket else answer.endswith(BODY)):
            answer += sock.recv(4096)
        held.append(sock)
    seconds = time.perf_counter() - started
    ready()
    say([seconds] * len(held), seconds, {})


if __name__ == "__main__":
    main()

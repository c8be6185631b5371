"""Connections that do nothing: opened, used once, then held until standard input ends.

python -m bench.load.idle --port P --host H --connections 5000 [--websocket]
"""

from __future__ import annotations

import time

from bench.load.engine import Engine, arguments, browser_request
from bench.load.opening import Opening
from bench.load.result import ready, say
from bench.load.websocket import accepted, handshake
from bench.upstream import BODY


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--websocket", action="store_true")
    parser.add_argument("--hosts", help="A,B,…: these in turn, so that no sandbox has more than its share")
    options = parser.parse_args()
    engine = Engine(options.port, options.host)
    hosts = options.hosts.split(",") if options.hosts else [options.host]
    if options.websocket:
        opening = Opening(engine, options.connections, [handshake(host) for host in hosts], accepted)
    else:
        requests = [browser_request(host) for host in hosts]
        opening = Opening(engine, options.connections, requests, lambda answer: answer.endswith(BODY))
    started = time.perf_counter()
    opening.run()
    seconds = time.perf_counter() - started
    ready()
    engine.turn(0)  # a proxy that closed some meanwhile is caught
    say([seconds] * len(opening.done), seconds, opening.failures)


if __name__ == "__main__":
    main()

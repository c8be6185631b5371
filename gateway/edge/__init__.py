"""Downstream: listeners, connections, and the exchange that joins the two sides.

`edge.Edge` is what one worker shares between its connections. `exchange` knows neither HTTP/1.1 nor sockets: it
stands between a `DownstreamStream` (here) and an `UpstreamStream` (in `upstream`).
"""

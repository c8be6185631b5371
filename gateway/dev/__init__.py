"""`gateway dev`: the gateway on a laptop, everything in one process and one event loop.

Loopback only, the admin listener too, whatever a configuration says. `gateway explain` and the Python client ask the
admin listener; if its port is taken, the gateway runs without. Sandboxes registered there are forgotten at the end.

A machine without IPv6 (most containers) uses 127.0.0.1 on both sides, and the banner says what is different then.

This room uses what `serve` is made of; nothing of `serve` knows it, so that production has none of it.
"""

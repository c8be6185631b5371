"""`gateway dev`: the gateway on a laptop, everything in one process and one event loop.

Loopback only, the admin listener too, whatever a configuration says; `--lan` lets others in to the exposed apps and to
nothing else (`lan/`). `gateway explain` and the Python client ask the admin listener; if its port is taken, it is the
next free one. Sandboxes registered there are forgotten at the end.

A machine without IPv6 (most containers) uses 127.0.0.1 on both sides, and the banner says what is different then.

This room uses what `serve` is made of; nothing of `serve` knows it, so that production has none of it.
"""

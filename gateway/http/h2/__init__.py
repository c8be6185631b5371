"""HTTP/2 (RFC 9113) without I/O: octets in, calls of the owner's methods, octets to write out.

Knows no event loop and nothing of sandboxes, of the edge or of upstream. `hpack` and `h2` of PyPI are oracles of its
tests and never imported here.
"""

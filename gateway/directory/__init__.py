"""Where a sandbox is: id to address, from a backend, through one cache.

Knows no HTTP and dials nothing. Whether an address may be dialed is `upstream.policy`'s business.
"""

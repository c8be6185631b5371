"""The sandbox's side: whether an address may be dialed, dialing it, one connection, and the pool of idle ones.

Knows directory records and HTTP values; never who asked.
"""

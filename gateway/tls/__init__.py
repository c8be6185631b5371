"""TLS: what the gateway shows to browsers, and why they believe it.

Owns server contexts (`context`), the laptop's own certificate authority (`local_ca`, which lets `issue` make
the certificates) and the trust stores that authority is put into (`trust`). Everything here is plain
synchronous code that runs before the first connection or in a command: it must not know an event loop, a
connection, a sandbox or a request, and it imports nothing of ours outside this room but `gateway.errors` and
`gateway.config`.

Nothing is re-exported: `cryptography` costs 40 ms to import, and only who needs a certificate should pay for
it.
"""

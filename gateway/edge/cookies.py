"""Set-Cookie from an app, confined to the app's own host.

Sandboxes are neighbours under one domain. A cookie with `Domain=sandbox.example.dev` would be sent to all of them
(session fixation, cookie bombs), and browsers stop that only for domains on the Public Suffix List. So a Domain
attribute that reaches beyond the app's own host is taken out; the cookie then belongs to that host alone.
"""

from __future__ import annotations

from gateway.hostname import Target
from gateway.http.message import Fields


def confine(fields: Fields, target: Target) -> Fields:
    """`fields` with every Set-Cookie confined; all other octets unchanged."""
    host = target.host.encode()
    return [
        (name, _confine(value, host)) if name.lower() == b"set-cookie" and b"domain" in value.lower() else (name, value)
        for name, value in fields
    ]


def _confine(value: bytes, host: bytes) -> bytes:
    pair, *attributes = value.split(b";")
    kept = [pair]
    for attribute in attributes:
        name, _, domain = attribute.partition(b"=")
        if name.strip().lower() == b"domain" and host.endswith(b"." + domain.strip().lower().strip(b".")):
            continue
        kept.append(attribute)
    return b";".join(kept)

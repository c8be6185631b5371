"""The opening handshake of RFC 6455: what its key asks for."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Section 1.3."""


def accept(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept that is due to a Sec-WebSocket-Key (section 4.2.2, step 5.4)."""
    # SHA-1 is the protocol's, which proves with it that the answer is no accident.
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())

"""A byte stream of any length that both ends can compute: what was sent is known without keeping it.

Every block is its own number followed by the same pseudo-random bytes: one lost, doubled or out of order
changes the hash. A block's length is no multiple of any buffer's, so no edge falls on the same byte twice.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

BLOCK = 1_048_573
_NUMBER = 8
_BODY = random.Random(20).randbytes(BLOCK - _NUMBER)


def blocks(total: int) -> Iterator[bytes]:
    """`total` bytes in blocks of BLOCK, the last one shorter."""
    number = 0
    while total > 0:
        block = number.to_bytes(_NUMBER, "big") + _BODY
        yield block[:total]
        total -= BLOCK
        number += 1


def digest(total: int) -> str:
    """SHA-256 of the first `total` bytes."""
    known = hashlib.sha256()
    for block in blocks(total):
        known.update(block)
    return known.hexdigest()

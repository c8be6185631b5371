"""Content that waits until it may become frames."""

from __future__ import annotations

from collections import deque


class Outbox:
    """A queue of octets: in as they come, out as many as fit."""

    __slots__ = ("_chunks", "_sent")

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        # Octets of the first chunk that are gone: chunks may be large, and are not copied for each frame.
        self._sent = 0

    def add(self, data: bytes) -> None:
        self._chunks.append(data)

    def take(self, length: int) -> bytes:
        """The next `length` octets; there are that many."""
        chunks, begin = self._chunks, self._sent
        end = begin + length
        first = chunks[0]
        if end < len(first):
            self._sent = end
            return first[begin:end]
        pieces = []
        while end and end >= len(first):  # `end` counts from the beginning of `first`
            pieces.append(first[begin:] if begin else first)
            end -= len(first)
            begin = 0
            chunks.popleft()
            if not chunks:
                break
            first = chunks[0]
        if end:
            pieces.append(first[:end])
        self._sent = end
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

"""Where a WebSocket frame ends, in a stream of octets that nobody has looked at before (RFC 6455 section 5).

Until a gateway drains, a tunnel's octets are none of its business. When it does, it wants to put a Close frame between
two others, and stands somewhere in the middle. So a `FrameTracker` looks for evidence, in one direction:

    SEARCHING --a chain of plausible headers, or a silence--> FOLLOWING --Close--> CLOSED
        ^                                                         |
        `------ a header that is none, or too much work ----------'

A header says how long its frame is, so each guess at where a frame begins leads to the next header. Of random octets,
one position in forty looks like one: the right opcode, no reserved bit but that of compression, the mask bit that the
direction demands (section 5.1), lengths in their shortest form, control frames short and whole, messages that continue
as they began. A guess that is wrong dies at its next header, forty to one; one that lives has gathered `CONFIRMED` bits
of evidence, and more than any other. Besides, programs write whole frames: a frame that ends exactly where a read ends
says much, and a silence stands between two frames as a rule.

A guess can still be wrong, in traffic made for it: what carries frames inside of frames, or lies. Then the tunnel that
carried it, which is about to end, ends with a frame that its reader cannot read.

Knows no event loop and no clock; what is fed in was passed on already or is about to be. Memory: `MAX_CHAINS` guesses
and nine octets.
"""

from __future__ import annotations

import os
import re
import struct
from enum import Enum, auto
from itertools import islice
from typing import Final

GOING_AWAY: Final = 1001
"""RFC 6455 section 7.4.1: "going away", such as a server going down."""

CONFIRMED: Final = 45
"""Bits of evidence that make a guess certain. A stream of random octets is cut into guesses for as long as a drain
lasts, some hundred thousand times: one of them is right by chance in a hundred million such streams."""
HEADER_BITS: Final = 5
"""For one plausible header: thirteen first octets of 256, and the mask bit."""
FRAGMENT_BITS: Final = 3
"""For one that is not the end of its message: few are, and zeros look like it."""
LONG_BITS: Final = 25
"""For a length of eight octets: six of them begin with zeros, by chance in one of 2 ** 34."""
READ_END_BITS: Final = 6
"""For a frame that ends where a read ends."""
MARGIN: Final = 3 * READ_END_BITS
"""Bits by which a guess must be better than all others: what repeats itself can hold a second chain as long as the true
one, which no read ends with."""
MAX_CHAINS: Final = 64
"""Guesses followed at once; those with the least evidence go."""
SEARCHED: Final = 2048
"""Octets at the beginning of a read in which every position is a guess."""
LARGEST_FRAME: Final = 1 << 30
"""Octets; beyond, a length is noise (browsers and servers refuse messages of a tenth of it)."""
MIN_HEADERS: Final = 64
OCTETS_PER_HEADER: Final = 32
"""Headers looked at in one read: `MIN_HEADERS`, and one for so many octets. A flood of tiny frames is not followed."""

_TAIL: Final = 9
"""Octets kept of a read: a header with a length of eight, without its last octet."""
_FIN, _MASK, _OPCODE = 0x80, 0x80, 0x0F
_CLOSE, _PING, _PONG = 0x88, 0x89, 0x8A
_CONTROL: Final = frozenset((_CLOSE, _PING, _PONG))
# Continuation, text and binary, final or not; RSV1 is permessage-deflate's, on a message's first frame (RFC 7692).
_FIRST: Final = frozenset((0x00, 0x01, 0x02, 0x41, 0x42, 0x80, 0x81, 0x82, 0xC1, 0xC2)) | _CONTROL
_GUESS: Final = {
    0: re.compile(rb"[\x00-\x02\x41\x42\x80-\x82\xc1\xc2\x88-\x8a](?=[\x00-\x7f])"),
    _MASK: re.compile(rb"[\x00-\x02\x41\x42\x80-\x82\xc1\xc2\x88-\x8a](?=[\x80-\xff])"),
}
_LONG_GUESS: Final = {
    0: re.compile(rb"[\x00-\x02\x41\x42\x80-\x82\xc1\xc2](?=\x7f\x00{4})"),
    _MASK: re.compile(rb"[\x00-\x02\x41\x42\x80-\x82\xc1\xc2](?=\xff\x00{4})"),
}


def close_frame(code: int, *, masked: bool) -> bytes:
    """A Close frame without a reason; masked as section 5.3 wants it, by octets that nobody can foresee."""
    payload = struct.pack("!H", code)
    if not masked:
        return bytes((_CLOSE, len(payload))) + payload
    key = os.urandom(4)
    return bytes((_CLOSE, _MASK | len(payload))) + key + bytes(a ^ b for a, b in zip(payload, key, strict=False))


class State(Enum):
    """See the drawing above."""

    SEARCHING = auto()  # where frames begin is not known
    FOLLOWING = auto()  # it is
    CLOSED = auto()  # a Close frame has passed: what follows is no frame (section 5.5.1)


class _Chain:
    """A guess at where a frame begins, and what has followed from it."""

    __slots__ = ("bits", "closed", "in_message", "next", "whole")

    def __init__(self, begin: int, bits: int) -> None:
        self.next = begin  # position of the next header, in octets since the tracker was made
        self.whole = begin  # the last such position that octets have come up to
        self.bits = bits  # evidence so far
        self.in_message: bool | None = None  # the last data frame was not its message's last; None: none was seen
        self.closed = False  # a Close frame was

    def __repr__(self) -> str:
        return f"<_Chain to {self.next} with {self.bits} bits>"


class FrameTracker:
    """One direction of one WebSocket; `masked` is the browser's (section 5.1)."""

    __slots__ = ("_begin", "_chain", "_guesses", "_headers", "_mask", "_tail", "_total", "state")

    def __init__(self, *, masked: bool) -> None:
        self.state = State.SEARCHING
        self._mask = _MASK if masked else 0
        self._chain: _Chain | None = None  # the guess that is certain: set from FOLLOWING on
        self._guesses: list[_Chain] = []  # while SEARCHING
        self._total = self._begin = 0  # octets fed, the last time included and not
        self._tail = b""  # the last of them
        self._headers = 0  # that may still be looked at in this read

    def __repr__(self) -> str:
        return f"<FrameTracker {self.state.name} {self._chain or self._guesses}>"

    @property
    def is_at_boundary(self) -> bool:
        """Whether a frame is known to have ended with the last octet."""
        return self.state is State.FOLLOWING and self._chain is not None and self._chain.next == self._total

    @property
    def boundary(self) -> int:
        """Index into the octets last fed, up to which they belong to whole frames; -1: not known, or no frame ends."""
        chain = self._chain
        return -1 if chain is None or chain.whole < self._begin else chain.whole - self._begin

    @property
    def has_closed(self) -> bool:
        """Whether a Close frame has come whole."""
        return self.state is State.CLOSED and self._chain is not None and self._chain.next <= self._total

    def assume_boundary(self) -> None:
        """The other side has been silent for a while, and nothing it has said is still to be fed."""
        if self.state is State.SEARCHING:
            self._follow(_Chain(self._total, CONFIRMED))

    def feed(self, data: bytes, *, after_silence: bool = False) -> None:
        """Takes what one read has brought; `after_silence`: with nothing before it for a while."""
        self._begin = self._total
        self._total += len(data)
        if self.state is State.CLOSED:
            return
        window = self._tail + data
        base = self._begin - len(self._tail)
        self._tail = window[-_TAIL:]
        self._headers = MIN_HEADERS + len(data) // OCTETS_PER_HEADER
        chain = self._chain
        if chain is not None:
            if self._walk(chain, window, base):
                if chain.closed:
                    self.state = State.CLOSED
                return
            self.state, self._chain = State.SEARCHING, None
        if after_silence:
            self._guesses = [_Chain(self._begin, CONFIRMED - HEADER_BITS)]
        else:
            self._guess(data)
        self._search(window, base)

    # --- guesses -------------------------------------------------------------------------------------------------

    def _guess(self, data: bytes) -> None:
        """Adds the positions in `data` that look like a header. A read begins with one more often than by chance."""
        begin, known = self._begin, {chain.next for chain in self._guesses}
        found = [0, *(match.start() for match in _GUESS[self._mask].finditer(data, 1, SEARCHED))]
        long = _LONG_GUESS[self._mask].finditer(data, SEARCHED)
        found += [match.start() for match in islice(long, MAX_CHAINS)]
        self._guesses += [_Chain(begin + at, 0) for at in found if begin + at not in known]

    def _search(self, window: bytes, base: int) -> None:
        """Follows all guesses through the window. Those that meet are one from there on, with the better evidence."""
        alive: dict[int, _Chain] = {}
        for chain in self._guesses:
            if self._headers <= 0:
                break
            if self._walk(chain, window, base):
                other = alive.get(chain.next)
                if other is None or other.bits < chain.bits:
                    alive[chain.next] = chain
        self._guesses = best = sorted(alive.values(), key=lambda chain: -chain.bits)[:MAX_CHAINS]
        if best and best[0].bits >= CONFIRMED and (len(best) == 1 or best[0].bits >= best[1].bits + MARGIN):
            self._follow(best[0])

    def _follow(self, chain: _Chain) -> None:
        self.state = State.CLOSED if chain.closed else State.FOLLOWING
        self._chain = chain
        self._guesses = []

    # --- following -----------------------------------------------------------------------------------------------

    def _walk(self, chain: _Chain, window: bytes, base: int) -> bool:
        """Follows `chain` through the window, which begins at `base`; False: it is wrong, or too much work."""
        at, end, mask = chain.next - base, len(window), self._mask
        if chain.closed:
            return at >= end  # a guess: nothing follows a Close frame
        while at <= end:
            chain.whole = base + at
            if at == end:
                chain.bits += READ_END_BITS
                break
            self._headers -= 1
            if self._headers < 0:
                return False
            size = measure(window, at, mask)
            if not size:
                break  # the rest of the header is still to come
            if size < 0 or not _continues(chain, window[at]):
                return False
            first, length = window[at], window[at + 1] & 0x7F
            if first & _FIN:
                chain.bits += HEADER_BITS
            elif length or chain is self._chain:
                chain.bits += FRAGMENT_BITS
            else:
                return False  # an empty fragment is allowed, but zeros look like one: nothing is built on them
            if length == 0x7F:
                chain.bits += LONG_BITS
            at += size
            if first == _CLOSE:
                chain.closed = True
                break
        chain.next = base + at
        return True


def measure(octets: bytes, at: int, mask: int) -> int:
    """Octets of the frame whose header begins at `at`; 0 if too little of that is here, -1 if it is none.

    `mask` is the mask bit as it has to be.
    """
    available = len(octets) - at
    first = octets[at]
    if first not in _FIRST:
        return -1
    if available < 2:
        return 0
    second = octets[at + 1]
    if second & _MASK != mask:
        return -1
    length = second & 0x7F
    header = 6 if mask else 2
    if length < 126:
        # Section 5.5.1: a Close frame's body is empty, or begins with a code of two octets.
        return header + length if length != 1 or first != _CLOSE else -1
    if first in _CONTROL:
        return -1  # section 5.5: 125 octets at most
    # Section 5.2: the minimal number of bytes MUST be used to encode the length.
    if length == 126:
        if available < 4:
            return 0
        length = octets[at + 2] << 8 | octets[at + 3]
        return header + 2 + length if length > 125 else -1
    if available < 10:
        return 0
    length = int.from_bytes(octets[at + 2 : at + 10], "big")
    return header + 8 + length if 0xFFFF < length <= LARGEST_FRAME else -1


def _continues(chain: _Chain, first: int) -> bool:
    """Whether a frame that begins with `first` may come now (section 5.4: fragments of messages do not mix)."""
    if first in _CONTROL:
        return True
    starts = first & _OPCODE != 0
    if chain.in_message is starts:
        return False
    chain.in_message = not first & _FIN
    return True

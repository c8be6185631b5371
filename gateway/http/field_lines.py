"""Field lines that have been looked at: what the gate found out about each, once.

Two requests of one browser differ in three or four of their sixteen fields, two answers of one app in as many: the
others are looked up. So an unseen section costs what is new in it. What a line means does not depend on the section in
which it stands, nor on any limit of a configuration.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from librt.strings import BytesWriter
from mypy_extensions import i64

from gateway.http.fields import KNOWN_ROLES, classify
from gateway.http.message import FieldLine
from gateway.http.octets import check_value

REMEMBERED_SECTIONS: Final = 1024
"""Sections of requests, and as many of answers, that a codec remembers by what they were made of."""
REMEMBERED: Final = 2048
"""Lines of each of two generations; ten apps with ten browsers each have some hundreds that come again."""
ASKED: Final = 8 * 1024
"""Places in which it is noted that a line was asked for; a power of two."""
REMEMBERED_OCTETS: Final = 2048
"""Of the longest line that is remembered: cookies are long, and come again."""
GENERATION_OCTETS: Final = 1024 * 1024
"""Of the lines of a generation."""

K = TypeVar("K")


def field_line(name: bytes, value: bytes) -> FieldLine:
    """A field that nothing is known about. Raises GatewayError(bad_request): its name is no token, or its value has a
    control character.
    """
    role = KNOWN_ROLES.get(name)
    if role is None:
        role = classify(name)
    check_value(value)
    return FieldLine((name, value), role, name + b": " + value)


class RecentLines(Generic[K]):
    """The lines seen lately, by whatever a codec knows them by.

    Of two generations. What is asked for moves to the young one; once that is full, it takes the place of the old one,
    which is forgotten whole: nothing is sorted. What comes only once is not kept, but for one in 128: the first time it
    is only noted that a line was there, by an octet of its hash. So what is new in each request dies with it, in the
    same few places of memory, instead of living on in megabytes that push all else out of the processor's caches.
    """

    __slots__ = ("_asked", "_octets", "_old", "unseen", "young")

    def __init__(self) -> None:
        self.young: dict[K, FieldLine] = {}
        """For the hot loops, which ask it first and `recall` only if it does not know."""
        self._old: dict[K, FieldLine] = {}
        self._octets = 0  # of the young ones
        self._asked = BytesWriter()  # in pairs: an octet of the hashes of the last two who came here
        self._asked.write(bytes(ASKED))
        self.unseen = 0
        """How many came that were not known. A section in which one did is not worth remembering: it hardly comes
        again, and what comes again was pushed out for it."""

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def recall(self, key: K) -> FieldLine | None:
        """What is known of `key`, which is not among the young."""
        line = self._old.get(key)
        if line is not None:
            self._keep(key, line)
        return line

    def learn(self, key: K, line: FieldLine) -> None:
        """What was found out of `key`, which is not known; kept from the second time on."""
        self.unseen += 1
        noted: i64 = hash(key)
        place: i64 = noted & ASKED - 2
        mark: int = noted >> 32 & 0xFF
        asked = self._asked
        last = asked[place]
        before = asked[place + 1]
        if last != mark and before != mark:
            asked[place + 1] = last
            asked[place] = mark
        elif len(line.line) <= REMEMBERED_OCTETS:
            self._keep(key, line)

    def _keep(self, key: K, line: FieldLine) -> None:
        self._octets += len(line.line)
        if len(self.young) >= REMEMBERED or self._octets > GENERATION_OCTETS:
            self._old = self.young
            self.young = {}
            self._octets = len(line.line)
        self.young[key] = line

"""An app's answer in words. All of it is the app's own text: what is shown of it is short and printable."""

from __future__ import annotations

from gateway.diagnosis import hints
from gateway.http.head_parser import quote
from gateway.http.http1 import Http1ResponseHead
from gateway.http.message import ResponseHead
from gateway.http.phrases import phrase_for
from gateway.printable import printable, shorten

MAX_TEXT = 60
"""Characters of a foreign text; a step is one line or two."""


def status(answer: ResponseHead) -> str:
    """Status and phrase, the registered one if there is none."""
    phrase = (isinstance(answer, Http1ResponseHead) and answer.phrase) or phrase_for(answer.status)
    return f"{answer.status} {shorten(printable(phrase.decode('latin-1')), MAX_TEXT)}".rstrip()


def summary(answer: ResponseHead) -> str:
    """The first line of an answer, and what else is worth a word."""
    location = answer.get(b"location")
    if 300 <= answer.status < 400 and location is not None:
        return f"{status(answer)}, to {quote(location)}"
    kind = answer.get(b"content-type")
    return f"{status(answer)}, {quote(kind.partition(b';')[0])[1:-1]}" if kind else status(answer)


def advice(answer: ResponseHead) -> str:
    """What to do about an error answer: upstream knows many apps' ways to say that they dislike being proxied."""
    hint = answer.get(hints.FIELD.lower())
    if hint is not None:
        return hint.decode("ascii")
    return "The answer is the app's own: check the path, and read the app's log."

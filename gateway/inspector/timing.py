"""Where an exchange's time went, in milliseconds: what the bar in the page is drawn of, and HAR's `timings`."""

from __future__ import annotations

from typing import NamedTuple

from gateway.inspector.captured import Captured


class Timing(NamedTuple):
    """Four parts, one after the other."""

    queue: float
    """Until a connection was dialed, or one at hand was taken: the directory was asked, others dialed before."""
    dial: float
    first_byte: float
    """From the request's leaving for the app to the head of the answer."""
    rest: float
    """From then to the end."""

    @property
    def total(self) -> float:
        return sum(self)


def timing_of(captured: Captured, now: float) -> Timing:
    """`now` stands for the end of what is under way. What a dial took is known from the record on: before that, it is
    part of the queue.
    """
    began, end = captured.began, captured.ended or now
    answered = captured.first_byte or end
    record = captured.record
    dial = (record.dial_ms or 0.0) / 1e3 if record is not None else 0.0
    if captured.opened:
        sent = captured.opened
    elif captured.is_waiting or (record is not None and record.dial_ms is not None):
        sent = answered  # it never left for the app
    else:
        sent = began
    dial = min(dial, sent - began)
    parts = (sent - began - dial, dial, max(answered - sent, 0.0), end - answered)
    return Timing(*(round(part * 1e3, 3) for part in parts))

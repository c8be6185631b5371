"""One failure for each reason, the latest."""

from __future__ import annotations

import msgspec

from gateway.observe.access_log import MAX_TEXT, shown
from gateway.observe.recent_failures import RecentFailures, latest
from gateway.process.admin import LARGEST_ANSWER
from gateway.reasons import Reason
from tests.unit.observe.test_access_log import record


def test_the_latest_of_each_reason_whoever_met_it() -> None:
    first, second = RecentFailures(), RecentFailures()
    first.note(record(reason="connection_refused", time=5.0, detail="early"))
    first.note(record(reason="connection_refused", time=7.0, detail="late"))
    second.note(record(reason="connection_refused", time=6.0))
    second.note(record(reason="unknown_domain", time=9.0))
    found = latest([first.all(), second.all()])
    assert [(each.reason, each.time, each.detail) for each in found] == [
        ("unknown_domain", 9.0, ""),
        ("connection_refused", 7.0, "late"),
    ]


def test_however_many_fail_one_is_kept_for_each_reason() -> None:
    failures = RecentFailures()
    for number in range(1000):
        failures.note(record(reason="connection_refused", time=float(number)))
    assert len(failures.all()) == 1


def test_however_long_all_of_it_is_it_fits_a_workers_answer() -> None:
    """Else the worker would not be heard any more, and the gateway not be ready."""
    failures = RecentFailures()
    for reason in Reason:
        quotes = '"' * MAX_TEXT  # each is two octets of JSON
        failures.note(
            record(
                reason=str(reason),
                method="M" * 128,
                host="h" * 253,
                path=quotes,
                detail=shown('"' * 1000),
                request_id=quotes,
                sandbox="s" * 63,
                port=65535,
            )
        )
    assert len(msgspec.json.encode(failures.all())) < 0.75 * LARGEST_ANSWER

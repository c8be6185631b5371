"""What is kept as HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/), which browsers' tools and Postman read.

Made entry by entry, so that nobody waits for all of them: see `pieces`. Bodies longer than what is kept say so.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway import __version__
from gateway.counting import counted
from gateway.http.message import Fields
from gateway.http.phrases import phrase_for
from gateway.inspector.captured import Body, Captured
from gateway.inspector.decoding import decoded, text
from gateway.inspector.timing import timing_of
from gateway.inspector.views import media_type_of, request_fields, response_fields, subject_of, time_of

_BEFORE = (
    b'{"log":{"version":"1.2","creator":{"name":"gateway","version":"'
    + __version__.encode()
    + b'"},"pages":[],"entries":['
)
_AFTER = b"]}}\n"


def pieces(exchanges: Sequence[Captured], now: float) -> Iterator[bytes]:
    """The document, an entry at a time."""
    yield _BEFORE
    for number, captured in enumerate(exchanges):
        yield (b"," if number else b"") + msgspec.json.encode(_entry(captured, now))
    yield _AFTER


def _entry(captured: Captured, now: float) -> dict[str, Any]:
    timing, subject = timing_of(captured, now), subject_of(captured)
    return {
        "startedDateTime": datetime.fromtimestamp(time_of(captured, now), UTC).isoformat(),
        "time": timing.total,
        "request": {
            "method": subject.method,
            "url": f"https://{subject.host}{subject.target}",
            "httpVersion": subject.protocol,
            "cookies": [],
            "headers": _fields(request_fields(captured.head)) if captured.head is not None else [],
            "queryString": [],
            "headersSize": -1,
            "bodySize": captured.request.size,
            **_posted(captured),
        },
        "response": _response(captured),
        "cache": {},
        "timings": {
            "blocked": timing.queue,
            "dns": -1,
            "connect": timing.dial or -1,
            "send": 0,
            "wait": timing.first_byte,
            "receive": timing.rest,
            "ssl": -1,
        },
        "_number": captured.number,
        "_webSocketMessages": [
            {
                "type": "receive" if message.from_app else "send",
                "time": time_of(captured, now) + message.at - captured.began,
                "opcode": 2 if message.kind.value == "binary" else 1,
                "data": text(message.octets),
            }
            for message in captured.extras.messages
        ],
    }


def _posted(captured: Captured) -> dict[str, Any]:
    if captured.head is None or not captured.request.size:
        return {}
    kind = text(captured.head.get(b"content-type") or b"")
    posted = {"mimeType": kind, "params": [], "text": text(bytes(captured.request.octets))}
    return {"postData": {**posted, **_comment(captured.request)}}


def _response(captured: Captured) -> dict[str, Any]:
    head, record = captured.response_head, captured.record
    status = head.status if head is not None else record.status if record is not None else 0
    plain, note = decoded(bytes(captured.response.octets), (head and head.get(b"content-encoding")) or b"")
    content: dict[str, Any] = {"size": captured.response.size, "mimeType": media_type_of(head) or "x-unknown"}
    try:
        content["text"] = plain.decode()
    except UnicodeDecodeError:
        content |= {"text": base64.b64encode(plain).decode(), "encoding": "base64"}
    content |= {"comment": note} if note else _comment(captured.response)
    location = (head and head.get(b"location")) or b""
    return {
        "status": status,
        "statusText": text(phrase_for(status)) if head is not None else "",
        "httpVersion": subject_of(captured).protocol,
        "cookies": [],
        "headers": _fields(response_fields(captured)),
        "content": content,
        "redirectURL": text(location),
        "headersSize": -1,
        "bodySize": captured.response.size,
    }


def _comment(body: Body) -> dict[str, str]:
    return {} if body.is_whole else {"comment": f"the first {len(body.octets)} of {counted(body.size, 'octet')}"}


def _fields(fields: Fields) -> list[dict[str, str]]:
    return [{"name": text(name), "value": text(value)} for name, value in fields]

"""Exchanges as the page gets them: a short form for the list, a long one for whoever looks at one.

Everything in them is a stranger's and goes out as text in JSON. Lengths are bounded where the wire's limits do not.
"""

from __future__ import annotations

import base64
import time
from typing import Any, Final, NamedTuple

from gateway.counting import counted
from gateway.errors import GatewayError
from gateway.http.h2.fields import HTTP_2
from gateway.http.message import Fields, RequestHead, ResponseHead
from gateway.http.phrases import phrase_for
from gateway.inspector.captured import Body, Captured, Kind, Message
from gateway.inspector.decoding import text
from gateway.inspector.timing import timing_of
from gateway.observe.grpc_call import GrpcOutcome

MOST_PATH: Final = 512
"""Characters of a path in the list."""

_BY_DESTINATION: Final = {
    "document": "page",
    "iframe": "page",
    "frame": "page",
    "empty": "fetch",
    "": "",
}
"""What a browser wants it for (Sec-Fetch-Dest); all else are parts of a page."""
_BY_TYPE: Final = {
    "text/html": "page",
    "application/json": "fetch",
    "text/css": "asset",
    "text/javascript": "asset",
    "application/javascript": "asset",
    "application/wasm": "asset",
}


class Subject(NamedTuple):
    """What an exchange is about, whether or not its head could be read."""

    method: str
    host: str
    target: str
    protocol: str


def subject_of(captured: Captured) -> Subject:
    head, record = captured.head, captured.record
    if head is not None:
        return Subject(head.method.decode("latin-1"), head.section.host, text(head.target), head.protocol)
    if record is not None:
        return Subject(record.method, record.host, record.path, record.protocol)
    return Subject("-", "-", "-", "-")


def status_of(captured: Captured) -> int:
    """0: no answer yet."""
    if captured.response_head is not None:
        return captured.response_head.status
    return captured.record.status if captured.record is not None else 0


def reason_of(captured: Captured) -> str:
    """Why the gateway has answered itself, or how else it went wrong; empty: it went well, as far as is known."""
    if captured.record is not None:
        return captured.record.reason
    head = captured.response_head
    return text((head and head.get(b"x-gateway-error")) or b"")


def kind_of(captured: Captured) -> str:
    """`websocket`, `grpc`, `events`, `page`, `fetch`, `asset` or `other`."""
    head, answer = captured.head, captured.response_head
    if head is None:
        return "other"
    if head.upgrade is not None:
        return "websocket" if b"websocket" in head.upgrade.lower() else "other"
    if captured.is_call:
        return "grpc"
    media_type = media_type_of(answer)
    if media_type == "text/event-stream":
        return "events"
    destination = text(head.get(b"sec-fetch-dest") or b"")
    if kind := _BY_DESTINATION.get(destination, "asset"):
        return kind
    if media_type.startswith(("image/", "font/", "video/", "audio/")):
        return "asset"
    return _BY_TYPE.get(media_type, "other")


def time_of(captured: Captured, now: float) -> float:
    """The Unix time of its beginning; `now` is this moment by the monotonic clock."""
    return round(time.time() - (now - captured.began), 3)


def media_type_of(head: RequestHead | ResponseHead | None) -> str:
    value = (head and head.get(b"content-type")) or b""
    return text(value.partition(b";")[0].strip().lower())[:100]


def summary(captured: Captured, now: float) -> dict[str, Any]:
    """For the list."""
    subject, record = subject_of(captured), captured.record
    head = captured.response_head
    return {
        "number": captured.number,
        "time": time_of(captured, now),
        "method": subject.method[:32],
        "host": subject.host[:255],
        "target": subject.target[:MOST_PATH],
        "protocol": subject.protocol,
        "status": status_of(captured),
        "kind": kind_of(captured),
        "type": media_type_of(head),
        "reason": reason_of(captured),
        "call": _call(captured.extras.call),
        "hint": bool(_hint(captured)),
        "live": captured.is_live,
        "duration": round(((captured.ended or now) - captured.began) * 1e3, 2)
        if captured.head is not None or record is None
        else record.duration_ms,
        "received": captured.request.size,
        "sent": captured.response.size,
        "messages": captured.extras.total_messages,
        "replay_of": captured.extras.replay_of,
    }


def _call(call: GrpcOutcome | None) -> dict[str, Any] | None:
    """How a call of gRPC has ended; `like` is the status by which HTTP would have said the same."""
    if call is None:
        return None
    return {"code": call.code, "name": call.name, "text": call.text(), "message": call.message, "like": call.like}


def details(captured: Captured, now: float, after: int = 0) -> dict[str, Any]:
    """For whoever looks at it; of its messages those behind number `after`."""
    record = captured.record
    return {
        **summary(captured, now),
        "request_id": captured.request_id.decode("latin-1"),
        "remote": captured.peer.text if captured.peer is not None else record.remote if record is not None else "",
        "target": subject_of(captured).target,
        "hint": _hint(captured),
        "detail": (record.detail if record is not None else "") or captured.extras.trouble,
        "app": record.target if record is not None else "",
        "reused": record is not None and record.reused,
        "timing": timing_of(captured, now)._asdict(),
        "request": _request(captured),
        "response": _response(captured),
        "interim": [{"status": each.status, "fields": _fields(each.fields)} for each in captured.extras.interim],
        "latest": [_message(each, captured.began) for each in captured.extras.messages if each.number > after],
        "replayable": why_not_replayable(captured) or "yes",
    }


def why_not_replayable(captured: Captured) -> str:
    """A sentence; empty: it can be sent again as it was."""
    head = captured.head
    if head is None:
        return "its head could not be read"
    if head.upgrade is not None:
        return "it asks for a WebSocket, which a conversation is to follow"
    if not captured.request_complete:
        return "its body has not come whole"
    if not (body := captured.request).is_whole:
        return f"its body has {counted(body.size, 'octet')}, and the inspector has the first {len(body.octets)}"
    return ""


def request_fields(head: RequestHead) -> Fields:
    """As they came, as far as they go on: who was asked first, in the words of the version of HTTP that it came by."""
    rest = [pair for pair in head.fields if pair[0].lower() != b"host"]
    if head.protocol == HTTP_2:
        return _http2_fields(head, rest)
    fields = [(b"Host", head.authority), *rest]
    if head.upgrade is not None:
        fields.append((b"Upgrade", head.upgrade))
    return fields


def _http2_fields(head: RequestHead, rest: Fields) -> Fields:
    """RFC 9113 section 8.3.1, RFC 8441 section 4. `:method` and `:path` are shown as every request's, `:scheme` is not
    kept; a WebSocket's `:method` is, because it is another than the GET that the app sees.
    """
    fields = [(b":authority", head.authority), *((name.lower(), value) for name, value in rest)]
    if head.section.trailers_ok:
        fields.append((b"te", b"trailers"))  # no other value is allowed
    if head.upgrade is None:
        return fields
    made_here = b"sec-websocket-key" if head.key_is_ours else b""
    asked = [(b":method", b"CONNECT"), (b":protocol", head.upgrade)]
    return [*asked, *(pair for pair in fields if pair[0] != made_here)]


def response_fields(captured: Captured) -> Fields:
    head = captured.response_head
    if head is None:
        return []
    upgrade = [(b"Upgrade", head.upgrade)] if head.upgrade is not None else []
    return [*head.fields, *upgrade, (b"X-Request-Id", captured.request_id)]


def _hint(captured: Captured) -> str:
    head = captured.response_head
    return captured.extras.hint or text((head and head.get(b"x-gateway-hint")) or b"")


def _request(captured: Captured) -> dict[str, Any] | None:
    head = captured.head
    if head is None:
        return None
    return {
        "fields": _fields(request_fields(head)),
        "added": _fields(_added(captured, head)),
        "trailers": _fields(captured.extras.request_trailers),
        "body": _body(captured.request, head),
    }


def _added(captured: Captured, head: RequestHead) -> Fields:
    """What the app gets besides."""
    if captured.peer is None:
        return []
    try:
        added = captured.peer.added(head).fields
    except GatewayError:  # it goes in circles, and was refused
        return []
    key = [pair for pair in head.fields if head.key_is_ours and pair[0].lower() == b"sec-websocket-key"]
    return [*key, *added, (b"X-Request-Id", captured.request_id)]


def _response(captured: Captured) -> dict[str, Any] | None:
    head = captured.response_head
    if head is None:
        return None
    return {
        "phrase": text(phrase_for(head.status)),
        "fields": _fields(response_fields(captured)),
        "trailers": _fields(captured.extras.response_trailers),
        "body": _body(captured.response, head),
    }


def _body(body: Body, head: RequestHead | ResponseHead) -> dict[str, Any]:
    return {
        "size": body.size,
        "kept": len(body.octets),
        "type": text(head.get(b"content-type") or b""),
        "encoding": text(head.get(b"content-encoding") or b""),
    }


def _fields(fields: Fields) -> list[list[str]]:
    return [[text(name), text(value)] for name, value in fields]


def _message(message: Message, began: float) -> dict[str, Any]:
    told: dict[str, Any] = {
        "number": message.number,
        "at": round((message.at - began) * 1e3, 1),
        "from": "app" if message.from_app else "visitor",
        "kind": message.kind.value,
        "size": message.size,
        "note": message.note,
    }
    if message.kind is not Kind.BINARY:
        try:
            told["text"] = message.octets.decode()
        except UnicodeDecodeError:  # cut inside a character, or no text at all
            told["text"] = message.octets.decode(errors="replace")
    else:
        told["base64"] = base64.b64encode(message.octets).decode()
    return told

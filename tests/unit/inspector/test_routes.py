"""What the inspector answers, and to whom: this machine's own browser and shell, and no page of another site."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json

import pytest

from gateway.errors import Reason
from gateway.http.message import AS_TUNNEL
from gateway.inspector import live
from tests.support.seam import answer, handshake, request, settle, upload
from tests.unit.inspector.conftest import MakeClient, Watched

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

TOKEN = "c0ffee"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Dest": "document"}
BASIC = {"Authorization": "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()}
CROSS = {"Sec-Fetch-Site": "cross-site"}
SAME_SITE = {"Sec-Fetch-Site": "same-site", "Origin": "https://5000-local.sandbox.localhost:8443"}
REBOUND = {"Host": "rebound.example:9090"}
LINK = {**CROSS, "Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Referer": "https://elsewhere.example/"}
LIST, HAR = "/inspector/exchanges", "/inspector/har"
ONE, REPLAY, BODY = f"{LIST}/1", f"{LIST}/1/replay", f"{LIST}/1/response/body"


async def see(watched: Watched, body: bytes = b"what it says", **fields: bytes) -> None:
    """One exchange, over."""
    asked = watched.gateway.ask(upload())
    await settle()
    assert asked.sink is not None
    asked.sink.request_body(b"what I ask")
    asked.sink.request_end([])
    named = [(name.replace("_", "-").encode(), value) for name, value in fields.items()]
    watched.gateway.stream.says(answer(fields=named), body, ends=True)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/", LINK, 200),
        ("GET", LIST, {}, 200),
        ("GET", HAR, {}, 200),
        ("POST", REPLAY, JSON, 200),
        ("DELETE", LIST, JSON, 204),
        *[
            (method, path, {**JSON, **stranger}, 403)
            for stranger in (CROSS, SAME_SITE, REBOUND)
            for method, path in (
                ("GET", LIST),
                ("GET", ONE),
                ("GET", BODY),
                ("GET", HAR),
                ("POST", REPLAY),
                ("DELETE", LIST),
            )
        ],
        ("GET", "/inspector/events", SAME_SITE, 403),
        ("GET", "/inspector/events", REBOUND, 403),
        ("GET", "/", REBOUND, 403),
        ("POST", REPLAY, {**LINK, **FORM}, 403),
        ("POST", REPLAY, FORM, 415),
        ("POST", REPLAY, {}, 415),
        ("DELETE", LIST, {}, 415),
        ("GET", f"{LIST}/77", {}, 404),
        ("GET", f"{LIST}/{'7' * 5000}", {}, 404),
        ("GET", f"{LIST}/x", {}, 404),
        ("GET", f"{LIST}/1/both/body", {}, 404),
        ("GET", f"{ONE}/problem", {}, 404),
        ("POST", f"{LIST}/77/replay", JSON, 404),
        ("GET", "/status", {}, 200),
    ],
)
async def test_who_may_ask_what(
    watched: Watched, inspector_of: MakeClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    await see(watched)
    client = await inspector_of()
    async with client.request(method, path, headers=headers, skip_auto_headers=["Content-Type"]) as said:
        assert said.status == status, await said.text()
        assert "Access-Control-Allow-Origin" not in said.headers


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 401),
        ("GET", LIST, {}, 401),
        ("GET", ONE, {}, 401),
        ("POST", REPLAY, JSON, 401),
        ("GET", LIST, BASIC, 200),
        ("GET", LIST, {"Authorization": f"Bearer {TOKEN}"}, 200),
        ("POST", REPLAY, {**JSON, **BASIC}, 200),
        ("POST", REPLAY, {**JSON, **BASIC, **CROSS}, 403),
        ("POST", REPLAY, {**BASIC, **LINK, **FORM}, 403),
        ("GET", LIST, {**BASIC, **CROSS}, 403),
    ],
)
async def test_with_a_token_who_has_it(
    watched: Watched, inspector_of: MakeClient, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    await see(watched)
    client = await inspector_of(token=TOKEN)
    async with client.request(method, path, headers=headers) as said:
        assert said.status == status, await said.text()


async def test_the_page_may_run_its_own_script_and_nothing_else(inspector_of: MakeClient) -> None:
    client = await inspector_of()
    async with client.get("/") as said:
        policy = said.headers["Content-Security-Policy"]
        page = await said.text()
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.count("<script") == page.count('<script src="/inspector.js" defer></script>') == 1
    for path in ("/inspector.js", "/inspector.css"):
        async with client.get(path) as said:
            assert said.status == 200
            assert said.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_an_app_sent_is_octets_to_be_saved(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched, b"<script>alert(1)</script>", Content_Type=b"text/html")
    client = await inspector_of()
    async with client.get(BODY) as said:
        assert await said.read() == b"<script>alert(1)</script>"
        assert said.content_type == "application/octet-stream"
        assert said.headers["Content-Disposition"] == "attachment"
        assert said.headers["Content-Security-Policy"].startswith("default-src 'none'; sandbox")
        assert said.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_a_body_is_decoded_and_as_sent(watched: Watched, inspector_of: MakeClient) -> None:
    packed = gzip.compress(b"plain" * 100, mtime=0)
    await see(watched, packed, Content_Encoding=b"gzip")
    client = await inspector_of()
    async with client.get(BODY) as said:
        assert await said.read() == packed
    async with client.get(f"{BODY}?decoded") as said:
        assert await said.read() == b"plain" * 100
    async with client.get(f"{LIST}/1/request/body") as said:
        assert await said.read() == b"what I ask"


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br", b"zstd", b"gzip, gzip", b"\xff", b",,,"])
async def test_octets_that_are_not_what_they_say_are_shown_as_they_are(
    watched: Watched, inspector_of: MakeClient, encoding: bytes
) -> None:
    await see(watched, b"\x00no such encoding", Content_Encoding=encoding)
    client = await inspector_of()
    async with client.get(f"{BODY}?decoded") as said:
        assert (said.status, await said.read()) == (200, b"\x00no such encoding")


async def test_a_body_that_unpacks_to_gigabytes_does_not(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched, gzip.compress(b"\x00" * 8_000_000), Content_Encoding=b"gzip")
    client = await inspector_of()
    async with client.get(f"{BODY}?decoded") as said:
        assert len(await said.read()) == 1024 * 1024
        assert said.headers["X-Note"] == "its first 1048576 octets"


async def test_the_page_of_a_failure_is_framed_without_its_script(watched: Watched, inspector_of: MakeClient) -> None:
    watched.gateway.ask(request(fields=[(b"Sec-Fetch-Mode", b"navigate"), (b"Accept", b"text/html")]))
    await settle()
    watched.gateway.stream.fails(Reason.HTTP_RESPONSE_INCOMPLETE)
    client = await inspector_of()
    async with client.get(f"{ONE}/problem") as said:
        assert said.status == 200
        assert said.content_type == "text/html"
        assert said.headers["Content-Security-Policy"].endswith("; frame-ancestors 'self'; sandbox")
    async with client.get(ONE) as said:
        told = await said.json()
    assert (told["reason"], told["detail"]) == ("http_response_incomplete", told["detail"])


async def test_no_app_gets_a_page_of_its_own_framed(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched, b"<h1>me</h1>", Content_Type=b"text/html")
    client = await inspector_of()
    async with client.get(f"{ONE}/problem") as said:
        assert said.status == 404


async def test_details_say_what_passed_and_when(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched, Content_Type=b"text/plain")
    client = await inspector_of()
    async with client.get(ONE) as said:
        told = await said.json()
    assert told["request"]["fields"][0] == [":authority", "5000-demo.sandbox.localhost"]
    assert "X-Forwarded-For" in [name for name, _ in told["request"]["added"]]
    assert ["X-Request-Id", told["request_id"]] in told["response"]["fields"]
    assert told["response"]["body"] == {"size": 12, "kept": 12, "type": "text/plain", "encoding": ""}
    assert set(told["timing"]) == {"queue", "dial", "first_byte", "rest"}
    assert min(told["timing"].values()) >= 0
    assert sum(told["timing"].values()) == pytest.approx(told["duration"], abs=0.1)


async def test_odd_octets_are_text(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched, b"\xff\xfe", X_Odd=b"\xff\x80<img>", X_Good="größe".encode())
    client = await inspector_of()
    async with client.get(ONE) as said:
        fields = dict((await said.json())["response"]["fields"])
    assert (fields["X-Odd"], fields["X-Good"]) == ("ÿ\x80<img>", "größe")
    async with client.get(HAR) as said:
        har = json.loads(await said.text())
    assert har["log"]["entries"][0]["response"]["content"]["encoding"] == "base64"


async def test_messages_are_told_from_where_one_was(watched: Watched, inspector_of: MakeClient) -> None:
    asked = watched.gateway.ask(handshake())
    await settle()
    watched.gateway.stream.says(answer(101, AS_TUNNEL))
    for _ in range(5):
        watched.gateway.stream.says_body(b"\x81\x02hi")
    client = await inspector_of()
    async with client.get(f"{ONE}?after=3") as said:
        told = await said.json()
    assert [each["number"] for each in told["latest"]] == [4, 5]
    assert (told["messages"], told["live"], told["kind"]) == (5, True, "websocket")
    asked.exchange.downstream_lost("")


# --- replay -----------------------------------------------------------------------------------------------------------


async def test_a_replay_is_the_same_request_to_the_same_app(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched)
    client = await inspector_of()
    async with client.post(REPLAY, json={}) as said:
        told = await said.json()
    assert (told["number"], told["replay_of"], told["live"]) == (2, 1, True)
    stream = watched.gateway.stream
    assert stream.sent == [b"POST", b"what I ask", "end"]
    assert stream.head is not None
    assert (stream.head.authority, stream.head.target) == (b"5000-demo.sandbox.localhost", b"/")
    stream.says(answer(302, fields=[(b"Location", b"https://elsewhere.example/")]), ends=True)
    await settle()
    assert watched.last.number == 2  # nobody has followed it
    assert [each.status for each in watched.gateway.records.all] == [200, 302]


async def test_what_is_edited_is_sent(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched)
    client = await inspector_of()
    edited = {
        "method": "PUT",
        "target": "/other?x=1",
        "fields": [
            [":authority", "elsewhere.example"],
            ["X-New", "größe"],
            ["Host", "elsewhere.example"],
            ["Content-Length", "999"],
        ],
        "body": "new",
    }
    async with client.post(REPLAY, json=edited) as said:
        assert said.status == 200
    stream = watched.gateway.stream
    assert stream.sent == [b"PUT", b"new", "end"]
    assert stream.head is not None
    assert (stream.head.authority, stream.head.target) == (b"5000-demo.sandbox.localhost", b"/other?x=1")
    assert stream.head.get(b"x-new") == "größe".encode()
    assert stream.head.section.content_length == 3
    stream.says(answer(), ends=True)


@pytest.mark.parametrize(
    ("edited", "status", "said"),
    [
        ({"target": "https://elsewhere.example/"}, 409, "begins with /"),
        ({"target": "//elsewhere.example/\r\nHost: elsewhere.example"}, 409, "line end"),
        ({"fields": [["X", "1\r\nHost: elsewhere.example"]]}, 409, "line end"),
        ({"fields": [["X\nY", "1"]]}, 409, "line end"),
        ({"method": "GET / HTTP/1.1\r\n"}, 409, "line end"),
        ({"method": "G T"}, 400, "no valid request"),
        ({"fields": [["Bad Name", "1"]]}, 400, "no valid request"),
        ({"fields": [["X", "y" * 9000]]}, 400, "no valid request"),
        ({"body": "x" * 65537}, 409, "at most"),
        ({"nonsense": 1}, 400, "what is edited"),
        ({"fields": "x"}, 400, "what is edited"),
    ],
)
async def test_what_is_no_request_to_this_app_is_not_sent(
    watched: Watched, inspector_of: MakeClient, edited: dict[str, object], status: int, said: str
) -> None:
    await see(watched)
    client = await inspector_of()
    async with client.post(REPLAY, json=edited) as answered:
        assert answered.status == status
        assert said in (await answered.json())["detail"]
    assert len(watched.store) == 1


async def test_what_is_edited_is_bounded(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched)
    client = await inspector_of()
    async with client.post(REPLAY, data=io.BytesIO(b" " * 1_100_000), headers=JSON) as said:
        assert said.status == 413


async def test_what_was_not_kept_whole_is_not_sent_again(watched: Watched, inspector_of: MakeClient) -> None:
    asked = watched.gateway.ask(upload())
    await settle()
    assert asked.sink is not None
    client = await inspector_of()
    for body, why in ((b"x", "has not come whole"), (b"x" * 100_000, "and the inspector has the first 65536")):
        asked.sink.request_body(body)
        if len(body) > 1:
            asked.sink.request_end([])
        async with client.post(REPLAY, json={}) as said:
            assert said.status == 409
            assert why in (await said.json())["detail"]
    watched.gateway.stream.says(answer(), ends=True)
    async with client.post(REPLAY, json={"body": "short"}) as said:  # its own body makes up for it
        assert said.status == 200
    watched.gateway.stream.says(answer(), ends=True)


async def test_a_websocket_is_not_sent_again(watched: Watched, inspector_of: MakeClient) -> None:
    asked = watched.gateway.ask(handshake())
    await settle()
    client = await inspector_of()
    async with client.post(REPLAY, json={"body": ""}) as said:
        assert (said.status, "WebSocket" in await said.text()) == (409, True)
    asked.exchange.downstream_lost("")


# --- live -------------------------------------------------------------------------------------------------------------


async def test_who_looks_is_told_of_the_latest_and_how_many_more(
    watched: Watched, inspector_of: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    client = await inspector_of()
    async with client.get("/inspector/events") as events:
        assert await events.content.readuntil(b"data: {}\n\n")
        for _ in range(live.MOST + 5):
            watched.store.begin(None, None, 1.0)
        told = json.loads((await events.content.readuntil(b"\n\n"))[6:])
    assert [each["number"] for each in told["exchanges"]] == list(range(6, live.MOST + 6))
    assert (told["left_out"], told["total"], told["after"]) == (5, live.MOST + 5, 0)


async def test_nobody_looks_while_nobody_watches(
    watched: Watched, inspector_of: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "INTERVAL", 0.01)
    client = await inspector_of()
    async with client.get("/inspector/events") as events:
        await events.content.readuntil(b"\n\n")
    looked = len(asyncio.all_tasks())
    watched.store.begin(None, None, 1.0)
    for _ in range(500):
        if not [each for each in asyncio.all_tasks() if each.get_name() == "inspector"]:
            break
        await asyncio.sleep(0.01)
    else:
        pytest.fail(f"somebody still looks: {looked} tasks")


async def test_clearing_is_told(watched: Watched, inspector_of: MakeClient) -> None:
    await see(watched)
    client = await inspector_of()
    async with client.delete(LIST, headers=JSON) as said:
        assert said.status == 204
    async with client.get(LIST) as said:
        assert (await said.json())["exchanges"] == []

"""Who may use the API: the token's file, the bearer check, and names that only DNS knows."""

from __future__ import annotations

import base64
import logging
import os
from pathlib import Path

import pytest

from gateway.admin.auth import TokenFile, read_token
from gateway.errors import UserError
from tests.unit.admin.conftest import MakeClient

TOKEN = "c0ffee"
API = "/v1/explain"


# --- the file -------------------------------------------------------------------------------------------------------


def test_no_file_is_no_token() -> None:
    assert read_token(None) == ""


def test_the_token_is_what_the_file_holds(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\n")
    assert read_token(file) == TOKEN


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"two words", "more than one word"),
        (b"one\ntwo", "more than one word"),
        ("schlüssel".encode(), "visible ASCII"),
        (b"\xff\xfe", "it is not text"),
    ],
)
def test_a_file_without_a_token(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said) as raised:
        read_token(file)
    assert str(raised.value).startswith(f"admin.token_file: {file} ")
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read_token(tmp_path / "missing")


# --- the file, followed ---------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    return file


def follow(file: Path) -> TokenFile:
    followed = TokenFile(file)
    rest(followed)
    return followed


def rest(followed: TokenFile) -> None:
    followed.look()
    followed.look()


def test_a_new_token_is_asked_for(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    followed = follow(file)
    file.write_text("another\n")
    rest(followed)
    assert followed.token == "another"
    assert [record.getMessage() for record in caplog.records] == [
        f"admin.token_file: {file} has changed, its token is asked for now"
    ]
    assert "another" not in caplog.text.replace("another token", "")


def test_a_file_that_is_touched_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    followed = follow(file)
    file.write_text(f"{TOKEN}\n")
    rest(followed)
    assert followed.token == TOKEN
    assert not caplog.records


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff"])
def test_without_a_token_the_one_from_before_is_asked_for(
    file: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    """Neither nobody nor everybody; and it is said once."""
    caplog.set_level(logging.INFO)
    followed = follow(file)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    for _ in range(5):
        followed.look()
    assert followed.token == TOKEN
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().endswith("; the token from before is asked for")
    file.write_text("another")
    rest(followed)
    assert followed.token == "another"


def test_half_a_token_is_none(file: Path) -> None:
    """What is written in place is seen in the middle."""
    followed = follow(file)
    file.write_text("ano")
    followed.look()
    file.write_text("another")
    followed.look()
    assert followed.token == TOKEN
    followed.look()
    assert followed.token == "another"


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    """`--token <(pass show gateway)` of a shell."""
    near, far = os.pipe()
    os.write(far, TOKEN.encode())
    os.close(far)
    try:
        followed = follow(Path(f"/dev/fd/{near}"))
        assert followed.token == TOKEN
    finally:
        os.close(near)


def test_another_process_tells(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    followed = follow(file)
    followed.speaks = False
    file.write_text("")
    rest(followed)
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


# --- with a token ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "])
async def test_the_token_opens_the_api(client_of: MakeClient, authorization: str) -> None:
    client = await client_of(TOKEN)
    answer = await client.get(API, headers={"Authorization": authorization})
    assert answer.status == 400  # past the guard: there is no url


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer ü"],
)
async def test_nothing_else_does(client_of: MakeClient, authorization: str | None) -> None:
    client = await client_of(TOKEN)
    answer = await client.get(API, headers={} if authorization is None else {"Authorization": authorization})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'
    assert answer.content_type == "application/problem+json"
    problem = await answer.json()
    assert (problem["status"], problem["title"], problem["type"]) == (401, "Unauthorized", "about:blank")
    assert "admin.token_file" in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/explain", "/v1/nothing", "/v1/", "/%761/explain", "/v1%2Fexplain"])
async def test_however_the_path_is_spelled(client_of: MakeClient, path: str) -> None:
    client = await client_of(TOKEN)
    assert (await client.get(path)).status == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_is_open(client_of: MakeClient, path: str) -> None:
    client = await client_of(TOKEN)
    assert (await client.get(path, headers={"Host": "gateway.internal"})).status == 200


async def test_with_a_token_any_name_leads_here(client_of: MakeClient) -> None:
    client = await client_of(TOKEN)
    answer = await client.get(API, headers={"Authorization": f"Bearer {TOKEN}", "Host": "gateway.internal:9090"})
    assert answer.status == 400


# --- without one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9090", "127.0.0.1", "[::1]:9090", "localhost", "LOCALHOST:1", "a.localhost"]
)
async def test_names_of_this_machine_open_the_api(client_of: MakeClient, host: str) -> None:
    client = await client_of()
    assert (await client.get(API, headers={"Host": host})).status == 400


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example"]
)
async def test_names_of_others_do_not(client_of: MakeClient, host: str) -> None:
    client = await client_of()
    answer = await client.get(API, headers={"Host": host})
    assert answer.status == 403
    assert "localhost" in (await answer.json())["detail"]


@pytest.mark.parametrize("host", ["::1", "::1:9090", "[::1", "a:b:c", "localhost:x", "localhost:99999999", "[::1]x"])
async def test_a_host_that_is_none_is_a_malformed_request(client_of: MakeClient, host: str) -> None:
    client = await client_of()
    answer = await client.get(API, headers={"Host": host})
    assert answer.status in (400, 403)
    assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9090.evil.example"},
        {"Referer": "https://evil.example/page"},
        {"Referer": "http://localhost:3000/"},
        {"Sec-Fetch-Site": "none", "Referer": "https://evil.example/"},
    ],
)
@pytest.mark.parametrize("path", [f"{API}?url=https://5000-box.sandbox.localhost/", "/v1/sandboxes"])
async def test_no_web_page_has_anything_done(client_of: MakeClient, path: str, fields: dict[str, str]) -> None:
    client = await client_of()
    answer = await client.get(path, headers={"Host": "127.0.0.1:9090", **fields})
    assert answer.status == 403
    assert "no web page" in (await answer.json())["detail"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},  # typed
        {"Sec-Fetch-Site": "same-origin", "Referer": "http://127.0.0.1:9090/v1/sandboxes"},
        {"Origin": "http://127.0.0.1:9090"},
    ],
)
async def test_who_sits_there_has(client_of: MakeClient, fields: dict[str, str]) -> None:
    client = await client_of()
    assert (await client.get(API, headers={"Host": "127.0.0.1:9090", **fields})).status == 400


# --- pages ----------------------------------------------------------------------------------------------------------

PAGES = ("/", "/status.css", "/status.js", "/events", "/metrics")


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("path", PAGES)
async def test_a_browser_logs_in_to_pages(client_of: MakeClient, path: str) -> None:
    client = await client_of(token=TOKEN)
    for headers, status in (
        ({}, 401),
        (basic("wrong"), 401),
        ({"Authorization": "Basic c0ffee"}, 401),
        ({"Authorization": "Basic ~"}, 401),
        (basic(TOKEN), 200),
        (basic(TOKEN, ""), 200),
        ({"Authorization": f"Bearer {TOKEN}"}, 200),
        (basic(TOKEN) | {"Host": "gateway.example"}, 200),
    ):
        async with client.get(path, headers=headers) as answer:
            assert answer.status == status, headers
            assert answer.headers.get("WWW-Authenticate", "Basic ").startswith("Basic ")


@pytest.mark.parametrize("path", ["/v1/status", "/v1/sandboxes", "/v1/reload"])
async def test_a_browsers_login_opens_no_way_to_the_api(client_of: MakeClient, path: str) -> None:
    """It would send it along whatever page asks it to."""
    client = await client_of(token=TOKEN)
    for method in ("GET", "POST", "PUT", "DELETE"):
        async with client.request(method, path, headers=basic(TOKEN)) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="gateway"'


@pytest.mark.parametrize("path", PAGES)
async def test_a_login_is_of_no_use_to_another_site(client_of: MakeClient, path: str) -> None:
    client = await client_of(token=TOKEN)
    for site, destination, status in (
        ("none", "document", 200),
        ("same-origin", "empty", 200),
        ("cross-site", "document", 200),
        ("cross-site", "empty", 403),
        ("cross-site", "iframe", 403),
        ("same-site", "image", 403),
    ):
        fields = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination}
        async with client.get(path, headers=basic(TOKEN) | fields) as answer:
            assert answer.status == status, fields


@pytest.mark.parametrize("path", PAGES)
async def test_without_a_token_no_web_page_reads_them(client_of: MakeClient, path: str) -> None:
    client = await client_of()
    for headers, status in (
        ({}, 200),
        ({"Host": "localhost:9090"}, 200),
        ({"Host": "rebound.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
    ):
        async with client.get(path, headers=headers) as answer:
            assert answer.status == status, headers

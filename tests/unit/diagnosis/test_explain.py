"""The road of an examination: where it ends, what each step says, and that nothing is left open."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from gateway.diagnosis import explain as explain_module
from gateway.diagnosis.explain import Context, explain
from gateway.diagnosis.findings import AppSocket, RefusalFindings, TimeoutFindings
from gateway.diagnosis.listener_probe import Listener
from gateway.diagnosis.report import ROAD, Report, Step
from gateway.diagnosis.url import InvalidUrl
from gateway.directory.sandbox import DirectoryError, Sandbox, TableDirectory
from gateway.endpoint import Endpoint
from gateway.errors import Failure, GatewayError, Reason
from gateway.http.message import FieldSection, RequestHead
from gateway.process.admin_client import EXPLAIN_TIMEOUT
from gateway.tasks import Tasks
from gateway.upstream.pool import Pool
from tests.unit.diagnosis.harness import (
    BOX,
    DOMAIN,
    OK,
    PATIENCE,
    App,
    Looking,
    changed,
    configured,
    make_context,
    step,
    url,
)

pytestmark = pytest.mark.ipv6

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def verdicts(report: Report) -> dict[str, str]:
    return {step.name: step.verdict for step in report.steps}


# --- an app that answers --------------------------------------------------------------------------------------------


async def test_an_app_that_answers_is_reachable(app: App, context: Context) -> None:
    app.script = lambda request: OK
    report = await explain(url(app.port, "/items?page=2"), context)
    assert report.ok
    assert report.reason is None
    assert report.fix == []
    assert report.conclusion.startswith("Reachable: the app answers 200 OK after ")
    assert tuple(verdicts(report)) == ROAD
    assert set(verdicts(report).values()) == {"ok", "skipped"}
    assert step(report, "parse").detail == f"port {app.port} of sandbox box, under {DOMAIN}"
    assert step(report, "directory").detail == "[::1], generation 7"
    assert step(report, "http").detail == "GET /items?page=2 → 200 OK, text/html, by HTTP/1.1"
    assert step(report, "websocket") == Step(
        "websocket", "skipped", "the app has no WebSocket here (HTTP 200)", step(report, "websocket").milliseconds
    )
    assert all(step.milliseconds > 0 for step in report.steps if step.name in ("dial", "http", "websocket"))


async def test_the_request_is_the_one_the_edge_would_send(app: App, context: Context) -> None:
    await explain(url(app.port, "/x"), context)
    lines = app.heads[0].decode().split("\r\n")
    assert lines[0] == "GET /x HTTP/1.1"
    assert f"Host: {app.port}-box.{DOMAIN}" in lines
    assert "User-Agent: gateway-explain" in lines
    assert "X-Forwarded-Proto: https" in lines
    assert "Via: 1.1 gateway" in lines
    assert any(line.startswith("X-Request-Id: ") for line in lines)


@pytest.mark.parametrize(
    ("asked", "host"),
    [
        ("https://{}:8443/", "{}:8443"),
        ("https://{}:443/", "{}"),
        ("{}", "{}:8443"),
        ("{}:9443/x", "{}:9443"),
        ("HTTPS://{}.:8443/", "{}:8443"),
    ],
)
async def test_the_host_is_what_a_browser_would_send(app: App, looking: Looking, asked: str, host: str) -> None:
    name = f"{app.port}-box.{DOMAIN}"
    await explain(asked.format(name), make_context(looking, configured(edge={"public_port": 8443})))
    assert f"\r\nHost: {host.format(name)}\r\n".encode() in app.heads[0]


@pytest.mark.parametrize(
    ("of_all", "of_this", "host"),
    [
        ("localhost:{port}", "", "localhost:{port}"),
        ("localhost:{port}", "app.internal", "app.internal"),
        ("localhost:{port}", "preserve", "{port}-box.sandbox.localhost"),
        ("preserve", "localhost", "localhost"),
    ],
)
async def test_a_mask_is_put_on(app: App, looking: Looking, of_all: str, of_this: str, host: str) -> None:
    context = make_context(looking, configured(upstream={"host": of_all}), changed(BOX, host=of_this))
    report = await explain(url(app.port), context)
    expected = host.replace("{port}", str(app.port))
    assert [f"\r\nHost: {expected}\r\n".encode() in head for head in app.heads] == [True, True]
    assert ("Host" in step(report, "directory").detail) == bool(of_this)


@pytest.mark.parametrize(
    ("answer", "said", "verdict"),
    [
        (NOT_FOUND, "404 Not Found", "warning"),
        (b"HTTP/1.1 500 \r\nContent-Length: 0\r\n\r\n", "500 Internal Server Error", "warning"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "302 Found, to “/login”", "ok"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "204 No Content", "ok"),
        (b"HTTP/1.0 200 Fine\r\n\r\nuntil the end", "200 Fine", "ok"),
    ],
)
async def test_whatever_status_it_has(app: App, context: Context, answer: bytes, said: str, verdict: str) -> None:
    app.script = lambda request: answer
    report = await explain(url(app.port), context)
    assert report.ok
    assert step(report, "http").detail == f"GET / → {said}, by HTTP/1.1"
    assert step(report, "http").verdict == verdict
    assert bool(report.fix) == (verdict == "warning")


async def test_only_the_head_of_an_endless_answer_is_waited_for(app: App, context: Context) -> None:
    app.script = lambda request: b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 1_000_000
    assert (await explain(url(app.port), context)).ok
    await app.all_closed()


async def test_a_redirect_that_leads_to_the_visitors_own_machine_comes_with_its_hint(
    app: App, context: Context, looking: Looking
) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: http://localhost:3000/\r\nContent-Length: 0\r\n\r\n"
    app.script = lambda request: redirect
    report = await explain(url(app.port, "/"), context)
    assert step(report, "http").verdict == "warning"
    (fix,) = report.fix
    assert fix.startswith("the app redirects to http://localhost:3000, which is the visitor's own machine. ")
    masking = make_context(looking, configured(upstream={"host": "localhost:3000"}))
    assert (await explain(url(app.port, "/"), masking)).fix == [], "the edge rewrites it"


@pytest.mark.parametrize("userinfo", ["user:s3cret@", "s3cret@", "a@b:s3cret@", ":s3cret@"])
@pytest.mark.parametrize("scheme", ["https://", "wss://", ""])
async def test_userinfo_is_left_out(app: App, context: Context, scheme: str, userinfo: str) -> None:
    app.script = lambda request: OK
    plain = url(app.port, "/x?a=b@c").partition("://")[2]
    report = await explain(f"{scheme}{userinfo}{plain}", context)
    assert report.ok
    assert report.url == f"{scheme}{plain}"
    assert "s3cret" not in repr(report)
    assert b"s3cret" not in b"".join(app.heads)


# --- the name -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "reason", "said"),
    [
        ("https://example.com/", "unknown_domain", f"served here: {DOMAIN}"),
        ("https://5000-bóx.sandbox.localhost/", "unknown_domain", "outside ASCII"),
        ("https://[::1]:5000/", "unknown_domain", "an IPv6 address"),
        (f"https://box.{DOMAIN}/", "invalid_hostname", "is not <port>-<sandbox-id>"),
        (f"https://0-box.{DOMAIN}/", "invalid_port", "“0” is not a port"),
        (f"https://22-box.{DOMAIN}/", "port_denied", "upstream.deny_ports"),
        (f"https://5000-box.{DOMAIN}/{'x' * 9000}", "uri_too_long", "more than 8192"),
    ],
)
async def test_a_name_that_leads_nowhere(looking: Looking, asked: str, reason: str, said: str) -> None:
    report = await explain(asked, make_context(looking, configured(upstream={"deny_ports": (22,)})))
    assert not report.ok
    assert report.reason == reason
    assert step(report, "parse").verdict == "failed"
    assert said in step(report, "parse").detail
    assert [step.verdict for step in report.steps[1:]] == ["skipped"] * 6
    assert report.fix
    assert report.conclusion.endswith(f". {report.fix[0]}")


async def test_no_url_at_all(context: Context) -> None:
    with pytest.raises(InvalidUrl):
        await explain("ftp://5000-box.sandbox.localhost/", context)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("https://{}/", "this URL goes to port 443, and public URLs of this gateway to port 8443"),
        ("wss://{}:444/", "this URL goes to port 444, and public URLs of this gateway to port 8443"),
        ("http://{}:8443/", "port 8443 speaks TLS, and this URL begins with http://"),
    ],
)
async def test_a_url_that_misses_the_gateway(app: App, looking: Looking, asked: str, said: str) -> None:
    app.script = lambda request: OK
    name = f"{app.port}-box.{DOMAIN}"
    context = make_context(looking, configured(edge={"public_port": 8443}))
    report = await explain(asked.format(name), context)
    assert report.ok
    assert step(report, "parse").verdict == "warning"
    assert f"But {said}." in report.conclusion
    assert f"Use https://{name}:8443/" in report.fix


@pytest.mark.parametrize(
    ("asked", "fix"),
    [
        ("http://{}:8080/", []),
        ("ws://{}:8080/", []),
        ("http://{}/", []),
        ("http://{}:8443/", ["Use https://{}:8443/"]),
        ("ws://{}:8443/", ["Use https://{}:8443/"]),
    ],
)
async def test_a_port_without_tls_is_not_said_to_have_it(
    app: App, looking: Looking, asked: str, fix: list[str]
) -> None:
    """The public port may be a plain listener's, and another port one with TLS."""
    app.script = lambda request: OK
    context = make_context(looking, configured(edge={"public_port": 8080}))
    listeners = [Listener((None, 8080), is_tls=False), Listener((None, 8443), is_tls=True)]
    name = f"{app.port}-box.{DOMAIN}"
    report = await explain(asked.format(name), replace(context, listeners=listeners))
    assert report.ok
    assert report.fix == [each.format(name) for each in fix]
    assert ("speaks TLS" in step(report, "parse").detail) == bool(fix)
    assert step(report, "parse").verdict == ("warning" if fix else "ok")


# --- the directory and the address ----------------------------------------------------------------------------------


class Failing:
    def __init__(self, error: Exception | None) -> None:
        self._error = error

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        if self._error is None:
            await asyncio.Event().wait()
            return None
        raise self._error


async def test_an_unknown_sandbox(context: Context) -> None:
    report = await explain("https://5000-nobody.sandbox.localhost/", context)
    assert report.reason == "destination_not_found"
    assert step(report, "directory").verdict == "failed"
    assert "“nobody”" in report.conclusion


async def test_a_directory_that_fails(looking: Looking) -> None:
    context = make_context(looking, directory=Failing(DirectoryError("redis://…: connection refused")))
    report = await explain(url(5000), context)
    assert report.reason == "directory_unavailable"
    assert step(report, "directory").detail == "redis://…: connection refused"


async def test_a_directory_that_hangs(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_module, "LOOKUP_TIMEOUT", 0.01)
    async with asyncio.timeout(PATIENCE):
        report = await explain(url(5000), make_context(looking, directory=Failing(None)))
    assert report.reason == "directory_unavailable"
    assert step(report, "directory").detail == "no answer within 0.01 s"


async def test_all_of_a_record_is_shown(looking: Looking) -> None:
    box = changed(BOX, address=IPv6Address("fd00::5"), ipv4=IPv4Address("10.0.0.5"), host="localhost:{port}")
    report = await explain(url(5000), make_context(looking, sandbox=box))
    assert step(report, "directory").detail == "[fd00::5], generation 7, IPv4 10.0.0.5, Host localhost:{port}"
    assert report.reason == "destination_ip_prohibited"
    assert step(report, "policy") == Step(
        "policy",
        "failed",
        "[fd00::5] is outside the allowed prefixes (upstream.allow)",
        step(report, "policy").milliseconds,
    )
    assert step(report, "dial").verdict == "skipped"


async def test_the_gateways_own_listener(looking: Looking) -> None:
    report = await explain(url(8443), make_context(looking, own=((IPv6Address("::1"), 8443),)))
    assert report.reason == "destination_ip_prohibited"
    assert "own listener" in step(report, "policy").detail


@pytest.mark.parametrize("reason", list(Reason), ids=str)
async def test_every_reason_is_told_without_a_page_around_it(looking: Looking, reason: Reason) -> None:
    context = make_context(looking, directory=Failing(Failure(reason, "seen", observed=("more",)).error()))
    report = await explain(url(5000), context)
    assert (report.ok, report.reason) == (False, str(reason))
    assert step(report, "directory").detail == "seen; more"
    assert report.conclusion.endswith(report.fix[0])
    for text in (report.conclusion, *report.fix):
        assert "below" not in text
        assert not re.search(r"\{[a-z]+\}", text)


# --- dialing --------------------------------------------------------------------------------------------------------


async def test_a_refusal_is_looked_into(looking: Looking, refusing_port: int) -> None:
    box = changed(BOX, ipv4=IPv4Address("10.0.0.5"))
    looking.findings = RefusalFindings(None, (3000, 8000))
    report = await explain(url(refusing_port), make_context(looking, sandbox=box))
    assert report.reason == "connection_refused"
    assert looking.asked == [(IPv6Address("::1"), refusing_port, IPv4Address("10.0.0.5"))]
    assert list(verdicts(report)) == ["parse", "listener", "directory", "policy", "dial", "ipv4", "http", "websocket"]
    assert step(report, "dial").verdict == "failed"
    assert "Connection refused" in step(report, "dial").detail
    assert step(report, "ipv4").verdict == "skipped"
    assert step(report, "ipv4").detail.endswith("; ports 3000 and 8000 of this sandbox accept connections")
    assert "Bind to `::`" in report.conclusion


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        ({"box": changed(BOX, address=IPv6Address("2a00::1"))}, "destination_ip_prohibited"),
        ({}, "destination_not_found"),
    ],
    ids=["for another address", "removed"],
)
async def test_what_is_met_at_an_address_is_not_said_of_who_left_it(
    refusing_port: int, left: dict[str, Sandbox], reason: str
) -> None:
    directory = TableDirectory({"box": BOX})

    class Leaving(Looking):
        async def find(self, *asked: Any, **whose: Any) -> RefusalFindings | TimeoutFindings:
            directory.table = left
            return await super().find(*asked, **whose)

    report = await explain(url(refusing_port), make_context(Leaving(), directory=directory))
    assert report.reason == reason
    assert step(report, "dial").verdict == "skipped"


async def test_nothing_is_said_of_who_moves_faster_than_we_look(refusing_port: int) -> None:
    directory = TableDirectory({"box": BOX})

    class Moving(Looking):
        async def find(self, *asked: Any, **whose: Any) -> RefusalFindings | TimeoutFindings:
            directory.table = {"box": changed(BOX, generation=str(len(self.asked)))}
            return await super().find(*asked, **whose)

    looking = Moving()
    report = await explain(url(refusing_port), make_context(looking, directory=directory))
    assert (report.ok, report.reason, len(looking.asked)) == (False, "connection_timeout", 2)
    assert [step.verdict for step in report.steps] == ["ok", "failed", *["skipped"] * (len(report.steps) - 2)]
    assert "refused" not in str(report)


async def test_nobody_can_tell_whose_the_address_is(refusing_port: int) -> None:
    class Away(TableDirectory):
        async def fetch(self, sandbox_id: str) -> Sandbox | None:
            if looking.asked:
                raise DirectoryError("away")
            return await super().fetch(sandbox_id)

    looking = Looking()
    report = await explain(url(refusing_port), make_context(looking, directory=Away({"box": BOX})))
    assert report.reason == "connection_refused"


async def test_what_listens_on_ipv4_only_is_named(looking: Looking, refusing_port: int) -> None:
    looking.findings = RefusalFindings(AppSocket("127.0.0.1", refusing_port, "python3", 4711), ())
    report = await explain(url(refusing_port), make_context(looking))
    assert report.reason == "ipv4_only_listener"
    assert step(report, "ipv4").verdict == "warning"
    assert step(report, "ipv4").detail == (
        f"something listens on 127.0.0.1:{refusing_port} but not on [::1]:{refusing_port}; "
        "the process is python3 (pid 4711)"
    )


async def test_a_look_that_hangs_is_given_up(
    looking: Looking, refusing_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forever(*args: Any, **whose: Any) -> RefusalFindings:
        await asyncio.Event().wait()
        return RefusalFindings()

    monkeypatch.setattr(explain_module, "PROBE_TIMEOUT", 0.01)
    monkeypatch.setattr(looking, "find", forever)
    report = await explain(url(refusing_port), make_context(looking))
    assert report.reason == "connection_refused"
    assert step(report, "ipv4").detail == "not finished within 0.01 s"


@pytest.mark.parametrize(
    ("reason", "setting", "said"),
    [
        (Reason.CONNECTION_TIMEOUT, 3.0, "silence"),
        (Reason.CONNECTION_TIMEOUT, 10.0, "silence (serving, the gateway waits 10s)"),
        (Reason.DESTINATION_IP_UNROUTABLE, 10.0, "silence"),
    ],
)
async def test_silence_is_looked_into_and_no_route_is_not(
    looking: Looking, monkeypatch: pytest.MonkeyPatch, reason: Reason, setting: float, said: str
) -> None:
    async def fail(pool: Pool, endpoint: Endpoint) -> None:
        assert pool.context.timeouts.connect == explain_module.DIAL_TIMEOUT
        raise GatewayError(reason, "silence")

    monkeypatch.setattr(Pool, "dial", fail)
    report = await explain(url(5000), make_context(looking, configured(upstream={"connect_timeout": setting})))
    assert report.reason == str(reason)
    assert step(report, "dial").detail == said
    assert bool(looking.asked) is (reason is Reason.CONNECTION_TIMEOUT)


async def test_what_silence_means_stands_with_the_dial(looking: Looking, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(pool: Pool, endpoint: Endpoint) -> None:
        raise GatewayError(Reason.CONNECTION_TIMEOUT, "silence")

    looking.timeout = TimeoutFindings(
        is_listed=True, queue=AppSocket("::", 5000, "python3", 4711, 3, is_full=True), is_here=True
    )
    monkeypatch.setattr(Pool, "dial", fail)
    report = await explain(url(5000), make_context(looking))
    assert report.reason == "connection_timeout"
    said = "python3 (pid 4711) listens on [::]:5000: 3 connections in its queue, which is full"
    assert step(report, "dial").detail == f"silence; {said}"
    assert step(report, "dial").verdict == "failed"
    assert "ipv4" not in [each.name for each in report.steps]


async def test_an_app_that_is_reachable_is_not_looked_into(app: App, context: Context, looking: Looking) -> None:
    await explain(url(app.port), context)
    assert looking.asked == []


# --- talking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "http_protocol_error", "“SSH-2.0-OpenSSH_9.2p1"),
        (b"", "connection_terminated", "the app closed the connection before answering"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 40_000, "http_response_header_section_size", "more than 32768 octets"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "http_protocol_error", "though nobody asked"),
    ],
)
async def test_what_answers_is_no_http_app(app: App, context: Context, answer: bytes, reason: str, said: str) -> None:
    app.script = lambda request: answer
    report = await explain(url(app.port), context)
    assert report.reason == reason
    assert verdicts(report)["dial"] == "ok"
    assert verdicts(report)["http"] == "failed"
    assert said in step(report, "http").detail
    assert verdicts(report)["websocket"] == "skipped"


async def test_an_app_that_expects_tls_and_hangs_up(app: App, context: Context) -> None:
    app.script = lambda request: b""
    app.to_client_hello = b"\x15\x03\x03\x00\x02\x02\x28"  # the alert handshake_failure: TLS is spoken
    report = await explain(url(app.port), context)
    assert report.reason == "upstream_speaks_tls"
    assert step(report, "http").detail.endswith("answers when TLS is spoken to it")
    assert "without TLS" in report.fix[0]


async def test_one_that_says_so(app: App, context: Context) -> None:
    body = b"Client sent an HTTP request to an HTTPS server.\n"
    app.script = lambda request: b"HTTP/1.0 400 Bad Request\r\n\r\n" + body
    app.to_client_hello = b"\x15\x03\x03\x00\x02\x02\x28"
    report = await explain(url(app.port), context)
    assert report.reason == "upstream_speaks_tls"
    app.to_client_hello = b"HTTP/1.0 400 Bad Request\r\n\r\n"
    report = await explain(url(app.port), context)
    assert (report.ok, report.reason) == (True, None), "the app's own words about another server"


async def test_an_app_that_dislikes_its_name_gets_the_setting(app: App, context: Context) -> None:
    body = (
        b'Blocked request. This host ("5000-box.example.dev") is not allowed.\nTo allow this host, add '
        b'"5000-box.example.dev" to `server.allowedHosts` in vite.config.js.'
    )
    head = b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
    app.script = lambda request: head + body
    report = await explain(url(app.port), context)
    assert report.ok
    assert step(report, "http").verdict == "warning"
    assert "server.allowedHosts" in report.fix[0]


async def test_an_app_that_speaks_first(app: App, context: Context) -> None:
    app.greeting = b"SSH-2.0-OpenSSH_9.2p1\r\n"
    report = await explain(url(app.port), context)
    assert report.reason == "http_protocol_error"
    assert "SSH-2.0" in " ".join(step.detail for step in report.steps)


async def test_a_silent_app_within_the_patience_of_the_gateway(app: App, looking: Looking) -> None:
    app.script = lambda request: None
    context = make_context(looking, configured(upstream={"response_header_timeout": 0.05}))
    report = await explain(url(app.port), context)
    assert report.reason == "http_response_timeout"
    assert step(report, "http").detail == "no answer within 0.05 s"


async def test_a_silent_app_beyond_our_own(app: App, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_module, "ANSWER_TIMEOUT", 0.05)
    app.script = lambda request: None
    report = await explain(url(app.port), context)
    assert step(report, "http").detail == "no answer within 0.05 s (serving, the gateway waits 5m)"
    assert step(report, "http").verdict == "warning"
    assert report.conclusion.startswith("No verdict after 0.05 s: the app has the request")
    assert "waits 5m" in report.conclusion
    assert (report.ok, report.reason) == (False, None)


# --- bounds ---------------------------------------------------------------------------------------------------------


def test_an_examination_is_over_within_sixteen_seconds() -> None:
    assert explain_module.LONGEST <= 16 * explain_module.TRIES
    assert EXPLAIN_TIMEOUT >= 2 * explain_module.LONGEST


async def test_a_cancelled_one_leaves_no_connection(app: App, context: Context) -> None:
    app.script = lambda request: None
    tasks = Tasks()
    examination = tasks.spawn(explain(url(app.port), context), "examination")
    async with asyncio.timeout(PATIENCE):
        await app.asked.wait()
    examination.cancel()
    with pytest.raises(asyncio.CancelledError):
        await examination
    await app.all_closed()


async def test_nor_does_one_that_fails(app: App, context: Context) -> None:
    def fail(head: RequestHead) -> FieldSection:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await explain(url(app.port), replace(context, added=fail))
    await app.all_closed()


async def test_several_at_once_do_not_mix(app: App, context: Context) -> None:
    app.script = lambda request: OK if request.startswith(b"GET /a ") else NOT_FOUND
    tasks = Tasks()
    running = {path: tasks.spawn(explain(url(app.port, path), context), path) for path in ("/a", "/b", "/c")}
    statuses = {path: step(await task, "http").detail for path, task in running.items()}
    assert statuses == {
        "/a": "GET /a → 200 OK, text/html, by HTTP/1.1",
        "/b": "GET /b → 404 Not Found, by HTTP/1.1",
        "/c": "GET /c → 404 Not Found, by HTTP/1.1",
    }

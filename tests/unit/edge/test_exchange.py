"""An exchange between two streams of no HTTP version: every ending, every order of events, and one record of each.

What holds in all of them is `Gateway.check_over` and the contracts that the fakes check (tests/support/seam.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.diagnosis.protocol_probe import TLS
from gateway.errors import GatewayError, Reason
from gateway.http.message import AS_TUNNEL, NO_BODY, RequestHead, ResponseHead
from tests.support.seam import Downstream, Gateway, Stream, answer, gateway, handshake, request, settle, upload

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled

Step = Callable[[Gateway, Downstream], None]

EARLY_HINTS = answer(103, NO_BODY)
ERROR = answer(500, fields=[(b"Content-Type", b"text/html")])
SWITCH = answer(101, AS_TUNNEL)

# `d` is downstream's side, `u` upstream's.
STEPS: dict[str, Step] = {
    "d body": lambda g, d: d.sink.request_body(b"request"),
    "d end": lambda g, d: d.sink.request_end([]),
    "d full": lambda g, d: d.sink.downstream_full(),
    "d drained": lambda g, d: d.sink.downstream_drained(),
    "d lost": lambda g, d: d.sink.downstream_lost("it hung up"),
    "d wrong": lambda g, d: d.sink.fail(GatewayError(Reason.BAD_REQUEST, "in the body")),
    "u interim": lambda g, d: g.stream.says(EARLY_HINTS),
    "u head": lambda g, d: g.stream.says(answer()),
    "u error": lambda g, d: g.stream.says(ERROR),
    "u switch": lambda g, d: g.stream.says(SWITCH),
    "u body": lambda g, d: g.stream.says_body(b"answer"),
    "u end": lambda g, d: g.stream.ends(),
    "u full": lambda g, d: sink_of(g).upstream_full(7),
    "u drained": lambda g, d: sink_of(g).upstream_drained(),
    "u fails": lambda g, d: g.stream.fails(Reason.HTTP_RESPONSE_INCOMPLETE),
    "u hangs up": lambda g, d: g.stream.fails(Reason.CONNECTION_TERMINATED),
    "u refuses": lambda g, d: g.stream.fails(Reason.CONNECTION_TERMINATED, unprocessed=True),
}


def sink_of(g: Gateway) -> Any:
    assert g.stream.sink is not None
    return g.stream.sink


def play(g: Gateway, d: Downstream, steps: str) -> None:
    for step in steps.split(", "):
        STEPS[step](g, d)


GET, UPLOAD, UPGRADE = request(), upload(), handshake()
INCOMPLETE = "http_response_incomplete"

# A request, what happens, what downstream was sent, and what the record says: status and reason.
ENDINGS: dict[str, tuple[RequestHead, str, list[object], int, str]] = {
    "complete": (GET, "u head, u body, u end", [200, "end"], 200, ""),
    "complete, with a body": (UPLOAD, "d body, d end, u head, u body, u end", [200, "end"], 200, ""),
    "interim answers before": (GET, "u interim, u interim, u head, u end", [103, 103, 200, "end"], 200, ""),
    "an interim answer within": (UPLOAD, "d body, u interim, d end, u head, u end", [103, 200, "end"], 200, ""),
    "answered before the request is whole": (UPLOAD, "d body, u head, u body, d body, u end", [200, "end"], 200, ""),
    "a conversation": (UPLOAD, "u head, d body, u body, d body, d end, u body, u end", [200, "end"], 200, ""),
    "fails before the head": (GET, "u fails", [502, "end"], 502, INCOMPLETE),
    "fails inside the request": (UPLOAD, "d body, u fails", [502, "end"], 502, INCOMPLETE),
    "fails after an interim answer": (GET, "u interim, u fails", [103, 502, "end"], 502, INCOMPLETE),
    "fails after the head": (GET, "u head, u fails", [200, "abort"], 200, INCOMPLETE),
    "fails inside the body": (GET, "u head, u body, u fails", [200, "abort"], 200, INCOMPLETE),
    "the request is wrong before the head": (UPLOAD, "d body, d wrong", [400, "end"], 400, "bad_request"),
    "the request is wrong after the head": (UPLOAD, "u head, d wrong", [200, "abort"], 200, "bad_request"),
    "downstream lost before the head": (GET, "d lost", [], 499, "downstream_closed"),
    "downstream lost inside the request": (UPLOAD, "d body, d lost", [], 499, "downstream_closed"),
    "downstream lost after an interim answer": (GET, "u interim, d lost", [103], 499, "downstream_closed"),
    "downstream lost inside the body": (GET, "u head, u body, d lost", [200], 200, "downstream_closed"),
    "a tunnel that upstream ends first": (UPGRADE, "u switch, u body, u end, d body, d end", [101, "end"], 101, ""),
    "a tunnel that downstream ends first": (UPGRADE, "u switch, d body, d end, u body, u end", [101, "end"], 101, ""),
    "a tunnel that fails": (UPGRADE, "u switch, u body, u fails", [101, "abort"], 101, INCOMPLETE),
    "a half-closed tunnel that fails": (UPGRADE, "u switch, d end, u fails", [101, "abort"], 101, INCOMPLETE),
    "a tunnel that downstream leaves": (UPGRADE, "u switch, d body, d lost", [101], 101, ""),
    "a half-closed tunnel that downstream leaves": (UPGRADE, "u switch, u end, d lost", [101, "end"], 101, ""),
    "a switch that was refused": (UPGRADE, "u head, u end", [200, "end"], 200, ""),
    "an error answer, withheld, is passed": (GET, "u error, u body, u end", [500, "end"], 500, ""),
    "an error answer without a body": (GET, "u error, u end", [500, "end"], 500, ""),
    "an error answer fails before its body": (GET, "u error, u fails", [500, "abort"], 500, INCOMPLETE),
    "downstream lost while an answer is withheld": (GET, "u error, d lost", [], 499, "downstream_closed"),
    "the request is wrong while an answer is withheld": (UPLOAD, "u error, d wrong", [400, "end"], 400, "bad_request"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("road", ["cold", "warm", "shared"])
async def test_it_ends_once(name: str, road: str) -> None:
    head, steps, said, status, reason = ENDINGS[name]
    async with gateway(capacity=3 if road == "shared" else 1) as g:
        if road != "cold":
            await g.warm()
        d = g.ask(head)
        await settle()
        play(g, d, steps)
        assert d.ended, "without another turn of the event loop"
        await settle()
        assert d.said == said
        (record,) = g.records.all
        assert (record.status, record.reason) == (status, reason)
        assert record.reused is (road != "cold")
        assert record.upgraded is ("u switch" in steps)
        assert record.received == len(b"request") * steps.count("d body")
        if reason != INCOMPLETE and status != 400:
            assert record.sent == len(d.body)
        g.check_over()


PAUSES: dict[str, tuple[RequestHead, str, bool, bool]] = {
    "before the head": (request(), "d full", True, False),
    "drained before the head": (request(), "d full, d drained", False, False),
    "in the body": (request(), "u head, u body, d full", True, False),
    "drained in the body": (request(), "u head, d full, u body, d drained", False, False),
    "in a tunnel": (handshake(), "u switch, d full", True, False),
    "drained in a tunnel": (handshake(), "u switch, d full, d drained", False, False),
    "after an answer was withheld": (request(), "u error, d full, u body", True, False),
    "drained while it is withheld": (request(), "u error, d full, d drained, u body", False, False),
    "upstream full": (upload(), "d body, u full", False, True),
    "upstream drained": (upload(), "d body, u full, u drained", False, False),
    "upstream full in a conversation": (upload(), "u head, d body, u full", False, True),
    "upstream full in a tunnel": (handshake(), "u switch, d body, u full", False, True),
    "upstream drained in a tunnel": (handshake(), "u switch, d body, u full, u drained", False, False),
    "upstream full while an answer is withheld": (upload(), "u error, u full", False, True),
    "upstream drained after it was": (upload(), "u full, u error, u body, u drained", False, False),
    "both": (upload(), "u head, u full, d full", True, True),
}


@pytest.mark.parametrize("name", PAUSES)
async def test_who_is_full_pauses_the_other_side(name: str) -> None:
    head, steps, upstream_paused, downstream_paused = PAUSES[name]
    async with gateway() as g:
        d = g.ask(head)
        await settle()
        play(g, d, steps)
        assert (g.stream.paused, d.paused) == (upstream_paused, downstream_paused)
        play(g, d, "d lost")
        g.check_over()


@pytest.mark.parametrize("road", ["cold", "warm"])
async def test_who_is_full_before_there_is_an_upstream_pauses_it(road: str) -> None:
    async with gateway() as g:
        if road == "warm":
            await g.warm()
        d = g.prepare()
        if road == "warm":
            d.exchange.downstream_full()
        d.exchange.begin()
        d.exchange.downstream_full()
        await settle()
        assert g.stream.paused
        d.exchange.downstream_drained()
        assert not g.stream.paused
        play(g, d, "u head, u end")
        g.check_over()


async def test_who_is_full_stays_so_when_a_request_is_sent_again() -> None:
    async with gateway() as g:
        await g.warm()
        d = g.ask()
        play(g, d, "d full, u hangs up")
        await settle()
        assert g.stream.paused
        play(g, d, "d drained, u head, u end")
        g.check_over()


# --- the road to a connection -----------------------------------------------------------------------------------------


async def test_downstream_waits_while_a_connection_is_made() -> None:
    async with gateway() as g:
        g.pool.gate.clear()
        d = g.ask(upload())
        await settle()
        assert d.paused
        g.pool.gate.set()
        await settle()
        assert not d.paused
        play(g, d, "d body, d end, u head, u end")
        g.check_over()


async def test_who_leaves_meanwhile_leaves_nothing_behind() -> None:
    async with gateway() as g:
        g.pool.gate.clear()
        d = g.ask()
        await settle()
        play(g, d, "d lost")
        assert g.records.all[0].status == 499
        g.pool.gate.set()
        await settle()
        assert g.pool.dialed == []
        g.check_over()


@pytest.mark.parametrize("turns", range(20))
async def test_who_leaves_at_any_moment_leaves_nothing_behind(turns: int) -> None:
    async with gateway() as g:
        d = g.ask()
        for _ in range(turns):
            await asyncio.sleep(0)
        play(g, d, "d lost")
        await settle()
        g.check_over()


async def test_a_dial_that_fails_is_told() -> None:
    async with gateway() as g:
        g.pool.refuses = GatewayError(Reason.DESTINATION_IP_PROHIBITED, "as the test wants it")
        d = g.ask()
        await settle()
        assert d.said == [502, "end"]
        assert g.records.all[0].reason == "destination_ip_prohibited"
        g.check_over()


async def test_a_stream_may_fail_when_it_is_sent_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    send_request = Stream.send_request

    def failing(stream: Stream, *arguments: Any) -> None:
        send_request(stream, *arguments)
        stream.fails()

    monkeypatch.setattr(Stream, "send_request", failing)
    async with gateway() as g:
        d = g.ask(upload())
        await settle()
        assert d.said == [502, "end"]
        g.check_over()


async def test_a_bug_on_the_way_is_a_problem_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway() as g:
        g.pool.refuses = cast("Any", RuntimeError("a bug"))
        d = g.ask()
        await settle()
        assert d.said == [500, "end"]
        assert g.records.all[0].reason == "proxy_internal_error"
        g.check_over()


async def test_so_is_one_before_anything_had_to_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    async with gateway() as g:
        g.ask()
        await settle()
        g.stream.says(answer())
        g.stream.ends()
        await settle()
        monkeypatch.setattr(g.edge.directory, "get_cached", broken)
        d = g.ask()
        assert d.said == [500, "end"], "at once"
        assert g.records.all[-1].reason == "proxy_internal_error"
        g.check_over()


async def test_a_probe_sends_nothing() -> None:
    async with gateway() as g:
        d = g.ask(request(fields=[(b"X-Gateway-Probe", b"1")]))
        await settle()
        assert d.said == [204, "end"]
        assert [each.sent for each in g.streams] == [[]]
        g.check_over()


# --- once more --------------------------------------------------------------------------------------------------------

# A request, whether the connection had served before, what happens, and whether it is sent again.
RETRIES: dict[str, tuple[RequestHead, bool, str, bool]] = {
    "a reused connection was stale": (request(), True, "u hangs up", True),
    "a fresh one hangs up": (request(), False, "u hangs up", False),
    "it was not idempotent": (request(b"POST"), True, "u hangs up", False),
    "it had a body": (upload(b"PUT"), True, "d body, u hangs up", False),
    "an interim answer had come": (request(), True, "u interim, u hangs up", False),
    "a head had come": (request(), True, "u head, u hangs up", False),
    "a head is withheld": (request(), True, "u error, u hangs up", False),
    "it was a tunnel": (handshake(), True, "u switch, u hangs up", False),
    "unprocessed": (request(), True, "u refuses", True),
    "unprocessed on a fresh connection": (request(), False, "u refuses", True),
    "unprocessed and not idempotent": (request(b"POST"), False, "u refuses", True),
    "unprocessed, with a body": (upload(), False, "d body, u refuses", False),
    "unprocessed after a head": (request(), False, "u head, u refuses", False),
    "unprocessed after an interim answer": (request(), False, "u interim, u refuses", False),
}  # fmt: skip


@pytest.mark.parametrize("name", RETRIES)
async def test_it_is_sent_again_where_that_is_safe(name: str) -> None:
    head, reused, steps, again = RETRIES[name]
    async with gateway() as g:
        if reused:
            await g.warm()
        d = g.ask(head)
        await settle()
        dialed = len(g.pool.dialed)
        play(g, d, steps)
        assert d.ended is (0 if again or name == "a fresh one hangs up" else d.ended)
        await settle()
        assert len(g.pool.dialed) == dialed + again
        if again:
            assert d.said == []
            assert not d.paused
            play(g, d, "u head, u end")
            assert d.said == [200, "end"]
            assert not g.records.all[0].reused
        g.check_over()


async def test_it_is_sent_again_only_once() -> None:
    async with gateway() as g:
        await g.warm()
        d = g.ask()
        play(g, d, "u hangs up")
        await settle()
        play(g, d, "u refuses")
        await settle()
        assert d.said == [502, "end"]
        assert len(g.pool.dialed) == 2
        g.check_over()


async def test_who_leaves_while_it_is_sent_again_leaves_nothing_behind() -> None:
    async with gateway() as g:
        await g.warm()
        d = g.ask()
        g.pool.gate.clear()
        play(g, d, "u hangs up")
        await settle()
        play(g, d, "d lost")
        g.pool.gate.set()
        await settle()
        assert len(g.pool.dialed) == 1
        g.check_over()


async def test_what_comes_while_the_cause_is_looked_for_goes_nowhere() -> None:
    async with gateway() as g:
        d = g.ask(upload())
        await settle()
        play(g, d, "u hangs up, d body, d full, d drained, d end")
        await settle()
        assert d.said == [502, "end"]
        g.check_over()


@pytest.mark.parametrize("ending", ["d lost", "d wrong"])
async def test_it_may_end_while_the_cause_is_looked_for(ending: str) -> None:
    async with gateway() as g:
        d = g.ask(upload())
        await settle()
        play(g, d, f"u hangs up, {ending}")
        await settle()
        assert g.records.all[0].reason == ("downstream_closed" if ending == "d lost" else "bad_request")
        g.check_over()


# --- error answers ----------------------------------------------------------------------------------------------------

WANTS_TLS = b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head>"
REFUSES_PLAIN = answer(400, fields=[(b"Content-Type", b"text/html")])


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("meanwhile", ["u full, u drained", "d full", "d full, d drained"])
@pytest.mark.parametrize("speaks", [None, TLS])
async def test_an_answer_that_sounds_like_tls_waits_for_a_look(meanwhile: str, speaks: Any, complete: bool) -> None:
    async with gateway(port_speaks=speaks) as g:
        d = g.ask()
        await settle()
        stream = g.stream
        stream.says(REFUSES_PLAIN, WANTS_TLS, ends=complete)
        assert d.said == []
        assert stream.paused
        play(g, d, meanwhile)
        await settle()
        if speaks is TLS:
            assert d.said == [502, "end"]
            assert g.records.all[0].reason == "upstream_speaks_tls"
        else:
            assert d.status == 400
            assert d.body == WANTS_TLS
            if not complete:
                assert stream.paused is (meanwhile == "d full")
                play(g, d, "u end")
            assert d.said == [400, "end"]
        g.check_over()


async def test_downstream_may_leave_while_the_port_is_looked_at() -> None:
    async with gateway(port_speaks=TLS) as g:
        d = g.ask()
        await settle()
        g.stream.says(REFUSES_PLAIN, WANTS_TLS, ends=True)
        play(g, d, "d lost")
        await settle()
        g.edge.sweeper.sweep()
        g.check_over()
        assert not g.edge.error_answers.waiting


class LostAtHead(Downstream):
    """Downstream turns out to be gone when it is sent the head."""

    def send_head(self, head: ResponseHead, request_id: bytes) -> None:
        super().send_head(head, request_id)
        self.exchange.downstream_lost("it was gone")


@pytest.mark.parametrize("head", [answer(), ERROR], ids=["plain", "withheld"])
@pytest.mark.parametrize("ends", [False, True])
async def test_downstream_may_be_gone_when_it_is_sent_the_head(head: ResponseHead, ends: bool) -> None:
    async with gateway() as g:
        d = g.ask(on=LostAtHead(g.contract, g.peer))
        await settle()
        g.stream.says(head, b"body", ends)
        assert d.said == [head.status]
        assert d.body == b""
        g.check_over()


async def test_downstream_may_be_gone_when_it_is_sent_a_head_that_was_looked_into() -> None:
    async with gateway() as g:
        d = g.ask(on=LostAtHead(g.contract, g.peer))
        await settle()
        g.stream.says(REFUSES_PLAIN, WANTS_TLS, ends=True)
        await settle()
        assert d.said == [400]
        assert d.body == b""
        g.check_over()


# --- a login that is bound to a connection ----------------------------------------------------------------------------

CHALLENGE = answer(401, NO_BODY, [(b"WWW-Authenticate", b"Negotiate")])
CHALLENGE.binds = True


async def test_a_challenge_binds_the_connection_to_downstream() -> None:
    async with gateway() as g:
        d = g.ask()
        await settle()
        stream = g.stream
        stream.says(CHALLENGE)
        assert stream.owner is d
        assert stream.challenged
        stream.ends()
        g.check_over()


async def test_a_login_at_a_connection_that_ends_is_lost() -> None:
    async with gateway() as g:
        d = g.ask()
        await settle()
        g.stream.persists = False
        g.stream.says(CHALLENGE, ends=True)
        assert d.lost_login == 1
        g.check_over()


async def bind(g: Gateway) -> tuple[Downstream, Stream]:
    """A connection that a login has bound."""
    connection = await g.warm()
    assert g.pool.open(connection.key, replayable=True) is connection.streams[0]
    downstream = Downstream(g.contract, g.peer)
    downstream.bound = connection.streams[0]
    return downstream, connection.streams[0]


async def test_the_next_request_of_a_login_goes_by_its_connection_and_no_other() -> None:
    async with gateway() as g:
        bound, stream = await bind(g)
        d = g.ask(on=bound)
        assert stream.head is not None
        assert d.bound is None
        play(g, d, "u hangs up")
        await settle()
        assert d.said == [502, "end"]
        assert len(g.pool.dialed) == 1
        g.check_over()


async def test_a_login_whose_connection_is_gone_is_no_other_s() -> None:
    async with gateway() as g:
        bound, stream = await bind(g)
        stream.connection.alive = False
        d = g.ask(on=bound)
        assert d.said == [502, "end"]
        assert g.records.all[0].reason == "connection_terminated"
        assert len(g.pool.dialed) == 1
        g.check_over()


async def test_a_request_to_another_app_ends_what_is_bound() -> None:
    async with gateway() as g:
        bound, stream = await bind(g)
        d = g.ask(request(host=b"5001-demo.sandbox.localhost"), on=bound)
        assert stream.over == "closed"
        await settle()
        play(g, d, "u head, u end")
        g.check_over()


# --- any order --------------------------------------------------------------------------------------------------------


def is_upload(d: Downstream) -> bool:
    return d.head.framing is not NO_BODY


def allowed(g: Gateway, d: Downstream, told: set[str]) -> list[str]:
    """What may happen next, by the contract of both sides."""
    open_streams = [each for each in g.streams if not each.over and each.head is not None]
    steps = ["turn", "d lost", "d drained" if "d full" in told else "d full"]
    in_tunnel = "u switch" in told
    if "d end" not in told and (is_upload(d) or in_tunnel) and not d.paused:
        steps += ["d body", "d end", "d wrong"]
    if open_streams and open_streams[0].complete:
        return steps  # half-closed
    if open_streams:
        steps += ["u fails", "u hangs up", "u refuses", "u full", "u drained"]
        if not told & {"u head", "u error", "u switch"}:
            steps += ["u interim", "u head", "u error"]
            if not is_upload(d):
                steps.append("u switch")
        else:
            steps += ["u body", "u end"]
    return steps


@pytest.mark.parametrize("capacity", [1, 3])
@pytest.mark.parametrize("head", [request(), upload()], ids=["without a body", "with a body"])
@pytest.mark.parametrize("warm", [False, True])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(choices=st.lists(st.integers(0, 1000), max_size=15))
def test_in_any_order_it_ends_once(choices: list[int], head: RequestHead, warm: bool, capacity: int) -> None:
    async def walk() -> None:
        async with gateway(capacity) as g:
            if warm:
                await g.warm()
            d = g.ask(head)
            told: set[str] = set()
            taken: list[str] = []
            for choice in choices:
                if d.ended:
                    break
                steps = allowed(g, d, told)
                step = steps[choice % len(steps)]
                taken.append(step)
                if step == "turn":
                    await settle()
                    continue
                play(g, d, step)
                told.add(step)
                told -= {"d full"} if step == "d drained" else {"d drained"} if step == "d full" else set()
                live = [each for each in g.streams if not each.over and each.head is not None]
                assert not ("d full" in told and [each for each in live if not each.paused]), taken
            await settle()
            if not d.ended:
                play(g, d, "d lost")
            await settle()
            assert g.contract.broken == [], taken
            g.check_over()

    asyncio.run(walk())

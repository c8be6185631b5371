"""A second protocol, whose connections carry many streams at a time, through the edge as it is.

Its two sides are in tests/support/seam.py; between them are the real exchange, connector, pool, directory and limits.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import Reason
from gateway.http.message import AS_TUNNEL, NO_BODY
from tests.support.seam import Gateway, answer, gateway, handshake, request, settle, upload

pytestmark = pytest.mark.pure  # fakes stand in the place of what is compiled


async def test_exchanges_share_a_connection() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        asked = [g.ask() for _ in range(4)]
        assert [each.over for each in connection.streams] == [""] * 4
        assert len(g.pool.idle) == 0
        assert g.edge.limits.exchanges == {"demo": 4}
        for number, stream in enumerate(reversed(list(connection.streams))):
            assert len(g.pool.idle) == 0, "others are under way"
            stream.says(answer(), b"%d" % number, ends=True)
        assert [each.body for each in asked] == [b"3", b"2", b"1", b"0"]
        assert len(g.pool.idle) == 1
        assert g.pool.dialed == [connection]
        g.check_over()


async def test_pieces_of_many_answers_come_in_any_order() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        asked = [g.ask() for _ in range(3)]
        streams = list(connection.streams)
        for stream in streams:
            stream.says(answer())
        for piece in (b"a", b"b"):
            for number, stream in enumerate(streams):
                stream.says_body(piece + b"%d" % number)
        for stream in streams:
            stream.ends()
        assert [each.body for each in asked] == [b"a0b0", b"a1b1", b"a2b2"]
        g.check_over()


async def test_one_more_than_the_limit_dials_another() -> None:
    async with gateway(capacity=2) as g:
        connection = await g.warm()
        asked = [g.ask() for _ in range(3)]
        assert not connection.is_available
        await settle()
        assert [len(each.streams) for each in g.pool.dialed] == [2, 1]
        connection.streams[0].says(answer(), ends=True)
        asked.append(g.ask())
        await settle()
        assert len(g.pool.dialed) == 2
        finish_all(g)
        assert [each.status for each in asked] == [200] * 4
        assert len(g.pool.idle) == 2
        g.check_over()


async def test_a_new_connection_is_shared_at_once() -> None:
    async with gateway(capacity=3) as g:
        g.ask()
        await settle()
        g.ask()
        g.ask()
        assert [len(each.streams) for each in g.pool.dialed] == [3]
        finish_all(g)
        g.check_over()


async def test_what_cannot_be_replayed_shares_a_connection_in_use() -> None:
    async with gateway(capacity=3) as g:
        connection = await g.warm()
        g.ask()
        connection.alive = False  # nobody can look at a connection in use: what comes there is others'
        g.ask(request(b"POST"))
        assert len(connection.streams) == 2
        finish_all(g)
        g.check_over()


async def test_a_tunnel_stands_beside_others() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        tunnel = g.ask(handshake())
        plain = g.ask()
        in_tunnel, stream = connection.streams
        in_tunnel.says(answer(101, AS_TUNNEL))
        tunnel.exchange.request_body(b"up")
        stream.says(answer(), b"plain", ends=True)
        assert plain.ended
        assert len(g.pool.idle) == 0
        in_tunnel.says_body(b"down")
        in_tunnel.ends()
        tunnel.exchange.request_end([])
        assert tunnel.body == b"down"
        assert b"up" in in_tunnel.sent
        assert [record.upgraded for record in g.records.all] == [False, True]
        assert len(g.pool.idle) == 1
        g.check_over()


async def test_one_that_fails_leaves_the_others() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        first, second, third = g.ask(), g.ask(upload()), g.ask()
        streams = list(connection.streams)
        streams[0].says(answer())
        streams[0].fails()
        streams[1].fails(Reason.HTTP_RESPONSE_INCOMPLETE)
        third.exchange.downstream_lost("it hung up")
        assert first.said == [200, "abort"]
        assert second.said == [502, "end"]
        fourth = g.ask()
        connection.streams[-1].says(answer(), b"fine", ends=True)
        assert fourth.body == b"fine"
        assert g.pool.dialed == [connection]
        g.check_over()


async def test_one_that_is_paused_pauses_no_other() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        first, second = g.ask(), g.ask()
        first.exchange.downstream_full()
        assert [each.paused for each in connection.streams] == [True, False]
        sink = connection.streams[1].sink
        assert sink is not None
        sink.upstream_full(9)
        assert (first.paused, second.paused) == (False, True)
        finish_all(g)
        g.check_over()


async def test_a_refused_stream_is_asked_for_elsewhere() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        keeps, refused = g.ask(), g.ask(request(b"POST"))
        connection.streams[1].fails(Reason.CONNECTION_TERMINATED, unprocessed=True)
        await settle()
        assert refused.said == []
        finish_all(g)
        assert [keeps.status, refused.status] == [200, 200]
        g.check_over()


async def test_a_connection_that_goes_away_finishes_and_gets_no_more() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        g.ask()
        connection.goes_away()
        g.ask()
        await settle()
        assert [len(each.streams) for each in g.pool.dialed] == [1, 1]
        connection.streams[0].says(answer(), ends=True)
        assert connection.is_closed
        finish_all(g)
        g.check_over()


async def test_a_retired_connection_gets_no_more_even_if_its_record_comes_back() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        g.ask()
        g.pool.retire_replaced("demo", None)
        assert connection in g.pool.connections
        g.ask()
        await settle()
        assert [len(each.streams) for each in g.pool.dialed] == [1, 1]
        connection.streams[0].says(answer(), ends=True)
        assert connection.is_closed
        assert connection not in g.pool.connections
        finish_all(g)
        g.check_over()


async def test_a_retired_connection_ends_all_that_outlasts_its_grace() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        asked = [g.ask(), g.ask(handshake())]
        connection.streams[1].says(answer(101, AS_TUNNEL))
        g.pool.retire_replaced("demo", None)
        (late,) = g.pool.retired_past_grace(connection.ends)
        late.cut_off()
        await settle()
        assert [each.said for each in asked] == [[502, "end"], [101, "abort"]]
        assert connection.is_closed
        g.check_over()


async def test_an_idle_connection_is_retired_at_once() -> None:
    async with gateway(capacity=4) as g:
        connection = await g.warm()
        g.pool.retire_replaced("demo", None)
        assert connection.is_closed
        assert not g.pool.connections
        g.check_over()


async def test_only_an_idle_connection_makes_room() -> None:
    async with gateway(capacity=2) as g:
        idle = await g.warm()
        g.ask()
        assert not g.pool.give_up()
        finish_all(g)
        assert g.pool.give_up()
        assert idle.is_closed
        g.check_over()


async def test_an_error_answer_is_looked_into_beside_others() -> None:
    async with gateway(capacity=2) as g:
        connection = await g.warm()
        error, plain = g.ask(), g.ask()
        first, second = connection.streams
        first.says(answer(500, fields=[(b"Content-Type", b"text/html")]))
        assert error.said == []
        second.says(answer(), b"plain", ends=True)
        assert plain.ended
        first.says_body(b"error")
        first.ends()
        assert (error.status, error.body) == (500, b"error")
        g.check_over()


@pytest.mark.parametrize("capacity", [1, 2, 100])
async def test_a_crowd_is_answered(capacity: int) -> None:
    async with gateway(capacity) as g:
        asked = []
        for number in range(40):
            asked.append(g.ask(request() if number % 3 else request(b"POST")))
            if number % 7 == 0:
                await asyncio.sleep(0)
        for _ in range(60):
            await settle()
            finish_all(g)
            if all(each.ended for each in asked):
                break
        assert {each.status for each in asked} == {200}
        assert g.edge.limits.exchanges == {}
        assert g.contract.broken == []
        assert len(g.records.all) == 40


def finish_all(g: Gateway) -> None:
    """Every stream under way is answered."""
    for stream in g.streams:
        if not stream.over and stream.head is not None:
            stream.says(answer(200, NO_BODY), ends=True)

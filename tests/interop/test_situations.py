"""Every sentence is true: real situations, and what is said of each in every way there is to ask.

The table is `tests/interop/situations`. A row fails if a sentence is another than the row has, or if two ways of asking
disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from gateway.reason_row import GrpcStatus
from tests.interop.harness import require
from tests.interop.situations import (
    TABLE,
    Passes,
    Says,
    Situation,
    Where,
    limits,
    names,
    network,
    programs,
    raw,
    servers,
    stuck,
)
from tests.interop.situations.stage import Machine
from tests.interop.situations.telling import Told, close_frame, grpc_message, of_document, of_page, tell, timeless

pytestmark = [pytest.mark.interop, pytest.mark.slow]

KINDS = (limits, names, network, programs, raw, servers, stuck)
"""The modules whose rows are in the table."""
FEWEST = 60


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require("networks", "ip")
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        yield machine
    finally:
        machine.close()


def test_the_table_is_whole() -> None:
    assert len(TABLE) >= FEWEST
    assert {row.set_up.__module__ for row in TABLE.values()} == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_what_is_said(row: Situation, machine: Machine) -> None:
    require(*row.needs)
    gateway = machine.gateway(row.gateway)
    with machine.stage(row.name) as stage:
        where = row.set_up(stage)
        works = isinstance(row.said, Passes)
        told = tell(gateway, where, works=works, command=row.command, at_once=row.at_once)
    for each in told:  # over HTTP/1.1, and over HTTP/2
        if isinstance(row.said, Says):
            _is_said(each, row.said, where)
        else:
            _passes(each, row.said, where)


def _is_said(told: Told, said: Says, where: Where) -> None:
    row = said.reason.row
    title, seen, fix, *also = (_filled(text, where) for text in (said.title, said.seen, said.fix, *said.also))
    document = of_document(told.document)
    assert (document.reason, document.title) == (row.name, title)
    assert document.observed == [seen, *also]
    assert document.fix[0] == fix

    page = of_page(told.page)
    assert (page.status, page.reason, page.title, page.detail, page.observed) == (
        *(document.status, document.reason, document.title, document.detail, document.observed),
    )
    assert page.fix == document.fix

    text = timeless(told.text.body.decode())
    assert text.startswith(f"{row.status} {title}\n\n{document.detail}\nObserved: {seen}.\n")
    assert f"\n  - {fix}\n" in text

    assert told.problem is not None
    grpc, websocket, preflight = told.problem
    assert {reply.reason for reply in (told.page, told.document, told.text, *told.problem)} == {row.name}
    # Of a preflight, too: it is not ok, so a browser sends nothing after it.
    assert {reply.status for reply in (told.page, told.document, told.text, preflight)} == {row.status}
    message, _, name = grpc_message(grpc).rpartition(" (")
    assert f"{title}: {seen}".startswith(message.removesuffix("…"))
    assert name == f"{row.name})"
    assert (grpc.status, grpc.body) == (200, b"")  # over HTTP/2 that is Trailers-Only
    # Of a call that may have been made nothing is known.
    assert int(grpc.fields["grpc-status"]) in (row.grpc_status.value, GrpcStatus.UNKNOWN.value)
    code, why = close_frame(websocket)
    assert code == 4000 + row.status
    assert f"{row.name}: {title}".startswith(why.removesuffix("…"))

    _is_explained(told, said, where, document.fix)
    if not said.port:
        assert told.state is None
        return
    assert told.state is not None
    assert told.state["state"] == said.port
    detail = timeless(told.state["detail"])
    if said.port == "listening":
        # A look sends nothing, and may hear a greeting.
        assert detail in (_filled(said.port_seen, where), seen)
    else:
        assert detail == seen


def _is_explained(told: Told, said: Says, where: Where, fix: list[str]) -> None:
    report = told.report
    if said.reachable:
        assert (report.ok, report.reason) == (True, None)
        assert timeless(report.conclusion) == said.reachable
        return
    assert (report.ok, report.reason) == (False, said.reason.row.name)
    title, seen, *also = (_filled(text, where) for text in (said.title, said.seen, *said.also))
    own = [each.replace("the request id below", "this report") for each in fix]
    assert report.conclusion == f"{title}. {own[0]}"
    assert report.fix[: len(own)] == own
    steps = [timeless(step.detail) for step in report.steps]
    for fact in (seen, *also):
        assert any(fact in step for step in steps), (fact, steps)
    assert " ".join(title.split()) in " ".join(told.printed.split())


def _passes(told: Told, said: Passes, where: Where) -> None:
    for reply in told.page, told.document, told.text:
        assert (reply.status, reply.reason, reply.broken) == (said.status, None, said.broken), reply
    report = told.report
    assert (report.ok, report.reason) == (True, None)
    assert timeless(report.conclusion) == _filled(said.explain, where)
    fix = said.fix.replace("{authority}", urlsplit(report.url).netloc)
    assert report.fix == ([_filled(fix, where)] if fix else [])
    if said.hint:
        assert told.page.fields["x-gateway-hint"] == _filled(said.fix, where)
    assert told.state is not None
    assert (told.state["state"], told.state["detail"]) == (
        *("listening", _filled("[{address}]:{port} accepts connections", where)),
    )


def _filled(text: str, where: Where) -> str:
    known = {"port": str(where.port), "sandbox": where.sandbox, "address": where.address} | where.facts
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text

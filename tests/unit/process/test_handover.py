"""The two sides of a handover, over a socket pair; hostile and stuck peers of each."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.process import handover
from gateway.process import takeover as taking
from gateway.process.handover import MAX_MESSAGE, PER_MESSAGE, VERSION, Offer, Stage, State
from gateway.process.takeover import Refusal, Settling, Takeover, take
from gateway.socket_options import refuse_new

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="macOS has no packets on Unix sockets")


@pytest.fixture(autouse=True)
def no_signals() -> Iterator[None]:
    """Nobody else may be sent them: there is a thread, as of an executor, in which they would end the process."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
    yield
    while signal.sigtimedwait({signal.SIGIO}, 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    over.set()
    thread.join()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def listening(stack: ExitStack, count: int) -> list[socket.socket]:
    return [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]


def ports(sockets: list[socket.socket]) -> list[int]:
    return [sock.getsockname()[1] for sock in sockets]


def taken(offer: Offer, connection: socket.socket) -> Takeover | Refusal:
    """`take`, while `offer` is polled as the supervisor does: on SIGIO."""
    result: list[Takeover | Refusal | OSError] = []

    def run() -> None:
        try:
            result.append(take(connection))
        except OSError as error:
            result.append(error)

    taker = threading.Thread(target=run)
    taker.start()
    offer.poll()
    while not result:
        signal.sigtimedwait({signal.SIGIO}, 0.05)
        offer.poll()
    taker.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


@pytest.mark.parametrize("count", [0, 1, PER_MESSAGE, PER_MESSAGE + 1, 2 * PER_MESSAGE])
def test_all_sockets_arrive_in_order(pair: tuple[socket.socket, socket.socket], count: int) -> None:
    with ExitStack() as stack:
        sockets = listening(stack, count)
        offer = Offer(pair[0], lambda: sockets, kept=count == 1)
        takeover = taken(offer, pair[1])
        assert isinstance(takeover, Takeover)
        assert takeover.kept is (count == 1)
        for sock in takeover.sockets:
            stack.enter_context(sock)
        assert ports(takeover.sockets) == ports(sockets)
        assert not any(sock.get_inheritable() for sock in takeover.sockets)
        assert takeover.pid == offer.pid == os.getpid()
        assert offer.stage is Stage.OFFERED
        assert not takeover.alone
        takeover.ready()
        takeover.ready()
        offer.poll()
        assert offer.stage is Stage.READY
        assert offer.under_way
        takeover.poll()
        assert not takeover.alone
        offer.release()
        takeover.poll()
        assert takeover.alone
        offer.poll()
        offer.close()
        takeover.poll()


@pytest.mark.parametrize("state", [State.RUNNING, State.BUSY])
def test_a_refusal_says_who_refuses_and_why(pair: tuple[socket.socket, socket.socket], state: State) -> None:
    offer = Offer(pair[0], lambda: state)
    assert taken(offer, pair[1]) == Refusal(state, os.getpid())
    assert offer.stage is Stage.REFUSED
    assert not offer.under_way


def test_another_version_is_told_so(pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    offer = Offer(pair[0], list)
    pair[1].send(json.dumps({"version": VERSION + 1, "want": "sockets", "unheard": [1]}).encode())
    offer.poll()
    assert offer.stage is Stage.REFUSED
    assert json.loads(pair[1].recv(MAX_MESSAGE))["state"] == "unknown version"


@pytest.mark.parametrize(
    "octets",
    [
        b"\0",
        b"{}",
        b"[" * MAX_MESSAGE,
        b'{"version": 1, "want": "everything"}',
        b'{"version": 1, "want": "ready"}',
        b'{"version": 1, "want": "sockets", "start": 1e400}',
        b"x" * 3 * MAX_MESSAGE,
    ],
)
def test_who_breaks_the_rules_gets_nothing(pair: tuple[socket.socket, socket.socket], octets: bytes) -> None:
    offer = Offer(pair[0], list)
    pair[1].send(octets)
    offer.poll()
    assert offer.stage is Stage.FAILED
    assert offer.why
    assert pair[1].recv(1) == b""


@pytest.mark.parametrize("start", [-(2**62), -1, 1, 2**62])
def test_any_number_may_be_asked_for(pair: tuple[socket.socket, socket.socket], start: int) -> None:
    with ExitStack() as stack:
        sockets = listening(stack, 1)
        offer = Offer(pair[0], lambda: sockets)
        pair[1].send(json.dumps({"version": VERSION, "want": "sockets", "start": start}).encode())
        offer.poll()
        _, descriptors, _, _ = socket.recv_fds(pair[1], MAX_MESSAGE, 9)
        for each in descriptors:
            os.close(each)
        assert len(descriptors) == (start < 1)


def test_descriptors_that_are_sent_to_an_offerer_do_not_stay(pair: tuple[socket.socket, socket.socket]) -> None:
    offer = Offer(pair[0], lambda: State.RUNNING)
    read, write = os.pipe()
    socket.send_fds(pair[1], [b'{"version": 1, "want": "sockets"}'], [write])
    os.close(write)
    offer.poll()
    assert os.read(read, 1) == b"", "nobody holds the other end"
    os.close(read)


def test_who_asks_without_reading_holds_nobody_up(pair: tuple[socket.socket, socket.socket]) -> None:
    offer = Offer(pair[0], list)
    pair[1].setblocking(False)
    for _ in range(100_000):
        try:
            pair[1].send(b'{"version": 1, "want": "sockets"}')
        except BlockingIOError:
            pass
        except OSError:
            break
        offer.poll()
        if offer.stage is Stage.FAILED:
            break
    assert offer.stage is Stage.FAILED


def test_who_asks_without_end_gets_an_end(pair: tuple[socket.socket, socket.socket]) -> None:
    offer = Offer(pair[0], list)
    request = b'{"version": 1, "want": "sockets"}'
    for _ in range(handover.MAX_REQUESTS):
        pair[1].send(request)
        offer.poll()
        pair[1].recv(MAX_MESSAGE)
    assert offer.stage is Stage.OFFERED
    pair[1].send(request)
    offer.poll()
    assert offer.why == "it asks without end"


@pytest.mark.parametrize("asks", [False, True])
def test_who_does_not_come_so_far_has_a_deadline(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    offer = Offer(pair[0], list, patience=1000)
    assert offer.deadline > handover.time.monotonic() + 900
    if asks:
        pair[1].send(b'{"version": 1, "want": "sockets", "pid": 17}')
        offer.poll()
        assert offer.pid == 17
    monkeypatch.setattr(handover.time, "monotonic", lambda: offer.deadline - 1)
    offer.poll()
    assert offer.stage is (Stage.OFFERED if asks else Stage.OPEN)
    deadline = offer.deadline
    monkeypatch.setattr(handover.time, "monotonic", lambda: deadline)
    offer.poll()
    assert offer.stage is Stage.FAILED
    assert offer.why == ("it was not ready within 60 s" if asks else "it asked nothing")


def test_a_taker_that_ends_is_noticed(pair: tuple[socket.socket, socket.socket]) -> None:
    offer = Offer(pair[0], list)
    takeover = taken(offer, pair[1])
    assert isinstance(takeover, Takeover)
    pair[1].close()
    assert signal.sigtimedwait({signal.SIGIO}, 10)
    offer.poll()
    assert offer.stage is Stage.FAILED
    assert offer.why == "it has ended"


@pytest.mark.parametrize("ready", [False, True])
def test_an_offer_is_withdrawn_at_any_time(pair: tuple[socket.socket, socket.socket], ready: bool) -> None:
    """The taker knows that the offerer goes on, and not that it has ended."""
    offer = Offer(pair[0], list)
    takeover = taken(offer, pair[1])
    assert isinstance(takeover, Takeover)
    if ready:
        takeover.ready()
        offer.poll()
    offer.withdraw("the gateway stops")
    assert (offer.stage, offer.why) == (Stage.FAILED, "the gateway stops")
    takeover.poll()
    takeover.poll()
    takeover.ready()
    assert takeover.withdrawn
    assert not takeover.alone


def test_an_offerer_that_ends_leaves_the_taker_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    """And what its workers did to the sockets at their end is undone."""
    with ExitStack() as stack:
        sockets = listening(stack, 1)
        offer = Offer(pair[0], lambda: sockets)
        takeover = taken(offer, pair[1])
        assert isinstance(takeover, Takeover)
        stack.enter_context(takeover.sockets[0])
        refuse_new(sockets[0])
        offer.close()
        takeover.poll()
        assert takeover.alone
        assert 0 < takeover.timeout() <= 1
        takeover.leave_sockets()
        assert takeover.timeout() == float("inf"), "it drains itself"
        socket.create_connection(takeover.sockets[0].getsockname(), timeout=10).close()
        takeover.ready()
        takeover.poll()


def test_orphans_may_be_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not for ever: then nobody wakes up for it any more."""
    now, settling, looks = 1000.0, Settling(), []
    monkeypatch.setattr(handover.time, "monotonic", lambda: now)
    assert settling.timeout() == float("inf")
    settling.begin()
    with socket.create_server(("127.0.0.1", 0)) as sock:
        while (pause := settling.timeout()) < float("inf"):
            now += pause
            refuse_new(sock)
            settling.poll([sock])
            looks.append(now - 1000)
            socket.create_connection(sock.getsockname(), timeout=10).close()
    assert len(looks) < 10
    assert looks[-1] >= 60


def test_sockets_that_refuse_are_taken_all_the_same(pair: tuple[socket.socket, socket.socket]) -> None:
    with ExitStack() as stack:
        sockets = listening(stack, 1)
        refuse_new(sockets[0])
        takeover = taken(Offer(pair[0], lambda: sockets), pair[1])
        assert isinstance(takeover, Takeover)
        stack.enter_context(takeover.sockets[0])
        socket.create_connection(sockets[0].getsockname(), timeout=10).close()


# --- hostile and stuck offerers -------------------------------------------------------------------------------------


def answered(pair: tuple[socket.socket, socket.socket], octets: bytes, descriptors: list[int]) -> OSError:
    socket.send_fds(pair[0], [octets], descriptors)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError) as raised:
        take(pair[1])
    assert len(list(Path("/proc/self/fd").iterdir())) == before - 1, "its end of the connection, and nothing else"
    return raised.value


def reply(total: int, state: str = "offered") -> bytes:
    return json.dumps({"version": VERSION, "state": state, "pid": 1, "total": total}).encode()


def test_an_offerer_that_says_nothing(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "REPLY_TIME", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert isinstance(answered(pair, reply(2), [sock.fileno()]), TimeoutError)


@pytest.mark.parametrize(
    ("octets", "wrong"),
    [
        (b"\0", "it cannot be understood"),
        (b"{}", "it cannot be understood"),
        (reply(0, "mad"), "it cannot be understood"),
        (reply(1), "it does not give what it has offered"),
        (reply(2**62), "it does not give what it has offered"),
    ],
)
def test_an_offerer_that_makes_no_sense(pair: tuple[socket.socket, socket.socket], octets: bytes, wrong: str) -> None:
    assert str(answered(pair, octets, [])).startswith(wrong)


def test_an_offerer_that_ends(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(OSError, match="it has ended"):
        take(pair[1])


def test_what_does_not_listen_is_not_taken(pair: tuple[socket.socket, socket.socket]) -> None:
    read, write = os.pipe()
    with socket.socket() as idle, socket.create_server(("127.0.0.1", 0)) as sock:
        socket.send_fds(pair[0], [reply(4)], [read, idle.fileno(), sock.fileno(), pair[0].fileno()])
        takeover = take(pair[1])
        assert isinstance(takeover, Takeover)
        assert ports(takeover.sockets) == ports([sock])
        takeover.sockets[0].close()
    for each in (read, write):
        os.close(each)

"""The examination itself: one URL, walked step by step as a request would go, each step timed.

    parse -> listener -> directory -> policy -> dial --accepted--> http -> websocket
                                                 `----refused----> ipv4

The first failure ends the road and names the reason; it is the same GatewayError that the edge would have met, because
hostname, directory, policy, pool and parser are the same. No connection is shared with anybody: a pool is made for one
examination and closed with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from msgspec.structs import replace

from gateway.addresses import authority, literal
from gateway.app_protocol import AUTO, H2C, HTTP1, protocol_of
from gateway.config import Settings
from gateway.config.values import format_duration
from gateway.diagnosis import hints, listener_probe, own_urls, protocol_probe, websocket_step
from gateway.diagnosis.answer_text import MAX_TEXT, advice, status, summary
from gateway.diagnosis.app_request import AppRequest, page_request, send, websocket_request
from gateway.diagnosis.error_answer import ErrorAnswers
from gateway.diagnosis.findings import RefusalFindings
from gateway.diagnosis.listener_probe import LISTENER_TIMEOUT, Listener, NotAnswered, NotAsked
from gateway.diagnosis.port_probe import PortProbe, is_probed
from gateway.diagnosis.report import ROAD, Downstream, Negotiated, Report, Step, Upstream, Verdict
from gateway.diagnosis.url import ParsedUrl, parse_url
from gateway.diagnosis.websocket_step import HANDSHAKE_TIMEOUT, Handshake
from gateway.directory.sandbox import Directory, DirectoryError, Sandbox
from gateway.endpoint import Endpoint
from gateway.errors import Failure, GatewayError, Reason
from gateway.hostname import HostnameParser, Target
from gateway.http.message import FieldSection, RequestHead, RequestSection, ResponseHead
from gateway.observe.ids import RequestIds
from gateway.printable import shorten
from gateway.problems.problem import RequestContext, accepting, describe
from gateway.tasks import Tasks
from gateway.upstream.dial import OpenSocket, connected_socket
from gateway.upstream.policy import AddressPolicy
from gateway.upstream.pool import Pool
from gateway.upstream.stream import UpstreamStream

LOOKUP_TIMEOUT, DIAL_TIMEOUT, PROBE_TIMEOUT, ANSWER_TIMEOUT = 2.0, 3.0, 3.0, 6.0
"""Seconds that each step gets at most. A setting may allow the edge more; then the report says so."""
TRIES = 2
"""Examinations of one URL, if what was met was another's by the end."""
_MOVED = f"the record has changed {TRIES} times while its address was dialed"
LONGEST = TRIES * (
    LISTENER_TIMEOUT
    + LOOKUP_TIMEOUT
    + DIAL_TIMEOUT
    + max(PROBE_TIMEOUT, ANSWER_TIMEOUT + max(HANDSHAKE_TIMEOUT, protocol_probe.MAX_DURATION))
    + LOOKUP_TIMEOUT
)
"""Seconds that all of it can take."""


_HTTP1, _HTTP2 = "HTTP/1.1", "HTTP/2 without TLS (h2c)"


@dataclass(frozen=True, slots=True)
class Context:
    """What an examination needs to know of the gateway it speaks for."""

    settings: Settings
    directory: Directory
    policy: AddressPolicy
    probe: PortProbe
    tasks: Tasks
    """Owns what is looked into on behalf of several examinations at once."""
    added: Callable[[RequestHead], FieldSection]
    """The fields that the edge adds to a request from this machine (X-Forwarded-For and its kin)."""
    open_socket: OpenSocket = connected_socket
    """The edge's way to an address."""
    listeners: Sequence[Listener] = ()
    """Where clients come in."""
    kept_out: Callable[[str], str] = lambda host: ""
    """Why a name that is served here leads nowhere all the same (`gateway dev --lan`); empty: it does lead on."""


async def explain(url: str, context: Context) -> Report:
    """Examines `url`, which may lack scheme, port and path. Raises InvalidUrl; every other failure is in the report.

    Dials and probes take seconds, in which the address may become somebody else's: what was met there is said of the
    name only if the record is still the same, and is looked for anew otherwise.
    """
    asked = parse_url(url)
    for _ in range(TRIES):
        examination = _Examination(asked, context)
        try:
            report = await examination.run()
            if await examination.holds():
                return report
        finally:
            examination.close()
    return examination.moved()


@dataclass(slots=True)
class _Note:
    """What a step writes down while it runs."""

    detail: str = ""
    verdict: Verdict = "ok"


class _Examination:
    def __init__(self, asked: ParsedUrl, context: Context) -> None:
        self._asked = asked
        self._context = context
        self._settings = settings = context.settings
        patient = replace(
            settings.upstream,
            connect_timeout=min(settings.upstream.connect_timeout, DIAL_TIMEOUT),
            response_header_timeout=min(settings.upstream.response_header_timeout, ANSWER_TIMEOUT),
        )
        clock = asyncio.get_running_loop().time
        self._clock = clock
        self._pool = Pool(replace(settings, upstream=patient), context.policy, clock)
        self._pool.open_socket = self._open_socket
        self._protocols = protocol_probe.ProtocolProbe(context.tasks)
        self._error_answers = ErrorAnswers(self._protocols, clock)
        self._steps: dict[str, Step] = {}
        self._remarks: list[str] = []  # sentences for the conclusion of a URL that works
        self._fix: list[str] = []
        # Filled on the way.
        self._target: Target | None = None
        self._sandbox: Sandbox | None = None
        self._h2c = False  # the app is asked by HTTP/2
        self._peer = ""  # the address that was connected to
        self._downstream: Downstream | None = None  # what our listener agrees on
        self._upstream: Upstream | None = None  # what the app has answered in
        self._hint = ""  # what the app's answer betrays
        self._undecided = False  # it has the request, and serving it would be waited for longer

    def close(self) -> None:
        """Closes every connection, now: one that lingers has nobody here to watch its deadline."""
        self._pool.close()
        for connection in list(self._pool.connections):
            connection.expire(self._clock())

    async def run(self) -> Report:
        try:
            target = self._parse()
            page, (handshake, accept) = self._requests(target)
            await self._ask_listener(target)
            sandbox = self._sandbox = await self._lookup(target)
            self._check_address(sandbox, target)
            answer = await self._meet(sandbox, target, self._request(page))
        except GatewayError as error:
            return self._unreachable(error)
        await self._open_websocket(self._request(handshake), accept)
        return self._reachable(answer)

    async def holds(self) -> bool:
        """Whether the name leads to the sandbox that was met; also where there was none, or where nobody can tell."""
        met = self._sandbox
        if met is None:
            return True
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                now = await self._context.directory.fetch(met.id)
        except (TimeoutError, DirectoryError):
            return True
        return now is not None and now.origin == met.origin

    def moved(self) -> Report:
        """What is left to say where `holds` was never true: nothing of what was met."""
        self._sandbox = None
        self._steps = {"parse": self._steps["parse"], "directory": Step("directory", "failed", _MOVED, 0.0)}
        return self._unreachable(GatewayError(Reason.CONNECTION_TIMEOUT, _MOVED))

    @contextmanager
    def _step(self, name: str) -> Iterator[_Note]:
        note = _Note()
        started = time.perf_counter()
        try:
            yield note
        except GatewayError as error:
            note.verdict = "failed"
            note.detail = "; ".join(fact for fact in (error.detail, *error.observed) if fact)
            raise
        finally:
            elapsed = round((time.perf_counter() - started) * 1000, 1)
            self._steps[name] = Step(name, note.verdict, note.detail, elapsed)

    # --- finding the sandbox -------------------------------------------------------------------------------------

    def _parse(self) -> Target:
        asked, domains = self._asked, self._settings.edge.domains
        with self._step("parse") as note:
            try:
                target = self._target = HostnameParser(domains).parse(asked.authority)
            except GatewayError as error:
                if error.reason is Reason.UNKNOWN_DOMAIN:
                    error.observed = (f"served here: {', '.join(domains)}",)
                raise
            if target.port in self._settings.upstream.deny_ports:
                raise GatewayError(Reason.PORT_DENIED, f"port {target.port} is in upstream.deny_ports")
            if why := self._context.kept_out(target.host):
                raise GatewayError(Reason.UNKNOWN_DOMAIN, why)
            note.detail = f"port {target.port} of sandbox {target.sandbox_id}, under {target.domain}"
            wrong = listener_probe.missed_by(asked, self._context.listeners, self._settings.edge)
            if wrong:
                remark, port = wrong
                note.verdict = "warning"
                note.detail += f"; {remark}"
                self._remarks.append(f"But {remark}.")
                self._fix.append(f"Use https://{target.host}{_suffix(port)}{asked.path}")
        return target

    def _requests(self, target: Target) -> tuple[RequestHead, tuple[RequestHead, bytes]]:
        """What will be asked, made early: a path the gateway would not take fails the URL, not the app."""
        asked, limits = self._asked, self._pool.context.head_limits
        says_where = asked.scheme or asked.port is not None
        authority = target.host + (asked.port_written if says_where else _suffix(self._settings.edge.public_port))
        try:
            return page_request(asked.path, authority, limits), websocket_request(asked.path, authority, limits)
        except GatewayError as error:
            self._steps["parse"] = replace(self._steps["parse"], verdict="failed", detail=error.detail)
            raise

    async def _ask_listener(self, target: Target) -> None:
        """What clients and we agree on; where that is not known, what is behind it can still be looked at."""
        port = self._asked.port_reached or self._settings.edge.public_port
        with self._step("listener") as note:
            try:
                listener = listener_probe.reached_by(self._context.listeners, port, self._settings.edge)
                self._downstream = await listener_probe.negotiate(listener, target.host)
                note.detail = listener_probe.sentence(self._downstream)
            except NotAsked as why:
                note.verdict = "skipped"
                note.detail = f"what clients negotiate is not known: {why}"
            except NotAnswered as why:
                note.verdict = "warning"
                note.detail = f"what clients negotiate is not known: {why}"

    async def _lookup(self, target: Target) -> Sandbox:
        with self._step("directory") as note:
            try:
                async with asyncio.timeout(LOOKUP_TIMEOUT):
                    sandbox = await self._context.directory.fetch(target.sandbox_id)
            except TimeoutError:
                raise GatewayError(Reason.DIRECTORY_UNAVAILABLE, f"no answer within {LOOKUP_TIMEOUT:g} s") from None
            except DirectoryError as error:
                raise GatewayError(Reason.DIRECTORY_UNAVAILABLE, str(error)) from error
            if sandbox is None:
                raise GatewayError(Reason.DESTINATION_NOT_FOUND, f"no record for {target.sandbox_id}")
            facts = [literal(sandbox.address), f"generation {sandbox.generation}"]
            facts += [f"IPv4 {sandbox.ipv4}"] if sandbox.ipv4 else []
            facts += [f"Host {sandbox.host}"] if sandbox.host else []
            facts += [f"protocol {sandbox.protocol}"] if sandbox.protocol else []
            note.detail = ", ".join(facts)
            return sandbox

    def _check_address(self, sandbox: Sandbox, target: Target) -> None:
        with self._step("policy") as note:
            self._context.policy.check(sandbox.address, target.port)
            inside = [str(prefix) for prefix in self._settings.upstream.allow if sandbox.address in prefix]
            note.detail = f"{literal(sandbox.address)} may be dialed: it lies in {', '.join(inside)}"

    # --- reaching it ---------------------------------------------------------------------------------------------

    async def _meet(self, sandbox: Sandbox, target: Target, request: AppRequest) -> ResponseHead:
        """Dials and asks, by what the record says is spoken there, or what the app turns out to speak."""
        said = protocol_of(sandbox.protocol, target.port)
        self._h2c = said is H2C
        until = self._clock() + DIAL_TIMEOUT + ANSWER_TIMEOUT
        try:
            return await self._ask(await self._dial(sandbox, target), request)
        except GatewayError as error:
            if error.reason is not Reason.UPSTREAM_SPEAKS_HTTP2 or said is not AUTO:
                raise
            failure = error.failure()
        self._h2c = True
        try:
            async with asyncio.timeout_at(until):
                return await self._ask(await self._dial(sandbox, target), request)
        except TimeoutError:
            raise failure.error() from None

    async def _dial(self, sandbox: Sandbox, target: Target) -> UpstreamStream:
        try:
            with self._step("dial") as note:
                stream = await self._reach(Endpoint(sandbox.origin, target.port))
                spoken = f", and speaks {_HTTP2}" if self._h2c else ""
                note.detail = f"{self._accepted(stream)} connections{spoken}"
                if self._h2c:
                    self._spoken(stream, "HTTP/2")
                return stream
        except GatewayError as error:
            failure = error.failure()
            if not is_probed(failure):
                raise
        if failure.reason is Reason.CONNECTION_TIMEOUT:
            raise (await self._after_timeout(failure, sandbox, target)).error()
        raise (await self._after_refusal(failure, sandbox, target)).error()

    async def _open_socket(
        self, address: str, port: int, patience: float, give_up: Callable[[], bool]
    ) -> socket.socket:
        sock = await self._context.open_socket(address, port, patience, give_up)
        with contextlib.suppress(OSError):  # reset already
            self._peer = sock.getpeername()[0]
        return sock

    def _accepted(self, stream: UpstreamStream) -> str:
        """Who accepts; with --loopback4 it may be another address than the record's."""
        endpoint = stream.endpoint
        if self._peer in ("", endpoint.origin.address):
            return f"{endpoint} accepts"
        return f"{endpoint} refuses, as it would in a sandbox, and {authority(self._peer, endpoint.port)} accepts"

    def _spoken(self, stream: UpstreamStream, protocol: str) -> None:
        endpoint = stream.endpoint
        self._upstream = Upstream(authority(self._peer or endpoint.origin.address, endpoint.port), protocol)

    async def _reach(self, endpoint: Endpoint) -> UpstreamStream:
        if not self._h2c:
            return await self._pool.dial(endpoint.by(HTTP1))
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                return await self._pool.dial(endpoint.by(H2C))
        except TimeoutError:
            detail = f"the app accepts connections and has not begun with HTTP/2 within {DIAL_TIMEOUT:g} s"
            raise GatewayError(Reason.HTTP_RESPONSE_TIMEOUT, detail) from None

    async def _after_timeout(self, unanswered: Failure, sandbox: Sandbox, target: Target) -> Failure:
        """`unanswered`, or what it turns out to be; what was seen stands with the dial."""
        self._note_timeout("dial", DIAL_TIMEOUT, self._settings.upstream.connect_timeout)
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                explained = await self._context.probe.explain(
                    unanswered, sandbox.address, target.port, sandbox.ipv4, whose=sandbox.origin
                )
        except TimeoutError:
            return unanswered
        step = self._steps["dial"]
        seen = [fact for fact in (explained.detail, *explained.observed) if fact != unanswered.detail]
        self._steps["dial"] = replace(step, detail="; ".join([step.detail, *seen]))
        return explained

    async def _after_refusal(self, refused: Failure, sandbox: Sandbox, target: Target) -> Failure:
        """`refused`, or what it turns out to be once somebody has looked what does listen there."""
        with self._step("ipv4") as note:
            note.verdict = "skipped"
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    findings = await self._context.probe.find(
                        sandbox.address, target.port, sandbox.ipv4, whose=sandbox.origin
                    )
            except TimeoutError:
                note.detail = f"not finished within {PROBE_TIMEOUT:g} s"
                return refused
            assert isinstance(findings, RefusalFindings)  # see above
            failure = findings.explain(refused, str(sandbox.address), target.port)
            met = (refused.detail, *refused.observed)
            news = [fact for fact in (failure.detail, *failure.observed) if fact not in met]
            if news:
                note.verdict = "warning"
            elif sandbox.address.version == 4:
                news.append("what was dialed is IPv4")
            else:
                news.append(f"nothing is known to listen on port {target.port} over IPv4 either")
            if failure.open_ports:
                news.append(accepting(failure.open_ports))
            note.detail = "; ".join(news)
            return failure

    # --- talking to the app --------------------------------------------------------------------------------------

    def _request(self, head: RequestHead) -> AppRequest:
        assert self._target is not None and self._sandbox is not None  # asked when both are known
        host = self._target.rewritten(self._sandbox.host or self._settings.upstream.host, head.authority)
        return AppRequest(head, host, self._context.added(head), RequestIds().new())

    async def _ask(self, stream: UpstreamStream, request: AppRequest) -> ResponseHead:
        # Nothing is awaited between dial and here: an app that speaks first is caught by either.
        try:
            with self._step("http") as note:
                answer = await self._answer(stream, request)
                spoken = _HTTP2 if self._h2c else _HTTP1
                note.detail = f"GET {shorten(self._asked.path, MAX_TEXT)} → {summary(answer)}, by {spoken}"
                if not self._h2c:
                    self._spoken(stream, _HTTP1)
                if answer.status < 400 and request.host == request.head.authority:  # else the edge rewrites it
                    self._hint = own_urls.find(request.head, answer, request.added) or ""
                if answer.status >= 400 or self._hint:
                    note.verdict = "warning"
        except GatewayError as error:
            if error.reason is Reason.HTTP_RESPONSE_TIMEOUT:
                allowed = self._settings.upstream.response_header_timeout
                self._note_timeout("http", ANSWER_TIMEOUT, allowed)
                if allowed > ANSWER_TIMEOUT:
                    self._undecided = True
                    self._steps["http"] = replace(self._steps["http"], verdict="warning")
            raise
        return answer

    async def _answer(self, stream: UpstreamStream, request: AppRequest) -> ResponseHead:
        answer = await send(stream, request, self._pool.connections, self._error_answers)
        if isinstance(answer, ResponseHead):
            return answer
        if protocol_probe.symptom_of(answer) is None:
            raise hints.explain(request.head, answer)
        raise await self._protocols.explain(answer, stream.endpoint)

    async def _open_websocket(self, request: AppRequest, accept: bytes) -> None:
        """An app without WebSockets is none the worse for it, unless the URL asks for one."""
        assert self._target is not None and self._sandbox is not None  # as in `_request`
        with self._step("websocket") as note:
            if self._h2c:
                met = Handshake("the app speaks HTTP/2, and a WebSocket goes to apps by HTTP/1.1 only")
            else:
                key = Endpoint(self._sandbox.origin, self._target.port).by(HTTP1)
                met = await websocket_step.shake_hands(self._pool, key, request, accept, self._error_answers)
            note.detail, note.verdict = met.detail, met.verdict
            if met.verdict == "ok" and self._upstream is not None:
                self._upstream = replace(self._upstream, websocket=_HTTP1)
            if self._asked.is_websocket and met.verdict != "ok":
                note.verdict = "warning"
                self._hint = met.hint or self._hint
            if note.verdict == "warning":
                self._remarks.append(f"But {met.but}.")

    def _note_timeout(self, name: str, ours: float, setting: float) -> None:
        if setting > ours:
            step = self._steps[name]
            allowed = format_duration(setting)
            self._steps[name] = replace(step, detail=f"{step.detail} (serving, the gateway waits {allowed})")

    # --- the report ----------------------------------------------------------------------------------------------

    def _reachable(self, answer: ResponseHead) -> Report:
        http, websocket = self._steps["http"], self._steps["websocket"]
        opens = websocket.verdict == "ok"
        if opens and self._asked.is_websocket:
            # What such an app says to a GET is of no interest, and usually 400 or 426.
            sentence = f"Reachable: a WebSocket opens after {websocket.milliseconds:g} ms."
        else:
            also = ", and opens a WebSocket" if opens else ""
            sentence = f"Reachable: the app answers {status(answer)} after {http.milliseconds:g} ms{also}."
            if self._hint:
                self._fix.append(self._hint)
            elif answer.status >= 400:
                self._fix.append(advice(answer))
        return self._report(True, " ".join([sentence, *self._remarks]), None, self._fix)

    def _unreachable(self, error: GatewayError) -> Report:
        authority = self._asked.authority.encode("ascii", "backslashreplace")
        problem = describe(
            error,
            RequestContext(
                request_id="",
                head=RequestHead(b"GET", b"/", "HTTP/1.1", RequestSection([], [], authority)),
                target=self._target,
                address=str(self._sandbox.address) if self._sandbox else "",
                domain=HostnameParser(self._settings.edge.domains).nearest(self._asked.authority),
                public_port=self._settings.edge.public_port,
            ),
        )
        if self._undecided:
            allowed = format_duration(self._settings.upstream.response_header_timeout)
            sentence = (
                f"No verdict after {ANSWER_TIMEOUT:g} s: the app has the request and has not answered yet. "
                f"Serving, the gateway waits {allowed}."
            )
            return self._report(False, sentence, None, problem.fix)
        # The texts are a page's, which shows a request id; this report is what to pass on instead.
        fix = [check.replace("the request id below", "this report") for check in problem.fix]
        return self._report(False, f"{problem.title}. {fix[0]}", problem.reason, [*fix, *self._fix])

    def _report(self, ok: bool, conclusion: str, reason: str | None, fix: list[str]) -> Report:
        for name in ROAD:
            self._steps.setdefault(name, Step(name, "skipped", "not reached", 0.0))
        steps = list(self._steps.values())
        return Report(self._asked.url, ok, conclusion, reason, steps, fix, Negotiated(self._downstream, self._upstream))


def _suffix(port: int) -> str:
    """What stands behind the name in a URL by https."""
    return "" if port == 443 else f":{port}"

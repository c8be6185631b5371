"""`/v1/sandboxes`: where the platform says which sandbox is where, and asks whether a port of one is in use.

    PUT    /v1/sandboxes/{id}                201 created, 200 replaced or as it was
    GET    /v1/sandboxes/{id}                DELETE likewise, 204
    GET    /v1/sandboxes?after=&limit=       pages in the order of the ids
    GET    /v1/sandboxes/{id}/ports/{port}   is something listening?

Writes need a backend that is a `Registry`. How a record is stored and how the workers hear of it is the backend's
business; what a record looks like in JSON is `records`'. `openapi.json` describes all of it for programs.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TypeGuard
from weakref import WeakValueDictionary

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec.structs import replace

from gateway.admin.errors import RETRY_AFTER, ApiError, FieldError, invalid, with_errors
from gateway.admin.port_checks import PortChecks
from gateway.admin.ports import PortState, check_port, make_pool
from gateway.admin.problem import NO_STORE
from gateway.admin.rate import Bucket
from gateway.admin.records import (
    ANY,
    NOT_AN_ID,
    BrokenRecord,
    Record,
    Registration,
    as_record,
    entity_tag,
    read_if_match,
    read_registration,
    url_template,
)
from gateway.diagnosis.explain import Context
from gateway.directory.sandbox import (
    Broken,
    Conflict,
    Directory,
    DirectoryError,
    Expected,
    Presence,
    RecordError,
    Registry,
    Sandbox,
    TableDirectory,
)
from gateway.errors import GatewayError
from gateway.hostname import is_sandbox_id

RATE, BURST = 500.0, 2000
"""Requests per second, and at once after a pause: a platform that tells a whole fleet anew is not an attack."""
LOOK_RATE, LOOK_BURST = 1000.0, 4000
"""The same for looks at ports, which have an allowance of their own: waiting for apps keeps nobody from registering."""
LOOKS_TRIED = 2
"""Looks at one port, if the first found what is another sandbox's by now."""
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
"""Records on a page."""
MAX_BODY = 16 * 1024
"""Octets; a record takes a few hundred."""
OPENAPI = Path(__file__).with_name("openapi.json").read_bytes()

log = logging.getLogger("gateway.admin")


class Page(msgspec.Struct, frozen=True, omit_defaults=True):
    """`next` is what to ask for as `after`; None: that was all. Both lists are in the order of the ids."""

    sandboxes: list[Record]
    next: str | None
    broken: list[BrokenRecord] = msgspec.field(default_factory=list)


class Sandboxes:
    """One per admin listener."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._bucket = Bucket(RATE, BURST, time.monotonic)
        self._look_bucket = Bucket(LOOK_RATE, LOOK_BURST, time.monotonic)
        # One write at a time and id, so that what is answered and logged of the record before is true for this process.
        # Conditions need no lock: the registry decides them, in its own transaction.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Offers the API on `router`."""
        router.add_get("/v1/openapi.json", self.describe)
        router.add_get("/v1/sandboxes", self._limited(self.index))
        router.add_get("/v1/sandboxes/{id}", self._limited(self.get))
        router.add_put("/v1/sandboxes/{id}", self._limited(self.put))
        router.add_delete("/v1/sandboxes/{id}", self._limited(self.delete))
        router.add_get("/v1/sandboxes/{id}/ports/{port}", self._limited(self.port, self._look_bucket))

    def _limited(self, handler: Handler, bucket: Bucket | None = None) -> Handler:
        bucket = bucket or self._bucket

        async def limited(request: web.Request) -> web.StreamResponse:
            wait = bucket.take()
            if wait:
                seconds = {"Retry-After": str(max(1, math.ceil(wait)))}
                raise ApiError(429, f"more than {bucket.rate:.0f} requests per second", headers=seconds)
            return await handler(request)

        return with_errors(limited)

    async def describe(self, request: web.Request) -> web.Response:
        """The API as an OpenAPI document."""
        return web.Response(body=OPENAPI, content_type="application/json", headers=NO_STORE)

    # --- one record ------------------------------------------------------------------------------------------------

    async def put(self, request: web.Request) -> web.Response:
        """Creates or replaces a record, whole: what is not given is not kept."""
        store = self._registry(request)
        sandbox_id = request.match_info["id"]
        allow_ipv4 = self._context.settings.upstream.allow_ipv4
        _refuse_encoded(request)
        asked = read_registration(sandbox_id, await request.read(), self._context.policy, allow_ipv4)
        async with self._lock(sandbox_id):
            before = await _before(store, sandbox_id)
            try:
                stored, created = await _store(store, asked, _expected(request, before), there=before is not None)
            except Conflict as conflict:
                raise _mismatch(sandbox_id, conflict.current) from None
        if created or not isinstance(before, Sandbox) or _said(stored) != _said(before):
            _audit(request, "created" if created else "replaced", stored)
        if created:
            return self._answer(stored, 201, {"Location": f"/v1/sandboxes/{sandbox_id}"})
        return self._answer(stored)

    async def get(self, request: web.Request) -> web.Response:
        """One record, past every cache."""
        return self._answer(await self._fetch(request))

    async def delete(self, request: web.Request) -> web.Response:
        """Removes a record; exchanges and tunnels under way are the workers' to end."""
        store = self._registry(request)
        sandbox_id = request.match_info["id"]
        async with self._lock(sandbox_id):
            before = await _before(store, sandbox_id) if is_sandbox_id(sandbox_id) else None
            if before is None:
                raise _not_found(sandbox_id)
            try:
                removed = await store.remove(sandbox_id, expected=_expected(request, before))
            except Conflict as conflict:
                raise _mismatch(sandbox_id, conflict.current) from None
        if not removed:
            raise _not_found(sandbox_id)  # somebody else was faster
        if isinstance(before, Sandbox):
            _audit(request, "removed", before)
        else:
            log.info("%s removed sandbox %s, whose record was broken", request.remote or "somebody", sandbox_id)
        return web.Response(status=204, headers=NO_STORE)

    # --- others ----------------------------------------------------------------------------------------------------

    async def index(self, request: web.Request) -> web.Response:
        """A page of records, by id."""
        after, limit = _read_page(request)
        found = await self._page(after, limit + 1)  # one more, to know whether there is another page
        records = found[:limit]
        page = Page(
            [as_record(record, self._context.settings) for record in records if isinstance(record, Sandbox)],
            records[-1].id if len(found) > limit else None,
            [BrokenRecord(record.id, record.why) for record in records if isinstance(record, Broken)],
        )
        return web.Response(body=msgspec.json.encode(page), content_type="application/json", headers=NO_STORE)

    async def port(self, request: web.Request) -> web.Response:
        """What becomes of a connection to a port of a sandbox, now."""
        number = _read_integer(request.match_info["port"], 1, 65535)
        if number is None:
            raise invalid([FieldError("port", "expected an integer from 1 to 65535")])
        sandbox = await self._fetch(request)
        for _ in range(LOOKS_TRIED):
            try:
                state = await self._port_checks.at(sandbox, number)
            except GatewayError as error:
                raise ApiError(503, f"the gateway could not look: {error}", headers=RETRY_AFTER) from error
            # Meanwhile the address may have become somebody else's, of whom nothing is said under this name.
            try:
                met, sandbox = sandbox, await self._fetch(request)
            except DirectoryError:
                break  # nobody can tell
            if sandbox.origin == met.origin:
                break
        else:
            raise ApiError(503, "the sandbox was replaced during each look", headers=RETRY_AFTER)
        template = url_template(sandbox.id, self._context.settings)
        state = replace(state, url=template and template.replace("{port}", str(number)))
        return web.Response(body=msgspec.json.encode(state), content_type="application/json", headers=NO_STORE)

    @cached_property
    def _port_checks(self) -> PortChecks:
        context, pool = self._context, make_pool(self._context)

        async def check(sandbox: Sandbox, port: int) -> PortState:
            return await check_port(sandbox, port, context, pool)

        return PortChecks(check, context.tasks)

    # --- the backend -----------------------------------------------------------------------------------------------

    def _registry(self, request: web.Request) -> Registry:
        directory = self._context.directory
        if _is_registry(directory):
            return directory
        raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"), text=self._why_read_only())

    def _why_read_only(self) -> str:
        settings = self._context.settings.directory
        places = {
            "file": f"edit them in {settings.path}, which is read again when it changes",
            "dns": f"they are the AAAA records of <id>.{settings.zone}, edited where that zone is kept",
        }
        place = places.get(settings.backend, "write them there")
        return f"the {settings.backend} backend (directory.backend) only reads its records: {place}"

    async def _fetch(self, request: web.Request) -> Sandbox:
        sandbox_id = request.match_info["id"]
        # What can be no id is not looked for: a backend need not know which names it may be asked.
        sandbox = await self._context.directory.fetch(sandbox_id) if is_sandbox_id(sandbox_id) else None
        if sandbox is None:
            raise _not_found(sandbox_id)
        return sandbox

    async def _page(self, after: str, limit: int) -> list[Sandbox | Broken]:
        directory = self._context.directory
        if isinstance(directory, TableDirectory) or _is_registry(directory):
            return await directory.page(after, limit)
        backend = self._context.settings.directory.backend
        raise ApiError(501, f"the {backend} backend (directory.backend) answers for one id at a time, it has no list")

    def _lock(self, sandbox_id: str) -> asyncio.Lock:
        return self._locks.setdefault(sandbox_id, asyncio.Lock())

    def _answer(self, sandbox: Sandbox, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        return web.Response(
            status=status,
            body=msgspec.json.encode(as_record(sandbox, self._context.settings)),
            content_type="application/json",
            headers={"ETag": entity_tag(sandbox.generation), **NO_STORE, **(headers or {})},
        )


def _is_registry(directory: Directory) -> TypeGuard[Registry]:
    return all(hasattr(directory, verb) for verb in ("put", "remove", "page"))


async def _store(store: Registry, asked: Registration, expected: Expected, *, there: bool) -> tuple[Sandbox, bool]:
    """The record as stored, and whether it is a new one, as the registry has it; `there` is what was seen before.

    Raises Conflict if the record is not as `expected`. Without a condition it is created or replaced, by one who knows
    which: of many who do this at once exactly one has created it.
    """
    if expected is not None:
        stored = await store.put(asked.sandbox, expected=expected, lifetime=asked.lifetime)
        return stored, expected is Presence.ABSENT
    while True:  # each time round somebody else has created or removed it
        expected = Presence.PRESENT if there else Presence.ABSENT
        try:
            return await store.put(asked.sandbox, expected=expected, lifetime=asked.lifetime), not there
        except Conflict:
            there = not there


async def _before(store: Registry, sandbox_id: str) -> Sandbox | Broken | None:
    """What is to be replaced or removed. That nobody can read it is one more reason to."""
    try:
        return await store.fetch(sandbox_id)
    except RecordError as error:
        return Broken(sandbox_id, str(error))


def _expected(request: web.Request, before: Sandbox | Broken | None) -> Expected:
    """What If-Match and If-None-Match ask to be in force when the write happens; `before` was a moment ago.

    Raises Conflict if they ask for what cannot be.
    """
    absent = request.headers.getall("If-None-Match", [])
    if absent and absent != ["*"]:
        raise ApiError(400, "the only If-None-Match understood here is *: write only if there is no such record")
    wanted = read_if_match(request.headers.getall("If-Match", []))
    current = before.generation if isinstance(before, Sandbox) else None if before is None else ""
    if wanted is None:
        return Presence.ABSENT if absent else None
    if absent:
        raise Conflict(current)  # a record, and none
    if wanted is ANY:
        return Presence.PRESENT
    if current not in wanted:
        raise Conflict(current)
    return current


def _mismatch(sandbox_id: str, current: str | None) -> ApiError:
    if current is None:
        return ApiError(412, f"there is no sandbox {sandbox_id}")
    if not current:
        return ApiError(412, f"the record of sandbox {sandbox_id} is broken, and has no generation")
    detail = f"there is a sandbox {sandbox_id}, and its generation is {current}"
    return ApiError(412, detail, headers={"ETag": entity_tag(current)})


def _not_found(sandbox_id: str) -> ApiError:
    shown = sandbox_id if len(sandbox_id) <= 63 else f"{sandbox_id[:62]}…"
    return ApiError(404, f"there is no sandbox {shown}")


def _read_page(request: web.Request) -> tuple[str, int]:
    """The query of a list: where it begins, how long it may be. Raises ApiError(422)."""
    query, errors = request.query, []
    for name in sorted(set(query)):
        if name not in ("after", "limit"):
            errors.append(FieldError(name, "unknown parameter (expected after, limit)"))
        elif len(query.getall(name)) > 1:
            errors.append(FieldError(name, "given more than once"))
    after = query.get("after", "")
    if after and not is_sandbox_id(after):
        errors.append(FieldError("after", NOT_AN_ID))
    limit = _read_integer(query.get("limit", str(DEFAULT_LIMIT)), 1, MAX_LIMIT)
    if limit is None:
        errors.append(FieldError("limit", f"expected an integer from 1 to {MAX_LIMIT}"))
    if errors or limit is None:
        raise invalid(errors)
    return after, limit


def _refuse_encoded(request: web.Request) -> None:
    """RFC 9110 section 15.5.16. A body is read as it came: 16 KiB may be packed megabytes."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        detail = "the body has a Content-Encoding: send the JSON as it is"
        raise ApiError(415, detail, headers={"Accept-Encoding": "identity"})


def _read_integer(text: str, lowest: int, highest: int) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(highest)) and text[0] != "0"):
        return None
    return int(text) if lowest <= int(text) <= highest else None


def _said(sandbox: Sandbox) -> tuple[object, ...]:
    """What a registration said of it; its ttl, which runs down by itself, is not part of that."""
    return sandbox.origin, sandbox.ipv4, sandbox.host, sandbox.protocol


def _audit(request: web.Request, what: str, sandbox: Sandbox) -> None:
    """One line per change, for whoever asks later who did it."""
    log.info(
        "%s %s sandbox %s: address %s, generation %s",
        request.remote or "somebody",
        what,
        sandbox.id,
        sandbox.address,
        sandbox.generation,
    )

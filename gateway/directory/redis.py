"""The Redis registry: one Redis, or a primary that a name or a balancer leads to, shared by any number of gateways.

The keys, and the scripts that touch them, are `redis_scripts`'. Changes go through a stream and not through pub/sub,
because a subscriber that was away has missed its messages, while a reader of a stream goes on where it stopped. Whoever
finds that the stream no longer reaches back, or is another one, has missed changes, and says so to its observer.

The end of a lifetime is reported by nobody: a record carries what is left of it, so that the cache in front drops it in
time. Knows nothing of the cache, and of settings only the URL.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as BrokenConnection
from redis.exceptions import MasterDownError, NoScriptError, OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as Silence

from gateway.directory.redis_scripts import (
    CHANGES,
    FETCH,
    MAX_ID,
    NEWS,
    PAGE,
    PUT,
    RECORD,
    REMOVE,
    TEND,
    Script,
)
from gateway.directory.sandbox import (
    Broken,
    Conflict,
    DirectoryError,
    Expected,
    Presence,
    RecordError,
    Sandbox,
    WatchObserver,
    WriteError,
)
from gateway.directory.stored import TEXTS, read_sandbox
from gateway.errors import UserError
from gateway.hostname import is_sandbox_id

CONNECT_TIMEOUT = 1.0
"""Seconds for a connection, TLS included: Redis is near, or useless."""
COMMAND_TIMEOUT = 1.0
"""Seconds for one answer."""
CONNECTIONS = 16
"""Connections of one process, and one more that waits for changes."""
BLOCK = 0.5
"""Seconds that one question for changes stays open; its answer may take COMMAND_TIMEOUT more."""
RETRY_INTERVAL = 0.25
"""Seconds between two attempts to hear of changes while Redis is away."""
BATCH = 500
"""Changes taken at a time, so that no number of them holds up the event loop, or Redis."""
STEP = 200
"""Ids looked at in one script, while Redis answers nobody else: 0.5 to 1 ms in a step of `tend`, and 1.3 to 2 ms where
the records of all of them are read for a page. docs/directory.md tells of the longest."""
TEND_PAUSE, TEND_PAUSE_IF_ANY = 1.0, 0.02
"""Seconds between two steps through the index, and after a step that found ids of records that have ended."""

log = logging.getLogger("gateway.directory")

_FORM = (
    'directory.url: expected a URL such as "redis://10.0.0.2:6379/0", "rediss://user:password@redis.internal:6380/0" '
    'or "unix:///run/redis.sock"; what is special in a URL is percent-encoded in a password'
)

_FOR_ALL = ("BUSY ", "UNBLOCKED ")
"""Refusals for which redis-py has no type: a script that does not end, a primary that becomes a replica."""

_ENTRY = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class RedisRegistry:
    """A `Registry`. Its methods belong to one event loop; until the first of them is called it has no connection."""

    reports_changes = True
    at_once = CONNECTIONS - 1
    """One is left to the watch. Who asks more would wait for a connection, and take that for a Redis that is slow."""

    def __init__(self, url: str) -> None:
        """Connects to nothing. Raises UserError if `url` is none, without repeating it: it may hold a password."""
        try:
            self._options: dict[str, Any] = dict(parse_url(url))
            pool: Any = self._pool()
            pool.make_connection()  # not connected yet: an option that is none shows here
        except (ValueError, TypeError, RedisError):
            raise UserError(_FORM) from None
        self.where = _where(self._options)
        self._redis: Redis | None = None
        self._listening: Redis | None = None  # for questions that stay open
        self._tended = "0"  # how far in the index
        self._odd = False  # whether it was said that the stream has entries that name no sandbox
        self._position: str | None = None  # the last change that was reported, or made before anything was fetched

    def __repr__(self) -> str:
        return f"<RedisRegistry {self.where}>"

    # --- records -------------------------------------------------------------------------------------------------

    async def fetch(self, sandbox_id: str) -> Sandbox | None:
        """As `Directory.fetch`. A hash without an `address` is no record."""
        await self._begin()
        row = await self._run(FETCH, sandbox_id)
        if row is None:
            return None
        record = self._record(row)
        if isinstance(record, Broken):
            raise RecordError(f"{self.where}: {record.why}")
        return record

    async def put(self, sandbox: Sandbox, *, expected: Expected = None, lifetime: float | None = None) -> Sandbox:
        """As `Registry.put`. A write whose answer was lost is not repeated: the caller knows what it wants now."""
        outcome, generation = await self._write(
            PUT,
            sandbox.id,
            _expectation(expected),
            str(sandbox.address),
            str(sandbox.ipv4 or ""),
            sandbox.host,
            sandbox.protocol,
            "" if lifetime is None else str(math.ceil(lifetime * 1000)),
        )
        if outcome == "conflict":
            raise Conflict(generation)
        return replace(sandbox, generation=generation, lifetime=lifetime)

    async def remove(self, sandbox_id: str, *, expected: Expected = None) -> bool:
        """As `Registry.remove`."""
        outcome, generation = await self._write(REMOVE, sandbox_id, _expectation(expected))
        if outcome == "conflict":
            raise Conflict(generation)
        return bool(outcome == "removed")

    async def obstacle(self) -> str:
        """As `Registry.obstacle`: whether this Redis is another one's copy. Who may not ask does not know."""
        try:
            role = await self._ask("ROLE")
        except DirectoryError as error:
            if _answered(error):
                return ""
            raise
        return f"{self.where}: is a replica of {role[1]}:{role[2]}, which takes no writes" if role[0] == "slave" else ""

    async def page(self, after: str, limit: int) -> list[Sandbox | Broken]:
        """As `Registry.page`. Redis looks at few ids at a time, however many of them have no record any more."""
        found: dict[str, Sandbox | Broken] = {}
        furthest, bound = b"", f"({after}" if after else "-"
        while bound and len(found) < limit:
            count, last, rows = await self._run(PAGE, bound, str(STEP))
            # Until `tend` has come by, one that was listed with a score stands behind those without.
            found.update((row[0], self._record(row)) for row in rows if row[0] > after and is_sandbox_id(row[0]))
            reached = max(map(_octets, [last, *(row[0] for row in rows)]))
            bound = _bound_after(reached) if count == STEP and reached > furthest else ""
            furthest = reached
        return [found[name] for name in sorted(found)][:limit]

    def _record(self, row: list[Any]) -> Sandbox | Broken:
        """What Lua's `record` returned."""
        name, *values = row
        if len(values) == 1:
            return Broken(name, f"{RECORD}{name} {values[0]}")
        *texts, left = values
        lifetime = left / 1000 if left >= 0 else None
        return read_sandbox(name, f"{RECORD}{name}", dict(zip(TEXTS, texts, strict=True), lifetime=lifetime))

    async def tend(self) -> float:
        """As `Registry.tend`: Redis deletes records itself, and their ids stay in the index."""
        self._tended, gone = await self._write(TEND, self._tended, str(STEP))
        return TEND_PAUSE_IF_ANY if gone else TEND_PAUSE

    # --- changes -------------------------------------------------------------------------------------------------

    async def watch(self, changed: Callable[[Iterable[str]], None], observer: WatchObserver) -> None:
        """As `Directory.watch`. What changed while Redis was away is reported when it is back."""
        if _ENTRY.fullmatch(observer.bookmark):
            self._position = min(self._position or observer.bookmark, observer.bookmark, key=_order)
        while True:
            try:
                await self._begin()
                while True:
                    names = await self._news(observer)
                    if names:
                        changed([name for name in names if is_sandbox_id(name)])
                    if observer.bookmark != self._position:
                        observer.bookmark = self._position or ""
                    observer.answered()
                    if observer.watch_down:
                        log.info("%s: changes are heard of again", self.where)
                        observer.watch_down = False
                    if len(names) < BATCH:
                        await self._wait_for_news()
            except DirectoryError as error:
                if not _answered(error):
                    observer.failed(error)
                else:  # not allowed to read the stream, or it is none: records may be had nevertheless
                    observer.answered()
                    if not observer.watch_down:
                        log.error(
                            "%s; %s cannot be read, changes are noticed when a record is looked up anew", error, CHANGES
                        )
                    observer.watch_down = True
                await asyncio.sleep(RETRY_INTERVAL)

    async def _begin(self) -> None:
        """Notes where the stream ends before the first record is read, so that no change after it is missed."""
        if self._position is None:
            last, _, _ = await self._run(NEWS, "", "0")
            if self._position is None:
                self._position = last

    async def _news(self, observer: WatchObserver) -> list[str]:
        """The ids of the next changes, at most BATCH; others may write here, so there may be anything among them.

        Asked for where we stand and not where Redis says that something is new: a Redis that was put in the place of
        another, or has lost the stream, would be listened to in vain.
        """
        assert self._position is not None  # _begin
        names: list[str]
        last, unbroken, names = await self._run(NEWS, self._position, str(BATCH))
        if not unbroken:
            log.warning("%s: %s does not reach back far enough, every sandbox is looked up anew", self.where, CHANGES)
            observer.missed()
        self._position = last
        if not self._odd and not all(map(is_sandbox_id, names)):
            log.warning("%s: %s has entries that name no sandbox; they are passed over", self.where, CHANGES)
            self._odd = True
        return names

    async def _wait_for_news(self) -> None:
        """Returns with the next change, after BLOCK at the latest."""
        await self._ask(
            "XREAD",
            *("COUNT", 1, "BLOCK", int(BLOCK * 1000)),
            *("STREAMS", CHANGES, self._position),
            opened=BLOCK,
        )

    # --- the connection ------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Closes every connection."""
        clients = (self._redis, self._listening)
        self._redis = self._listening = None
        for client in clients:
            if client is not None:
                await client.aclose()

    def _client(self, opened: float = 0.0) -> Any:
        if opened:
            if self._listening is None:
                self._listening = Redis.from_pool(self._pool(connections=1, opened=opened))
            return self._listening
        if self._redis is None:
            self._redis = Redis.from_pool(self._pool())
        return self._redis

    def _pool(self, *, connections: int = CONNECTIONS, opened: float = 0.0) -> BlockingConnectionPool:
        return BlockingConnectionPool(
            **{
                **self._options,
                "socket_connect_timeout": CONNECT_TIMEOUT,
                "socket_timeout": COMMAND_TIMEOUT + opened,
                "max_connections": connections,
                "timeout": COMMAND_TIMEOUT,  # for one of them to become free
                "decode_responses": True,
                "encoding_errors": "surrogateescape",  # anybody may write here, and one odd key is nobody else's outage
                "protocol": 2,
                "retry": Retry(NoBackoff(), 0),
            }
        )

    async def _run(self, script: Script, *arguments: str, repeat: bool = True) -> Any:
        try:
            return await self._ask("EVALSHA", script.digest, 0, *arguments, repeat=repeat)
        except NoScriptError:  # a Redis that has not seen it yet, or was started anew
            return await self._ask("EVAL", script.text, 0, *arguments, repeat=repeat)

    async def _write(self, script: Script, *arguments: str) -> Any:
        """Runs a script that must not run twice: on a connection that has just been seen to work.

        Raises WriteError if Redis is there and refuses: a replica (READONLY), without memory left (OOM), unable to save
        (MISCONF) or to copy (NOREPLICAS), or not for this user to write (NOPERM).
        """
        try:
            await self._ask("PING")
            return await self._run(script, *arguments, repeat=False)
        except DirectoryError as error:
            if _answered(error):
                raise WriteError(str(error), full=isinstance(error.__cause__, OutOfMemoryError)) from error.__cause__
            raise

    async def _ask(self, *command: object, repeat: bool = True, opened: float = 0.0) -> Any:
        """One command's answer. Raises DirectoryError, and NoScriptError for `_run`.

        With `repeat` it is sent once more if the connection breaks: while it was idle, Redis or something on the way
        may have closed it. `opened` is for how many seconds Redis is asked to keep the answer back.
        """
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        try:
            client = self._client(opened)
            async with asyncio.timeout(CONNECT_TIMEOUT + COMMAND_TIMEOUT + opened):
                try:
                    answer = await client.execute_command(*command)
                except (BrokenConnection, RuntimeError):  # the latter is uvloop's word for it
                    if not repeat:
                        raise
                    answer = await client.execute_command(*command)
        except NoScriptError:
            raise
        except TimeoutError:
            await self._hang_up()
            raise DirectoryError(
                f"{self.where}: no answer in {CONNECT_TIMEOUT + COMMAND_TIMEOUT + opened:g} s"
            ) from None
        except Silence as error:
            await self._hang_up()
            raise DirectoryError(f"{self.where}: {self._words(error)}") from error
        except Exception as error:  # redis-py lets through what its parser meets, and what uvloop raises
            raise DirectoryError(f"{self.where}: {self._words(error)}") from error
        # redis-py writes through asyncio.wait_for, which before Python 3.12 loses a cancellation that comes just when
        # the write is done (cpython issue 86296): `watch` would never end.
        if task.cancelling() > cancelled_before:
            raise asyncio.CancelledError
        return answer

    async def _hang_up(self) -> None:
        """Closes what is idle: Redis may be elsewhere now, and its old machine have gone without a word.

        Else each of these connections would be found silent by one more question, and that be an outage of a second.
        Whoever uses one finds out by itself. Nothing here waits for the other side, so nobody is given a closing one.
        """
        if self._redis is not None:
            pool: Any = self._redis.connection_pool
            for connection in list(pool._available_connections):
                await connection.disconnect(nowait=True)

    def _words(self, error: Exception) -> str:
        """What `error` says, on one line. Servers repeat what they do not understand, so the password is taken out."""
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        password = self._options.get("password")
        return text.replace(password, "***") if password else text


def _where(options: dict[str, Any]) -> str:
    """Which Redis, without user and password."""
    database = options.get("db", 0)
    if "path" in options:
        return f"Redis at {options['path']}, database {database}"
    host = options.get("host", "localhost")
    shown = f"[{host}]" if ":" in host else host
    return f"Redis at {shown}:{options.get('port', 6379)}, database {database}"


def _answered(error: DirectoryError) -> bool:
    """Whether Redis is there, and has refused what it was asked, not whatever it may be asked."""
    refusal = error.__cause__
    if not isinstance(refusal, ResponseError) or isinstance(refusal, MasterDownError):
        return False
    return not str(refusal).startswith(_FOR_ALL)


_PRESENCE = {None: "", Presence.ABSENT: "-", Presence.PRESENT: "*"}


def _octets(text: str) -> bytes:
    """What Redis sent, and orders by."""
    return text.encode("utf-8", "surrogateescape")


def _bound_after(last: bytes) -> str:
    """Where ZRANGEBYLEX goes on after `last`, or after all that begin as it does, if it was cut; "": nowhere."""
    bound = b"(" + last
    if len(last) > MAX_ID:
        left = last.rstrip(b"\xff")
        bound = b"[" + left[:-1] + bytes([left[-1] + 1]) if left else b""
    return bound.decode("utf-8", "surrogateescape")


def _expectation(expected: Expected) -> str:
    """`expected` for a script. A generation is told apart by its first character: it may be any text, or empty."""
    return f"={expected}" if isinstance(expected, str) else _PRESENCE[expected]


def _order(entry: str) -> tuple[int, int]:
    """What entries of a stream are ordered by; "1700000000000-3" as text would not do."""
    time, _, number = entry.partition("-")
    return int(time), int(number)

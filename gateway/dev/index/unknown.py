"""What is said in `gateway dev` of a sandbox that there is none of: which there are, and what adds one."""

from __future__ import annotations

from collections.abc import Callable, Collection

from gateway.errors import GatewayError, Reason
from gateway.wordings import NOT_ON_THIS_MACHINE

NAMED = 10
"""Ids that a sentence names; the index has all."""


class Unknown:
    """As `DirectoryCache.not_found`. `ids()` are those that exist, `index` is the URL that lists them."""

    def __init__(self, ids: Callable[[], Collection[str]], index: str) -> None:
        self._ids = ids
        self._index = index

    def error(self, sandbox_id: str) -> GatewayError:
        error = GatewayError(Reason.DESTINATION_NOT_FOUND, f"no record for {sandbox_id}", wording=NOT_ON_THIS_MACHINE)
        error.observed = (f"{self._known()}; {self._index} shows all there is",)
        return error

    def _known(self) -> str:
        ids = sorted(self._ids())
        named, more = ids[:NAMED], len(ids) - NAMED
        if not ids:
            return "there is no sandbox at all"
        if more > 0:
            return f"the sandboxes here are {', '.join(named)} and {more} more"
        if len(ids) == 1:
            return f"the only sandbox here is {ids[0]}"
        return f"the sandboxes here are {', '.join(named[:-1])} and {named[-1]}"

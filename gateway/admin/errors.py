"""Errors of the registration API that say more than aiohttp's exceptions can: which field and why, what a record's
generation is, that the directory is away.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.admin.malformed import reason
from gateway.admin.problem import NO_STORE, Problem
from gateway.directory.sandbox import DirectoryError, WriteError
from gateway.http.phrases import phrase_for
from gateway.observe.access_log import shown
from gateway.observe.logs import OFTEN

RETRY_AFTER = {"Retry-After": "1"}

log = logging.getLogger("gateway.admin")


class FieldError(msgspec.Struct, frozen=True):
    """One field of what was sent, and what is expected of it."""

    field: str
    message: str


class InvalidFields(Problem, frozen=True, kw_only=True):
    """A problem document that goes through the fields one by one."""

    errors: Sequence[FieldError]


class ApiError(Exception):
    """An error answer; `detail` is a sentence without its full stop."""

    def __init__(
        self, status: int, detail: str, *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = dict(headers or {})
        super().__init__(detail)

    def response(self) -> web.Response:
        """The problem document."""
        title = phrase_for(self.status).decode()
        problem = Problem(title=title, status=self.status, detail=self.detail)
        if self.errors:
            problem = InvalidFields(title=title, status=self.status, detail=self.detail, errors=self.errors)
        return web.Response(
            status=self.status,
            reason=title,
            body=msgspec.json.encode(problem),
            content_type="application/problem+json",
            headers={**self.headers, **NO_STORE},
        )


def invalid(errors: Sequence[FieldError]) -> ApiError:
    """422 with all of `errors`."""
    return ApiError(422, "; ".join(f"{error.field}: {error.message}" for error in errors), errors=errors)


def with_errors(handler: Handler) -> Handler:
    """`handler` with its errors, those of the directory, and faults of ours turned into problem documents."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return error.response()
        except WriteError as error:
            log.error("%s %s failed: %s", request.method, shown(request.path), error, extra=OFTEN)
            # RFC 4918 section 11.5: unable to store what is needed to complete the request, for the time being.
            status = 507 if error.full else 503
            return ApiError(status, f"the record could not be written: {error}", headers=RETRY_AFTER).response()
        except DirectoryError as error:
            detail = f"the directory of sandboxes cannot be asked: {error}"
            return ApiError(503, detail, headers=RETRY_AFTER).response()
        except (web.HTTPException, ConnectionError):  # the latter: nobody is there any more to be answered
            raise
        except web.RequestPayloadError as error:
            return ApiError(400, f"the body cannot be read: {reason(error)}").response()
        except Exception:
            log.exception("%s %s failed", request.method, shown(request.path))
            return ApiError(500, "this is a fault of the gateway, and its log says more").response()

    return answer

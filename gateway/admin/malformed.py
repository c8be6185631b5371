"""Requests to the admin listener that are none: each leaves one line, and no more than a few of them in a row.

aiohttp reports them as it reports bugs, with a traceback; or, if the first line already makes no sense, not at all.
"""

from __future__ import annotations

import logging
import re

from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from gateway.observe.access_log import shown
from gateway.observe.logs import OFTEN

LOGGER = "gateway.admin.http"
_STATUS = re.compile(r"^[0-9]{3}, message:")


def complaints() -> logging.Logger:
    """The logger for `aiohttp.web`'s server."""
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.DEBUG)  # at which it tells of the worst requests; what goes on is decided by the filter
    if not any(isinstance(each, _OneLine) for each in logger.filters):
        logger.addFilter(_OneLine())
    return logger


def reason(error: BaseException) -> str:
    """What is wrong with a request, in a line fit to be shown: it may quote what was sent."""
    text = error.message if isinstance(error, HttpProcessingError) else str(error)
    lines = [line.strip() for line in _STATUS.sub("", text).splitlines()]
    # Without the arrow that stands below what was sent.
    return shown(" ".join(line for line in lines if line.strip("^"))) or type(error).__name__


class _OneLine(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | RequestPayloadError):
            who = record.args[0] if isinstance(record.args, tuple) and record.args else None
            record.msg, record.args = "%s sent a malformed request: %s", (who or "somebody", reason(error))
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = record.exc_text = None
            record.__dict__.update(OFTEN)
        elif isinstance(error, ConnectionError):  # it has gone before its answer came
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            record.exc_info = record.exc_text = None
        return record.levelno >= logging.getLogger().getEffectiveLevel()

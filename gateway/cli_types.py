"""What may stand on the command line: argparse's types, each with the sentence for what is none."""

from __future__ import annotations

import argparse
from math import inf
from urllib.parse import urlsplit

from gateway.config.values import quote
from gateway.dev.app_port import AppPort, NoApp, parse_app
from gateway.dev.finding import DEFAULT_ADMIN
from gateway.hostname import is_sandbox_id

_DIGITS = 18
"""Of a number; Python does not read thousands of them."""


def sandbox_id(text: str) -> str:
    if not is_sandbox_id(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a sandbox id (a-z, 0-9, inner hyphens, at most 57)")
    return text


def count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text)):
        raise argparse.ArgumentTypeError(f"{quote(text)} is not a number of records")
    return int(text)


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < inf:  # which NaN is not, either
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, more than 0")
    return number


def port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{quote(text)} is not a port")
    return int(text)


def exposed(text: str) -> AppPort:
    try:
        return parse_app(text)
    except NoApp as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def url(text: str) -> str | AppPort:
    """A URL, or an app of this machine, whose URL a running gateway knows."""
    from gateway.diagnosis.url import InvalidUrl, parse_url

    try:
        return parse_app(text)
    except NoApp:
        pass
    try:
        return parse_url(text).url
    except InvalidUrl as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def admin_url(text: str) -> str:
    if not _is_admin_url(text):
        from gateway.diagnosis.url import without_userinfo

        raise argparse.ArgumentTypeError(
            f"{without_userinfo(text)!r} is not an admin listener's URL such as {DEFAULT_ADMIN}"
        )
    return text.rstrip("/")


def _is_admin_url(text: str) -> bool:
    """Whether everything in it can be sent as it stands; names outside ASCII are written in their "xn--" form."""
    if not all("!" <= char <= "~" for char in text):
        return False
    try:
        parts = urlsplit(text)
        host, number = parts.hostname or "", parts.port
        host.encode("idna")  # as a look-up does: UnicodeError if a label is empty or too long
    except ValueError:
        return False
    rest = parts.username is not None or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and host != "" and number != 0 and not rest

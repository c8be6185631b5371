"""What may stand on the command line: argparse's types, each with the sentence for what is none."""

from __future__ import annotations

import argparse
import re
from math import inf
from urllib.parse import urlsplit

from gateway.config.values import quote
from gateway.hostname import is_sandbox_id

DEFAULT_ADMIN = "http://127.0.0.1:9090"

_EXPOSED = re.compile(r"(?:(?P<id>[^=]+)=)?(?P<port>[0-9]+)")
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


def exposed(text: str) -> tuple[str, int]:
    match = _EXPOSED.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not PORT or ID=PORT, for example 5000 or shop=5000")
    number = int(match["port"][:_DIGITS])  # with more it is none either
    if not 1 <= number <= 65535 or match["port"][0] == "0":
        raise argparse.ArgumentTypeError(f"{quote(match['port'])} is not a port between 1 and 65535")
    name = match["id"] or "local"
    if not is_sandbox_id(name):
        raise argparse.ArgumentTypeError(f"{name!r} is not a sandbox id (a-z, 0-9, inner hyphens)")
    return name, number


def url(text: str) -> str:
    from gateway.diagnosis.url import InvalidUrl, parse_url

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

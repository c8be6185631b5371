"""What was probably meant by what is no command: `gateway 5000`, `gateway srve`, `gateway http 3000` as with ngrok."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from gateway.dev.app_port import NoApp, parse_app

_ALIKE = {
    "http": "dev",
    "expose": "dev",
    "share": "dev",
    "up": "dev",
    "run": "dev",
    "start": "serve",
    "validate": "check",
    "test": "check",
    "doctor": "explain",
    "why": "explain",
    "ps": "status",
    "trust": "certs trust",
    "untrust": "certs untrust",
    "sandbox": "sandboxes",
    "ls": "list",
    "rm": "remove",
    "delete": "remove",
    "get": "show",
    "create": "add",
    "register": "add",
}
"""What other programs call it."""


def with_verb(arguments: Sequence[str]) -> list[str]:
    """`arguments`, with the `dev` that is meant if they begin with an app of this machine."""
    try:
        parse_app(arguments[0] if arguments else "")
    except NoApp:
        return list(arguments)
    return ["dev", *arguments]


def likely_of(word: str, choices: Sequence[str]) -> str:
    """The choice that `word` is likely to be; empty: none is."""
    alike = _ALIKE.get(word.lower(), "")
    if alike.partition(" ")[0] in choices:
        return alike
    return next(iter(get_close_matches(word.lower(), choices, n=1)), "")

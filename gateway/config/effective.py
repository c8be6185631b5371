"""The settings in force, written back as TOML: what `gateway check` prints.

`render_effective` and `sources.load` are inverse: its lines, put under their sections, load to the same settings.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config.sources import KINDS, Loaded
from gateway.printable import printable

_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"})


def render_effective(loaded: Loaded) -> list[tuple[str, str, str]]:
    """(leaf path, its value as TOML, its origin) for every setting, in the order of the schema."""
    rows = []
    for path, kind in KINDS.items():
        section, key = path.split(".")
        value = getattr(getattr(loaded.settings, section), key)
        rows.append((path, render_toml(kind.encode(value)), loaded.origins[path]))
    return rows


def fingerprint(rows: Iterable[tuple[str, str, str]]) -> str:
    """12 hexadecimal digits that are the same for the same settings, wherever they came from.

    Of `rows` without passwords: a hash stands in logs, and a password might be guessed by it.
    """
    import hashlib

    text = "".join(f"{path} = {value}\n" for path, value, _ in rows)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]


def render_toml(value: object) -> str:
    """A value of TOML types (str, bool, int, float, list, dict) on one line. Raises TypeError for any other type."""
    if isinstance(value, str):
        return '"' + printable(value.translate(_ESCAPES), _escape) + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return f"[{', '.join(render_toml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {render_toml(item)}' for key, item in value.items())} }}"
    raise TypeError(f"{type(value).__name__} is not a TOML type")


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"

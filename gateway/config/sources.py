"""Where settings come from, and which one wins: flag over environment over file over default.

Owns reading the TOML file and the `GATEWAY_<SECTION>__<KEY>` variables, laying the four sources over each other leaf by
leaf, and remembering for every leaf which one it came from. All problems of all sources are reported at once.
"""

from __future__ import annotations

import difflib
import os
import re
import select
import time
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from gateway.config.checks import check
from gateway.config.kinds import Kind, Problems, kind_of
from gateway.config.settings import Settings
from gateway.errors import UserError

_PREFIX = "GATEWAY_"
_SEPARATOR = "__"
"""Two underscores: Kubernetes gives every pod GATEWAY_PORT and the like once a service is called "gateway"."""

MAX_SIZE = 4 * 1024 * 1024
"""Octets of a file."""
PIPE_TIME = 5.0
"""Seconds for what comes through a pipe."""

_TOML_PLACE = re.compile(r"(.*) \(at (.*)\)", re.DOTALL)

_SECTIONS: dict[str, Any] = get_type_hints(Settings)
KINDS: dict[str, Kind] = {
    f"{section}.{key}": kind_of(annotation)
    for section, struct in _SECTIONS.items()
    for key, annotation in get_type_hints(struct, include_extras=True).items()
}
"""Every leaf of the schema by its path, `edge.domains`, in the order of the schema."""


class ConfigError(UserError):
    """What is wrong with a configuration, all of it; `str()` is one line per problem."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems: Problems = list(problems)
        """(path of the setting, or the name of its file or variable; what is wrong)."""
        super().__init__("\n".join(f"{path}: {message}" for path, message in self.problems))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings in force, and for every leaf path where its value came from: `default`, `file config/edge.toml`,
    `environment GATEWAY_EDGE__DOMAINS`, `flag --listen`."""

    settings: Settings
    origins: dict[str, str]


def load(
    *,
    file: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
    serve: bool = True,
) -> Loaded:
    """Reads, merges and validates.

    `flags` maps leaf paths (`"edge.listen"`) to TOML-like values or texts; None means the flag was not given. With
    `serve=False` what only production needs (a domain, a listener, a certificate) may be missing: `gateway dev`
    brings its own. Raises ConfigError with every problem found.
    """
    problems: Problems = []
    given = _from_file(file, problems) if file is not None else {}
    given |= _from_environment(environ, problems)
    given |= _from_flags(flags or {}, problems)

    sections: dict[str, dict[str, object]] = {section: {} for section in _SECTIONS}
    wrong = {path for path, _ in problems}
    for path, (raw, origin) in given.items():
        before = len(problems)
        value = KINDS[path].decode(raw, path, problems)
        if len(problems) == before:
            section, key = path.split(".")
            sections[section][key] = value
        else:
            wrong.add(path)
            problems[before:] = [(at, f"{message}{_blame(origin)}") for at, message in problems[before:]]
    settings = Settings(**{section: _SECTIONS[section](**keys) for section, keys in sections.items()})
    problems += check(settings, serving=serve, wrong=wrong)
    if problems:
        raise ConfigError(problems)
    return Loaded(settings, {path: given[path][1] if path in given else "default" for path in KINDS})


_Given = dict[str, tuple[object, str]]
"""Leaf path to (raw value, origin)."""


def _from_file(file: Path, problems: Problems) -> _Given:
    """The leaves of a TOML file. Raises ConfigError at once if it cannot be read: nothing else would mean much."""
    given: _Given = {}
    for section, table in _read(file).items():
        if section not in _SECTIONS:
            problems.append((section, f"unknown section{_nearest(section, _SECTIONS)}"))
        elif not isinstance(table, dict):
            problems.append((section, f"is a section: write [{section}] on a line of its own, its keys below"))
        else:
            for key, raw in table.items():
                path = f"{section}.{key}"
                if path in KINDS:
                    given[path] = (raw, f"file {file}")
                else:
                    problems.append((path, f"unknown key{_nearest(path, KINDS)}"))
    return given


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_octets(file).decode())
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
    except _Endless as error:
        message = str(error)
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start})"
    except ValueError as error:  # TOMLDecodeError, or a number of thousands of digits
        match = _TOML_PLACE.fullmatch(str(error))
        what, place = match.groups() if match else (str(error), "")
        message = f"is not valid TOML: {f'{place}: ' if place else ''}{what}"
    except RecursionError:
        message = "is not valid TOML: thousands of lists, each in another"
    raise ConfigError([(str(file), message)])


def _octets(file: Path) -> bytes:
    """What is in `file`, which may be a shell's pipe. Comes to an end whatever it is: a running gateway reads it anew,
    and does nothing else meanwhile. Raises OSError, _Endless.
    """
    with open(file, "rb", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as opened:
        found, end = bytearray(), time.monotonic() + PIPE_TIME
        readable = select.poll()
        readable.register(opened, select.POLLIN)
        while (piece := opened.read(1 << 16)) != b"":  # None: nothing yet
            found += piece or b""
            if len(found) > MAX_SIZE:
                raise _Endless(f"has more than {MAX_SIZE >> 20} MiB")
            if piece is None and not readable.poll(max(0.0, end - time.monotonic()) * 1000):
                raise _Endless(f"is a pipe whose end has not come within {PIPE_TIME:g} s")
        return bytes(found)


class _Endless(Exception):
    """There is more, or nothing yet, for longer than anybody waits."""


def _from_environment(environ: Mapping[str, str], problems: Problems) -> _Given:
    names = {f"{_PREFIX}{path.replace('.', _SEPARATOR).upper()}": path for path in KINDS}
    given: _Given = {}
    for name, text in environ.items():
        path = names.get(name)
        if path is not None:
            given[path] = (KINDS[path].from_text(text), f"environment {name}")
        elif name.startswith(_PREFIX) and _SEPARATOR in name.removeprefix(_PREFIX):
            problems.append((name, f"unknown setting{_nearest(name, names)}"))
    return given


def _from_flags(flags: Mapping[str, object], problems: Problems) -> _Given:
    given: _Given = {}
    for path, value in flags.items():
        name = f"--{path.rpartition('.')[2].replace('_', '-')}"
        if path not in KINDS:
            problems.append((name, f"unknown setting {path}"))
        elif value is not None:
            raw = KINDS[path].from_text(value) if isinstance(value, str) else value
            given[path] = (list(raw) if isinstance(raw, tuple) else raw, f"flag {name}")
    return given


def _blame(origin: str) -> str:
    """Where to look, said only when it is not the file the user is looking at already."""
    return "" if origin.startswith("file ") else f" (from {origin})"


def _nearest(name: str, known: Collection[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean {matches[0]}?)" if matches else ""

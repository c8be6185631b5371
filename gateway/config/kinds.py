"""What a setting may be: one `Kind` per sort of value, attached to the fields of the schema by `Annotated`.

A kind turns what TOML, the environment or a flag delivered into the value the program uses (`decode`), turns it back
(`encode`), and knows how a bare text from the environment is meant (`from_text`). Decoding never stops at the first
mistake: problems are appended as (path, message) and the caller goes on, so that one run reports all of them.
"""

from __future__ import annotations

import sys
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any

from gateway.config import values

Problems = list[tuple[str, str]]
"""(path of the setting, what is wrong with it), in the order found."""


def show(raw: object) -> str:
    """`raw` as a message quotes it: TOML-like, on one line, bounded."""
    if isinstance(raw, str):
        return values.quote(raw)
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, dict | list):
        return "a table" if isinstance(raw, dict) else "a list"
    return str(raw)[:60]


def read_toml(text: str) -> object:
    """The one TOML value that `text` is, or `text` itself when it is none (a host name, a path, `5s`)."""
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # of TOML, of a number of thousands of digits, of lists in lists
        return text
    return document["value"] if len(document) == 1 else text


class Kind(ABC):
    """One sort of value. Kinds are compared by identity and hold no state besides their parameters."""

    @abstractmethod
    def decode(self, raw: object, path: str, problems: Problems) -> Any:
        """The value of `raw`; on a mistake appends to `problems` and returns something not to be used."""

    @abstractmethod
    def encode(self, value: Any) -> object:
        """`value` as TOML types: str, int, bool, list, dict. The inverse of `decode`."""

    @abstractmethod
    def from_text(self, text: str) -> object:
        """What `decode` should be given for a bare `text` from the environment or a flag."""


@dataclass(frozen=True, eq=False)
class Scalar(Kind):
    """A single value of one TOML type, `accepts`, parsed by `parse`, which raises ValueError with a sentence."""

    expected: str
    accepts: type
    parse: Callable[[Any], Any]
    render: Callable[[Any], object]
    choices: tuple[str, ...] = ()
    """All there are, if they are names."""

    def decode(self, raw: object, path: str, problems: Problems) -> Any:
        if type(raw) is not self.accepts:  # not isinstance: TOML's true is no integer, though Python's is
            problems.append((path, f"expected {self.expected}, got {show(raw)}"))
            return None
        if isinstance(raw, str) and not values.is_text(raw):
            problems.append((path, f"{values.quote(raw)} is not {sys.getfilesystemencoding().upper()}"))
            return None
        try:
            return self.parse(raw)
        except ValueError as error:
            problems.append((path, str(error)))
            return None

    def encode(self, value: Any) -> object:
        return self.render(value)

    def from_text(self, text: str) -> object:
        # Where text is wanted, TOML's other types are accidents: a folder may be called 8, or 2026-01-01.
        raw = read_toml(text)
        return text if self.accepts is str and not isinstance(raw, str) else raw


@dataclass(frozen=True, eq=False)
class SizeOf(Scalar):
    """A size, which besides its text may be a plain number of bytes: the keys are called `…_bytes`."""

    def decode(self, raw: object, path: str, problems: Problems) -> Any:
        return super().decode(f"{raw}B" if type(raw) is int and raw >= 0 else raw, path, problems)

    def from_text(self, text: str) -> object:
        return read_toml(text)


@dataclass(frozen=True, eq=False)
class RatioOf(Scalar):
    """A share, which may be a whole number: 0 or 1."""

    def decode(self, raw: object, path: str, problems: Problems) -> Any:
        return super().decode(float(raw) if type(raw) is int else raw, path, problems)


@dataclass(frozen=True, eq=False)
class ListOf(Kind):
    """A TOML list of one kind, decoded to a tuple; `unique` lists refuse an item that is there already."""

    item: Kind
    unique: bool = False

    def decode(self, raw: object, path: str, problems: Problems) -> tuple[Any, ...]:
        if not isinstance(raw, list):
            problems.append((path, f"expected a list, got {show(raw)}"))
            return ()
        before = len(problems)
        decoded: list[Any] = []
        for index, element in enumerate(raw):
            value = self.item.decode(element, f"{path}[{index}]", problems)
            if self.unique and len(problems) == before and value in decoded:
                problems.append((f"{path}[{index}]", f"{show(element)} is listed twice"))
            decoded.append(value)
        return tuple(decoded)

    def encode(self, value: Sequence[Any]) -> object:
        return [self.item.encode(element) for element in value]

    def from_text(self, text: str) -> object:
        raw = read_toml(text)
        if isinstance(raw, list) or not isinstance(self.item, Scalar):
            return raw
        return [self.item.from_text(part.strip()) for part in text.split(",") if part.strip()]


@dataclass(frozen=True, eq=False)
class Table(Kind):
    """An inline table with exactly the keys of `fields`, decoded to `build(**fields)`."""

    build: Callable[..., Any]
    fields: dict[str, Kind]

    def decode(self, raw: object, path: str, problems: Problems) -> Any:
        if not isinstance(raw, dict):
            shape = ", ".join(f'{name} = "…"' for name in self.fields)
            problems.append((path, f"expected {{ {shape} }}, got {show(raw)}"))
            return None
        before = len(problems)
        problems += [(f"{path}.{name}", "unknown key") for name in raw if name not in self.fields]
        problems += [(f"{path}.{name}", "is missing") for name in self.fields if name not in raw]
        decoded = {
            name: kind.decode(raw[name], f"{path}.{name}", problems)
            for name, kind in self.fields.items()
            if name in raw
        }
        return self.build(**decoded) if len(problems) == before else None

    def encode(self, value: Any) -> object:
        return {name: kind.encode(getattr(value, name)) for name, kind in self.fields.items()}

    def from_text(self, text: str) -> object:
        return read_toml(text)


def integer(low: int, high: int) -> Scalar:
    """A whole number from `low` to `high`."""

    def parse(number: int) -> int:
        if not low <= number <= high:
            raise ValueError(f"expected a whole number from {low} to {high}, got {show(number)}")
        return number

    return Scalar("a whole number", int, parse, int)


def choice(*supported: str) -> Scalar:
    """One of `supported`."""
    names = " or ".join(f'"{name}"' for name in supported)

    def parse(text: str) -> str:
        if text not in supported:
            raise ValueError(f"expected {names}, got {values.quote(text)}")
        return text

    return Scalar(names, str, parse, str, supported)


def _positive_duration(text: str) -> float:
    seconds = values.parse_duration(text)
    if not seconds:
        raise ValueError(f"must be longer than zero, got {values.quote(text)}")
    return seconds


def _ratio(share: float) -> float:
    if not 0 <= share <= 1:  # which NaN is not, either
        raise ValueError(f"expected a number from 0 to 1, got {show(share)}")
    return share


def _keepalive(text: str) -> float:
    seconds = values.parse_duration(text)
    if seconds and not (seconds.is_integer() and seconds <= MAX_KEEPALIVE):
        longest = values.format_duration(float(MAX_KEEPALIVE))
        raise ValueError(f"expected whole seconds, {longest} at most (the kernel's), got {values.quote(text)}")
    return seconds


def _positive_size(text: str) -> int:
    size = values.parse_size(text)
    if not 0 < size <= values.MAX_SIZE:
        raise ValueError(f"expected a size from 1B to 1024GiB, got {values.quote(text)}")
    return size


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise ValueError(f"expected the path of a file, got {values.quote(text)}")
    return Path(text)


def _optional_path(text: str) -> Path | None:
    return _path(text) if text else None


MAX_KEEPALIVE = 32_767
"""Seconds: Linux' MAX_TCP_KEEPIDLE."""
_A_DURATION = 'a duration such as "5s", "500ms" or "1h30m"'
_DURATION = Scalar(_A_DURATION, str, _positive_duration, values.format_duration)
_DURATION_OR_ZERO = Scalar(_A_DURATION, str, values.parse_duration, values.format_duration)
_KEEPALIVE = Scalar('a duration of whole seconds such as "45s"', str, _keepalive, values.format_duration)
_SIZE = SizeOf('a size such as "32KiB"', str, _positive_size, values.format_size)
_PATH = Scalar("the path of a file, as text", str, _path, str)
_LISTEN = Scalar('an address and a port such as "[::]:443"', str, values.parse_listen, str)
_NETWORK = Scalar('a network such as "fd00::/8"', str, values.parse_network, str)
_PREFIX = Scalar('a network such as "fd00::/8"', str, values.parse_sandbox_prefix, str)
_IPV4_PREFIX = Scalar('a network such as "10.0.0.0/8"', str, values.parse_ipv4_prefix, str)
_DOMAIN = Scalar('a domain such as "sandbox.example.dev"', str, values.parse_domain, str)
_OPTIONAL_DOMAIN = Scalar(
    'a domain such as "sandboxes.internal"', str, lambda text: values.parse_domain(text) if text else "", str
)
_NAMESERVER = Scalar('an address such as "10.0.0.53" or "[fd00::53]:5353"', str, values.parse_nameserver, str)
_REDIS_URL = Scalar('a URL such as "redis://127.0.0.1:6379/0"', str, values.parse_redis_url, str)
_HOST_MASK = Scalar('"preserve" or a host such as "localhost:{port}"', str, values.parse_host_mask, str)
_HEALTH_PATH = Scalar('a path such as "/healthz"', str, values.parse_health_path, str)
_OPTIONAL_PATH = Scalar(
    "the path of a file, as text", str, _optional_path, lambda path: "" if path is None else str(path)
)
_HTTP_URL = Scalar('a URL such as "http://127.0.0.1:4318/v1/traces"', str, values.parse_http_url, str)
_PORT = integer(1, values.MAX_PORT)

# What the schema's fields are annotated with. At run time each is the plain type on the left: a duration is a float of
# seconds and a size an int of bytes, so code that uses a setting pays nothing for its having been configured.
Seconds = Annotated[float, _DURATION]
SecondsOrZero = Annotated[float, _DURATION_OR_ZERO]
Keepalive = Annotated[float, _KEEPALIVE]
Bytes = Annotated[int, _SIZE]
Flag = Annotated[bool, Scalar("true or false", bool, bool, bool)]
Port = Annotated[int, _PORT]
Ports = Annotated[tuple[int, ...], ListOf(_PORT)]
Count = Annotated[int, integer(1, 2**31 - 1)]
FilePath = Annotated[Path, _PATH]
OptionalPath = Annotated[Path | None, _OPTIONAL_PATH]
HostMask = Annotated[str, _HOST_MASK]
HealthPath = Annotated[str, _HEALTH_PATH]
Domains = Annotated[tuple[str, ...], ListOf(_DOMAIN, unique=True)]
OptionalDomain = Annotated[str, _OPTIONAL_DOMAIN]
HttpUrl = Annotated[str, _HTTP_URL]
Ratio = Annotated[float, RatioOf("a number from 0 to 1", float, _ratio, float)]
RedisUrl = Annotated[str, _REDIS_URL]
Nameservers = Annotated[tuple[values.Listen, ...], ListOf(_NAMESERVER, unique=True)]
Address = Annotated[values.Listen, _LISTEN]
Addresses = Annotated[tuple[values.Listen, ...], ListOf(_LISTEN, unique=True)]
Networks = Annotated[tuple[values.Network, ...], ListOf(_NETWORK)]
Prefixes = Annotated[tuple[values.Network, ...], ListOf(_PREFIX)]
Ipv4Prefixes = Annotated[tuple[IPv4Network, ...], ListOf(_IPV4_PREFIX)]


def kind_of(annotation: Any) -> Kind:
    """The kind a field of the schema was annotated with. Raises TypeError for a field that has none: our own slip."""
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Kind):
            return extra
    raise TypeError(f"{annotation!r} carries no Kind")

"""The texts people write in a configuration, and the values the program works with.

Owns the spelling of durations, sizes, listen addresses, networks, domains and host masks: one `parse_*` per kind, and
for those with more than one spelling a `format_*` that is its inverse. Every parser raises ValueError with a sentence
fit for the user. Knows nothing of sections, files or which setting a value belongs to.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.printable import printable, shorten

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KIB = 1024
MIB = 1024 * KIB

_DURATION_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""Milliseconds per unit, largest first: the order `1h30m` must be written in."""
_DURATION = re.compile("".join(rf"(?:([0-9]{{1,12}}){unit})?" for unit in _DURATION_UNITS))
MAX_DURATION = 365 * 86_400.0
"""Seconds. Longer than any connection lives; a bound so that no timer is ever handed a number it cannot hold."""

_SIZE_UNITS = {"GiB": 1024 * MIB, "MiB": MIB, "KiB": KIB, "B": 1}
_SIZE = re.compile(rf"([0-9]{{1,13}})({'|'.join(_SIZE_UNITS)})")
MAX_SIZE = 1024 * 1024 * MIB
"""Bytes (1 TiB): fits every C type that a buffer limit is handed to."""

MAX_PORT = 65535
DNS_PORT = 53
MAX_DOMAIN = 253 - len(".") - 63
"""Octets left for a domain when a full label and a dot stand before it (RFC 1035 section 2.3.4)."""
_LDH_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

_PORT_DIGITS = re.compile(r"0|[1-9][0-9]{0,4}")
_REDIS_DATABASE = re.compile(r"/?|/[0-9]{1,5}")
_MASK_PLACEHOLDER = re.compile(r"\{[^{}]*\}")
_MASK_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?")
_PATH = re.compile(r"/[!\"$->@-~]*")
"""Of a request target: visible ASCII, without a query or a fragment."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a listener binds: an IP address in text form (no brackets) and a port; port 0 lets the kernel choose."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


def parse_duration(text: str) -> float:
    """Seconds of `"5s"`, `"500ms"`, `"1h30m"`: whole numbers, units d h m s ms, largest first, each at most once."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f'expected a duration such as "5s", "500ms" or "1h30m", got {quote(text)}')
    counts = zip(match.groups(), _DURATION_UNITS.values(), strict=True)
    # Whole milliseconds, divided once: 1.1 is then the float nearest to 1100 ms, whatever the units were.
    seconds = sum(int(count) * unit for count, unit in counts if count is not None) / 1000
    if seconds > MAX_DURATION:
        raise ValueError(f"a duration is at most {format_duration(MAX_DURATION)}, got {quote(text)}")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest one-unit spelling, `75.0` to `"75s"`; exact to the millisecond, the finest a text can say."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit = next(unit for unit, length in _DURATION_UNITS.items() if milliseconds % length == 0)
    return f"{milliseconds // _DURATION_UNITS[unit]}{unit}"


def parse_size(text: str) -> int:
    """Bytes of `"32KiB"`: a whole number with B, KiB, MiB or GiB. `KB` is refused: people mean 1000 or 1024 by it."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f'expected a size such as "32KiB" or "1MiB" (units B, KiB, MiB, GiB), got {quote(text)}')
    return int(match[1]) * _SIZE_UNITS[match[2]]


def format_size(size: int) -> str:
    """The shortest one-unit spelling: `32768` to `"32KiB"`, `100` to `"100B"`."""
    unit = next((unit for unit, length in _SIZE_UNITS.items() if size and size % length == 0), "B")
    return f"{size // _SIZE_UNITS[unit]}{unit}"


def parse_listen(text: str) -> Listen:
    """`"[::]:443"` or `"127.0.0.1:8080"`; the host is an address, since a name may mean several sockets or none."""
    bracketed = text.startswith("[")
    host, found, port = text.removeprefix("[").rpartition("]:" if bracketed else ":")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        found = ""
    if not found or (address.version == 6) is not bracketed or not _is_port(port):
        raise ValueError(f'expected an address and a port such as "[::]:443" or "127.0.0.1:8080", got {quote(text)}')
    return Listen(str(address), int(port))


def parse_nameserver(text: str) -> Listen:
    """`"10.0.0.53"`, `"fd00::53"` or `"[fd00::53]:5353"`: an address, and a port if it is not 53."""
    try:
        return Listen(str(ipaddress.ip_address(text)), DNS_PORT)
    except ValueError:
        pass  # then it has a port, or is nothing
    try:
        server = parse_listen(text)
    except ValueError:
        server = None
    if server is None or not server.port:
        raise ValueError(f'expected an address such as "10.0.0.53" or "[fd00::53]:5353", got {quote(text)}')
    return server


def parse_redis_url(text: str) -> str:
    """`"redis://[user:password@]host[:port][/database]"`, the same with `rediss` for TLS, or `"unix:///path[?db=0]"`.

    What is wrong is told without the text, which may hold a password.
    """
    example = '"redis://127.0.0.1:6379/0", "rediss://user:password@host:6379/0" or "unix:///run/redis.sock"'
    try:
        parts = urlsplit(text)
        if parts.scheme == "unix":
            good = len(parts.path) > 1
        else:
            good = parts.scheme in ("redis", "rediss") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port, or brackets that do not match
        good = False
    if not (good and text.isascii() and text.isprintable()):
        raise ValueError(f"expected a URL such as {example}")
    if parts.scheme != "unix" and (not _REDIS_DATABASE.fullmatch(parts.path) or parts.query or parts.fragment):
        raise ValueError("a URL of Redis ends with the number of its database, such as /0")
    return text


def parse_http_url(text: str) -> str:
    """An http or https URL, or `""`. No login in it: it would be printed, and environment variables are for that."""
    if not text:
        return text
    try:
        parts = urlsplit(text)
        good = (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:  # the port, or brackets that do not match
        good = False
    if not (good and not parts.fragment and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError('expected a URL without a login, such as "http://127.0.0.1:4318/v1/traces"')
    return text


def parse_network(text: str, example: str = "fd00::/8") -> Network:
    """A CIDR prefix of either family; a bare address is a prefix of one. Bits behind the prefix must be zero."""
    try:
        if "%" in text:  # a zone names an interface of one machine, a prefix is compared with addresses of any
            raise ValueError("zone")
        return ipaddress.ip_network(text)
    except ValueError as error:
        hint = " (it has bits set behind its prefix length)" if "host bits" in str(error) else ""
        raise ValueError(f'expected a network such as "{example}", got {quote(text)}{hint}') from None


def parse_sandbox_prefix(text: str) -> ipaddress.IPv6Network:
    """A CIDR prefix sandboxes live in. IPv6 only: a sandbox record holds nothing else, so IPv4 would never match."""
    network = parse_network(text)
    if isinstance(network, ipaddress.IPv4Network):
        raise ValueError(f"sandboxes are dialed over IPv6 only, {quote(text)} is an IPv4 network")
    return network


def parse_ipv4_prefix(text: str) -> ipaddress.IPv4Network:
    """A CIDR prefix of IPv4 addresses that may be looked at."""
    network = parse_network(text, "10.0.0.0/8")
    if isinstance(network, ipaddress.IPv6Network):
        raise ValueError(f"expected an IPv4 network, {quote(text)} is an IPv6 one: those stand in upstream.allow")
    return network


def parse_domain(text: str) -> str:
    """A domain in lower case, without dots at its ends, short enough to carry a full label in front.

    Names are letters, digits and hyphens (RFC 1123 section 2.1); one whose last label is a number is refused, because
    a browser reads that as an IPv4 address (WHATWG URL, "ends in a number").
    """
    domain = text.lower() if text.isascii() else text
    if domain.startswith("*."):
        raise ValueError(f"write {quote(domain[2:])}, without the wildcard: every sandbox name below it is served")
    if not domain.isascii():
        raise ValueError(f'{quote(text)} has letters outside ASCII: write its "xn--" form')
    if domain != domain.strip("."):
        raise ValueError(f"a domain has no dot at its beginning or end, got {quote(text)}")
    labels = domain.split(".")
    if not all(_LDH_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError(f'expected a domain such as "sandbox.example.dev", got {quote(text)}')
    if len(domain) > MAX_DOMAIN:
        raise ValueError(f"a domain is at most {MAX_DOMAIN} characters long, so that a full label fits before it")
    return domain


def parse_health_path(text: str) -> str:
    """`"/healthz"`: the path of a request target as it comes, or empty for none."""
    if text and not (text.startswith("/") and _PATH.fullmatch(text)):
        raise ValueError(f'expected a path such as "/healthz", without a query, got {quote(text)}')
    return text


def parse_host_mask(text: str) -> str:
    """`"preserve"`, or the Host to send upstream: `host[:port]` whose only placeholder is `{port}`."""
    foreign = [name for name in _MASK_PLACEHOLDER.findall(text) if name != "{port}"]
    if foreign:
        raise ValueError(f"{quote(foreign[0])} is not a placeholder, only {{port}} is, in {quote(text)}")
    if not _is_authority(text.replace("{port}", str(MAX_PORT))):
        raise ValueError(f'expected "preserve" or a host such as "localhost:{{port}}", got {quote(text)}')
    return text


def _is_authority(text: str) -> bool:
    """Whether `text` is a name or address with an optional port from 1, as a Host field may carry it."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
        legal = bool(bracket) and _is_plain_ipv6(host)
    else:
        host, colon, port = text.partition(":")
        legal = _MASK_NAME.fullmatch(host) is not None and ".." not in host and len(host) <= 253
    return legal and (not colon or (colon == ":" and _is_port(port) and port != "0"))


def _is_plain_ipv6(text: str) -> bool:
    try:
        return ipaddress.IPv6Address(text).scope_id is None  # a zone means something on one machine only
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return _PORT_DIGITS.fullmatch(text) is not None and int(text) <= MAX_PORT


def is_text(given: str) -> bool:
    """Whether an argument or a variable was text: Python has characters for any octet, and nothing else takes those."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


def quote(text: str) -> str:
    """`text` for use inside a message: quoted, on one line, and no longer than a line."""
    return '"' + printable(shorten(text, 60), lambda char: ascii(char)[1:-1]) + '"'

"""Rules that relate one setting to another, or to what the gateway is started for.

A rule is a row: the setting it is reported at, the others it reads, when it applies, and a test that returns what is
wrong. Rules see decoded values only; one that reads a setting already found wrong is left out, so that a single
mistake is not reported twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from gateway.config.kinds import Problems
from gateway.config.settings import Directory, Settings


@dataclass(frozen=True, slots=True)
class Rule:
    """One row; `broken` returns the message, or None when the settings keep the rule."""

    at: str
    reads: tuple[str, ...]
    serving_only: bool
    broken: Callable[[Settings], str | None]


def _no_domain(settings: Settings) -> str | None:
    return None if settings.edge.domains else 'at least one is needed, e.g. ["sandbox.example.dev"]'


def _no_listener(settings: Settings) -> str | None:
    edge = settings.edge
    return None if edge.listen or edge.listen_plain else "there is no listener: set edge.listen or edge.listen_plain"


def _no_certificate(settings: Settings) -> str | None:
    if settings.tls.certificates or not settings.edge.listen:
        return None
    return (
        'edge.listen needs at least one: [{ cert = "certs/wildcard.pem", key = "certs/wildcard.key" }]'
        " (behind a balancer that ends TLS, use edge.listen_plain and set edge.listen to [])"
    )


def _no_group(settings: Settings) -> str | None:
    return None if settings.tls.groups else 'at least one is needed, e.g. ["X25519", "P-256"]'


def _proxy_without_proxies(settings: Settings) -> str | None:
    edge = settings.edge
    if edge.proxy_protocol == "off" or edge.trusted_proxies:
        return None
    return 'is required by edge.proxy_protocol = "require": the balancers, e.g. ["10.0.0.0/8"]'


def _same_socket(settings: Settings) -> str | None:
    # Workers bind with SO_REUSEPORT, so the kernel would not object: it would hand connections to either, at random.
    shared = {str(listen) for listen in settings.edge.listen_plain} & {str(listen) for listen in settings.edge.listen}
    fixed = sorted(text for text in shared if not text.endswith(":0"))
    return f"{', '.join(fixed)} is in edge.listen too: one port speaks either TLS or plain HTTP" if fixed else None


def _admin_is_public(settings: Settings) -> str | None:
    admin, edge = settings.admin.listen, settings.edge
    if admin.port and admin in (*edge.listen, *edge.listen_plain):
        return f"{admin} is a public listener: the admin listener needs an address or port of its own"
    return None


def _admin_without_token(settings: Settings) -> str | None:
    admin = settings.admin
    if admin.listen.is_loopback or admin.token_file is not None:
        return None
    return f"is required, because admin.listen = {admin.listen} can be reached from other machines"


def _dns_without_zone(settings: Settings) -> str | None:
    directory = settings.directory
    if directory.backend != "dns" or directory.zone:
        return None
    return 'is required by directory.backend = "dns", e.g. "sandboxes.internal"'


def _toml_is_no_database(settings: Settings) -> str | None:
    # Configurations from before the embedded registry was the default name a TOML file and no backend.
    directory = settings.directory
    if directory.backend != "sqlite" or directory.path.suffix != ".toml":
        return None
    return f'{directory.path} is no database: for a file of sandboxes set directory.backend = "file"'


def _file_without_path(settings: Settings) -> str | None:
    directory = settings.directory
    if directory.backend != "file" or directory.path != Directory().path:
        return None
    return 'is required by directory.backend = "file", e.g. "config/sandboxes.toml"'


def _target_larger_than_head(settings: Settings) -> str | None:
    limits = settings.limits
    return "is larger than limits.header_bytes" if limits.target_bytes > limits.header_bytes else None


def _field_larger_than_head(settings: Settings) -> str | None:
    limits = settings.limits
    return "is larger than limits.header_bytes" if limits.field_bytes > limits.header_bytes else None


_LISTENERS = ("edge.listen", "edge.listen_plain")

RULES = (
    Rule("edge.domains", (), True, _no_domain),
    Rule("edge.listen", ("edge.listen_plain",), True, _no_listener),
    Rule("edge.trusted_proxies", ("edge.proxy_protocol",), False, _proxy_without_proxies),
    Rule("tls.certificates", ("edge.listen",), True, _no_certificate),
    Rule("tls.groups", (), False, _no_group),
    Rule("edge.listen_plain", ("edge.listen",), False, _same_socket),
    Rule("admin.listen", _LISTENERS, False, _admin_is_public),
    Rule("admin.token_file", ("admin.listen",), False, _admin_without_token),
    Rule("directory.zone", ("directory.backend",), False, _dns_without_zone),
    Rule("directory.path", ("directory.backend",), False, _toml_is_no_database),
    Rule("directory.path", ("directory.backend",), False, _file_without_path),
    Rule("limits.target_bytes", ("limits.header_bytes",), False, _target_larger_than_head),
    Rule("limits.field_bytes", ("limits.header_bytes",), False, _field_larger_than_head),
)


def check(settings: Settings, *, serving: bool, wrong: Collection[str]) -> Problems:
    """What the rules find; `wrong` holds the settings whose value could not be decoded."""
    found: Problems = []
    for rule in RULES:
        if (serving or not rule.serving_only) and not {rule.at, *rule.reads} & set(wrong):
            message = rule.broken(settings)
            if message is not None:
                found.append((rule.at, message))
    return found

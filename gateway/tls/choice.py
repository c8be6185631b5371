"""Which certificates are served for which name: by name first, then one of each kind of key, of which OpenSSL chooses
in the handshake.

An exact name goes before a wildcard, an earlier certificate before a later one, and what is valid before what is not:
one that has expired is served only for names that no valid one covers. Its visitors get a warning that says so, and a
way on, where another name's certificate would tell them of an attack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from gateway.tls.pair import Certificate

ANY = "any other name"
"""A key of `choose`: no name, or one that no certificate has."""

CertificateSet = tuple["Certificate", ...]
"""One of each kind."""


def choose(certificates: Sequence[Certificate], now: datetime) -> Mapping[str, CertificateSet]:
    """What is served for each name of `certificates`, which are not none.

    For `ANY` it is the first valid one, beside those of other kinds that have a name of it.
    """
    by_name: dict[str, list[Certificate]] = {}
    for certificate in certificates:
        for name in dict.fromkeys(certificate.names):
            by_name.setdefault(name, []).append(certificate)
    sets = {
        # A wildcard lends an exact name the kinds that it lacks.
        name: _one_of_each(_best(found + by_name.get(wildcard(name), []), now))
        for name, found in by_name.items()
    }
    first = _best(certificates, now)[0]
    sets[ANY] = _one_of_each(_best([first, *(found for name in first.names for found in by_name[name])], now))
    return sets


def wildcard(name: str) -> str:
    """Of the level of `name`."""
    return "*." + name.partition(".")[2]


def describe_served(certificates: Sequence[Certificate], now: datetime) -> list[str]:
    """Sentences that say which of `certificates` are served for what."""
    sets = choose(certificates, now)
    lines = []
    for certificate in certificates:
        if names := [name for name, chosen in sets.items() if any(each is certificate for each in chosen)]:
            what = f"served for {', '.join(names)}"
        elif certificate.names:
            what = "never served: earlier ones of its kind have all its names"
        else:
            what = "never served: it has no DNS name"
        if invalid := certificate.invalidity(now):
            what = f"{invalid.problem}; {what}"
        lines.append(f"{certificate.pair.cert}: {certificate.kind}, {what}")
    return lines


def _best(certificates: Sequence[Certificate], now: datetime) -> Sequence[Certificate]:
    """Those that are valid, or if none is, all."""
    return [certificate for certificate in certificates if certificate.is_valid(now)] or certificates


def _one_of_each(certificates: Sequence[Certificate]) -> CertificateSet:
    by_kind: dict[str, Certificate] = {}
    for certificate in certificates:
        by_kind.setdefault(certificate.kind, certificate)
    return tuple(by_kind.values())

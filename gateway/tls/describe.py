"""What the local certificates are, in lines for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.counting import counted
from gateway.tls import local_ca, trust
from gateway.tls.issue import alternative_names, deviation
from gateway.tls.local_files import LocalFiles, permitted_names


def describe(
    files: LocalFiles,
    *,
    now: datetime | None = None,
    stores: Sequence[trust.TrustOutcome] | None = None,
) -> list[str]:
    """What each certificate is for, until when, its fingerprint, and who trusts the root.

    `stores` is what `trust.status` said; by default it is asked, which starts a few short processes. Raises
    LocalAuthorityError when a certificate cannot be read.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    authority_file = files.authority.certificate
    authority, leaf = trust.read_certificate(authority_file), _describe_leaf(files, moment)
    if stores is None:
        stores = trust.status(authority_file)
    return [
        *_describe_one("authority", authority_file, authority, moment),
        f"  vouches for  {_vouches_for(authority)}",
        *(f"  {'trusted by' if store.done else 'unknown to':<12} {store.store}: {store.message}" for store in stores),
        *leaf,
    ]


def _describe_leaf(files: LocalFiles, now: datetime) -> list[str]:
    if files.domain == local_ca.LAN_DOMAIN:
        return ["certificate: gateway dev --lan makes one for its names at each start, and keeps it nowhere"]
    path = files.leaf.certificate
    leaf = trust.read_certificate(path)
    return [*_describe_one("certificate", path, leaf, now), f"  names        {', '.join(alternative_names(leaf))}"]


def _vouches_for(authority: x509.Certificate) -> str:
    problem = deviation(authority)
    names = ", ".join(permitted_names(authority))
    return (
        f"{names} and names below, nothing else"
        if problem is None
        else f"more than a local authority does: it {problem}"
    )


def _describe_one(role: str, path: Path, certificate: x509.Certificate, now: datetime) -> list[str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    days = (end - now).days
    left = f"{counted(days, 'day')} left" if end >= now else f"expired {counted(-days, 'day')} ago"
    return [
        f"{role}: {path}",
        f"  subject      {certificate.subject.rfc4514_string()}",
        f"  valid        {begin:%Y-%m-%d} to {end:%Y-%m-%d} ({left})",
        f"  SHA-256      {certificate.fingerprint(hashes.SHA256()).hex(':').upper()}",
    ]

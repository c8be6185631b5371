"""The laptop's own certificate authority, for `https://` on one machine.

Owns when a certificate is made. It must not know who serves the files, who trusts the root, or where the files are.

An authority is made where there is none, and never again: what stands in `ca.pem` may be trusted by somebody. One that
cannot be used, because it has expired, is damaged or lacks its key, is an error that names `gateway certs renew --ca`
(`renew_authority`), which makes another. Nor is an authority used that vouches for more than it would be made for, or
whose key others can read: the folder may have come with a cloned repository.

A leaf is due when it is missing, damaged, without its key, not this authority's or domain's, near its end, or when
others can read its key. `leaf.pem` holds the leaf alone: sending the root would convince no client.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.tls.errors import LocalAuthorityError
from gateway.tls.issue import Issued, alternative_names, deviation, leaf_names, make_authority, make_leaf
from gateway.tls.local_files import (
    LocalFiles,
    failures_told,
    is_exposed,
    locked,
    permitted_names,
    read_certificate,
    read_key,
    read_pair,
    write_pair,
)
from gateway.tls.pair import CertificatePair, read_current

__all__ = [
    "LAN_DOMAIN",
    "LocalAuthorityError",
    "LocalCertificates",
    "ensure",
    "ensure_authority",
    "find",
    "issue",
    "reload_leaf",
    "renew_authority",
]

LAN_DOMAIN = "local"
"""Names of multicast DNS (RFC 6762). Of this domain there is an authority and no leaf: no wildcard stands for its
names, so whoever serves some has one made for them (`issue`)."""

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_MAX_DOMAIN = 253 - len("*.")


@dataclass(frozen=True, slots=True)
class LocalCertificates:
    """Where the files stand and until when they hold. `certificate` and `key` are what a listener is
    given.
    """

    authority: Path
    certificate: Path
    key: Path
    domain: str
    not_after: datetime
    authority_not_after: datetime
    authority_is_new: bool = False
    """This call made the authority: nobody trusts it yet."""


def ensure(
    directory: Path, domain: str = "sandbox.localhost", *, now: datetime | None = None, force: bool = False
) -> LocalCertificates:
    """Valid certificates for `domain` in `directory`, made or renewed as needed; `force` renews the leaf.

    Safe to call from several processes at once: one of them makes the files, the others find them made.
    Without a time zone `now` is local time.

    Raises LocalAuthorityError when the domain cannot have a wildcard, when the directory or a file in it
    cannot be read or written, when a file there is somebody else's, and when the authority cannot be used.
    """
    moment = _moment(now)
    _check_wildcard(directory, domain)
    with _changing(directory, domain) as files:
        # Both before anything is written: what cannot be read stops us with everything as it was.
        certificate, leaf = _usable_authority(files, moment), read_pair(files.leaf)
        if not (certificate is None or leaf is None or force or _leaf_is_due(files, leaf, certificate, moment)):
            return _found(files, certificate, leaf.certificate, is_new=False)
        authority = _authority(files, certificate, moment)
        leaf = make_leaf(authority, leaf_names(domain), moment)
        write_pair(files.leaf, leaf)
    return _found(files, authority.certificate, leaf.certificate, is_new=certificate is None)


def ensure_authority(directory: Path, domain: str, *, now: datetime | None = None) -> Path:
    """The file of an authority for `domain`, made if there is none. Raises as `ensure`."""
    moment = _moment(now)
    with _changing(directory, domain) as files:
        _authority(files, _usable_authority(files, moment), moment)
    return files.authority.certificate


def issue(
    directory: Path, domain: str, names: Sequence[str], *, now: datetime | None = None
) -> tuple[x509.Certificate, Issued]:
    """The authority for `domain`, made if there is none, and a leaf by it for `names`, which is kept nowhere.
    Raises as `ensure`.
    """
    moment = _moment(now)
    with _changing(directory, domain) as files:
        authority = _authority(files, _usable_authority(files, moment), moment)
    return authority.certificate, make_leaf(authority, names, moment)


def renew_authority(directory: Path, domain: str, *, now: datetime | None = None) -> None:
    """Another authority for `domain`, and a leaf by it, whatever was there. Whoever trusted the old one trusts this one
    only when told to.

    Raises LocalAuthorityError as `ensure` does, for what is somebody else's or cannot be written.
    """
    moment = _moment(now)
    with _changing(directory, domain) as files:
        for pair in (files.authority, files.leaf):
            read_pair(pair)  # raises for what is not ours to replace
        authority = make_authority(domain, socket.gethostname(), moment)
        write_pair(files.authority, authority)
        if domain != LAN_DOMAIN:
            write_pair(files.leaf, make_leaf(authority, leaf_names(domain), moment))


def find(directory: Path, domain: str) -> LocalFiles:
    """Where the files of `domain` are; changes nothing. Raises LocalAuthorityError where there is no authority."""
    _check_domain(directory, domain)
    with failures_told(directory.absolute()):
        files = LocalFiles.of(directory, domain)
        if files.authority.certificate.exists():
            return files
    advice = f"gateway certs init --domain {domain} makes them"
    raise LocalAuthorityError(files.folder, f"holds no local certificates for {domain}", advice)


def reload_leaf(context: ssl.SSLContext, certs: LocalCertificates) -> None:
    """Has a context that is in use serve the leaf as it stands now. Raises KeyMaterialError, and OSError for the lock;
    then the context serves what it did.
    """
    pair = CertificatePair(certs.certificate, certs.key)
    with locked(LocalFiles(certs.certificate.parent, certs.domain).lock):  # both files of one moment
        certificate = read_current(pair)
    if leaf_names(certs.domain)[0] not in certificate.names:
        raise LocalAuthorityError(certs.certificate, f"is not for {certs.domain} any more")
    certificate.load_into(context)


def _moment(now: datetime | None) -> datetime:
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


@contextmanager
def _changing(directory: Path, domain: str) -> Iterator[LocalFiles]:
    """The files, alone."""
    _check_domain(directory, domain)
    with failures_told(directory.absolute()):
        files = LocalFiles.of(directory, domain)
        files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(files.lock):
            yield files


def _found(
    files: LocalFiles, authority: x509.Certificate, leaf: x509.Certificate, *, is_new: bool
) -> LocalCertificates:
    return LocalCertificates(
        authority=files.authority.certificate,
        certificate=files.leaf.certificate,
        key=files.leaf.key,
        domain=files.domain,
        not_after=leaf.not_valid_after_utc,
        authority_not_after=authority.not_valid_after_utc,
        authority_is_new=is_new,
    )


def _check_domain(directory: Path, domain: str) -> None:
    directory = directory.absolute()
    labels = domain.split(".")
    if len(domain) > _MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in labels):
        advice = "use lower-case labels of a-z, 0-9 and inner hyphens, such as sandbox.localhost"
        raise LocalAuthorityError(directory, f"cannot hold a certificate for the domain {domain!r}", advice)
    if len(labels) < 2 and domain != LAN_DOMAIN:
        # OpenSSL and Chromium do not match `*.localhost`: a wildcard needs two labels behind it.
        advice = f"browsers refuse a wildcard under a single label; use two, such as sandbox.{domain}"
        raise LocalAuthorityError(directory, f"cannot hold a certificate for *.{domain}", advice)


def _check_wildcard(directory: Path, domain: str) -> None:
    if domain == LAN_DOMAIN:
        advice = "gateway dev --lan makes one for its names at each start"
        raise LocalAuthorityError(directory.absolute(), f"holds no certificate for *.{domain}", advice)


# --- what can be used, and what is due ----------------------------------------------------------------------


def _usable_authority(files: LocalFiles, now: datetime) -> x509.Certificate | None:
    """None: there is none. Raises LocalAuthorityError for one that must not be trusted, or that no browser takes."""
    path, key = files.authority.certificate, files.authority.key
    advice = f"{files.renewal} makes another, which has to be trusted anew"
    try:
        authority = read_certificate(path)
    except ValueError:
        raise LocalAuthorityError(path, "is not a certificate in PEM form", advice) from None
    if authority is None:
        return None
    problem = deviation(authority)
    if problem is None and permitted_names(authority) != [files.domain]:
        problem = f"is not for {files.domain}"
    if problem is None and now < authority.not_valid_before_utc:  # made while the clock was ahead
        problem = f"is not valid before {authority.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
    if problem is None and now > authority.not_valid_after_utc:
        problem = f"has expired ({authority.not_valid_after_utc:%Y-%m-%d})"
    if problem is not None:
        raise LocalAuthorityError(path, problem, advice)
    # What is trusted is the file, which may hold more certificates than the one that was read.
    if path.read_bytes().strip() != authority.public_bytes(serialization.Encoding.PEM).strip():
        raise LocalAuthorityError(path, "holds something besides its certificate", advice)
    if key.exists() and is_exposed(key):
        raise LocalAuthorityError(key, "can be read by others, who can sign with it", advice)
    return authority


def _authority(files: LocalFiles, certificate: x509.Certificate | None, now: datetime) -> Issued:
    """What signs: the authority that `_usable_authority` has found, or a new one."""
    if certificate is not None:
        return Issued(certificate, _signing_key(files, certificate))
    authority = make_authority(files.domain, socket.gethostname(), now)
    write_pair(files.authority, authority)
    return authority


def _signing_key(files: LocalFiles, authority: x509.Certificate) -> ec.EllipticCurvePrivateKey:
    key = read_key(files.authority.key)
    if key is None or key.public_key() != authority.public_key():
        problem = f"is not the key of {files.authority.certificate.name}" if key else "is missing or damaged"
        advice = f"{files.renewal} makes another authority, which has to be trusted anew"
        raise LocalAuthorityError(files.authority.key, problem, advice)
    return key


def _leaf_is_due(files: LocalFiles, pair: Issued, authority: x509.Certificate, now: datetime) -> bool:
    leaf = pair.certificate
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if is_exposed(files.leaf.key) or alternative_names(leaf) != leaf_names(files.domain) or not begin <= now <= end:
        return True
    if end - now < (end - begin) / 3 and end < authority.not_valid_after_utc:  # a new one would not last longer
        return True
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return True
    return False

"""The laptop's own certificate authority, for `https://` on one machine.

Owns four files in one directory (`ca.pem`, `ca.key`, `leaf.pem`, `leaf.key`) and decides when each is due.
`leaf.pem` holds the leaf alone: sending the root would convince no client. It must not know who serves the
files or who trusts the root (`trust`, asked by `describe` only).

A file is due when it is missing, damaged, without its other half, not for this domain, or near its end;
a leaf also when others can read its key. `ensure` then makes a new pair. What it will not do is replace a
file it cannot read or did not make: that would destroy somebody's key; nor an authority that vouches for
another domain, because somebody may trust it: the files of a domain that came later live in a directory of
its name beside it. Nor does it use an authority that
vouches for more than it would make one for, or whose key others can read: the directory may have come with
a cloned repository. A new authority also means a new leaf, and that its owner has to trust it again, hence
`authority_is_new`.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.tls import trust
from gateway.tls.errors import LocalAuthorityError, cause_of
from gateway.tls.issue import Issued, deviation, is_ours, leaf_names, make_authority, make_leaf
from gateway.tls.pair import CertificatePair, read_current

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["LocalAuthorityError", "LocalCertificates", "describe", "ensure", "reload_leaf"]

AUTHORITY_MARGIN = timedelta(days=90)
"""An authority with less left is replaced, so every leaf (90 days at most) ends before its root does."""

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
    """This call made the authority: it is not trusted yet, whatever an earlier one was."""


@dataclass(frozen=True, slots=True)
class _PairFiles:
    certificate: Path
    key: Path


def ensure(
    directory: Path, domain: str = "sandbox.localhost", *, now: datetime | None = None, force: bool = False
) -> LocalCertificates:
    """Valid certificates for `domain` in `directory`, made or renewed as needed; `force` renews the leaf.

    Safe to call from several processes at once: one of them makes the files, the others find them made.
    Without a time zone `now` is local time.

    Raises LocalAuthorityError when the domain cannot have a wildcard, when the directory or a file in it
    cannot be read or written, and when a file there is somebody else's.
    """
    _check_domain(directory, domain)
    moment = (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    try:
        directory = _home(directory, domain)
        authority_files = _PairFiles(directory / "ca.pem", directory / "ca.key")
        leaf_files = _PairFiles(directory / "leaf.pem", directory / "leaf.key")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(directory / ".lock"):
            # Both before anything is written: what cannot be read stops us with everything as it was.
            authority, leaf = _read_pair(authority_files), _read_pair(leaf_files)
            if authority is not None:
                _check_authority(authority_files, authority.certificate)
            authority_is_new = authority is None or _authority_is_due(authority.certificate, domain, moment)
            if authority is None or authority_is_new:
                authority = make_authority(domain, socket.gethostname(), moment)
                _write_pair(authority_files, authority)
            if leaf is not None and (_is_exposed(leaf_files.key) or _leaf_is_due(leaf, authority, domain, moment)):
                leaf = None
            if leaf is None or force:
                leaf = make_leaf(authority, domain, moment)
                _write_pair(leaf_files, leaf)
    except OSError as error:
        path = Path(error.filename) if isinstance(error.filename, str | os.PathLike) else directory
        advice = "give the gateway's user access to it, or use another directory"
        raise LocalAuthorityError(path, f"cannot be read or written ({cause_of(error)})", advice) from error
    return LocalCertificates(
        authority=authority_files.certificate,
        certificate=leaf_files.certificate,
        key=leaf_files.key,
        domain=domain,
        not_after=leaf.certificate.not_valid_after_utc,
        authority_not_after=authority.certificate.not_valid_after_utc,
        authority_is_new=authority_is_new,
    )


def _home(directory: Path, domain: str) -> Path:
    """Where the files of `domain` are, or are to be: `directory` itself is the first domain's."""
    own = directory / domain
    if (own / "ca.pem").exists():
        return own
    authority = _read_certificate(directory / "ca.pem") if directory.is_dir() else None
    if authority is None or not is_ours(authority) or deviation(authority) is not None:
        return directory  # nobody's yet, or what `ensure` refuses
    return directory if _permitted_names(authority) == [domain] else own


def reload_leaf(context: ssl.SSLContext, certs: LocalCertificates) -> None:
    """Has a context that is in use serve the leaf as it stands now. Raises KeyMaterialError, and OSError for the lock;
    then the context serves what it did.
    """
    pair = CertificatePair(certs.certificate, certs.key)
    with _locked(certs.certificate.parent / ".lock"):  # both files of one moment
        certificate = read_current(pair)
    if leaf_names(certs.domain)[0] not in certificate.names:
        raise LocalAuthorityError(certs.certificate, f"is not for {certs.domain} any more")
    certificate.load_into(context)


def describe(
    certs: LocalCertificates,
    *,
    now: datetime | None = None,
    stores: Sequence[trust.TrustOutcome] | None = None,
) -> list[str]:
    """Lines for a person: what each certificate is for, until when, its fingerprint, and who trusts the root.

    `stores` is what `trust.status` said; by default it is asked, which starts a few short processes. Raises
    LocalAuthorityError when a certificate cannot be read.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    if stores is None:
        stores = trust.status(certs.authority)
    authority = trust.read_certificate(certs.authority)
    leaf = trust.read_certificate(certs.certificate)
    return [
        *_describe_one("authority", certs.authority, authority, moment),
        f"  vouches for  {_vouches_for(authority)}",
        *(f"  {'trusted by' if store.done else 'unknown to':<12} {store.store}: {store.message}" for store in stores),
        *_describe_one("certificate", certs.certificate, leaf, moment),
        f"  names        {', '.join(_alternative_names(leaf))}",
    ]


def _vouches_for(authority: x509.Certificate) -> str:
    problem = deviation(authority)
    names = ", ".join(_permitted_names(authority))
    return (
        f"{names} and names below, nothing else"
        if problem is None
        else f"more than a local authority does: it {problem}"
    )


def _describe_one(role: str, path: Path, certificate: x509.Certificate, now: datetime) -> list[str]:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    days = (end - now).days
    left = f"{days} days left" if end >= now else f"expired {-days} days ago"
    return [
        f"{role}: {path}",
        f"  subject      {certificate.subject.rfc4514_string()}",
        f"  valid        {begin:%Y-%m-%d} to {end:%Y-%m-%d} ({left})",
        f"  SHA-256      {certificate.fingerprint(hashes.SHA256()).hex(':').upper()}",
    ]


def _check_domain(directory: Path, domain: str) -> None:
    labels = domain.split(".")
    if len(domain) > _MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in labels):
        advice = "use lower-case labels of a-z, 0-9 and inner hyphens, such as sandbox.localhost"
        raise LocalAuthorityError(directory, f"cannot hold a certificate for the domain {domain!r}", advice)
    if len(labels) < 2:
        # OpenSSL and Chromium do not match `*.localhost`: a wildcard needs two labels behind it.
        advice = f"browsers refuse a wildcard under a single label; use two, such as sandbox.{domain}"
        raise LocalAuthorityError(directory, f"cannot hold a certificate for *.{domain}", advice)


# --- when something is due ----------------------------------------------------------------------------------


def _authority_is_due(authority: x509.Certificate, domain: str, now: datetime) -> bool:
    return (
        _permitted_names(authority) != [domain]
        or now < authority.not_valid_before_utc  # made while the clock was ahead: no browser takes it now
        or authority.not_valid_after_utc - now < AUTHORITY_MARGIN
    )


def _leaf_is_due(pair: Issued, authority: Issued, domain: str, now: datetime) -> bool:
    leaf = pair.certificate
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if _alternative_names(leaf) != leaf_names(domain) or now < begin or end - now < (end - begin) / 3:
        return True
    try:
        leaf.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return True
    return False


def _permitted_names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in found.value.permitted_subtrees or ()]


def _alternative_names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in found.value]


# --- files --------------------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among the processes that call `ensure` here; the kernel releases the lock of a killed one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_pair(files: _PairFiles) -> Issued | None:
    """The pair, or None where a half is missing, not PEM, or not the other's: a new pair is due then.

    Raises OSError for a file that is there and cannot be read, LocalAuthorityError for one that is not ours.
    """
    certificate = _read_certificate(files.certificate)
    if certificate is not None and not is_ours(certificate):
        advice = "move it elsewhere, or keep the local certificates in another directory"
        raise LocalAuthorityError(files.certificate, "was not made by the gateway and is not replaced", advice)
    key = _read_key(files.key)
    if certificate is None or key is None or certificate.public_key() != key.public_key():
        return None
    return Issued(certificate, key)


def _check_authority(files: _PairFiles, authority: x509.Certificate) -> None:
    """Raises LocalAuthorityError for one that must not be trusted."""
    advice = f"remove {files.certificate} and {files.key}, and new ones are made"
    if problem := deviation(authority):
        raise LocalAuthorityError(files.certificate, problem, advice)
    # What is trusted is the file, which may hold more certificates than the one that was read.
    if files.certificate.read_bytes().strip() != authority.public_bytes(serialization.Encoding.PEM).strip():
        raise LocalAuthorityError(files.certificate, "holds something besides its certificate", advice)
    if _is_exposed(files.key):
        raise LocalAuthorityError(files.key, "can be read by others, who can sign with it", advice)


def _is_exposed(key: Path) -> bool:
    """Whether others than its owner can read or replace a key, or its owner is another than we are."""
    status = key.stat()
    return bool(status.st_mode & 0o077) or status.st_uid not in (os.geteuid(), 0)


def _read_certificate(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, UnsupportedAlgorithm):
        return None
    except TypeError as error:  # what `cryptography` raises for a key that needs a password
        advice = "decrypt it, or remove it so that a new one is made"
        raise LocalAuthorityError(path, "is encrypted", advice) from error
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def _write_pair(files: _PairFiles, pair: Issued) -> None:
    # Two files cannot be replaced in one step. A process that dies in between leaves a key without its
    # certificate, which the next `ensure` sees as a pair that does not match, and makes both anew.
    encoding = serialization.Encoding.PEM
    key = pair.key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    _replace(files.key, key, 0o600)
    _replace(files.certificate, pair.certificate.public_bytes(encoding), 0o644)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """The file holds the old content or the new one, whatever happens; and `mode` before its first byte."""
    temporary = path.with_name(f".{path.name}.new")  # one name is enough: we hold the lock
    temporary.unlink(missing_ok=True)
    # O_EXCL: what stands at this name now is not ours, and following a link would write the key wherever it
    # points.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)

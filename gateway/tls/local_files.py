"""The four files of a local authority: where they are, how they are read, and how they are written.

Owns that no half of a pair is ever seen as whole, that keys are private before their first byte, and that a folder
belongs to the domain that came first. It must not decide when a file is due: `local_ca` does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.tls.errors import LocalAuthorityError, cause_of
from gateway.tls.issue import Issued, deviation, is_ours

AUTHORITY = "ca.pem"


@dataclass(frozen=True, slots=True)
class PairFiles:
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """Of one domain."""

    folder: Path
    domain: str

    @classmethod
    def of(cls, directory: Path, domain: str) -> LocalFiles:
        """Where the files of `domain` are in `directory`, or are to be. Raises OSError."""
        directory = directory.absolute()  # messages and commands are read in another folder
        return cls(_home(directory, domain), domain)

    @property
    def authority(self) -> PairFiles:
        return PairFiles(self.folder / AUTHORITY, self.folder / "ca.key")

    @property
    def leaf(self) -> PairFiles:
        return PairFiles(self.folder / "leaf.pem", self.folder / "leaf.key")

    @property
    def lock(self) -> Path:
        return self.folder / ".lock"

    @property
    def renewal(self) -> str:
        """The command that makes another authority."""
        return f"gateway certs renew --ca --domain {self.domain} --certs {shlex.quote(str(self.folder))}"


def _home(directory: Path, domain: str) -> Path:
    """`directory` itself is the first domain's; those that came later have a folder of their name in it."""
    authority = _readable(directory / AUTHORITY)  # first: it is this folder that is named where we may not look
    own = directory / domain
    if (own / AUTHORITY).exists():
        return own
    if authority is None or not is_ours(authority) or deviation(authority) is not None:
        return directory  # nobody's yet, or what `ensure` refuses
    return directory if permitted_names(authority) == [domain] else own


def has_authority(directory: Path, domain: str) -> bool:
    """Whether `directory` holds an authority of ours for `domain`, fit for use or not. False where we may not look."""
    try:
        authority = _readable(LocalFiles.of(directory, domain).authority.certificate)
    except OSError:
        return False
    return authority is not None and is_ours(authority)


def permitted_names(certificate: x509.Certificate) -> list[str]:
    """What an authority may vouch for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in found.value.permitted_subtrees or ()]


@contextmanager
def failures_told(directory: Path) -> Iterator[None]:
    """OSError as LocalAuthorityError, with what can be done."""
    try:
        yield
    except OSError as error:
        path = Path(error.filename).absolute() if isinstance(error.filename, str | os.PathLike) else directory
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        first = "make room on that disk" if is_full else "give the gateway's user access to it"
        advice = f"{first}, or name another folder with --certs DIR"
        raise LocalAuthorityError(path, f"cannot be read or written ({cause_of(error)})", advice) from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among the processes that change these files; the kernel releases the lock of a killed one.

    Where nothing can be written there is no lock to have, and no need: what is due fails when it is written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- reading ------------------------------------------------------------------------------------------------


def read_certificate(path: Path) -> x509.Certificate | None:
    """None where there is no file. Raises OSError, ValueError for what is no certificate, LocalAuthorityError for one
    that is not ours.
    """
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        return None
    if not is_ours(certificate):
        advice = "move it elsewhere, or keep the local certificates in another folder with --certs DIR"
        raise LocalAuthorityError(path, "was not made by the gateway and is not replaced", advice)
    return certificate


def read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """None where there is none that could be ours. Raises OSError, LocalAuthorityError for an encrypted one."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (FileNotFoundError, ValueError, UnsupportedAlgorithm):
        return None
    except TypeError as error:  # what `cryptography` raises for a key that needs a password
        raise LocalAuthorityError(path, "is encrypted", "decrypt it") from error
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def read_pair(files: PairFiles) -> Issued | None:
    """The pair, or None where a half is missing, not PEM, or not the other's. Raises OSError, LocalAuthorityError."""
    try:
        certificate = read_certificate(files.certificate)
    except ValueError:
        certificate = None
    key = read_key(files.key)
    if certificate is None or key is None or certificate.public_key() != key.public_key():
        return None
    return Issued(certificate, key)


def is_exposed(key: Path) -> bool:
    """Whether others than its owner can read or replace a key, or its owner is another than we are."""
    status = key.stat()
    return bool(status.st_mode & 0o077) or status.st_uid not in (os.geteuid(), 0)


def _readable(path: Path) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


# --- writing ------------------------------------------------------------------------------------------------


def write_pair(files: PairFiles, pair: Issued) -> None:
    # Two files cannot be replaced in one step. A process that dies in between leaves a key without its
    # certificate: a pair that does not match, and is not used.
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

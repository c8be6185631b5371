"""The root that is trusted or not, a store that may hold it, and what came of asking or changing that store."""

from __future__ import annotations

import binascii
import hashlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.tls.errors import LocalAuthorityError, cause_of

_PEM = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END")

ABSENT = "was not there"
REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class TrustOutcome:
    """One store after a verb, or as `status` found it. `command` is what to paste when it is not done."""

    store: str
    done: bool
    message: str
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Root:
    """A certificate in a file."""

    path: Path
    """Absolute: it ends up in commands that are pasted somewhere else."""
    fingerprint: bytes
    sha1: str
    """As Windows names it."""

    @classmethod
    def read(cls, authority: Path) -> Root:
        """Raises LocalAuthorityError."""
        certificate = read_certificate(authority)
        sha1 = certificate.fingerprint(hashes.SHA1()).hex()  # noqa: S303 - a name, and no proof of anything
        return cls(authority.absolute(), certificate.fingerprint(hashes.SHA256()), sha1)

    @property
    def tag(self) -> str:
        """Tells it from others in the names that stores ask for."""
        return self.fingerprint.hex()[:16]

    def is_among(self, pem: bytes) -> bool:
        """Whether this very certificate stands in `pem`, which may be anything."""
        return any(_sha256_of(block) == self.fingerprint for block in _PEM.findall(pem))


class Store(ABC):
    """One place where programs look for roots. Its verbs raise nothing: what went wrong is in the outcome."""

    name: str

    @abstractmethod
    def status(self, root: Root) -> TrustOutcome:
        """Whether `root` is trusted; changes nothing."""

    @abstractmethod
    def add(self, root: Root) -> TrustOutcome: ...

    @abstractmethod
    def remove(self, root: Root) -> TrustOutcome:
        """`done`: `root` is not trusted there, now or before."""


def _sha256_of(base64: bytes) -> bytes:
    """Of a certificate, which is not read: stores hold some that `cryptography` refuses."""
    try:
        return hashlib.sha256(binascii.a2b_base64(base64)).digest()
    except binascii.Error:
        return b""


def read_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file. Raises LocalAuthorityError."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        problem = f"cannot be read ({cause_of(error)})"
    except ValueError:
        problem = "is not a certificate in PEM form"
    raise LocalAuthorityError(path, problem, "make the local certificates first: gateway certs init")

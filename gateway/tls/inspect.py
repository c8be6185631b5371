"""What an operator wants to know of a certificate before it is served: is it for this name, is its chain whole, who may
read its key. Sentences and answers for `gateway check`; serving asks none of it.
"""

from __future__ import annotations

import ssl
import stat
import warnings
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID

from gateway.tls.pair import Certificate


def covers_sandboxes(certificate: Certificate, domain: str) -> bool:
    """Whether it is for every sandbox below `domain`."""
    return "*." + domain.lower() in certificate.names


def chain_gap(certificate: Certificate) -> str:
    """What is missing or out of order between the certificate and its root; empty: nothing that is known of.

    Browsers that have met the issuer elsewhere forgive a missing intermediate; curl, Python, Go and phones do not.
    """
    chain = certificate.parsed()
    for number, (child, issuer) in enumerate(pairwise(chain), 1):
        if not _is_issued_by(child, issuer):
            return f"its {_ordinal(number + 1)} certificate is not the issuer of the one before it"
    leaf = chain[0]
    if len(chain) > 1 or leaf.issuer == leaf.subject or not _names_its_issuer(leaf) or _is_trusted_root(leaf.issuer):
        return ""  # a chain may end anywhere below its root
    return f"the certificate of its issuer is missing ({leaf.issuer.rfc4514_string()})"


def key_readers(key: Path) -> str:
    """Who besides its owner can read or replace the key, by its mode: `everybody`, `its group`, or empty.

    A group is often meant (Debian's ssl-cert). Raises OSError.
    """
    mode = key.stat().st_mode
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return "everybody"
    return "its group" if mode & (stat.S_IRGRP | stat.S_IWGRP) else ""


def costly_key(certificate: Certificate) -> str:
    """A sentence about a key that makes handshakes dear; empty if it does not."""
    key = certificate.parsed()[0].public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size <= 3072:
        return ""
    # Per full handshake, OpenSSL 3.0 on one core: P-256 0.15 ms, RSA 2048 0.4, RSA 4096 3.5.
    cost = f"with RSA of {key.key_size} bits a new connection takes ten times the CPU it takes with P-256"
    return f"{certificate.pair.cert}: {cost}"


def _is_issued_by(child: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _names_its_issuer(certificate: x509.Certificate) -> bool:
    """Whether it says where its issuer's certificate can be had: those that a private root has signed itself do not."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(each.access_method == AuthorityInformationAccessOID.CA_ISSUERS for each in found.value)


def _is_trusted_root(subject: x509.Name) -> bool:
    """Whether this machine trusts a root of that name."""
    roots = ssl.create_default_context().get_ca_certs(binary_form=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about serial numbers of roots of the last century
        return any(x509.load_der_x509_certificate(der).subject == subject for der in roots)


def _ordinal(number: int) -> str:
    return {2: "second", 3: "third"}.get(number, f"{number}th")

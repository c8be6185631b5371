"""Makes the certificates of a local authority: values in, values out.

Owns what stands inside a certificate: names, lifetimes, extensions. It must not know files, locks or when
something is due; `local_ca` does. Times are UTC and whole seconds, as X.509 stores them.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ORGANIZATION = "gateway local development"
"""Stands in every subject made here: how a file is recognised as ours before it is replaced."""

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
BACKDATE = timedelta(hours=1)
"""A browser in a virtual machine whose clock is late must not see "not valid yet". Part of the life, not
added to it.
"""

MAX_COMMON_NAME = 64
"""RFC 5280 appendix A, ub-common-name, and as much for an organizational unit: longer ones are refused by
`cryptography` and by OpenSSL."""

_EVERY_ADDRESS = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))

_NAMES = {
    x509.BasicConstraints: "basic constraints",
    x509.KeyUsage: "key usage",
    x509.NameConstraints: "name constraints",
    x509.ExtendedKeyUsage: "extended key usage",
}


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_authority(domain: str, hostname: str, now: datetime) -> Issued:
    """A root that can vouch for web servers named `domain` or below it, and for nothing else.

    The name shows up in trust stores years later, among roots its owner has never heard of: it says which
    program made it, for which domain, on which machine and when. No two are alike: NSS takes roots of one subject for
    one and the same.
    """
    room = MAX_COMMON_NAME - len("gateway local CA  2026-01-31")
    name = _subject(f"gateway local CA {hostname[:room]} {now:%Y-%m-%d}", _told_apart(domain))
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, name, key, now, AUTHORITY_LIFE)
    for extension, critical in _constraints(domain):
        builder = builder.add_extension(extension, critical)
    return Issued(builder.sign(key, hashes.SHA256()), key)


def _told_apart(domain: str) -> x509.NameAttribute[str]:
    number = secrets.token_hex(4)
    unit = f"{domain} {number}"
    return x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit if len(unit) <= MAX_COMMON_NAME else number)


def deviation(authority: x509.Certificate) -> str | None:
    """What `authority` has otherwise than `make_authority` writes it, for a person; None: it vouches for its domain and
    for nothing else.
    """
    try:
        found = {each.oid: each for each in authority.extensions}
        names = found[x509.NameConstraints.oid].value.permitted_subtrees or []
        [domain] = [name.value for name in names if isinstance(name, x509.DNSName)]
    except (KeyError, ValueError):  # there is none, it is unreadable, or it permits another number of domains
        return "is not limited to one domain"
    for extension, critical in _constraints(domain):
        written = found.pop(extension.oid, None)
        if written is None or (written.value, written.critical) != (extension, critical):
            return f"lacks the {_NAMES[type(extension)]} that the gateway writes"
    found.pop(x509.SubjectKeyIdentifier.oid, None)
    return f"has an extension that the gateway does not write ({next(iter(found)).dotted_string})" if found else None


def _constraints(domain: str) -> list[tuple[x509.ExtensionType, bool]]:
    """The extensions of an authority for `domain`, and whether each is critical."""
    return [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(certificates=True), True),
        # A permitted DNS subtree restricts DNS names only (RFC 5280 section 4.2.1.10: "if no name of the type
        # is in the certificate, the certificate is acceptable"): whoever steals the key could still name an
        # IP address. So all of them are excluded. Names of mail boxes and people have no such catch-all form;
        # the extended key usage closes those, as verifiers apply a root's to everything below it.
        (
            x509.NameConstraints(
                permitted_subtrees=[x509.DNSName(domain)],
                excluded_subtrees=[x509.IPAddress(network) for network in _EVERY_ADDRESS],
            ),
            True,
        ),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
    ]


def make_leaf(authority: Issued, names: Sequence[str], now: datetime) -> Issued:
    """A server certificate for `names`, signed by `authority`, which it does not outlive."""
    life = min(LEAF_LIFE, authority.certificate.not_valid_after_utc - _begin(now) + timedelta(seconds=1))
    key = ec.generate_private_key(ec.SECP256R1())
    issuer_keys = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    certificate = (
        # No host name in the common name: nothing reads it where alternative names stand, and it holds 64
        # characters.
        _builder(_subject("gateway local certificate"), authority.certificate.subject, key, now, life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_keys.value), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )
    return Issued(certificate, key)


def leaf_names(domain: str) -> list[str]:
    """The names a leaf for `domain` carries, in their order."""
    return [f"*.{domain}", domain]


def alternative_names(certificate: x509.Certificate) -> list[str]:
    """The names a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in found.value]


def is_ours(certificate: x509.Certificate) -> bool:
    """Whether this module made the certificate, as far as its subject tells."""
    attributes = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return [attribute.value for attribute in attributes] == [ORGANIZATION]


def _subject(common_name: str, *more: x509.NameAttribute[str]) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION),
            *more,
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _begin(now: datetime) -> datetime:
    return now.replace(microsecond=0) - BACKDATE


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    not_before = _begin(now)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        # Both ends count as valid (RFC 5280 section 4.1.2.5), so the last second is one less.
        .not_valid_after(not_before + life - timedelta(seconds=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    """For an authority: signs certificates and revocation lists. For a leaf: signs handshakes."""
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

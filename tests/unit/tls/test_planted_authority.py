"""An authority that came with somebody's repository: it vouches for more, or others have its key."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.tls import local_ca
from gateway.tls.context import CertificatePair, server_context
from gateway.tls.describe import describe
from gateway.tls.errors import KeyMaterialError
from gateway.tls.local_ca import LocalAuthorityError, ensure
from gateway.tls.local_files import LocalFiles

if TYPE_CHECKING:
    from collections.abc import Sequence

DOMAIN = "sandbox.localhost"
PEM = serialization.Encoding.PEM
ADDRESSES = [x509.IPAddress(ipaddress.ip_network(each)) for each in ("0.0.0.0/0", "::/0")]
Extensions = dict[type[x509.ExtensionType], tuple[x509.ExtensionType, bool] | None]


def constraints(permitted: Sequence[x509.GeneralName], excluded: Sequence[x509.GeneralName] | None) -> Extensions:
    return {x509.NameConstraints: (x509.NameConstraints(permitted, excluded), True)}


LOOSE: dict[str, Extensions] = {
    "no name constraints": {x509.NameConstraints: None},
    "every address": constraints([x509.DNSName(DOMAIN)], None),
    "every IPv4 address": constraints([x509.DNSName(DOMAIN)], ADDRESSES[1:]),
    "a second domain": constraints([x509.DNSName(DOMAIN), x509.DNSName("bank.example")], ADDRESSES),
    "an address besides": constraints([x509.DNSName(DOMAIN), ADDRESSES[0]], ADDRESSES),
    "names that may be passed over": {
        x509.NameConstraints: (x509.NameConstraints([x509.DNSName(DOMAIN)], ADDRESSES), False)
    },
    "for anything": {x509.ExtendedKeyUsage: None},
    "for code, too": {
        x509.ExtendedKeyUsage: (
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING]),
            False,
        )
    },
    "authorities below it": {x509.BasicConstraints: (x509.BasicConstraints(ca=True, path_length=None), True)},
    "no key usage": {x509.KeyUsage: None},
    "something else": {
        x509.SubjectAlternativeName: (x509.SubjectAlternativeName([x509.DNSName("bank.example")]), False)
    },
}


def plant(directory: Path, changes: Extensions) -> None:
    """An authority as `gateway certs init` makes it, but for `changes`."""
    made = ensure(directory, DOMAIN)
    ours = x509.load_pem_x509_certificate(made.authority.read_bytes())
    extensions: Extensions = {type(each.value): (each.value, each.critical) for each in ours.extensions} | changes
    key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateBuilder(
        ours.issuer, ours.subject, key.public_key(), 1, ours.not_valid_before_utc, ours.not_valid_after_utc
    )
    for extension, critical in filter(None, extensions.values()):
        builder = builder.add_extension(extension, critical)
    made.authority.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(PEM))


@pytest.mark.parametrize("changes", LOOSE.values(), ids=LOOSE)
def test_one_that_vouches_for_more_is_refused_by_name(tmp_path: Path, changes: Extensions) -> None:
    certs = ensure(tmp_path, DOMAIN)
    plant(tmp_path, changes)
    before = certs.authority.read_bytes()
    with pytest.raises(LocalAuthorityError) as raised:
        ensure(tmp_path, DOMAIN)
    assert str(raised.value).startswith(f"{certs.authority} ")
    assert f"gateway certs renew --ca --domain {DOMAIN} --certs {tmp_path} makes another" in str(raised.value)
    assert certs.authority.read_bytes() == before
    assert "nothing else" not in "\n".join(describe(LocalFiles.of(tmp_path, DOMAIN), stores=[]))


def test_one_without_changes_is_not(tmp_path: Path) -> None:
    plant(tmp_path, {})
    certs = ensure(tmp_path, DOMAIN)
    assert not certs.authority_is_new
    assert "nothing else" in "\n".join(describe(LocalFiles.of(tmp_path, DOMAIN), stores=[]))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o601])
def test_a_key_that_others_can_read(tmp_path: Path, mode: int) -> None:
    ensure(tmp_path, DOMAIN)
    key = tmp_path / "ca.key"
    key.chmod(mode)
    with pytest.raises(LocalAuthorityError, match="can be read by others") as raised:
        ensure(tmp_path, DOMAIN)
    assert str(raised.value).startswith(f"{key} ")


def test_a_leaf_with_such_a_key_is_made_anew(tmp_path: Path) -> None:
    certs = ensure(tmp_path, DOMAIN)
    first = serial(certs.certificate)
    certs.key.chmod(0o644)
    ensure(tmp_path, DOMAIN)
    assert serial(certs.certificate) != first
    assert certs.key.stat().st_mode & 0o777 == 0o600


def test_a_second_certificate_in_the_file(tmp_path: Path) -> None:
    """What a trust store is given is the file."""
    certs = ensure(tmp_path, DOMAIN)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "planted")])
    other = x509.load_pem_x509_certificate(certs.authority.read_bytes())
    second = x509.CertificateBuilder(
        name, name, key.public_key(), 1, other.not_valid_before_utc, other.not_valid_after_utc
    ).sign(key, hashes.SHA256())
    certs.authority.write_bytes(certs.authority.read_bytes() + second.public_bytes(PEM))
    with pytest.raises(LocalAuthorityError, match="holds something besides its certificate"):
        ensure(tmp_path, DOMAIN)


# --- a leaf that is renewed while it is served ----------------------------------------------------------------------


def served(context: ssl.SSLContext, authority: Path) -> int:
    """The serial number that a handshake shows."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = ssl.create_default_context(cafile=authority).wrap_bio(
        to_client, to_server, server_hostname=f"5000-a.{DOMAIN}"
    )
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    octets = client.getpeercert(binary_form=True)
    assert octets is not None
    return x509.load_der_x509_certificate(octets).serial_number


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_a_renewed_leaf_is_loaded(tmp_path: Path) -> None:
    certs = ensure(tmp_path, DOMAIN)
    context = server_context([CertificatePair(certs.certificate, certs.key)])
    first = served(context, certs.authority)
    ensure(tmp_path, DOMAIN, force=True)
    assert served(context, certs.authority) == first
    local_ca.reload_leaf(context, certs)
    assert served(context, certs.authority) == serial(certs.certificate) != first


def test_half_of_one_is_not(tmp_path: Path) -> None:
    certs = ensure(tmp_path, DOMAIN)
    context = server_context([CertificatePair(certs.certificate, certs.key)])
    first, key = served(context, certs.authority), certs.key.read_bytes()
    ensure(tmp_path, DOMAIN, force=True)
    certs.key.write_bytes(key)
    with pytest.raises(KeyMaterialError):
        local_ca.reload_leaf(context, certs)
    assert served(context, certs.authority) == first


def test_nor_one_for_another_domain(tmp_path: Path) -> None:
    certs = ensure(tmp_path, DOMAIN)
    context = server_context([CertificatePair(certs.certificate, certs.key)])
    first, authority = served(context, certs.authority), tmp_path / "before.pem"
    authority.write_bytes(certs.authority.read_bytes())
    other = ensure(tmp_path / "other", "other.localhost")
    for mine, theirs in ((certs.certificate, other.certificate), (certs.key, other.key)):
        mine.write_bytes(theirs.read_bytes())
    with pytest.raises(LocalAuthorityError, match=rf"is not for {DOMAIN} any more"):
        local_ca.reload_leaf(context, certs)
    assert served(context, authority) == first

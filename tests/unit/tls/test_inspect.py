"""What `gateway check` asks of a certificate."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from gateway.tls import inspect
from gateway.tls.context import CertificatePair
from gateway.tls.pair import read_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    MakePair = Callable[..., CertificatePair]
    Issued = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


@pytest.mark.parametrize(("bits", "costly"), [(2048, False), (3072, False), (3584, True)])
def test_a_key_that_costs_much_cpu_is_told(tmp_path: Path, openssl: str, bits: int, costly: bool) -> None:
    pair = CertificatePair(tmp_path / "cert.pem", tmp_path / "cert.key")
    options = ["-x509", "-nodes", "-newkey", f"rsa:{bits}", "-subj", "/CN=x", "-days", "1"]
    files = ["-out", str(pair.cert), "-keyout", str(pair.key)]
    subprocess.run([openssl, "req", *options, *files], check=True, capture_output=True)
    assert inspect.costly_key(read_pair(pair)) == (
        f"{pair.cert}: with RSA of {bits} bits a new connection takes ten times the CPU it takes with P-256"
        if costly
        else ""
    )


def test_a_key_of_an_elliptic_curve_costs_little(make_pair: MakePair) -> None:
    assert inspect.costly_key(read_pair(make_pair("a.example"))) == ""


def test_which_domains_it_is_for(make_pair: MakePair) -> None:
    certificate = read_pair(make_pair("*.a.example", "b.example"))
    assert inspect.covers_sandboxes(certificate, "A.example")
    assert not inspect.covers_sandboxes(certificate, "b.example")
    assert not inspect.covers_sandboxes(certificate, "example")


@pytest.mark.parametrize(
    ("mode", "who"), [(0o600, ""), (0o400, ""), (0o640, "its group"), (0o644, "everybody"), (0o602, "everybody")]
)
def test_who_may_read_the_key(make_pair: MakePair, mode: int, who: str) -> None:
    pair = make_pair("a.example")
    pair.key.chmod(mode)
    assert inspect.key_readers(pair.key) == who


# --- chains -----------------------------------------------------------------------------------------------------------


def issue(name: str, issuer: Issued | None, *, public: bool = True) -> Issued:
    """A certificate for `name`; a `public` authority says where its own can be had."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject, key.public_key(), 7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)  # roots are known by it
    )
    if issuer and public:
        where = x509.UniformResourceIdentifier("http://ca.example/issuer")
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


@pytest.fixture(scope="module")
def chain() -> dict[str, Issued]:
    root = issue("Root", None)
    intermediate = issue("Intermediate", root)
    return {
        "root": root,
        "intermediate": intermediate,
        "leaf": issue("leaf", intermediate),
        "private": issue("private", root, public=False),
    }


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        ("root", ""),
        ("private", ""),
        ("leaf intermediate root", ""),
        ("leaf", "the certificate of its issuer is missing (CN=Intermediate)"),
        ("leaf intermediate", ""),
        ("leaf root", "its second certificate is not the issuer of the one before it"),
        ("leaf intermediate intermediate", "its third certificate is not the issuer of the one before it"),
    ],
)
def test_gaps_of_a_chain(tmp_path: Path, chain: dict[str, Issued], names: str, gap: str) -> None:
    given = [chain[name] for name in names.split()]
    pair = CertificatePair(tmp_path / "cert.pem", tmp_path / "cert.key")
    pem = serialization.Encoding.PEM
    pair.cert.write_bytes(b"".join(certificate.public_bytes(pem) for certificate, _ in given))
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pair.key.write_bytes(given[0][1].private_bytes(pem, form, secret))
    assert inspect.chain_gap(read_pair(pair)) == gap


def test_no_gap_where_the_root_is_known(
    tmp_path: Path, chain: dict[str, Issued], monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_bytes(chain["intermediate"][0].public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(roots))
    test_gaps_of_a_chain(tmp_path, chain, "leaf", "")

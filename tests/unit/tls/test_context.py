"""Server contexts: real handshakes between two `ssl` objects; and every way a pair can be refused."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from gateway.config import Settings
from gateway.config.settings import Edge as EdgeSettings
from gateway.tls import local_ca
from gateway.tls.choice import describe_served
from gateway.tls.context import CertificateError, CertificatePair, ContextOptions, server_context
from gateway.tls.pair import read_current, read_pair
from tests.support.handshakes import anybody, chain, der_of, handshake, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    MakePair = Callable[..., CertificatePair]
    """`make_pair` of conftest.py: DNS names in, files of a self-signed certificate out."""

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
both_versions = pytest.mark.parametrize("version", [V1_2, V1_3])
PEM = serialization.Encoding.PEM


# --- which TLS ----------------------------------------------------------------------------------------------


@both_versions
def test_a_browser_that_trusts_the_local_authority(tmp_path: Path, version: ssl.TLSVersion) -> None:
    certs = local_ca.ensure(tmp_path)
    client_side = ssl.create_default_context(cafile=certs.authority)
    client_side.minimum_version = client_side.maximum_version = version
    server_side = server_context([CertificatePair(certs.certificate, certs.key)])
    client, _ = handshake(server_side, client_side, "5000-abc123.sandbox.localhost")
    assert client.version() == {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}[version]
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(server_side, client_side, "example.com")


def test_old_tls_is_refused(make_pair: MakePair) -> None:
    client_side = anybody()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of asking for TLS 1.1 at all
        client_side.minimum_version = ssl.TLSVersion.TLSv1
        client_side.maximum_version = ssl.TLSVersion.TLSv1_1
    client_side.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(server_context([make_pair("a.example")]), client_side)


def test_minimum_version(make_pair: MakePair) -> None:
    server_side = server_context([make_pair("a.example")], minimum_version="1.3")
    handshake(server_side, anybody(V1_3))
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(server_side, anybody(V1_2))


def test_ciphers_are_forward_secret_and_authenticated(make_pair: MakePair) -> None:
    ciphers = server_context([make_pair("a.example")]).get_ciphers()
    old = [cipher for cipher in ciphers if cipher["protocol"] != "TLSv1.3"]
    assert len(old) == 6
    assert all(cipher["aead"] for cipher in ciphers)
    assert {cipher["kea"] for cipher in old} == {"kx-ecdhe"}
    assert {cipher["auth"] for cipher in old} == {"auth-ecdsa", "auth-rsa"}


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES256-SHA384", "AES256-GCM-SHA384", "DHE-RSA-AES128-GCM-SHA256"])
def test_other_ciphers_are_refused(make_pair: MakePair, cipher: str) -> None:
    client_side = anybody(V1_2)
    client_side.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        handshake(server_context([make_pair("a.example")]), client_side)


def test_the_browser_chooses_among_good_ciphers(make_pair: MakePair) -> None:
    server_side = server_context([make_pair("a.example")])
    chosen = []
    for preference in ("CHACHA20-POLY1305", "AES128-GCM-SHA256"):
        client_side = anybody(V1_2)
        first = f"ECDHE-ECDSA-{preference}"
        client_side.set_ciphers(f"{first}:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256")
        cipher = handshake(server_side, client_side)[0].cipher()
        assert cipher is not None
        chosen.append((first, cipher[0]))
    assert [first for first, _ in chosen] == [got for _, got in chosen]


def test_what_is_off(make_pair: MakePair) -> None:
    options = server_context([make_pair("a.example")]).options
    assert options & ssl.OP_NO_COMPRESSION
    assert options & ssl.OP_NO_RENEGOTIATION
    assert not options & ssl.OP_NO_TICKET


@pytest.mark.parametrize(
    ("offered", "got"),
    [
        (["http/1.1", "h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["spdy/3"], None),
        ([], None),
    ],
)
def test_alpn_is_in_our_order(make_pair: MakePair, offered: list[str], got: str | None) -> None:
    pairs = [make_pair("a.example"), make_pair("b.example")]
    server_side = server_context(pairs, alpn=("h2", "http/1.1"))
    client_side = anybody()
    if offered:
        client_side.set_alpn_protocols(offered)
    for name in ("a.example", "b.example"):
        client, server = handshake(server_side, client_side, name)
        assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == got


@pytest.mark.parametrize(("http2", "got"), [(True, "h2"), (False, "http/1.1")])
def test_alpn_is_the_setting(make_pair: MakePair, http2: bool, got: str) -> None:
    options = ContextOptions.of(Settings(edge=EdgeSettings(http2=http2)))
    client_side = anybody()
    client_side.set_alpn_protocols(["http/1.1", "h2"])
    client, _ = handshake(server_context([make_pair("a.example")], alpn=options.alpn), client_side)
    assert client.selected_alpn_protocol() == got


# --- resumption ---------------------------------------------------------------------------------------------


@both_versions
@pytest.mark.parametrize("name", ["a.example", "b.example"])
@pytest.mark.parametrize("pairs", [1, 2])
def test_resumption(make_pair: MakePair, version: ssl.TLSVersion, name: str, pairs: int) -> None:
    server_side = server_context([make_pair("a.example"), make_pair("b.example")][:pairs])
    client_side = anybody(version)
    first, _ = handshake(server_side, client_side, name)
    assert not first.session_reused
    second, server = handshake(server_side, client_side, name, first.session)
    assert second.session_reused
    assert server.session_reused


@both_versions
def test_resumption_on_another_worker(make_pair: MakePair, version: ssl.TLSVersion) -> None:
    server_side = server_context([make_pair("a.example"), make_pair("b.example")])
    client_side = anybody(version)
    reused = []
    session = None
    for _ in range(2):
        near, far = socket.socketpair()
        with near, far:
            worker = os.fork()
            if worker == 0:
                try:
                    near.close()
                    far.settimeout(10)
                    with server_side.wrap_socket(far, server_side=True) as connection:
                        connection.sendall(b"x")
                        connection.recv(1)
                finally:
                    os._exit(0)
            far.close()
            near.settimeout(10)
            with client_side.wrap_socket(near, server_hostname="b.example", session=session) as connection:
                assert connection.recv(1) == b"x"
                session = connection.session
                reused.append(connection.session_reused)
            os.waitpid(worker, 0)
    assert reused == [False, True]


# --- several certificates -----------------------------------------------------------------------------------


def test_one_pair_needs_no_callback(make_pair: MakePair) -> None:
    pair = make_pair("a.example")
    context = server_context([pair])
    assert context.sni_callback is None
    for name in ("a.example", "b.example", None):
        assert shown(handshake(context, anybody(), name)[0]) == der_of(pair)


@both_versions
def test_the_certificate_goes_by_the_name(make_pair: MakePair, version: ssl.TLSVersion) -> None:
    first = make_pair("fallback.example")
    wildcard = make_pair("*.a.example", "a.example")
    exact = make_pair("special.a.example", "*.b.example")
    late = make_pair("special.a.example", "*.a.example")
    context = server_context([first, wildcard, exact, late])
    expected = {
        None: first,
        "fallback.example": first,
        "a.example": wildcard,
        "x.a.example": wildcard,
        "X.A.Example": wildcard,
        "special.a.example": exact,
        "x.b.example": exact,
        "b.example": first,
        "x.y.a.example": first,
        "elsewhere.test": first,
        "localhost": first,
    }
    client_side = anybody(version)
    for name, pair in expected.items():
        assert shown(handshake(context, client_side, name)[0]) == der_of(pair), name


def test_the_second_pair_speaks_the_same_tls(make_pair: MakePair) -> None:
    context = server_context([make_pair("a.example"), make_pair("b.example")], minimum_version="1.3")
    handshake(context, anybody(V1_3), "b.example")
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        handshake(context, anybody(V1_2), "b.example")


# --- two certificates for one name ---------------------------------------------------------------------------------


def rsa_pair(make_pair: MakePair, *names: str) -> CertificatePair:
    return make_pair(*names, key=rsa.generate_private_key(65537, 2048))


def knows(*signatures: str) -> list[ssl.SSLContext]:
    """Clients of TLS 1.2 that verify signatures of these kinds only, whichever they prefer."""
    clients = []
    for order in (signatures, signatures[::-1]):
        client = anybody(V1_2)
        client.set_ciphers(":".join(f"ECDHE-{signature}-AES128-GCM-SHA256" for signature in order))
        clients.append(client)
    return clients


@pytest.mark.parametrize("rsa_first", [False, True])
def test_each_gets_the_kind_that_fits(make_pair: MakePair, rsa_first: bool) -> None:
    pairs = [make_pair("*.a.example"), rsa_pair(make_pair, "*.a.example")]
    ecdsa, other = pairs
    context = server_context(pairs[::-1] if rsa_first else pairs)
    assert context.sni_callback is None, "both are in one context"
    for name in ("x.a.example", "elsewhere.test", None):
        for client in knows("ECDSA"):
            assert shown(handshake(context, client, name)[0]) == der_of(ecdsa)
        for client in knows("RSA"):
            assert shown(handshake(context, client, name)[0]) == der_of(other)
        for client in (knows("ECDSA", "RSA")[0], anybody(V1_3)):  # who has a choice, and prefers it as browsers do
            assert shown(handshake(context, client, name)[0]) == der_of(ecdsa)


@pytest.mark.parametrize(
    ("version", "signatures", "kind"),
    [
        ("-tls1_3", "rsa_pss_rsae_sha256", "RSA"),
        ("-tls1_3", "ecdsa_secp256r1_sha256", "ECDSA"),
        ("-tls1_3", "ecdsa_secp256r1_sha256:rsa_pss_rsae_sha256", "ECDSA"),
        ("-tls1_2", "rsa_pkcs1_sha256", "RSA"),
        ("-tls1_2", "ecdsa_secp256r1_sha256", "ECDSA"),
    ],
)
def test_by_the_signatures_that_a_client_lists(
    make_pair: MakePair, openssl: str, version: str, signatures: str, kind: str
) -> None:
    """In TLS 1.3 the cipher says nothing of the certificate; OpenSSL's client can be told what it verifies."""
    context = server_context([make_pair("a.example"), rsa_pair(make_pair, "a.example")])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        where = f"127.0.0.1:{listening.getsockname()[1]}"
        command = [openssl, "s_client", version, "-sigalgs", signatures, "-connect", where, "-servername", "a.example"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as client:
            connection, _ = listening.accept()
            connection.settimeout(20)
            with context.wrap_socket(connection, server_side=True):
                output, _ = client.communicate(b"", timeout=20)
    assert f"Peer signature type: {kind}".encode() in output, output.decode(errors="replace")


def test_kinds_are_found_name_by_name(make_pair: MakePair) -> None:
    """An exact name borrows from the wildcard what it lacks; who has no second kind has one."""
    exact = make_pair("special.a.example")
    wildcard = rsa_pair(make_pair, "*.a.example")
    alone = rsa_pair(make_pair, "b.example")
    context = server_context([exact, wildcard, alone])
    [ecdsa_client, _], [rsa_client, _] = knows("ECDSA"), knows("RSA")
    assert shown(handshake(context, ecdsa_client, "special.a.example")[0]) == der_of(exact)
    assert shown(handshake(context, rsa_client, "special.a.example")[0]) == der_of(wildcard)
    assert shown(handshake(context, rsa_client, "x.a.example")[0]) == der_of(wildcard)
    assert shown(handshake(context, rsa_client, "b.example")[0]) == der_of(alone)
    for name in ("x.a.example", "b.example"):
        with pytest.raises(ssl.SSLError):
            handshake(context, ecdsa_client, name)


def test_each_kind_has_its_own_chain_of_issuers(make_pair: MakePair) -> None:
    """Python's call loads a chain for the kind of its first certificate, and leaves the others' alone."""
    pairs = [make_pair("a.example"), rsa_pair(make_pair, "a.example")]
    issuers = [make_pair("issuer.example"), rsa_pair(make_pair, "issuer.example")]
    for pair, issuer in zip(pairs, issuers, strict=True):
        pair.cert.write_bytes(pair.cert.read_bytes() + issuer.cert.read_bytes())
    context = server_context(pairs)
    for client, issuer in zip([knows("ECDSA")[0], knows("RSA")[0]], issuers, strict=True):
        connection, _ = handshake(context, client, "a.example")
        assert [certificate.public_bytes(2) for certificate in chain(connection)][1:] == [der_of(issuer)]


def test_renewing_either_leaves_the_other(make_pair: MakePair) -> None:
    """A reload makes contexts anew, of what the files hold then."""
    pairs = [make_pair("a.example"), rsa_pair(make_pair, "a.example")]
    clients = [knows("ECDSA")[0], knows("RSA")[0]]
    for renewed, fresh in ((0, make_pair("a.example")), (1, rsa_pair(make_pair, "a.example"))):
        before = der_of(pairs[renewed])
        pairs[renewed].cert.write_bytes(fresh.cert.read_bytes())
        pairs[renewed].key.write_bytes(fresh.key.read_bytes())
        context = server_context(pairs)
        for client, pair in zip(clients, pairs, strict=True):
            assert shown(handshake(context, client, "a.example")[0]) == der_of(pair)
        assert der_of(pairs[renewed]) != before


@pytest.mark.parametrize("expired", [0, 1])
def test_one_of_two_that_has_expired_is_named(make_pair: MakePair, expired: int) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ends = [yesterday if number == expired else None for number in range(2)]
    keys = [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)]
    pairs = [make_pair("a.example", not_after=end, key=key) for end, key in zip(ends, keys, strict=True)]
    with pytest.raises(CertificateError, match="expired") as refused:
        server_context(pairs)
    assert refused.value.path == pairs[expired].cert


def test_what_is_served_is_told(make_pair: MakePair) -> None:
    first = make_pair("a.example", "*.a.example")
    second = rsa_pair(make_pair, "*.a.example")
    third = make_pair("*.a.example", "b.example")
    fourth = rsa_pair(make_pair, "*.a.example")
    fifth = make_pair("b.example", key=ed25519.Ed25519PrivateKey.generate())
    certificates = [read_pair(pair) for pair in (first, second, third, fourth, fifth)]
    assert describe_served(certificates, datetime.now(UTC)) == [
        f"{first.cert}: ECDSA, served for a.example, *.a.example, any other name",
        f"{second.cert}: RSA, served for *.a.example, any other name",
        f"{third.cert}: ECDSA, served for b.example",
        f"{fourth.cert}: RSA, never served: earlier ones of its kind have all its names",
        f"{fifth.cert}: Ed25519, served for b.example",
    ]


# --- what is refused ----------------------------------------------------------------------------------------


def refusal(pair: CertificatePair) -> CertificateError:
    with pytest.raises(CertificateError) as caught:
        server_context([pair])
    return caught.value


def test_names_of_a_pair(make_pair: MakePair) -> None:
    assert read_pair(make_pair("*.A.example", "a.example")).names == ("*.a.example", "a.example")


def test_one_file_with_both(make_pair: MakePair) -> None:
    pair = make_pair("a.example")
    pair.cert.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
    server_context([CertificatePair(pair.cert, pair.cert)])


@pytest.mark.parametrize("role", ["cert", "key"])
class TestFiles:
    """The same mistakes with either file of a pair."""

    @pytest.fixture
    def pair(self, make_pair: MakePair) -> CertificatePair:
        return make_pair("a.example")

    @pytest.fixture
    def path(self, pair: CertificatePair, role: str) -> Path:
        return {"cert": pair.cert, "key": pair.key}[role]

    def test_missing(self, pair: CertificatePair, path: Path) -> None:
        path.unlink()
        assert str(refusal(pair)) == f"{path} cannot be read (no such file or directory)."

    def test_a_directory(self, pair: CertificatePair, path: Path) -> None:
        path.unlink()
        path.mkdir()
        assert str(refusal(pair)) == f"{path} cannot be read (is a directory)."

    def test_not_permitted(self, pair: CertificatePair, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        really_open = os.open

        def refuse(which: Path | str, flags: int) -> int:  # patched in, as nothing is unreadable for root
            if which == path:
                raise PermissionError(13, "Permission denied", str(which))
            return really_open(which, flags)

        monkeypatch.setattr(os, "open", refuse)
        assert str(refusal(pair)) == f"{path} cannot be read (permission denied)."

    def test_der(self, pair: CertificatePair, path: Path, role: str) -> None:
        path.write_bytes(der_of(pair))
        tool = {"cert": "x509", "key": "pkey"}[role]
        assert str(refusal(pair)) == (f"{path} is not in PEM form: convert DER with openssl {tool} -inform der.")

    def test_empty(self, pair: CertificatePair, path: Path) -> None:
        path.write_bytes(b"")
        assert str(refusal(pair)).startswith(f"{path} is not in PEM form")

    def test_broken(self, pair: CertificatePair, path: Path, role: str) -> None:
        path.write_bytes(path.read_bytes()[:90])
        kind = {"cert": "certificate", "key": "private key"}[role]
        assert str(refusal(pair)) == f"{path} holds no {kind} that can be read."

    def test_the_other_file(self, pair: CertificatePair, path: Path, role: str) -> None:
        other = {"cert": pair.key, "key": pair.cert}[role]
        shutil.copy(other, path)
        kind = {"cert": "certificate", "key": "private key"}[role]
        assert str(refusal(pair)) == f"{path} holds no {kind} that can be read."


def test_the_key_of_another(make_pair: MakePair) -> None:
    pair, other = make_pair("a.example"), make_pair("b.example")
    error = refusal(CertificatePair(pair.cert, other.key))
    assert str(error) == f"{other.key} is not the key of {pair.cert}."
    assert error.path == other.key


def test_a_chain_upside_down(make_pair: MakePair) -> None:
    pair, issuer = make_pair("a.example"), make_pair("issuer.example")
    pair.cert.write_bytes(issuer.cert.read_bytes() + pair.cert.read_bytes())
    assert str(refusal(pair)) == (
        f"{pair.cert} does not begin with the certificate of the key: "
        "put the server's own certificate first, its issuers after it."
    )


def test_expired(make_pair: MakePair) -> None:
    pair = make_pair("a.example", not_after=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC))
    assert str(refusal(pair)) == f"{pair.cert} expired on 2024-05-06 at 07:08 UTC: renew the certificate."


def test_expiry_is_exact(make_pair: MakePair) -> None:
    end = datetime(2030, 1, 1, tzinfo=UTC)
    pair = make_pair("a.example", not_after=end)
    read_current(pair, end)
    with pytest.raises(CertificateError):
        read_current(pair, end + timedelta(seconds=1))


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key(make_pair: MakePair, form: serialization.PrivateFormat) -> None:
    pair = make_pair("a.example")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"secret")
    pair.key.write_bytes(key.private_bytes(PEM, form, how))
    assert str(refusal(pair)) == (
        f"{pair.key} is encrypted: a server cannot type a password; write it decrypted with openssl pkey."
    )


def test_a_key_that_does_not_sign(make_pair: MakePair) -> None:
    """Its primes are not looked into (0.35 s for RSA 4096), so it has to prove itself."""
    pair = make_pair("a.example", key=rsa.generate_private_key(65537, 2048))
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    good = key.private_numbers()
    numbers = rsa.RSAPrivateNumbers(
        good.p, good.q, good.d + 2, good.dmp1 + 2, good.dmq1 + 2, good.iqmp, good.public_numbers
    )
    bad = numbers.private_key(unsafe_skip_rsa_key_validation=True)
    pair.key.write_bytes(bad.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    problem = "holds a broken private key: what it signs cannot be verified"
    assert str(refusal(pair)) == f"{pair.key} {problem}."


def test_what_openssl_refuses(tmp_path: Path, openssl: str) -> None:
    pair = CertificatePair(tmp_path / "cert.pem", tmp_path / "cert.key")
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:1024",
        "-nodes",
        "-subj",
        "/CN=a.example",
        "-days",
        "1",
    ]
    command += ["-out", str(pair.cert), "-keyout", str(pair.key)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    assert str(refusal(pair)) == f"{pair.cert} with key {pair.key} is refused by OpenSSL (ee key too small)."


def test_files_exchanged_after_the_check_change_nothing(make_pair: MakePair) -> None:
    """What is loaded are the octets that were checked."""
    pair, other = make_pair("a.example"), make_pair("b.example")
    certificate, der = read_pair(pair), der_of(pair)
    shutil.copy(other.key, pair.key)
    pair.cert.unlink()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.load_into(context)
    assert shown(handshake(context, anybody())[0]) == der


@pytest.mark.parametrize("missing", ["/proc", "memfd_create", "permission"])
def test_without_files_of_memory(make_pair: MakePair, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    def refuse(name: str, flags: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    pair = make_pair("a.example")
    if missing == "/proc":
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    elif missing == "permission":
        monkeypatch.setattr(os, "memfd_create", refuse)
    else:
        monkeypatch.delattr(os, missing)
    certificate = read_pair(pair)
    assert shown(handshake(server_context([pair]), anybody())[0]) == der_of(pair)
    other = make_pair("a.example")
    shutil.copy(other.cert, pair.cert)
    shutil.copy(other.key, pair.key)
    with pytest.raises(CertificateError, match="has changed while it was loaded"):
        certificate.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_no_key_is_told(make_pair: MakePair) -> None:
    assert "PRIVATE KEY" not in repr(read_pair(make_pair("a.example")))


def test_every_pair_is_checked(make_pair: MakePair) -> None:
    good, bad = make_pair("a.example"), make_pair("b.example")
    bad.key.unlink()
    with pytest.raises(CertificateError, match="cannot be read"):
        server_context([good, bad])


def test_a_certificate_without_names_is_served_to_everybody(tmp_path: Path, openssl: str) -> None:
    pair = CertificatePair(tmp_path / "cert.pem", tmp_path / "cert.key")
    command = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ed25519",
        "-nodes",
        "-subj",
        "/CN=a.example",
        "-days",
        "1",
    ]
    command += ["-out", str(pair.cert), "-keyout", str(pair.key)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    assert read_pair(pair).names == ()
    assert shown(handshake(server_context([pair]), anybody(), "b.example")[0]) == der_of(pair)


def test_programming_errors(make_pair: MakePair) -> None:
    with pytest.raises(ValueError, match="at least one certificate"):
        server_context([])
    with pytest.raises(ValueError, match=r"minimum_version: expected one of 1\.2, 1\.3, not '1\.1'"):
        server_context([make_pair("a.example")], minimum_version="1.1")

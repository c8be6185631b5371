"""The local authority: what it makes, when it makes it again, and what it refuses to touch."""

from __future__ import annotations

import errno
import ipaddress
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import gateway
from gateway.tls.issue import alternative_names
from gateway.tls.local_ca import (
    LAN_DOMAIN,
    LocalAuthorityError,
    ensure,
    ensure_authority,
    find,
    issue,
    renew_authority,
)
from gateway.tls.local_files import permitted_names
from tests.support.certificates import write_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FILES = ("ca.pem", "ca.key", "leaf.pem", "leaf.key")
PEM = serialization.Encoding.PEM


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in FILES}


def changed(before: dict[str, bytes], directory: Path) -> set[str]:
    return {name for name, content in contents(directory).items() if before[name] != content}


def assert_whole(directory: Path) -> None:
    """Both keys belong to their certificates and the leaf to the authority."""
    for stem in ("ca", "leaf"):
        key = serialization.load_pem_private_key((directory / f"{stem}.key").read_bytes(), None)
        assert key.public_key() == certificate(directory / f"{stem}.pem").public_key()
    certificate(directory / "leaf.pem").verify_directly_issued_by(certificate(directory / "ca.pem"))


@pytest.fixture
def open_umask() -> Iterator[None]:
    """Files get exactly the mode they are created with."""
    before = os.umask(0)
    yield
    os.umask(before)


# --- what is made -------------------------------------------------------------------------------------------


def test_first_use_makes_everything(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "certs"
    certs = ensure(directory, now=NOW)
    assert (certs.authority, certs.certificate, certs.key) == tuple(
        directory / name for name in ("ca.pem", "leaf.pem", "leaf.key")
    )
    assert certs.domain == "sandbox.localhost"
    assert certs.not_after == certificate(certs.certificate).not_valid_after_utc
    assert certs.authority_not_after == certificate(certs.authority).not_valid_after_utc
    assert_whole(directory)


def test_modes(tmp_path: Path, open_umask: None) -> None:
    directory = tmp_path / "certs"
    ensure(directory, now=NOW)
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == {
        ".lock": 0o600,
        "ca.key": 0o600,
        "ca.pem": 0o644,
        "leaf.key": 0o600,
        "leaf.pem": 0o644,
    }
    assert directory.stat().st_mode & 0o777 == 0o700


def test_keys_are_private_before_their_first_byte(
    tmp_path: Path, open_umask: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync
    seen: list[int] = []

    def watch(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_mode & 0o777)
        fsync(descriptor)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a mode set afterwards leaves a moment in which others can read")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(os, "fsync", watch)
    ensure(tmp_path, now=NOW)
    assert seen == [0o600, 0o644, 0o600, 0o644]


def test_an_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ensure(tmp_path, now=NOW)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_the_authority_can_vouch_for_its_domain_only(tmp_path: Path) -> None:
    authority = certificate(ensure(tmp_path, "box.localhost", now=NOW).authority)
    extensions = authority.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert basic.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    names = extensions.get_extension_for_class(x509.NameConstraints)
    assert names.critical
    assert names.value.permitted_subtrees == [x509.DNSName("box.localhost")]
    assert names.value.excluded_subtrees == [
        x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
        x509.IPAddress(ipaddress.ip_network("::/0")),
    ]
    assert authority.not_valid_before_utc == NOW - timedelta(hours=1)
    assert authority.not_valid_after_utc - authority.not_valid_before_utc < 3650 * DAY


def test_the_authority_is_recognisable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "a-machine-with-a-long-name." * 9)
    authority = certificate(ensure(tmp_path, now=NOW).authority)
    (name,) = authority.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert str(name.value).startswith("gateway local CA a-machine-with-a-long-name.")
    assert str(name.value).endswith(" 2026-03-01")
    assert len(name.value) == 64
    (unit,) = authority.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    assert str(unit.value).startswith("sandbox.localhost ")


def test_the_leaf(tmp_path: Path) -> None:
    certs = ensure(tmp_path, "box.localhost", now=NOW)
    leaf, authority = certificate(certs.certificate), certificate(certs.authority)
    extensions = leaf.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.box.localhost", "box.localhost"]
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    above = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    its_own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert above.key_identifier == its_own.digest
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value != its_own
    assert leaf.not_valid_before_utc == NOW - timedelta(hours=1)
    both_ends = timedelta(seconds=1)  # RFC 5280 counts the last second as well
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc + both_ends == 90 * DAY
    assert len(x509.load_pem_x509_certificates(certs.certificate.read_bytes())) == 1


def verify(openssl: str, authority: Path, leaf: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [openssl, "verify", "-x509_strict", "-CAfile", str(authority), *options, str(leaf)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("name", ["5000-abc123.sandbox.localhost", "sandbox.localhost"])
def test_openssl_accepts_the_leaf(tmp_path: Path, openssl: str, name: str) -> None:
    certs = ensure(tmp_path)
    options = ("-purpose", "sslserver", "-verify_hostname", name)
    done = verify(openssl, certs.authority, certs.certificate, *options)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        (x509.DNSName("example.com"), "permitted subtree violation"),
        (x509.DNSName("evilsandbox.localhost"), "permitted subtree violation"),
        (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), "excluded subtree violation"),
        (x509.IPAddress(ipaddress.ip_address("::1")), "excluded subtree violation"),
    ],
)
def test_nobody_believes_the_authority_outside_its_domain(
    tmp_path: Path, openssl: str, name: x509.GeneralName, refusal: str
) -> None:
    certs = ensure(tmp_path)
    stolen = tmp_path / "stolen.pem"
    stolen.write_bytes(signed_by_the_authority(tmp_path, name, ExtendedKeyUsageOID.SERVER_AUTH))
    done = verify(openssl, certs.authority, stolen)
    assert done.returncode != 0
    assert refusal in done.stderr


def test_nobody_believes_the_authority_about_people(tmp_path: Path, openssl: str) -> None:
    certs = ensure(tmp_path)
    stolen = tmp_path / "stolen.pem"
    name = x509.RFC822Name("someone@example.com")
    stolen.write_bytes(signed_by_the_authority(tmp_path, name, ExtendedKeyUsageOID.EMAIL_PROTECTION))
    assert verify(openssl, certs.authority, stolen).returncode == 0, "an address is no server name"
    done = verify(openssl, certs.authority, stolen, "-purpose", "smimesign")
    assert done.returncode != 0
    assert "purpose" in done.stderr


def signed_by_the_authority(directory: Path, name: x509.GeneralName, purpose: x509.ObjectIdentifier) -> bytes:
    """What a thief of `ca.key` would make."""
    authority = certificate(directory / "ca.pem")
    key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.now(UTC)
    its_own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(its_own)
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    made = (
        x509.CertificateBuilder(authority.subject, x509.Name([]), public, 1)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + DAY)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(above, critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(PEM)


# --- when it is made again ----------------------------------------------------------------------------------


def test_nothing_is_made_twice(tmp_path: Path) -> None:
    first = ensure(tmp_path, now=NOW)
    before = contents(tmp_path)
    second = ensure(tmp_path, now=NOW + 59 * DAY)
    assert changed(before, tmp_path) == set()
    assert not second.authority_is_new
    assert second.not_after == first.not_after


def test_a_leaf_is_renewed_in_its_last_third(tmp_path: Path) -> None:
    ensure(tmp_path, now=NOW)
    before = contents(tmp_path)
    later = NOW + 60 * DAY
    certs = ensure(tmp_path, now=later)
    assert changed(before, tmp_path) == {"leaf.pem", "leaf.key"}
    assert certs.not_after > later + 89 * DAY
    assert_whole(tmp_path)


def test_force_renews_the_leaf(tmp_path: Path) -> None:
    ensure(tmp_path, now=NOW)
    before = contents(tmp_path)
    certs = ensure(tmp_path, now=NOW, force=True)
    assert changed(before, tmp_path) == {"leaf.pem", "leaf.key"}
    assert not certs.authority_is_new


def test_an_authority_is_used_to_its_end(tmp_path: Path) -> None:
    first = ensure(tmp_path, now=NOW)
    ca = contents(tmp_path)["ca.pem"]
    late = first.authority_not_after - 10 * DAY
    kept = ensure(tmp_path, now=late)
    assert not kept.authority_is_new
    assert kept.not_after == kept.authority_not_after, "no leaf outlives its root"
    before = contents(tmp_path)
    assert ensure(tmp_path, now=late + 9 * DAY).not_after == kept.not_after
    assert changed(before, tmp_path) == set(), "a new leaf would not last longer"
    with pytest.raises(LocalAuthorityError, match=rf"has expired \(2036-02-27\): {renewal(tmp_path)}"):
        ensure(tmp_path, now=first.authority_not_after + DAY)
    assert contents(tmp_path)["ca.pem"] == ca
    assert_whole(tmp_path)


def renewal(folder: Path, domain: str = "sandbox.localhost") -> str:
    return f"gateway certs renew --ca --domain {domain} --certs {folder} makes another"


def test_another_domain_has_an_authority_beside_the_first(tmp_path: Path) -> None:
    first = ensure(tmp_path, "sandbox.localhost", now=NOW)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = ensure(tmp_path, "foo.test", now=NOW)
    assert other.authority == tmp_path / "foo.test" / "ca.pem"
    assert other.authority_is_new
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    again = ensure(tmp_path, "foo.test", now=NOW)
    assert (again.authority, again.authority_is_new) == (other.authority, False)
    assert ensure(tmp_path, "sandbox.localhost", now=NOW).authority == first.authority


def test_a_later_domain_stays_where_it_is(tmp_path: Path) -> None:
    ensure(tmp_path, "sandbox.localhost", now=NOW)
    other = ensure(tmp_path, "foo.test", now=NOW)
    (tmp_path / "ca.pem").unlink()
    again = ensure(tmp_path, "foo.test", now=NOW)
    assert (again.authority, again.authority_is_new) == (other.authority, False)


def test_a_directory_stays_whose_it_is(tmp_path: Path) -> None:
    ensure(tmp_path, "foo.test", now=NOW)
    trusted = (tmp_path / "ca.pem").read_bytes()
    assert ensure(tmp_path, "sandbox.localhost", now=NOW).authority == tmp_path / "sandbox.localhost" / "ca.pem"
    assert (tmp_path / "ca.pem").read_bytes() == trusted


def test_a_clock_that_was_ahead(tmp_path: Path) -> None:
    ensure(tmp_path, now=NOW + 400 * DAY)
    before = contents(tmp_path)
    with pytest.raises(LocalAuthorityError, match=rf"is not valid before 2027-04-05 11:00 UTC: {renewal(tmp_path)}"):
        ensure(tmp_path, now=NOW)
    assert changed(before, tmp_path) == set()


def test_another_authority_for_who_insists(tmp_path: Path) -> None:
    ensure(tmp_path, now=NOW)
    ensure(tmp_path, "foo.test", now=NOW)
    before, foo = contents(tmp_path), contents(tmp_path / "foo.test")
    renew_authority(tmp_path, "sandbox.localhost", now=NOW)
    assert changed(before, tmp_path) == set(FILES)
    assert changed(foo, tmp_path / "foo.test") == set()
    assert_whole(tmp_path)


@pytest.mark.parametrize("path", ["ca.pem", "leaf.pem"])
def test_nobody_insists_on_replacing_what_is_somebody_elses(tmp_path: Path, path: str) -> None:
    write_pair(tmp_path, "example.com").cert.rename(tmp_path / path)
    theirs = (tmp_path / path).read_bytes()
    with pytest.raises(LocalAuthorityError, match="was not made by the gateway"):
        renew_authority(tmp_path, "sandbox.localhost")
    assert (tmp_path / path).read_bytes() == theirs


def test_what_is_there_is_found_and_left(tmp_path: Path) -> None:
    with pytest.raises(LocalAuthorityError) as caught:
        find(tmp_path / "certs", "foo.test")
    assert str(caught.value) == (
        f"{tmp_path}/certs holds no local certificates for foo.test: gateway certs init --domain foo.test makes them."
    )
    assert list(tmp_path.iterdir()) == []
    ensure(tmp_path, now=NOW)
    made = ensure(tmp_path, "foo.test", now=NOW)
    assert find(tmp_path, "foo.test").authority.certificate == made.authority


def test_a_leaf_made_while_the_clock_was_ahead(tmp_path: Path) -> None:
    ensure(tmp_path, now=NOW)
    ensure(tmp_path, now=NOW + 10 * DAY, force=True)
    before = contents(tmp_path)
    ensure(tmp_path, now=NOW + DAY)
    assert changed(before, tmp_path) == {"leaf.pem", "leaf.key"}


def test_an_authority_put_there_from_elsewhere_gets_its_own_leaf(tmp_path: Path) -> None:
    ensure(tmp_path / "a", now=NOW)
    ensure(tmp_path / "b", now=NOW)
    for name in ("ca.pem", "ca.key"):
        shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
    before = contents(tmp_path / "a")
    certs = ensure(tmp_path / "a", now=NOW)
    assert not certs.authority_is_new
    assert changed(before, tmp_path / "a") == {"leaf.pem", "leaf.key"}
    assert_whole(tmp_path / "a")


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(b"")


def garble(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:80])


def put_another_key(path: Path) -> None:
    other = ensure(path.parent / "other", now=NOW)
    shutil.copy(other.authority.with_name(path.name), path)


@pytest.mark.parametrize("damage", [remove, truncate, garble, put_another_key])
@pytest.mark.parametrize("name", ["leaf.pem", "leaf.key"])
def test_a_damaged_leaf_is_made_anew(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    ensure(tmp_path, now=NOW)
    before = contents(tmp_path)
    damage(tmp_path / name)
    assert not ensure(tmp_path, now=NOW).authority_is_new
    assert changed(before, tmp_path) == {"leaf.pem", "leaf.key"}
    assert_whole(tmp_path)


@pytest.mark.parametrize("damage", [truncate, garble])
def test_a_damaged_authority_is_not_replaced(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """The file can be had back from a backup, or from the store that trusts it; its key cannot."""
    ensure(tmp_path, now=NOW)
    damage(tmp_path / "ca.pem")
    before = contents(tmp_path)
    with pytest.raises(LocalAuthorityError, match=rf"ca\.pem is not a certificate in PEM form: {renewal(tmp_path)}"):
        ensure(tmp_path, now=NOW, force=True)
    assert changed(before, tmp_path) == set()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (remove, "is missing or damaged"),
        (truncate, "is missing or damaged"),
        (garble, "is missing or damaged"),
        (put_another_key, r"is not the key of ca\.pem"),
    ],
)
def test_an_authority_without_its_key_is_not_replaced(
    tmp_path: Path, damage: Callable[[Path], None], problem: str
) -> None:
    ensure(tmp_path, now=NOW)
    damage(tmp_path / "ca.key")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert not ensure(tmp_path, now=NOW + 59 * DAY).authority_is_new, "its leaf is good until it is due"
    with pytest.raises(LocalAuthorityError, match=rf"ca\.key {problem}: gateway certs renew --ca"):
        ensure(tmp_path, now=NOW + 61 * DAY)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_removed_authority_is_made_anew(tmp_path: Path) -> None:
    """Which is how its owner gives it up."""
    ensure(tmp_path, now=NOW)
    before = contents(tmp_path)
    (tmp_path / "ca.pem").unlink()
    assert ensure(tmp_path, now=NOW).authority_is_new
    assert changed(before, tmp_path) == set(FILES)
    assert_whole(tmp_path)


def test_a_key_of_another_kind_is_made_anew(tmp_path: Path, openssl: str) -> None:
    ensure(tmp_path, now=NOW)
    command = [openssl, "genpkey", "-algorithm", "ed25519", "-out", str(tmp_path / "leaf.key")]
    subprocess.run(command, check=True, timeout=30)
    ensure(tmp_path, now=NOW)
    assert_whole(tmp_path)


@pytest.mark.parametrize("dies_at", range(1, 5))
def test_a_process_that_died_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int) -> None:
    replace, count = Path.replace, 0

    def die(path: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == dies_at:
            raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            ensure(tmp_path, now=NOW)
    ensure(tmp_path, now=NOW)
    assert_whole(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*FILES, ".lock"}


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".leaf.key.new").symlink_to(victim)
    ensure(tmp_path, now=NOW)
    assert victim.read_text() == "mine"
    assert_whole(tmp_path)


def test_a_link_planted_at_the_last_moment_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".ca.key.new").symlink_to(victim)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: None)  # as if planted again right after
    with pytest.raises(LocalAuthorityError, match=r"\.ca\.key\.new cannot be read or written \(file exists\)"):
        ensure(tmp_path, now=NOW)
    assert victim.read_text() == "mine"


def test_processes_starting_at_once_agree(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from gateway.tls import local_ca\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "certs = local_ca.ensure(pathlib.Path(sys.argv[1]))\n"
        "print(certs.authority_is_new, certs.certificate.read_bytes().hex(), certs.key.read_bytes().hex())\n"
    )
    directory = tmp_path / "certs"
    environment = {**os.environ, "PYTHONPATH": str(Path(gateway.__path__[0]).parent)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    assert sorted(answer[0] for answer in answers) == ["False"] * (len(processes) - 1) + ["True"]
    assert len({(answer[1], answer[2]) for answer in answers}) == 1
    assert_whole(directory)


# --- what it refuses ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_an_unreadable_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    ensure(tmp_path, now=NOW)
    before = contents(tmp_path)
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:  # patched in, as nothing is unreadable for root
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(LocalAuthorityError) as caught:
            ensure(tmp_path, now=NOW, force=True)
    assert str(caught.value) == (
        f"{tmp_path / name} cannot be read or written (permission denied): "
        "give the gateway's user access to it, or name another folder with --certs DIR."
    )
    assert changed(before, tmp_path) == set()


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(full, os.strerror(full), str(tmp_path / "ca.key"))

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(os, "fdopen", refuse)
    with pytest.raises(LocalAuthorityError, match="make room on that disk, or name another folder with --certs DIR"):
        ensure(tmp_path, now=NOW)


def test_somebody_elses_authority_is_not_replaced(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Corp")])
    theirs = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, NOW, NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(PEM)
    )
    (tmp_path / "ca.pem").write_bytes(theirs)
    (tmp_path / "ca.key").write_bytes(b"their key")
    with pytest.raises(LocalAuthorityError, match=r"ca\.pem was not made by the gateway"):
        ensure(tmp_path, now=NOW)
    assert (tmp_path / "ca.pem").read_bytes() == theirs
    assert (tmp_path / "ca.key").read_bytes() == b"their key"


def test_an_encrypted_key_is_not_replaced(tmp_path: Path) -> None:
    ensure(tmp_path, now=NOW)
    path = tmp_path / "ca.key"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    encrypted = key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    path.write_bytes(encrypted)
    with pytest.raises(LocalAuthorityError, match=r"ca\.key is encrypted: decrypt it"):
        ensure(tmp_path, now=NOW, force=True)
    assert path.read_bytes() == encrypted


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "certs"
    path.write_text("")
    with pytest.raises(LocalAuthorityError, match=r"certs cannot be read or written \(file exists\)"):
        ensure(path, now=NOW)


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        ("localhost", r"a wildcard under a single label; use two, such as sandbox\.localhost"),
        ("", "use lower-case labels"),
        ("Sandbox.localhost", "use lower-case labels"),
        ("-a.localhost", "use lower-case labels"),
        ("a-.localhost", "use lower-case labels"),
        ("a..localhost", "use lower-case labels"),
        ("a.localhost.", "use lower-case labels"),
        ("*.localhost", "use lower-case labels"),
        ("a.localhost\n", "use lower-case labels"),
        (f"{'a' * 64}.localhost", "use lower-case labels"),
        ("a." + ".".join(["abc"] * 63), "use lower-case labels"),
    ],
)
def test_a_domain_without_wildcards(tmp_path: Path, domain: str, problem: str) -> None:
    with pytest.raises(LocalAuthorityError, match=problem):
        ensure(tmp_path, domain, now=NOW)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_domain(tmp_path: Path, openssl: str) -> None:
    domain = ".".join(["abc"] * 63)
    certs = ensure(tmp_path, domain)
    done = verify(openssl, certs.authority, certs.certificate, "-verify_hostname", f"x.{domain}")
    assert done.returncode == 0, done.stderr


def test_names_of_multicast_dns_have_a_leaf_that_is_kept_nowhere(tmp_path: Path) -> None:
    ensure(tmp_path, now=NOW)
    before = contents(tmp_path)
    path = ensure_authority(tmp_path, LAN_DOMAIN, now=NOW)
    assert path == tmp_path / "local" / "ca.pem"
    assert {each.name for each in path.parent.iterdir()} == {"ca.pem", "ca.key", ".lock"}
    authority, leaf = issue(tmp_path, LAN_DOMAIN, ["5000-anna.local", "3000-anna.local"], now=NOW)
    assert x509.load_pem_x509_certificate(path.read_bytes()) == authority
    leaf.certificate.verify_directly_issued_by(authority)
    assert alternative_names(leaf.certificate) == ["5000-anna.local", "3000-anna.local"]
    assert permitted_names(authority) == ["local"]
    assert changed(before, tmp_path) == set()
    with pytest.raises(LocalAuthorityError, match="gateway dev --lan makes one for its names"):
        ensure(tmp_path, LAN_DOMAIN)
    renew_authority(tmp_path, LAN_DOMAIN)
    assert x509.load_pem_x509_certificate(path.read_bytes()) != authority
    assert {each.name for each in path.parent.iterdir()} == {"ca.pem", "ca.key", ".lock"}

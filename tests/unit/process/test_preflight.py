"""The table behind `gateway check`: each trap by its name, with a configuration that has it and one that has not."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from gateway import cpus, descriptors
from gateway.config import Certificate, Listen, Settings, load
from gateway.directory import sqlite_file
from gateway.errors import UserError
from gateway.process import preflight
from gateway.process.preflight import CHECKS, Level, listeners, report, resources
from gateway.tls.pair import CertificatePair
from tests.support.certificates import DAY, write_pair

NOW = datetime.now(UTC)
DOMAIN = "a.example"


class Scene:
    """A folder that every user can enter, and settings in it; what is written there is told by `settings`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.patch = monkeypatch
        self.pairs: list[CertificatePair] = []
        table = folder / "sandboxes.toml"
        table.write_text('[sandboxes.demo]\naddress = "fd00::5"\n')
        self.sections: dict[str, dict[str, Any]] = {
            "edge": {"domains": (DOMAIN,), "listen": (Listen("::1", 8443),)},
            "directory": {"backend": "file", "path": table},
            "process": {"workers": 2},
            "limits": {"connections": 10},
        }

    def set(self, section: str, **values: Any) -> None:
        self.sections.setdefault(section, {}).update(values)

    def pair(self, *names: str, **options: Any) -> CertificatePair:
        """Another certificate, self-signed, in the order of the configuration."""
        self.pairs.append(write_pair(self.folder / f"pair{len(self.pairs)}", *names, **options))
        self.pairs[-1].key.chmod(0o600)
        return self.pairs[-1]

    @property
    def settings(self) -> Settings:
        if not self.pairs:
            self.pair(f"*.{DOMAIN}", not_before=NOW - 30 * DAY, not_after=NOW + 60 * DAY)
        self.set("tls", certificates=tuple(Certificate(cert=pair.cert, key=pair.key) for pair in self.pairs))
        base = Settings()
        sections = {
            name: msgspec.structs.replace(getattr(base, name), **values) for name, values in self.sections.items()
        }
        return msgspec.structs.replace(base, **sections)

    def findings(self) -> list[preflight.Finding]:
        return preflight.examine(preflight.look(self.settings, NOW))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    folder = Path(tempfile.mkdtemp(prefix="gateway-check-"))  # not pytest's, which only its user can enter
    folder.chmod(0o755)
    monkeypatch.setattr(listeners, "lack_of_ipv6", lambda: "")
    yield Scene(folder, monkeypatch)
    shutil.rmtree(folder)


def issued(scene: Scene, *, whole: bool = True, usage: x509.ObjectIdentifier | None = None) -> None:
    """A certificate of an authority that says where its own can be had, with that or without."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("leaf", "authority")]
    access = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://ca.example/issuer")
    )
    chain = []
    for number, name in enumerate(names):
        builder = (
            x509.CertificateBuilder(names[1], name, keys[number].public_key(), x509.random_serial_number())
            .not_valid_before(NOW - 30 * DAY)
            .not_valid_after(NOW + 60 * DAY)
        )
        if not number:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(f"*.{DOMAIN}")])
            builder = builder.add_extension(alternatives, critical=False)
            builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
            if usage is not None:
                builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        chain.append(builder.sign(keys[1], hashes.SHA256()).public_bytes(Encoding.PEM))
    pair = CertificatePair(scene.folder / "issued.pem", scene.folder / "issued.key")
    pair.cert.write_bytes(b"".join(chain if whole else chain[:1]))
    pair.key.write_bytes(keys[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    pair.key.chmod(0o600)
    scene.pairs.append(pair)


def registry(scene: Scene, address: str) -> None:
    path = scene.folder / "sandboxes.db"
    db, _ = sqlite_file.open_file(path, timeout=1.0)
    with closing(db):
        db.execute("INSERT INTO sandboxes (id, address, generation, host) VALUES ('demo', ?, '1', '')", (address,))
    scene.set("directory", backend="sqlite", path=path)


# --- the scenes: `trap` decides whether the configuration has it ----------------------------------------------------

Play = Callable[[Scene, bool], None]
SCENES: dict[str, Play] = {}


def of(name: str) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        SCENES[name] = play
        return play

    return add


@of("certificate-broken")
def _(scene: Scene, trap: bool) -> None:
    pair = scene.pair(f"*.{DOMAIN}", not_before=NOW - 30 * DAY, not_after=NOW + 60 * DAY)
    if trap:
        pair.key.write_bytes(scene.pair("x.example").key.read_bytes())


@of("certificate-of-another-domain")
def _(scene: Scene, trap: bool) -> None:
    scene.pair("*.b.example" if trap else f"*.{DOMAIN}")


@of("certificate-without-wildcard")
def _(scene: Scene, trap: bool) -> None:
    scene.pair(DOMAIN, f"*.deep.{DOMAIN}", *([] if trap else [f"*.{DOMAIN}"]))


@of("certificate-for-some-sandboxes")
def _(scene: Scene, trap: bool) -> None:
    scene.pair(DOMAIN, f"5000-demo.{DOMAIN}", *([] if trap else [f"*.{DOMAIN}"]))


@of("certificate-not-for-servers")
def _(scene: Scene, trap: bool) -> None:
    issued(scene, usage=ExtendedKeyUsageOID.CLIENT_AUTH if trap else ExtendedKeyUsageOID.SERVER_AUTH)


@of("certificate-unused")
def _(scene: Scene, trap: bool) -> None:
    scene.pair(f"*.{DOMAIN}")
    scene.pair("*.b.example" if trap else f"*.{DOMAIN}", not_before=NOW + DAY, not_after=NOW + 90 * DAY)


@of("certificate-expired")
def _(scene: Scene, trap: bool) -> None:
    scene.pair(f"*.{DOMAIN}", not_before=NOW - 30 * DAY, not_after=NOW - DAY)
    if not trap:
        scene.pair(f"*.{DOMAIN}")


@of("certificate-expired-beside-others")
def _(scene: Scene, trap: bool) -> None:
    scene.pair(f"*.{DOMAIN}")
    if trap:
        scene.pair(f"*.{DOMAIN}", not_before=NOW - 30 * DAY, not_after=NOW - DAY)


@of("certificate-not-valid-yet")
def _(scene: Scene, trap: bool) -> None:
    """A renewal that is there in time is no trap."""
    scene.pair(f"*.{DOMAIN}", not_before=NOW + DAY, not_after=NOW + 90 * DAY)
    if not trap:
        scene.pair(f"*.{DOMAIN}")


@of("certificate-expires-tomorrow")
def _(scene: Scene, trap: bool) -> None:
    scene.pair(f"*.{DOMAIN}", not_before=NOW - 89 * DAY, not_after=NOW + timedelta(hours=23 if trap else 48))


@of("certificate-expires-soon")
def _(scene: Scene, trap: bool) -> None:
    """One that lives for six days has most of its life before it."""
    left = 13 if trap else 5
    scene.pair(f"*.{DOMAIN}", not_before=NOW - (77 if trap else 1) * DAY, not_after=NOW + left * DAY)


@of("certificate-chain")
def _(scene: Scene, trap: bool) -> None:
    issued(scene, whole=not trap)


@of("key-readable-by-everybody")
def _(scene: Scene, trap: bool) -> None:
    """The group's is meant, as Debian's ssl-cert; and a folder may be closed, as one of systemd's credentials."""
    scene.pair(f"*.{DOMAIN}").key.chmod(0o644 if trap else 0o640)


@of("domains-nested")
def _(scene: Scene, trap: bool) -> None:
    other = f"inner.{DOMAIN}" if trap else f"inner-{DOMAIN}"
    scene.set("edge", domains=(DOMAIN, other))
    scene.pair(f"*.{DOMAIN}", f"*.{other}")


@of("domain-of-a-single-label")
def _(scene: Scene, trap: bool) -> None:
    domain = "localhost" if trap else "sandbox.localhost"
    scene.set("edge", domains=(domain,))
    scene.pair(f"*.{domain}")


@of("redirect-loop")
def _(scene: Scene, trap: bool) -> None:
    balancer = (ip_network("10.0.0.0/8"),)
    listen = () if trap else (Listen("::1", 8443),)
    scene.set("edge", listen=listen, listen_plain=(Listen("::1", 80),), plain="redirect", trusted_proxies=balancer)


@of("redirect-only")
def _(scene: Scene, trap: bool) -> None:
    scene.set("edge", listen=(), listen_plain=(Listen("::1", 80),), plain="redirect" if trap else "forward")


@of("plain-without-trusted-proxies")
def _(scene: Scene, trap: bool) -> None:
    proxies = () if trap else (ip_network("10.0.0.0/8"),)
    scene.set("edge", listen_plain=(Listen("::", 8080),), trusted_proxies=proxies)


@of("everybody-trusted")
def _(scene: Scene, trap: bool) -> None:
    scene.set("edge", trusted_proxies=(ip_network("0.0.0.0/0" if trap else "10.0.0.0/8"),))


@of("idle-shorter-than-the-balancers")
def _(scene: Scene, trap: bool) -> None:
    scene.set("edge", listen_plain=(Listen("::1", 8080),), trusted_proxies=(ip_network("10.0.0.0/8"),))
    scene.set("timeouts", idle=60.0 if trap else 75.0)


@of("no-time-to-look-away")
def _(scene: Scene, trap: bool) -> None:
    scene.set("edge", health_path="/healthz")
    scene.set("process", drain_delay=0.0 if trap else 5.0)


@of("address-of-another-machine")
def _(scene: Scene, trap: bool) -> None:
    scene.set("admin", listen=Listen("192.0.2.1" if trap else "127.0.0.1", 9090))


@of("no-ipv6")
def _(scene: Scene, trap: bool) -> None:
    lack = "IPv6 is switched off (sysctl -w x=0; a container: docker run y)"
    scene.patch.setattr(listeners, "lack_of_ipv6", lambda: lack if trap else "")


@of("token-broken")
def _(scene: Scene, trap: bool) -> None:
    path = scene.folder / "token"
    path.write_text("" if trap else "secret")
    path.chmod(0o600)
    scene.set("admin", token_file=path)


@of("token-readable-by-everybody")
def _(scene: Scene, trap: bool) -> None:
    path = scene.folder / "token"
    path.write_text("secret")
    path.chmod(0o644 if trap else 0o640)
    scene.set("admin", token_file=path)


@of("directory-broken")
def _(scene: Scene, trap: bool) -> None:
    if trap:
        (scene.folder / "sandboxes.toml").write_text("[sandboxes.demo]\n")


@of("registry-unwritable")
def _(scene: Scene, trap: bool) -> None:
    registry(scene, "fd00::5")
    scene.patch.setattr(sqlite_file, "obstacle", lambda path: "its file system is read-only" if trap else "")


@of("sandbox-outside-allow")
def _(scene: Scene, trap: bool) -> None:
    scene.set("upstream", allow=(ip_network("fd01::/16" if trap else "fd00::/16"),))


@of("registered-sandbox-outside-allow")
def _(scene: Scene, trap: bool) -> None:
    registry(scene, "2001:db9::5" if trap else "fd00::5")


@of("nothing-allowed")
def _(scene: Scene, trap: bool) -> None:
    scene.set("upstream", allow=() if trap else (ip_network("fd00::/8"),))


@of("everything-allowed")
def _(scene: Scene, trap: bool) -> None:
    scene.set("upstream", allow=(ip_network("::/0" if trap else "fd00::/8"),))


@of("apps-close-first")
def _(scene: Scene, trap: bool) -> None:
    scene.set("upstream", idle_proven=5.0 if trap else 4.5, idle_timeout=600.0)


@of("descriptors")
def _(scene: Scene, trap: bool) -> None:
    scene.patch.setattr(descriptors, "limit", lambda: 1024)
    scene.set("limits", connections=20_000 if trap else 100)


@of("workers-above-quota")
def _(scene: Scene, trap: bool) -> None:
    scene.patch.setattr(cpus, "quota", lambda: 0.9 if trap else 1.5)


@of("log-unwritable")
def _(scene: Scene, trap: bool) -> None:
    scene.set("log", path=scene.folder / ("none/access.log" if trap else "access.log"))


@of("otel-missing")
def _(scene: Scene, trap: bool) -> None:
    scene.patch.setattr(resources, "OTEL", "opentelemetry_of_nobody" if trap else "opentelemetry")
    scene.set("otel", endpoint="http://127.0.0.1:4318/v1/traces")


# --- the tests ------------------------------------------------------------------------------------------------------


def test_every_check_has_a_scene() -> None:
    assert list(SCENES) == [check.name for check in CHECKS]


@pytest.mark.parametrize("name", SCENES)
def test_the_trap_is_named_with_the_line_that_mends_it(scene: Scene, name: str) -> None:
    SCENES[name](scene, True)
    found = [finding for finding in scene.findings() if finding.check == name]
    assert found
    [level] = [check.level for check in CHECKS if check.name == name]
    for finding in found:
        assert finding.level is level
        assert finding.text and finding.mend
        assert "\n" not in finding.text + finding.mend
        assert len(finding.text) < 300, finding.text


@pytest.mark.parametrize("name", SCENES)
def test_one_trap_is_one_finding(scene: Scene, name: str) -> None:
    SCENES[name](scene, True)
    assert {finding.check for finding in scene.findings()} == {name}


@pytest.mark.parametrize("name", SCENES)
def test_without_the_trap_it_is_not(scene: Scene, name: str) -> None:
    SCENES[name](scene, False)
    assert name not in [finding.check for finding in scene.findings()]


def test_a_good_configuration_has_none(scene: Scene) -> None:
    assert scene.findings() == []


def test_an_error_is_certain(scene: Scene) -> None:
    """What stands beside the trap is not called an error for it."""
    for name in ("certificate-expired-beside-others", "certificate-unused"):
        SCENES[name](scene, True)
        findings = scene.findings()
        assert name in [finding.check for finding in findings]
        assert all(finding.level is Level.WARNING for finding in findings)


def test_a_key_in_a_closed_folder_is_its_owners(scene: Scene) -> None:
    scene.pair(f"*.{DOMAIN}").key.chmod(0o444)
    scene.folder.chmod(0o700)
    assert scene.findings() == []


def test_a_wildcard_stands_for_one_label(scene: Scene) -> None:
    scene.set("edge", domains=("sandbox.a.example",))
    scene.pair("*.a.example")
    [finding] = scene.findings()
    assert finding.check == "certificate-of-another-domain"
    assert "*.a.example is not for what lies below sandbox.a.example" in finding.text


def test_behind_a_balancer_of_connections_a_redirect_is_no_loop(scene: Scene) -> None:
    """One that sends a PROXY header does not end TLS; all that can be said is that nobody here speaks it."""
    SCENES["redirect-loop"](scene, True)
    scene.set("edge", proxy_protocol="require")
    assert [finding.check for finding in scene.findings()] == ["redirect-only"]


def test_the_second_of_a_kind_is_never_served(scene: Scene) -> None:
    for _ in range(2):
        scene.pair(f"*.{DOMAIN}")
    [finding] = scene.findings()
    assert finding.check == "certificate-unused"
    assert f"{scene.pairs[1].cert} is never served" in finding.text


def test_nobody_asks_for_certificates_where_no_tls_is_spoken(scene: Scene) -> None:
    scene.pair("*.b.example", not_before=NOW - 9 * DAY, not_after=NOW - DAY).key.unlink()
    scene.set("edge", listen=(), listen_plain=(Listen("::1", 8080),))
    assert scene.findings() == []


def test_many_records_are_few_words(scene: Scene) -> None:
    table = "".join(f'[sandboxes.s{number}]\naddress = "fe80::{number}"\n' for number in range(1, 50))
    (scene.folder / "sandboxes.toml").write_text(table)
    [finding] = scene.findings()
    assert "s1 at fe80::1 (a link-local address)" in finding.text
    assert finding.text.endswith(" and 46 more")


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_registry_that_holds_nothing_has_no_record_outside(scene: Scene, content: bytes) -> None:
    path = scene.folder / "sandboxes.db"
    path.write_bytes(content)
    scene.set("directory", backend="sqlite", path=path)
    assert "registered-sandbox-outside-allow" not in [finding.check for finding in scene.findings()]


def test_looking_changes_nothing(scene: Scene) -> None:
    registry(scene, "fd00::5")
    before = {path: path.read_bytes() for path in scene.folder.rglob("*") if path.is_file()}
    scene.findings()
    after = {path: path.read_bytes() for path in scene.folder.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    with closing(sqlite3.connect(scene.folder / "sandboxes.db")) as db:
        assert db.execute("SELECT count(*) FROM sandboxes").fetchone() == (1,)


@pytest.mark.parametrize("file", ["edge.toml", "behind-http-lb.toml", "dev.toml"])
def test_the_shipped_pairs_are_fine(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    """Each configuration with its file of sandboxes; certificates are the operator's."""
    root = Path(__file__).parents[3]
    monkeypatch.chdir(root)
    monkeypatch.setattr(descriptors, "limit", lambda: 65536)
    monkeypatch.setattr(listeners, "lack_of_ipv6", lambda: "")
    settings = load(file=Path("config") / file, environ={}).settings
    assert {finding.check for finding in preflight.examine(preflight.look(settings))} <= {"certificate-broken"}


def test_a_start_says_what_nobody_else_does(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    SCENES["certificate-without-wildcard"](scene, True)
    SCENES["certificate-expired"](scene, True)
    SCENES["descriptors"](scene, True)
    preflight.warn(scene.settings)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * len(caplog.records)
    said = [message.partition(":")[0] for message in caplog.messages]
    assert "certificate-expired" not in said
    assert "descriptors" not in said


@pytest.mark.parametrize(("count", "told"), [(100, True), (3000, False)])
def test_a_start_does_not_wait_for_a_large_table(
    scene: Scene, caplog: pytest.LogCaptureFixture, count: int, told: bool
) -> None:
    table = "".join(f'[sandboxes.s{number}]\naddress = "fe80::{number}"\n' for number in range(1, count))
    (scene.folder / "sandboxes.toml").write_text(table)
    preflight.warn(scene.settings)
    assert any("sandbox-outside-allow" in message for message in caplog.messages) is told
    assert [finding.check for finding in scene.findings()] == ["sandbox-outside-allow"], "the command does"


def test_advice_ends_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(settings: Settings, *, quickly: bool) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(preflight, "look", fail)
    preflight.warn(scene.settings)
    assert "could not be looked through" in caplog.text


def test_errors_come_first_and_are_shown_in_three_lines() -> None:
    found = [
        preflight.Finding("b", Level.ERROR, "what\x1b[2J", "how"),
        preflight.Finding("a", Level.WARNING, "what", "how"),
    ]
    lines = report.as_lines(found, colour=False)
    assert lines == ["error: b", "    what·[2J", "    mend: how", "", "warning: a", "    what", "    mend: how", ""]
    assert "\x1b[1;31merror:\x1b[0m b" in report.as_lines(found, colour=True)
    assert report.summary(found) == "1 error, 1 warning"
    assert report.summary(found * 2) == "2 errors, 2 warnings"
    assert report.summary([]) == "ok"


def test_a_failing_look_is_one_finding(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = preflight.look(scene.settings, NOW)
    broken = dataclasses.replace(subject, directory=UserError("x: is broken"))
    assert [finding.text for finding in preflight.examine(broken)] == ["x: is broken"]

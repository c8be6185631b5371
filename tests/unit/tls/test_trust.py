"""Trust stores: real NSS databases in a temporary home; for the system's, a directory and a script."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.tls import local_ca, programs, trust
from gateway.tls.local_ca import LocalAuthorityError
from gateway.tls.trust import Machine, SystemStore, TrustOutcome, install, java, node, remove, status
from gateway.tls.trust.root import Root

NO_SYSTEM: tuple[SystemStore, ...] = ()


@pytest.fixture(autouse=True)
def no_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Java and Node.js have tests of their own."""
    for runtime in (java, node):
        monkeypatch.setattr(runtime, "stores", lambda: ())


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return local_ca.ensure(tmp_path / "my certs").authority


@pytest.fixture
def another_authority(tmp_path: Path) -> Path:
    return local_ca.ensure(tmp_path / "other certs").authority


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "my home"
    path.mkdir()
    return path


@pytest.fixture
def system(tmp_path: Path) -> SystemStore:
    """A system store whose refresh makes a bundle of all anchors."""
    anchors = tmp_path / "the anchors"
    anchors.mkdir()
    return SystemStore(
        "Test", anchors, (str(script(tmp_path / "refresh", f"cat '{anchors}'/*.crt > '{tmp_path}/bundle'")),)
    )


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


def paste(outcome: TrustOutcome) -> None:
    """What somebody does who was given a command."""
    assert outcome.command is not None
    subprocess.run(["/bin/sh", "-c", outcome.command], check=True, stdin=subprocess.DEVNULL, timeout=30)


def only(outcomes: list[TrustOutcome]) -> TrustOutcome:
    (outcome,) = outcomes
    return outcome


def system_outcome(outcomes: list[TrustOutcome]) -> TrustOutcome:
    return outcomes[0]


def browsers(outcomes: list[TrustOutcome]) -> list[TrustOutcome]:
    return outcomes[1:]


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without certutil: an empty directory is all of PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(programs, "_SBIN", str(path))
    return path


# --- the system's store -------------------------------------------------------------------------------------


def test_system_store(tmp_path: Path, authority: Path, home: Path, system: SystemStore, no_tools: Path) -> None:
    shutil.copy(shutil.which("cat", path="/usr/bin:/bin") or "", no_tools)
    assert not system_outcome(status(authority, Machine(home, [system]))).done
    before = os.umask(0o077)  # root's, on some machines: everybody must read the anchor all the same
    try:
        done = system_outcome(install(authority, Machine(home, [system])))
    finally:
        os.umask(before)
    assert done == TrustOutcome("system store (Test)", True, "added; curl, OpenSSL and Go programs trust it now")
    assert (tmp_path / "bundle").read_bytes() == authority.read_bytes()
    (anchor,) = system.anchors.iterdir()
    assert anchor.stat().st_mode & 0o777 == 0o644
    assert system_outcome(status(authority, Machine(home, [system]))).done
    again = system_outcome(install(authority, Machine(home, [system])))
    assert again == TrustOutcome("system store (Test)", True, f"trusted ({anchor})")


def test_system_store_keeps_the_authorities_of_others(
    authority: Path, another_authority: Path, home: Path, system: SystemStore
) -> None:
    theirs = system.anchors / "company.crt"
    theirs.write_text("")
    for each in (another_authority, authority):
        install(each, Machine(home, [system]))
    assert len(list(system.anchors.iterdir())) == 3
    for each in (another_authority, authority):
        assert system_outcome(status(each, Machine(home, [system]))).done


def test_system_store_is_left(
    tmp_path: Path, authority: Path, another_authority: Path, home: Path, system: SystemStore
) -> None:
    here = Machine(home, [system])
    assert system_outcome(remove(authority, here)) == TrustOutcome("system store (Test)", True, "was not there")
    for each in (another_authority, authority):
        install(each, here)
    assert system_outcome(remove(authority, here)) == TrustOutcome("system store (Test)", True, "removed")
    assert not system_outcome(status(authority, here)).done
    assert (tmp_path / "bundle").read_bytes() == another_authority.read_bytes()


def test_the_command_that_leaves_the_system_store_works(
    tmp_path: Path, authority: Path, home: Path, system: SystemStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Machine(home, [system])
    install(authority, here)

    def refuse(path: Path, missing_ok: bool = False) -> None:  # patched in, as everything is permitted to root
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        refused = system_outcome(remove(authority, here))
    assert (refused.done, refused.message) == (False, "not changed: permission denied")
    system.anchors.joinpath("company.crt").write_text("")
    paste(refused)
    assert system_outcome(remove(authority, here)).message == "was not there"
    assert (tmp_path / "bundle").read_bytes() == b""


def test_system_store_without_permission(
    tmp_path: Path,
    authority: Path,
    home: Path,
    system: SystemStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    def refuse(*arguments: object) -> None:  # patched in, as everything is permitted to root
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", refuse)
        patch.setattr(os, "geteuid", lambda: 1000)
        refused = system_outcome(install(authority, Machine(home, [system])))
    assert not refused.done
    assert refused.message == "not changed: permission denied"
    assert refused.command is not None
    copy, refresh = refused.command.split(" && ")
    assert copy.startswith(f"sudo install -m 644 '{authority}' ")
    assert refresh == f"sudo {tmp_path / 'refresh'}"
    assert not system_outcome(status(authority, Machine(home, [system]))).done


def test_the_command_for_the_system_store_works(
    tmp_path: Path,
    authority: Path,
    home: Path,
    system: SystemStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # so that the command needs no sudo
    paste(system_outcome(status(authority, Machine(home, [system]))))
    assert system_outcome(status(authority, Machine(home, [system]))).done
    assert (tmp_path / "bundle").read_bytes() == authority.read_bytes()


def test_a_refresh_that_fails_leaves_nothing(tmp_path: Path, authority: Path, home: Path, system: SystemStore) -> None:
    program = str(script(tmp_path / "broken", "echo no luck >&2", "exit 3"))
    broken = SystemStore("Test", system.anchors, (program,))
    outcome = system_outcome(install(authority, Machine(home, [broken])))
    assert not outcome.done
    assert outcome.message == f"not changed: {program} failed with exit code 3: no luck"
    assert outcome.command is not None
    assert list(system.anchors.iterdir()) == []
    assert not system_outcome(status(authority, Machine(home, [broken]))).done


def test_the_first_store_that_is_there(tmp_path: Path, authority: Path, home: Path, system: SystemStore) -> None:
    absent = SystemStore("Absent", tmp_path / "absent", system.refresh)
    toolless = SystemStore("Toolless", system.anchors, ("no-such-program-anywhere",))
    outcome = system_outcome(status(authority, Machine(home, [absent, toolless, system])))
    assert outcome.store == "system store (Test)"


def test_no_system_store(authority: Path, home: Path) -> None:
    outcome = system_outcome(install(authority, Machine(home, NO_SYSTEM)))
    assert not outcome.done
    assert f"curl --cacert {authority}" in outcome.message
    assert outcome.command is None


def test_the_known_systems() -> None:
    commands = {store.refresh[0]: str(store.anchors) for store in reversed(trust.SYSTEM_STORES)}
    assert commands == {
        "update-ca-certificates": "/usr/local/share/ca-certificates",
        "update-ca-trust": "/etc/pki/ca-trust/source/anchors",
        "trust": "/etc/ca-certificates/trust-source/anchors",
    }


# --- browsers -----------------------------------------------------------------------------------------------


def make_database(certutil: str, directory: Path, password: str = "") -> Path:
    directory.mkdir(parents=True)
    options = ["--empty-password"]
    if password:
        file = directory / "password"
        file.write_text(password)
        options = ["-f", str(file)]
    subprocess.run([certutil, "-N", "-d", f"sql:{directory}", *options], check=True, timeout=30)
    return directory


def listed(certutil: str, directory: Path) -> dict[str, str]:
    """nickname -> trust, as certutil prints them."""
    command = [certutil, "-L", "-d", f"sql:{directory}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    lines = [line.rsplit(maxsplit=1) for line in output.splitlines()[4:] if line.strip()]
    return {nickname.strip(): flags for nickname, flags in lines}


def nickname(authority: Path) -> str:
    return f"gateway local CA {Root.read(authority).tag}"


def test_chromium_store_is_made(certutil: str, authority: Path, home: Path) -> None:
    before = only(browsers(status(authority, Machine(home, NO_SYSTEM))))
    assert before.store == "Chromium (~/.pki/nssdb)"
    assert not before.done
    assert not (home / ".pki").exists(), "status changes nothing"
    done = only(browsers(install(authority, Machine(home, NO_SYSTEM))))
    assert done == TrustOutcome(before.store, True, "added; restart the browser if it is running")
    directory = home / ".pki" / "nssdb"
    assert listed(certutil, directory) == {nickname(authority): "C,,"}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert only(browsers(status(authority, Machine(home, NO_SYSTEM)))).done


def test_the_command_for_chromium_works(certutil: str, authority: Path, home: Path) -> None:
    paste(only(browsers(status(authority, Machine(home, NO_SYSTEM)))))
    assert only(browsers(status(authority, Machine(home, NO_SYSTEM)))).done


def test_repeating_changes_nothing(certutil: str, authority: Path, home: Path) -> None:
    install(authority, Machine(home, NO_SYSTEM))
    database = home / ".pki" / "nssdb" / "cert9.db"
    before = database.read_bytes()
    assert only(browsers(install(authority, Machine(home, NO_SYSTEM)))).message == "trusted"
    assert database.read_bytes() == before


def test_several_authorities_are_trusted_beside_each_other(certutil: str, tmp_path: Path, home: Path) -> None:
    """Of several domains, or folders; all made on one day by one machine."""
    made = [local_ca.ensure(tmp_path / str(i), f"{name}.test").authority for i, name in enumerate(("a", "b", "b"))]
    for each in made:
        assert only(browsers(install(each, Machine(home, NO_SYSTEM)))).done
    for each in made:
        assert only(browsers(status(each, Machine(home, NO_SYSTEM)))).done
    assert only(browsers(remove(made[1], Machine(home, NO_SYSTEM)))).done
    trusted = [only(browsers(status(each, Machine(home, NO_SYSTEM)))).done for each in made]
    assert trusted == [True, False, True]


@pytest.mark.parametrize("flags", ["C,,", ",,"])
def test_what_was_there_under_the_name_of_before(certutil: str, authority: Path, home: Path, flags: str) -> None:
    directory = make_database(certutil, home / ".pki" / "nssdb")
    command = [certutil, "-A", "-d", f"sql:{directory}", "-t", flags, "-n", "gateway local CA", "-i", str(authority)]
    subprocess.run(command, check=True, timeout=30)
    assert only(browsers(status(authority, Machine(home, NO_SYSTEM)))).done == (flags == "C,,")
    assert only(browsers(remove(authority, Machine(home, NO_SYSTEM)))).done
    assert listed(certutil, directory) == {}


def test_what_is_not_there_is_not_removed(certutil: str, authority: Path, another_authority: Path, home: Path) -> None:
    outcome = only(browsers(remove(authority, Machine(home, NO_SYSTEM))))
    assert outcome == TrustOutcome("Chromium (~/.pki/nssdb)", True, "was not there")
    assert not (home / ".pki").exists(), "no database is made to remove nothing from it"
    install(another_authority, Machine(home, NO_SYSTEM))
    assert only(browsers(remove(authority, Machine(home, NO_SYSTEM)))).message == "was not there"
    assert only(browsers(status(another_authority, Machine(home, NO_SYSTEM)))).done


def test_every_browser_that_is_there(certutil: str, authority: Path, home: Path) -> None:
    places = [
        "snap/chromium/current/.pki/nssdb",
        ".var/app/com.google.Chrome/.pki/nssdb",
        ".mozilla/firefox/abc.default",
        ".config/mozilla/firefox/new.default",
        "snap/firefox/common/.mozilla/firefox/def.default",
        ".var/app/org.mozilla.firefox/.mozilla/firefox/ghi.default",
    ]
    for place in places:
        make_database(certutil, home / place)
    (home / ".mozilla/firefox/Crash Reports").mkdir()
    outcomes = browsers(install(authority, Machine(home, NO_SYSTEM)))
    assert all(outcome.done for outcome in outcomes)
    names = [outcome.store for outcome in outcomes]
    assert names[0] == "Chromium (~/.pki/nssdb)"
    assert names[1:3] == [f"Chromium (~/{place})" for place in places[:2]]
    assert names[3:] == [f"Firefox (~/{place})" for place in places[2:]]
    assert all(listed(certutil, home / place) == {nickname(authority): "C,,"} for place in places)


def test_a_root_imported_by_hand_counts(certutil: str, authority: Path, home: Path) -> None:
    directory = make_database(certutil, home / ".pki" / "nssdb")
    command = [
        certutil,
        "-A",
        "-d",
        f"sql:{directory}",
        "-t",
        "CT,C,",
        "-n",
        "my own (name)",
        "-i",
        str(authority),
    ]
    subprocess.run(command, check=True, timeout=30)
    assert only(browsers(status(authority, Machine(home, NO_SYSTEM)))).done


def test_a_root_that_is_there_but_not_trusted(certutil: str, authority: Path, home: Path) -> None:
    directory = make_database(certutil, home / ".pki" / "nssdb")
    for nickname in ("gateway local CA", "another name"):
        command = [certutil, "-A", "-d", f"sql:{directory}", "-t", ",,", "-n", nickname, "-i", str(authority)]
        subprocess.run(command, check=True, timeout=30)
    assert not only(browsers(status(authority, Machine(home, NO_SYSTEM)))).done
    assert only(browsers(install(authority, Machine(home, NO_SYSTEM)))).done
    assert only(browsers(status(authority, Machine(home, NO_SYSTEM)))).done


def test_a_database_with_a_password_is_left_to_its_owner(certutil: str, authority: Path, home: Path) -> None:
    profile = make_database(certutil, home / ".mozilla/firefox/abc.default", "secret")
    outcome = browsers(install(authority, Machine(home, NO_SYSTEM)))[1]
    assert not outcome.done
    assert "password" in outcome.message
    assert outcome.command is not None
    assert not browsers(status(authority, Machine(home, NO_SYSTEM)))[1].done
    command = outcome.command.replace("certutil", f"certutil -f '{profile / 'password'}'")
    subprocess.run(["/bin/sh", "-c", command], check=True, timeout=30)
    assert browsers(status(authority, Machine(home, NO_SYSTEM)))[1].done


def test_a_broken_database(certutil: str, authority: Path, home: Path) -> None:
    directory = home / ".pki" / "nssdb"
    directory.mkdir(parents=True)
    (directory / "cert9.db").write_text("not a database")
    outcome = only(browsers(install(authority, Machine(home, NO_SYSTEM))))
    assert not outcome.done
    assert outcome.message.startswith("not changed: certutil failed with exit code 255: ")
    assert outcome.command is not None


def test_a_home_that_cannot_be_written(certutil: str, authority: Path, home: Path) -> None:
    (home / ".pki").write_text("in the way")
    outcome = only(browsers(install(authority, Machine(home, NO_SYSTEM))))
    assert not outcome.done
    assert outcome.message == "not changed: not a directory"


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt-get", "sudo apt-get install libnss3-tools"),
        ("dnf", "sudo dnf install nss-tools"),
        ("pacman", "sudo pacman -S nss"),
        (None, None),
    ],
)
def test_without_certutil(
    authority: Path,
    home: Path,
    no_tools: Path,
    monkeypatch: pytest.MonkeyPatch,
    manager: str | None,
    command: str | None,
) -> None:
    if manager is not None:
        script(no_tools / manager)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for verb in (install, status):
        outcome = only(browsers(verb(authority, Machine(home, NO_SYSTEM))))
        assert not outcome.done
        assert "certutil, which reads and changes this store, is not installed" in outcome.message
        assert outcome.command == command
    assert list(home.iterdir()) == []


def test_a_user_without_a_home(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert browsers(install(authority, Machine(system=NO_SYSTEM))) == []


def test_home_is_the_users(authority: Path, home: Path, monkeypatch: pytest.MonkeyPatch, certutil: str) -> None:
    monkeypatch.setenv("HOME", str(home))
    assert only(browsers(install(authority, Machine(system=NO_SYSTEM)))).done
    assert (home / ".pki" / "nssdb" / "cert9.db").exists()


# --- elsewhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [install, status])
def test_other_platforms_get_a_command(authority: Path, home: Path, verb: object) -> None:
    call = install if verb is install else status
    mac = only(call(authority, Machine(home, platform="darwin")))
    assert not mac.done
    assert mac.command == (
        f"sudo security add-trusted-cert -d -r trustRoot -k /Library/Keychains/System.keychain '{authority}'"
    )
    windows = only(call(authority, Machine(home, platform="win32")))
    assert windows.command == f'certutil -addstore -f ROOT "{authority}"'
    other = only(call(authority, Machine(home, platform="freebsd14")))
    assert other.command is None
    assert str(authority) in other.message


def test_other_platforms_get_a_command_to_undo_it(authority: Path) -> None:
    mac = only(remove(authority, Machine(platform="darwin")))
    assert not mac.done
    assert mac.command == f"sudo security remove-trusted-cert -d '{authority}'"
    windows = only(remove(authority, Machine(platform="win32")))
    assert windows.command == f"certutil -delstore ROOT {Root.read(authority).sha1}"


@pytest.mark.parametrize("call", [install, status, remove])
def test_no_authority(tmp_path: Path, home: Path, call: Callable[[Path, Machine], list[TrustOutcome]]) -> None:
    with pytest.raises(LocalAuthorityError, match=r"ca\.pem cannot be read .*: make the local certificates"):
        call(tmp_path / "ca.pem", Machine(home, NO_SYSTEM))
    (tmp_path / "ca.pem").write_text("-----BEGIN NONSENSE-----")
    with pytest.raises(LocalAuthorityError, match="is not a certificate in PEM form"):
        call(tmp_path / "ca.pem", Machine(home, NO_SYSTEM))

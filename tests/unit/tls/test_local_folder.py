"""Where the local authority is kept: the user's folder, a named one, or `certs/` where one stands already."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.tls import local_folder
from gateway.tls.local_ca import LocalAuthorityError, ensure
from gateway.tls.local_folder import choose
from tests.support.certificates import write_pair

DOMAIN = "sandbox.localhost"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's; the working directory is an empty project."""
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_it_is_the_users_from_every_folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose(None, DOMAIN)
    assert first == data / "gateway" / "certs" / DOMAIN
    assert local_folder.is_of_user(first, DOMAIN)
    ensure(first, DOMAIN)
    monkeypatch.chdir(tmp_path)
    assert choose(None, DOMAIN) == first
    assert ensure(choose(None, DOMAIN), DOMAIN).authority == first / "ca.pem"


def test_domains_live_beside_each_other() -> None:
    made = [ensure(choose(None, domain), domain).authority for domain in (DOMAIN, "foo.test")]
    assert made[0].parent.parent == made[1].parent.parent
    assert not ensure(choose(None, DOMAIN), DOMAIN).authority_is_new


def test_a_named_one(tmp_path: Path) -> None:
    ensure(Path("certs"), DOMAIN)
    assert choose(Path("mine"), DOMAIN) == tmp_path / "project" / "mine"


def test_a_checkout_that_has_one_keeps_it(tmp_path: Path) -> None:
    certs = ensure(Path("certs"), DOMAIN)
    assert ensure(choose(None, DOMAIN), DOMAIN).authority == certs.authority == tmp_path / "project/certs/ca.pem"
    assert not local_folder.is_of_user(choose(None, DOMAIN), DOMAIN)
    assert local_folder.is_of_user(choose(None, "foo.test"), "foo.test"), "of another domain it has none"
    ensure(Path("certs"), "foo.test")
    assert choose(None, "foo.test") == tmp_path / "project" / "certs"


def test_certs_of_something_else_are_left_alone(tmp_path: Path) -> None:
    write_pair(Path("certs"), "example.com").cert.rename("certs/ca.pem")
    assert local_folder.is_of_user(choose(None, DOMAIN), DOMAIN)
    Path("certs/ca.pem").write_text("no certificate")
    assert local_folder.is_of_user(choose(None, DOMAIN), DOMAIN)


def test_certs_that_cannot_be_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(Path("certs"), DOMAIN)

    def refuse(path: Path) -> bytes:  # patched in, as nothing is unreadable for root
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert local_folder.is_of_user(choose(None, DOMAIN), DOMAIN)


def test_without_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", given)
        assert choose(None, DOMAIN) == tmp_path / ".local/share/gateway/certs" / DOMAIN


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(LocalAuthorityError, match="name the folder with --certs DIR"):
        choose(None, DOMAIN)
    assert choose(Path("certs"), DOMAIN) == Path("certs").absolute()

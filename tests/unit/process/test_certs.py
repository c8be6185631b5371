"""`gateway certs`: which verb changes what, and what is told before an authority is replaced."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.errors import UserError
from gateway.process import certs
from gateway.process.certs import VERBS, Asked
from gateway.tls import local_ca, trust
from gateway.tls.trust import TrustOutcome

DOMAIN = "foo.test"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certs"


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The authorities that this machine's one store trusts."""
    held: list[bytes] = []

    def status(authority: Path) -> list[TrustOutcome]:
        trust.read_certificate(authority)  # raises, as the real one does
        return [TrustOutcome("the store", authority.read_bytes() in held, "as it is", "paste this")]

    def install(authority: Path) -> list[TrustOutcome]:
        held.append(authority.read_bytes())
        return [TrustOutcome("the store", True, "added"), TrustOutcome("another", False, "no rights", "sudo this")]

    def remove(authority: Path) -> list[TrustOutcome]:
        held.remove(authority.read_bytes())
        return [TrustOutcome("the store", True, "removed")]

    for verb in (status, install, remove):
        monkeypatch.setattr(trust, verb.__name__, verb)
    return held


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_show_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"gateway certs init --domain foo\.test makes them"):
        VERBS["show"](Asked(folder, DOMAIN))
    assert not folder.exists()
    assert VERBS["init"](Asked(folder, DOMAIN)) == 0
    before = files(folder)
    capsys.readouterr()
    assert VERBS["show"](Asked(folder, DOMAIN)) == 0
    assert f"authority: {folder}/ca.pem" in capsys.readouterr().out
    with pytest.raises(UserError):
        VERBS["show"](Asked(folder, "bar.test"))
    assert files(folder) == before
    assert not (folder / "bar.test").exists()


def test_trust_says_who_took_it_and_untrust_undoes_it(
    folder: Path, trusting: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert VERBS["trust"](Asked(folder, DOMAIN)) == 0
    assert capsys.readouterr().out == "done  the store: added\ntodo  another: no rights\n      sudo this\n"
    assert trusting == [(folder / "ca.pem").read_bytes()]
    (folder / "ca.key").unlink()  # which nobody needs for that
    assert VERBS["untrust"](Asked(folder, DOMAIN)) == 0
    assert trusting == []


def test_untrust_makes_nothing(folder: Path) -> None:
    with pytest.raises(UserError, match="holds no local certificates"):
        VERBS["untrust"](Asked(folder, DOMAIN))
    assert not folder.exists()


def test_renew_leaves_the_authority(folder: Path) -> None:
    VERBS["init"](Asked(folder, DOMAIN))
    before = files(folder)
    VERBS["renew"](Asked(folder, DOMAIN))
    after = files(folder)
    assert {name for name in before if before[name] != after[name]} == {"leaf.pem", "leaf.key"}


def test_another_authority_only_after_what_breaks_is_told(
    folder: Path, trusting: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    VERBS["trust"](Asked(folder, DOMAIN))
    before = files(folder)
    with pytest.raises(UserError, match="nothing was changed"):
        VERBS["renew"](Asked(folder, DOMAIN, new_authority=True))
    told = capsys.readouterr().out
    assert f"This replaces {folder}/ca.pem by another authority for foo.test." in told
    assert "Trusted by the store: it is taken out there." in told
    assert (files(folder), len(trusting)) == (before, 1)
    assert VERBS["renew"](Asked(folder, DOMAIN, new_authority=True, agreed=True)) == 0
    after = files(folder)
    assert all(after[name] != before[name] for name in ("ca.pem", "ca.key", "leaf.pem", "leaf.key"))
    assert trusting == [], "its key is gone"


@pytest.mark.parametrize(("answer", "agrees"), [("y", True), ("Yes ", True), ("", False), ("no", False)])
def test_on_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch, answer: str, agrees: bool) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert certs._agrees() is agrees


def test_a_damaged_authority_can_be_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    VERBS["init"](Asked(folder, DOMAIN))
    (folder / "ca.pem").write_text("damaged")
    with pytest.raises(local_ca.LocalAuthorityError, match="gateway certs renew --ca"):
        VERBS["init"](Asked(folder, DOMAIN))
    assert VERBS["renew"](Asked(folder, DOMAIN, new_authority=True, agreed=True)) == 0
    assert "Which stores trust it cannot be told" in capsys.readouterr().out

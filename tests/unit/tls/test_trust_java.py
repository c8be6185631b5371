"""Java's store: a program in keytool's place; the real one is asked in tests/interop/test_certs.py."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gateway.tls import local_ca
from gateway.tls.trust import java
from gateway.tls.trust.root import Root, Store

KEYTOOL = """#!/bin/sh
[ "$2 $3 $4" = "-cacerts -storepass changeit" ] || exit 9
if [ -e '{here}/refuses' ]; then echo 'keytool error: (Permission denied)'; [ "$1" = -list ] || exit 1; fi
case "$1 $5" in
-list\\ *) for entry in '{here}'/cacerts/*; do
    [ -e "$entry" ] && {{ echo "Alias name: ${{entry##*/}}"; cat "$entry"; }}
  done; true ;;
-importcert\\ *) cp "$9" '{here}/cacerts/'"$7" ;;
-delete\\ *) rm '{here}/cacerts/'"$6" ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.read(local_ca.ensure(tmp_path / "certs").authority)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    program = tmp_path / "jdk" / "bin" / "keytool"
    program.parent.mkdir(parents=True)
    program.write_text(KEYTOOL.format(here=tmp_path))
    program.chmod(0o755)
    tmp_path.joinpath("cacerts").mkdir()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    [store] = java.stores()
    return store


def test_added_and_removed(store: Store, root: Root) -> None:
    assert not store.status(root).done
    assert store.add(root).message == "added; restart what runs on Java"
    assert store.status(root).done
    assert store.add(root).message == "trusted"
    assert store.remove(root).message == "removed"
    assert not store.status(root).done
    assert store.remove(root).message == "was not there"


def test_without_rights(store: Store, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "refuses").touch()
    outcome = store.add(root)
    assert (outcome.done, "(Permission denied)" in outcome.message) == (False, True)
    assert outcome.command is not None
    assert outcome.command.startswith(f"sudo {tmp_path}/jdk/bin/keytool -importcert ")
    assert str(root.path) in outcome.command


def test_removal_without_rights(store: Store, root: Root, tmp_path: Path) -> None:
    store.add(root)
    (tmp_path / "refuses").touch()
    outcome = store.remove(root)
    assert not outcome.done
    assert outcome.command is not None
    assert "-delete" in outcome.command


def test_what_debian_carried_over_is_removed_as_well(store: Store, root: Root, tmp_path: Path) -> None:
    other = local_ca.ensure(tmp_path / "other").authority
    shutil.copy(other, tmp_path / "cacerts" / "debian:other.pem")
    shutil.copy(root.path, tmp_path / "cacerts" / "debian:gateway.pem")
    assert store.add(root).message == "trusted"
    assert store.remove(root).message == "removed"
    assert not store.status(root).done
    assert store.status(Root.read(other)).done


def test_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(java, "find", lambda program: None)
    assert list(java.stores()) == []

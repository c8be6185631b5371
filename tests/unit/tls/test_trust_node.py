"""Node.js: what its variable names, and what is said of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gateway.tls import local_ca
from gateway.tls.trust import node
from gateway.tls.trust.root import Root, Store


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.read(local_ca.ensure(tmp_path / "my certs").authority)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(node, "find", lambda program: f"/usr/bin/{program}")
    monkeypatch.delenv(node.VARIABLE, raising=False)
    [store] = node.stores()
    return store


def test_the_variable_is_told(store: Store, root: Root) -> None:
    outcome = store.add(root)
    assert not outcome.done
    assert outcome.command == f"export NODE_EXTRA_CA_CERTS='{root.path}'"
    assert store.remove(root).message == "was not there"


def test_the_variable_is_set(store: Store, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(node.VARIABLE, str(root.path))
    assert store.status(root).done
    outcome = store.remove(root)
    assert (outcome.done, outcome.command) == (False, "unset NODE_EXTRA_CA_CERTS")


def test_it_names_a_file_of_others(store: Store, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    company = tmp_path / "the company.pem"
    company.write_bytes(local_ca.ensure(tmp_path / "company").authority.read_bytes())
    monkeypatch.setenv(node.VARIABLE, str(company))
    outcome = store.add(root)
    assert not outcome.done
    assert outcome.command is not None
    subprocess.run(["/bin/sh", "-c", outcome.command], check=True, timeout=30)
    assert store.status(root).done
    assert not store.remove(root).done
    assert company.exists()


def test_it_names_nothing_that_is_there(store: Store, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(node.VARIABLE, "/nowhere/ca.pem")
    assert store.status(root).command == f"export NODE_EXTRA_CA_CERTS='{root.path}'"


def test_it_names_the_systems_bundle(store: Store, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(node.VARIABLE, "/etc/ssl/certs/ca-certificates.crt")
    outcome = store.add(root)
    assert (outcome.done, outcome.command) == (False, None), "what is appended there is gone with the next update"


def test_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(node.VARIABLE, raising=False)
    monkeypatch.setattr(node, "find", lambda program: None)
    assert list(node.stores()) == []

"""The first line says which program starts, with which configuration and certificates, and no password."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

import gateway
from gateway.build import BUILD, COMPILED
from gateway.config.effective import fingerprint, render_effective
from gateway.config.settings import Certificate
from gateway.config.sources import load
from gateway.process.start_line import commit, start_line
from tests.support.certificates import write_pair


@dataclass
class Installed:
    """A distribution with a note of pip's."""

    note: str | None

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self.note


def test_it_names_the_program_the_configuration_and_certificates(tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "pair", "*.example.dev")
    loaded = load(file=None, environ={"GATEWAY_PROCESS__WORKERS": "3"}, serve=False)
    certificate = Certificate(cert=pair.cert, key=pair.key)
    broken = Certificate(cert=tmp_path / "none.pem", key=pair.key)
    settings = loaded.settings
    settings = type(settings)(process=settings.process, tls=type(settings.tls)(certificates=(certificate, broken)))
    text, keys = start_line(settings, "abc")
    assert keys["version"] == gateway.__version__
    assert keys["python"] == platform.python_version()
    assert keys["compiled"] is COMPILED
    assert text.startswith(f"gateway {gateway.__version__} (") and f"{BUILD}), " in text
    assert str(keys["loop"]).startswith("uvloop 0.")
    assert (keys["configuration"], keys["workers"]) == ("abc", 3)
    certificates = keys["certificates"]
    assert isinstance(certificates, dict)
    assert certificates[str(broken.cert)[:100]] == "unreadable"
    assert all(f"{path} until {when}" in text for path, when in certificates.items())
    assert "20" in certificates[str(pair.cert)[:100]]


@pytest.mark.parametrize(
    ("note", "found"),
    [
        (None, ""),
        ("", ""),
        ("{", ""),
        ('{"url": "file:///x", "dir_info": {"editable": true}}', ""),
        ('{"url": "https://x/y.git", "vcs_info": {"vcs": "git", "commit_id": "0123abc"}}', "0123abc"),
        ('{"vcs_info": []}', ""),
    ],
)
def test_a_commit_is_what_pip_has_noted(monkeypatch: pytest.MonkeyPatch, note: str | None, found: str) -> None:
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed(note))
    assert commit({}) == found
    assert commit({"GATEWAY_BUILD": "image"}) == "image"


def test_equal_settings_have_one_fingerprint_wherever_they_come_from(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('[timeouts]\nidle = "76s"\n')
    written = fingerprint(render_effective(load(file=file, environ={}, serve=False)))
    said = fingerprint(render_effective(load(file=None, environ={"GATEWAY_TIMEOUTS__IDLE": "76s"}, serve=False)))
    default = fingerprint(render_effective(load(file=None, environ={}, serve=False)))
    assert written == said != default
    assert len(written) == 12

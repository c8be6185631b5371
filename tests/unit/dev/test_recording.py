"""`log.path` holds in `gateway dev`, too: the terminal has its lines, and the file has the access log."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from gateway.config import Settings
from gateway.dev.options import DEFAULT_DOMAIN, DevOptions
from gateway.dev.preparing import prepare
from gateway.dev.recording import Recording
from gateway.errors import UserError
from tests.support.access_records import record


def logging_to(path: Path, **more: object) -> Settings:
    settings = Settings()
    return msgspec.structs.replace(settings, log=msgspec.structs.replace(settings.log, path=path, **more))


async def test_both_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "access.log"
    recording = Recording(logging_to(path), colour=False)
    recording.capture.write([record(path="/one")])
    path.rename(tmp_path / "access.log.1")
    recording.capture.reopen()
    recording.capture.write([record(path="/two")])
    recording.close()
    assert [json.loads(each.read_text())["path"] for each in (tmp_path / "access.log.1", path)] == ["/one", "/two"]
    shown = capfd.readouterr().out
    assert "/one\n" in shown
    assert "/two\n" in shown
    assert "{" not in shown


async def test_without_an_access_log_there_is_no_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recording = Recording(logging_to(tmp_path / "access.log", access=False), colour=False)
    recording.capture.write([record(path="/one")])
    recording.close()
    assert not list(tmp_path.iterdir())
    assert "/one\n" in capfd.readouterr().out


def test_what_cannot_be_written_is_said_at_the_start(tmp_path: Path) -> None:
    options = DevOptions([], 0, tmp_path, DEFAULT_DOMAIN, False)
    with pytest.raises(UserError, match=r"log\.path: .*/none/access\.log cannot be written: No such file or directory"):
        prepare(logging_to(tmp_path / "none" / "access.log"), options)
    assert not list(tmp_path.iterdir())

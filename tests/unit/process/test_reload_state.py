"""The page that tells of reloads: whatever is written to it, and whoever stops in the midst of writing."""

from __future__ import annotations

import os
import signal

import pytest

from gateway.process import reload_state
from gateway.process.reload_state import MAX_ERROR, Reload, ReloadState


def test_what_is_written_is_read() -> None:
    state = ReloadState()
    assert state.read() == Reload()
    reload = Reload(3, "failed", 2, successful=False, ended=5.5, error="why", needs_restart=("edge.listen",))
    state.write(reload)
    assert state.read() == reload


@pytest.mark.parametrize("character", ["x", "\x01", "\U0001f600", "\udcff"], ids=["ASCII", "control", "wide", "octet"])
def test_a_reason_of_any_length_fits(character: str) -> None:
    """It quotes the configuration, which may hold anything."""
    state = ReloadState()
    state.write(Reload(error=character * 100_000, needs_restart=("edge.listen", "process.stuck_timeout") * 3))
    assert len(state.read().error) == MAX_ERROR


def test_a_page_that_stays_half_written_holds_up_nobody() -> None:
    state = ReloadState()
    state.write(Reload(1, "done"))
    state.read()
    reload_state._HEADER.pack_into(state._page, 0, 3, 7)
    state._page[reload_state._HEADER.size] = 0
    assert state.read() == Reload(1, "done")


def test_only_the_supervisor_is_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has died, the admin process has another parent: in a container, or under systemd, number 1."""
    told: list[tuple[int, int]] = []
    state, supervisor = ReloadState(), os.getpid()
    monkeypatch.setattr(os, "kill", lambda pid, number: told.append((pid, number)))
    monkeypatch.setattr(os, "getppid", lambda: 1)
    state.request()
    assert not told
    monkeypatch.setattr(os, "getppid", lambda: supervisor)
    state.request()
    assert told == [(supervisor, signal.SIGHUP)]

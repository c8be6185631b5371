"""Reloading (SIGHUP): new settings, without one connection refused or cut; or, if they are invalid, nothing at all."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import descendants, poll
from tests.support.serving import PATIENCE, App, Serving, Visitors, descriptors, ended, kill, stop

ALLOW = 'allow = ["::1/128"]'


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


def change(directory: Path, *changes: tuple[str, str]) -> None:
    """Replaces pieces of the configuration."""
    file = directory / "gateway.toml"
    text = file.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)


def deny(directory: Path, app: App) -> None:
    """From the next reload on the app's port is denied: what everybody can see."""
    change(directory, (ALLOW, f"{ALLOW}\ndeny_ports = [{app.port}]"))


def denied(gateway: Serving) -> bool:
    return all(b"port_denied" in gateway.get(host, port) for host, port, _ in gateway.doors for _ in range(4))


def reload(gateway: Serving, generation: int) -> None:
    os.kill(gateway.pid, signal.SIGHUP)
    gateway.says(f"reloaded: generation {generation} serves")


def test_every_worker_and_the_admin_process_get_the_new_settings(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        before = [*gateway.workers(), gateway.admin()]
        deny(tmp_path, app)
        reload(gateway, 2)
        assert denied(gateway)
        poll(lambda: all(map(ended, before)), "the former processes end: they had nothing to finish")
        assert len({*gateway.workers(), gateway.admin()}) == 3
        assert gateway.health()[0] == 200
        kill(gateway.workers()[0])
        gateway.says("was killed by SIGKILL; starting it again")
        assert denied(gateway), "whoever takes a place later has them, too"


def test_what_is_under_way_is_finished(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        held = gateway.hold(app)
        deny(tmp_path, app)
        reload(gateway, 2)
        app.released.set()
        answer = gateway.answer(held)
        assert answer.endswith(b"ok")
        assert b"\r\nConnection: close\r\n" in answer


def test_what_is_queued_is_served_by_the_successor(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        for worker in gateway.workers():
            stop(worker)
        queued = Visitors(gateway)
        reload(gateway, 2)
        assert queued.answers() == queued.served


@pytest.mark.parametrize(
    ("change_to", "why"),
    [
        (("[edge]", "[edge"), "gateway.toml"),
        (("[limits]", "[limits]\nconnexions = 5"), "limits.connexions"),
        ((ALLOW, 'allow = ["10.0.0.0/8"]'), "upstream.allow"),
        (('key = "', 'key = "/none'), "/none"),
    ],
    ids=["TOML", "name", "value", "certificate"],
)
def test_an_invalid_file_changes_nothing_and_says_why(
    tmp_path: Path, app: App, change_to: tuple[str, str], why: str
) -> None:
    with Serving(tmp_path, app) as gateway:
        before = [*gateway.workers(), gateway.admin()]
        sound = (tmp_path / "gateway.toml").read_text()
        change(tmp_path, change_to)
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.says("not reloaded, nothing has changed: ")
        [line] = [line for line in gateway.log.splitlines() if "not reloaded" in line]
        assert why in line
        assert [*gateway.workers(), gateway.admin()] == before
        assert gateway.health()[1]["config_last_reload_successful"] is False
        (tmp_path / "gateway.toml").write_text(sound)
        reload(gateway, 2)
        assert gateway.health()[1]["config_last_reload_successful"] is True


def test_a_table_that_is_broken_is_no_reason_not_to_reload(tmp_path: Path, app: App) -> None:
    """It is followed without a reload; who comes later goes on with what the others have."""
    with Serving(tmp_path, app) as gateway:
        deny(tmp_path, app)
        (tmp_path / "sandboxes.toml").unlink()
        reload(gateway, 2)
        assert denied(gateway)


def test_what_needs_a_restart_is_named(tmp_path: Path, app: App) -> None:
    """The rest is applied."""
    with Serving(tmp_path, app) as gateway:
        change(tmp_path, ("workers = 2", "workers = 3"))
        deny(tmp_path, app)
        reload(gateway, 2)
        gateway.says("not before a restart: process.workers")
        assert len(gateway.workers()) == 2
        assert denied(gateway)


def test_generations_that_drain_are_bounded(tmp_path: Path, app: App) -> None:
    """Nothing is cut off for a reload: it waits, and what waits is one, with the newest settings."""
    gateway = Serving(tmp_path, app)
    change(tmp_path, ("workers = 2", "workers = 2\nmax_draining = 1"))
    with gateway:
        held = gateway.hold(app)
        reload(gateway, 2)
        os.kill(gateway.pid, signal.SIGHUP)
        gateway.says("waits for processes to finish")
        deny(tmp_path, app)
        os.kill(gateway.pid, signal.SIGHUP)
        poll(
            lambda: gateway.log.count("waits for processes to finish") == 2, "the second waits in the first one's place"
        )
        assert not denied(gateway)
        app.released.set()
        assert gateway.answer(held).endswith(b"ok")
        gateway.says("reloaded: generation 3 serves")
        assert denied(gateway)
        assert "generation 4" not in gateway.log


def test_told_to_stop_in_the_midst_of_a_roll_it_stops(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        held = gateway.hold(app)
        gateway.tell(signal.SIGHUP)
        gateway.says("reloading: generation 2")
        os.kill(gateway.pid, signal.SIGTERM)
        app.released.set()
        assert gateway.answer(held).endswith(b"ok")
        assert gateway.wait() == 0


def test_many_reloads_leave_nothing_behind(tmp_path: Path, app: App) -> None:
    """Neither processes nor descriptors, although what all processes share is made anew each time."""
    with Serving(tmp_path, app) as gateway:
        file = tmp_path / "gateway.toml"
        text = file.read_text()
        found = set()
        for generation in range(2, 10):
            lines = f'[directory]\nnegative_ttl = "{generation}s"', f'[tls]\nminimum_version = "1.{2 + generation % 2}"'
            file.write_text(text.replace("[directory]", lines[0]).replace("[tls]", lines[1]))
            reload(gateway, generation)
            poll(lambda: len(descendants(gateway.pid)) == 4, "the former processes have ended")
            found.add((len(descriptors(gateway.pid)), len(descriptors(gateway.workers()[0]))))
        assert len(found) == 1, found


# --- the command ----------------------------------------------------------------------------------------------------


def command(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--config", "gateway.toml"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_the_command_says_when_it_is_done_and_what_it_left(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        deny(tmp_path, app)
        change(tmp_path, ("workers = 2", "workers = 3"))
        done = command(tmp_path, "reload")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [
            "reloaded: generation 2 serves",
            "not before a restart: process.workers",
        ]
        assert denied(gateway)
        status = command(tmp_path, "status").stdout
        assert re.search(r"^1 +ready +\d+ +2 ", status, re.MULTILINE), status


def test_the_command_fails_with_the_reason(tmp_path: Path, app: App) -> None:
    """One that this machine can tell by itself, and one that only the gateway knows."""
    with Serving(tmp_path, app) as gateway:
        change(tmp_path, ("[limits]", "[limits]\nconnexions = 5"))
        done = command(tmp_path, "reload")
        assert (done.returncode, done.stdout) == (1, "")
        assert "limits.connexions" in done.stderr
        change(tmp_path, ("connexions = 5", ""), ('key = "', 'key = "/none'))
        done = command(tmp_path, "reload")
        assert (done.returncode, done.stdout) == (1, "")
        assert "not reloaded, nothing has changed: " in done.stderr
        assert "/none" in done.stderr
        assert gateway.health()[0] == 200


def test_readiness_does_not_flap(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        os.kill(gateway.pid, signal.SIGHUP)
        answers = set()
        while "reloaded: generation 2 serves" not in gateway.log:
            answers.add(gateway.health()[0])
        poll(lambda: len(descendants(gateway.pid)) == 4, "the former processes have ended")
        answers.add(gateway.health()[0])
        assert answers == {200}


def test_told_to_stop_and_to_reload_at_once_it_stops(tmp_path: Path, app: App) -> None:
    """The kernel delivers lower numbers first: a flood of SIGHUP must not keep SIGTERM waiting."""
    with Serving(tmp_path, app) as gateway:
        gateway.family = descendants(gateway.pid)
        stop(gateway.pid)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
            os.kill(gateway.pid, number)
        assert gateway.wait() == 0
        assert "reload" not in gateway.log


def test_told_to_stop_after_a_reload_predecessors_finish_too(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        held = gateway.hold(app)
        reload(gateway, 2)
        gateway.tell(signal.SIGTERM)
        poll(lambda: gateway.listens() == 0, "it drains")
        poll(lambda: len([pid for pid in gateway.family if not ended(pid)]) == 3, "only the one that has something")
        app.released.set()
        assert gateway.answer(held).endswith(b"ok")
        assert gateway.wait() == 0
        assert "as told" not in gateway.log


# --- what stays without a restart, and what would not go with it -----------------------------------------------------


def refused(gateway: Serving) -> str:
    """The line that says why a reload is."""
    os.kill(gateway.pid, signal.SIGHUP)
    gateway.says("not reloaded, nothing has changed: ")
    [line] = [line for line in gateway.log.splitlines() if "not reloaded" in line]
    return line


def test_an_admin_listener_for_everybody_keeps_its_token(tmp_path: Path, app: App) -> None:
    """Back on loopback it would need none; but it stays where it is until a restart."""
    gateway = Serving(tmp_path, app)
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    near, far = f'listen = "127.0.0.1:{gateway.admin_port}"', f'listen = "0.0.0.0:{gateway.admin_port}"'
    far += f"\ntoken_file = {json.dumps(str(token))}"
    change(tmp_path, (near, far))
    with gateway:
        change(tmp_path, (far, near))
        line = refused(gateway)
        assert "needs a restart, because admin.listen cannot change before: admin.token_file: is required" in line


def test_tls_listeners_that_stay_keep_their_certificates(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        file = tmp_path / "gateway.toml"
        text = re.sub("certificates = .*", "", file.read_text())
        file.write_text(re.sub(r"listen = \[.*", "listen = []", text, count=1))
        assert "edge.listen cannot change before: tls.certificates" in refused(gateway)


def test_a_reason_that_quotes_a_flood_is_cut(tmp_path: Path, app: App) -> None:
    with Serving(tmp_path, app) as gateway:
        change(tmp_path, ("[limits]", '[limits]\n"' + "\U0001f600" * 5000 + '" = 5'))
        assert "limits." in refused(gateway)
        assert gateway.health()[1]["config_last_reload_successful"] is False

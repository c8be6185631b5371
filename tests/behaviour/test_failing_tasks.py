"""A task that must live as long as its process fails: it is begun anew, it is named, and visitors are served."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import ClassVar

from tests.support.serving import App, Serving

FAULT = """
import sys
from gateway import tasks
from gateway.cli import main
from gateway.directory.file import FileDirectory

tasks.PAUSE = 0.05
begun, watch = 0, FileDirectory.watch

async def fail(self, *arguments):
    global begun
    begun += 1
    if begun <= %d:
        raise RuntimeError("a fault of a library")
    await watch(self, *arguments)

FileDirectory.watch = fail
sys.exit(main())
"""


class Faulty(Serving):
    """A gateway whose watches fail a number of times, in each of its processes."""

    times: ClassVar[int]

    def __init__(self, directory: Path, app: App) -> None:
        super().__init__(directory, app)
        assert self.command[:3] == [sys.executable, "-m", "gateway"]
        self.command[1:3] = ["-c", FAULT % self.times]

    def stopped(self, code: int) -> None:
        assert code == self.expected, self.log


class ForEver(Faulty):
    times = 1_000_000


class ForAWhile(Faulty):
    times = 4


WATCHES = ["worker 0: directory watch", "worker 1: directory watch", "admin: directory watch"]


def test_a_fault_that_stays_is_named_and_said_once_by_each_process(tmp_path: Path) -> None:
    with App() as app, ForEver(tmp_path, app) as gateway:
        gateway.wait_until(lambda: gateway.health()[1].get("failing") == WATCHES, "all three are named")
        status, body = gateway.health()
        assert (status, body["status"]) == (200, "ready"), "a fault that all gateways meet must not leave nowhere to go"
        assert [each["failing"] for each in gateway.told()] == [["directory watch"]] * 2
        assert gateway.log.count("task directory watch failed") == 3


def test_what_is_over_is_named_no_more_and_the_watch_hears_again(tmp_path: Path) -> None:
    with App() as app, ForAWhile(tmp_path, app) as gateway:
        gateway.wait_until(lambda: "failing" not in gateway.health()[1], "it is over")
        gateway.says("task directory watch failed")
        (tmp_path / "sandboxes.toml").write_text("nonsense")
        gateway.says("sandboxes.toml: ")

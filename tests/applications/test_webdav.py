"""WebDAV: rclone's client with rclone's server and with Apache's; files, folders, moves, and an octet that differs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.apache import apache, folder
from tests.applications.harness import Application, Applications
from tests.support.components import require

SIZE = 8_000_000

CONFIG = """
DocumentRoot "{folder}/files"
DAVLockDB "{folder}/locks"
RequestHeader edit Destination ^https: http: early
<Directory "{folder}/files">
  DAV on
  Require all granted
</Directory>
"""


@pytest.fixture(params=["rclone", "apache"])
def app(request: pytest.FixtureRequest, gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("rclone")
    with folder() as served:
        files = served / "files"
        files.mkdir()
        if request.param == "rclone":
            command = ("rclone", "serve", "webdav", "--addr", "[::1]:{port}", files)
            server = Application(gateway, *command, cwd=tmp_path)
        else:
            server = apache(gateway, served, ("headers", "dav", "dav_fs"), CONFIG)
        with server:
            yield server


def test_files_go_there_move_and_come_back(app: Application, tmp_path: Path) -> None:
    rclone = ("rclone", "--config=", f"--webdav-url={app.url()}", "--retries=1", "--low-level-retries=1")
    sources = tmp_path / "sources"
    (sources / "a folder").mkdir(parents=True)
    (sources / "noise").write_bytes(os.urandom(SIZE))
    (sources / "a folder" / "größe & more.txt").write_text("a line\n")
    (sources / "a folder" / "empty").touch()
    app.gateway.client(*rclone, "copy", sources, ":webdav:there")
    app.gateway.client(*rclone, "moveto", ":webdav:there/noise", ":webdav:there/a folder/moved noise")
    app.gateway.client(*rclone, "copy", ":webdav:there", tmp_path / "back")
    back = tmp_path / "back"
    assert sorted(str(each.relative_to(back)) for each in back.rglob("*") if each.is_file()) == [
        "a folder/empty",
        "a folder/größe & more.txt",
        "a folder/moved noise",
    ]
    assert (back / "a folder" / "moved noise").read_bytes() == (sources / "noise").read_bytes()
    app.gateway.client(*rclone, "purge", ":webdav:there")
    assert app.gateway.client(*rclone, "lsf", ":webdav:") == ""

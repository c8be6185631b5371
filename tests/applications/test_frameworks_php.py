"""PHP's own server, started and told as docs/frameworks.md has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.applications.frameworks import UPLOAD, ask, framework, get, upload
from tests.applications.harness import MASKED, PLAIN, Application, Applications
from tests.support.components import require

SOURCE = r"""<?php
# proxy
$base = (empty($_SERVER['HTTPS']) ? 'http' : 'https') . "://$_SERVER[HTTP_HOST]/";
if (isset($_FILES['file'])) exit((string) $_FILES['file']['size']);
if ($_SERVER['REQUEST_URI'] === '/login') header("Location: $base");
echo $base;
"""


@contextmanager
def php(gateway: Applications, folder: Path, *, of: tuple[str, ...] = ("proxy", "origin")) -> Iterator[Application]:
    require("php-cli")
    row = framework("PHP")
    (folder / "index.php").write_text(row.told(SOURCE, gateway, of=of))
    with row.started(gateway, folder) as app:
        yield app


def test_php(elsewhere: Applications, tmp_path: Path) -> None:
    with php(elsewhere, tmp_path) as app:
        for sandbox in (PLAIN, MASKED):
            assert get(app, sandbox=sandbox).text == app.url(sandbox=sandbox)
            assert get(app, "/login", sandbox=sandbox).header("Location") == app.url(sandbox=sandbox)
        assert upload(app, "/", tmp_path).text == str(UPLOAD)


def test_php_that_is_told_nothing_takes_itself_for_http(elsewhere: Applications, tmp_path: Path) -> None:
    with php(elsewhere, tmp_path, of=()) as app:
        login = ask(app, "/login")
        assert login.header("Location") == app.url().replace("https:", "http:")
        assert "PHP: if (($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https')" in (
            login.header("X-Gateway-Hint") or ""
        )

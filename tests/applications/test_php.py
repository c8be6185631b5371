"""PHP's built-in server, one request at a time and no keep-alive: a form with a session, an upload, a download."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import MASKED, PLAIN, Application, Applications
from tests.interop.harness import curl
from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.process import poll

PAGE = r"""<?php
session_start();
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    if (isset($_FILES['file'])) { readfile($_FILES['file']['tmp_name']); exit; }
    $_SESSION['name'] = $_POST['name'];
    header("Location: http://$_SERVER[HTTP_HOST]/?done=1", true, 303);
    exit;
}
?><!doctype html><title>A form</title><p>Hello <?= htmlspecialchars($_SESSION['name'] ?? 'nobody') ?></p>
<form method="post" action="/"><input name="name"><button>Send</button></form>
"""


@pytest.fixture
def app(gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("php-cli")
    (tmp_path / "index.php").write_text(PAGE)
    (tmp_path / "sessions").mkdir()
    limits = ("-d", "upload_max_filesize=64M", "-d", "post_max_size=64M")
    command = ("php", *limits, "-d", f"session.save_path={tmp_path / 'sessions'}", "-S", "[::1]:{port}", "-t", tmp_path)
    with Application(gateway, *command, cwd=tmp_path) as running:
        yield running


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
def test_a_redirect_that_names_the_host_leads_to_the_public_one(app: Application, sandbox: str) -> None:
    """The app has put together what it was asked for, `localhost:<port>` where the Host is masked."""
    answer = curl(app.url(sandbox=sandbox), app.gateway.ca, "--data", "name=Ada")
    assert answer.status == 303
    # The scheme is the app's own: it could read X-Forwarded-Proto, and does not.
    scheme = {PLAIN: "http", MASKED: "https"}[sandbox]
    assert answer.header("Location") == f"{scheme}://{app.authority(sandbox)}/?done=1"


def test_a_form_in_a_browser(app: Application, browser: DevTools) -> None:
    """Under a mask: the public name itself would be led to by http, where the TLS port has no page."""
    browser.open(app.url(sandbox=MASKED))
    assert "Hello nobody" in browser.text
    browser.evaluate("document.forms[0].name.value = 'Ada'; document.forms[0].submit()")
    poll(lambda: "Hello Ada" in browser.text, "the page knows the name")
    assert browser.url == app.url("/?done=1", MASKED)


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
def test_an_upload_of_a_form(app: Application, tmp_path: Path, sandbox: str) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(20_000_000))
    answer = curl(app.url(sandbox=sandbox), app.gateway.ca, "--form", f"file=@{tmp_path / 'noise'}")
    assert answer.status == 200
    assert answer.body == (tmp_path / "noise").read_bytes()

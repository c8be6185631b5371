"""Python's web frameworks as docs/frameworks.md has them started and told: a page, an upload, a WebSocket, own URLs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.frameworks import UPLOAD, framework, get, upload
from tests.applications.harness import Application, Applications
from tests.support.components import require

FLASK = """
from flask import Flask, request, url_for

app = Flask(__name__)
# proxy
# origin

@app.get("/")
def page():
    return url_for("page", _external=True)

@app.post("/upload")
def upload():
    return str(len(request.files["file"].read()))
"""


@pytest.fixture
def flask(gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("flask")
    row = framework("Flask")
    (tmp_path / "app.py").write_text(row.told(FLASK, gateway))
    with row.started(gateway, tmp_path) as running:
        yield running


def test_flask(flask: Application, tmp_path: Path) -> None:
    assert get(flask).text == flask.url()
    assert upload(flask, "/upload", tmp_path).text == str(UPLOAD)

"""Python's web frameworks as docs/frameworks.md has them started and told: a page, an upload, a WebSocket, own URLs.

Streamlit, Gradio and Jupyter, which are driven in a browser, have files of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.applications.frameworks import UPLOAD, framework, get, hint, upload, websocket
from tests.applications.harness import Application, Applications
from tests.support.components import require

FLASK = """
from flask import Flask, redirect, request, url_for

app = Flask(__name__)
# proxy

@app.get("/")
def page():
    return url_for("page", _external=True)

@app.get("/away")
def away():
    return redirect(page())

@app.post("/upload")
def upload():
    return str(len(request.files["file"].read()))
"""

FASTAPI = """
from fastapi import FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import PlainTextResponse, RedirectResponse

app = FastAPI()

@app.get("/", response_class=PlainTextResponse)
def page(request: Request):
    return str(request.url)

@app.get("/away")
def away(request: Request):
    return RedirectResponse(request.url_for("page"))

@app.post("/upload", response_class=PlainTextResponse)
async def upload(file: UploadFile):
    return str(len(await file.read()))

@app.websocket("/ws")
async def echo(websocket: WebSocket):
    await websocket.accept()
    await websocket.send_text(f"{websocket.url} {await websocket.receive_text()}")
"""

DJANGO_SETTINGS = """
DEBUG = True
SECRET_KEY = "a"
ROOT_URLCONF = "urls"
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
ALLOWED_HOSTS = ["shop.example"]  # by itself, Django takes names below localhost and no others
# proxy
# origin
"""
DJANGO_URLS = """
from django.http import HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token
from django.urls import path

def page(request):
    get_token(request)
    return HttpResponse(request.build_absolute_uri())

def away(request):
    return HttpResponseRedirect(request.build_absolute_uri("/"))

def upload(request):
    return HttpResponse(str(request.FILES["file"].size))

urlpatterns = [path("", page), path("away", away), path("upload", upload)]
"""
DJANGO_MANAGE = """
import os, sys
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
execute_from_command_line(sys.argv)
"""
ALL = ("proxy", "origin")


@contextmanager
def flask(gateway: Applications, folder: Path, told: tuple[str, ...] = ALL) -> Iterator[Application]:
    require("flask")
    row = framework("Flask")
    (folder / "app.py").write_text(row.told(FLASK, gateway, of=told))
    with row.started(gateway, folder) as running:
        yield running


@contextmanager
def fastapi(gateway: Applications, folder: Path, *options: str) -> Iterator[Application]:
    require("fastapi", "uvicorn", "websockets", "python-multipart")
    (folder / "app.py").write_text(FASTAPI)
    with framework("FastAPI, uvicorn").started(gateway, folder, None, *options) as running:
        yield running


@contextmanager
def django(gateway: Applications, folder: Path, told: tuple[str, ...] = ALL) -> Iterator[Application]:
    require("django")
    row = framework("Django")
    (folder / "settings.py").write_text(row.told(DJANGO_SETTINGS, gateway, of=told))
    (folder / "urls.py").write_text(DJANGO_URLS)
    (folder / "manage.py").write_text(DJANGO_MANAGE)
    with row.started(gateway, folder, None, "--noreload") as running:
        yield running


def test_flask(gateway: Applications, tmp_path: Path) -> None:
    with flask(gateway, tmp_path) as app:
        assert get(app).text == app.url()
        assert get(app, "/away").header("Location") == app.url()
        assert upload(app, "/upload", tmp_path).text == str(UPLOAD)


def test_flask_without_its_line(gateway: Applications, tmp_path: Path) -> None:
    with flask(gateway, tmp_path, told=()) as app:
        assert_hinted(app, "/away", "Flask")


def test_fastapi(gateway: Applications, tmp_path: Path) -> None:
    with fastapi(gateway, tmp_path) as app:
        assert get(app).text == app.url()
        assert get(app, "/away").header("Location") == app.url()
        assert upload(app, "/upload", tmp_path).text == str(UPLOAD)
        with websocket(app, "/ws") as opened:
            opened.send("hello")
            assert opened.recv(30) == f"wss://{app.authority()}/ws hello"


def test_fastapi_without_its_line(gateway: Applications, tmp_path: Path) -> None:
    """On loopback uvicorn believes the proxy by itself; anywhere else it is as here."""
    with fastapi(gateway, tmp_path, "--no-proxy-headers") as app:
        assert hint(app, "/away").endswith(". uvicorn: --proxy-headers --forwarded-allow-ips='*'")
        with pytest.raises(InvalidStatus) as refused, websocket(app, "/none"):
            pass
        assert refused.value.response.status_code == 403
        said = refused.value.response.headers["X-Gateway-Hint"]
        assert said.startswith("the app refused the WebSocket, usually by its origin check. ")


def test_django(gateway: Applications, tmp_path: Path) -> None:
    with django(gateway, tmp_path) as app:
        page = get(app)
        assert page.text == app.url()
        token = (page.header("Set-Cookie") or "").partition(";")[0]
        fields = ("--header", f"Cookie: {token}", "--header", f"X-CSRFToken: {token.partition('=')[2]}")
        assert get(app, "/away").header("Location") == app.url()
        assert upload(app, "/upload", tmp_path, *fields).text == str(UPLOAD)


def test_django_without_its_lines(gateway: Applications, tmp_path: Path) -> None:
    with django(gateway, tmp_path, told=()) as app:
        said = hint(app, "/")
        assert said == f"the app refused its public name. Django: {only_line('Django', 'origin')} in settings.py"


def test_django_without_belief_in_the_proxy(gateway: Applications, tmp_path: Path) -> None:
    with django(gateway, tmp_path, told=("origin",)) as app:
        assert_hinted(app, "/away", "Django")
        origin = f"Origin: https://{app.authority()}"
        assert only_line("Django", "proxy") in hint(app, "/upload", "--header", origin, "--data", "a=1")


def assert_hinted(app: Application, path: str, name: str) -> None:
    """What it redirects to is another URL than its own, and the hint has the very line of the table."""
    said = hint(app, path)
    assert said.startswith(f"the app redirects to http://{app.authority()}, and not to {app.url().rstrip('/')}. ")
    assert f"{name}: {only_line(name, 'proxy')}" in said


def only_line(name: str, setting: str) -> str:
    """The last line of it, which is not an import, with quotes as a hint has them."""
    lines: tuple[str, ...] = getattr(framework(name), setting)
    return lines[-1].replace('"', "'")

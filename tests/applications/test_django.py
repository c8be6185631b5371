"""Django: a form guarded against forgery, sent by a browser, whose Origin is https where Django itself speaks http."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import Application, Applications, python_program
from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.process import poll

PROGRAM = """
import sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
from django.utils.html import escape

port, *options = sys.argv[1:]
settings.configure(
    DEBUG=True,
    ALLOWED_HOSTS=[".sandbox.localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a",
    CSRF_COOKIE_SECURE=True,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    SECURE_SSL_REDIRECT="told" in options,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https") if "told" in options else None,
)

def page(request):
    if request.method == "POST":
        request.session["name"] = request.POST["name"]
        return redirect(request.build_absolute_uri("/?done=1"))
    name = escape(request.session.get("name", "nobody"))
    token = f'<input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
    form = f'<form method="post">{token}<input name="name"><button>Send</button></form>'
    return HttpResponse(f"<title>A form</title><p>Hello {name}</p>{form}")

urlpatterns = [path("", page)]
execute_from_command_line(["manage.py", "runserver", f"[::1]:{port}", "--noreload"])
"""
SEND = "document.forms[0].name.value = arguments[0]; document.forms[0].querySelector('button').click()"


@pytest.fixture
def options() -> list[str]:
    return ["told"]


@pytest.fixture
def app(gateway: Applications, tmp_path: Path, options: list[str]) -> Iterator[Application]:
    require("django")
    with python_program(gateway, PROGRAM, tmp_path, *options) as running:
        yield running


def test_a_form_with_its_token(app: Application, browser: DevTools) -> None:
    browser.open(app.url())
    assert "Hello nobody" in browser.text
    browser.evaluate(SEND, "Ada")
    poll(lambda: "Hello Ada" in browser.text, "the page knows the name")
    assert browser.url == app.url("/?done=1")


@pytest.mark.parametrize("options", [[]])
def test_untold_of_tls_it_refuses_the_form_and_the_hint_says_why(app: Application, browser: DevTools) -> None:
    browser.open(app.url())
    browser.evaluate(SEND, "Ada")
    poll(lambda: "Origin checking failed" in browser.text, "Django refuses")
    script = "return fetch('/', {method: 'POST'}).then((answer) => answer.headers.get('x-gateway-hint'))"
    assert browser.evaluate(script).startswith(
        "the app refused the Origin of the page that asked. Django: SECURE_PROXY_SSL_HEADER = "
    )

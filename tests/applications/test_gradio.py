"""Gradio in a browser and by its Python client: a call queues, its steps arrive as events, an upload comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.frameworks import framework
from tests.applications.harness import (
    MASKED,
    PLAIN,
    PYTHON,
    START_TIMEOUT,
    Application,
    Applications,
    all_applications,
)
from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.process import poll

pytestmark = all_applications

PROGRAM = """
import time
import gradio

def greet(name):
    for step in range(3):
        time.sleep(0.1)
        yield f"step {step}"
    yield f"Hello, {name}"

def measure(file):
    return len(open(file, "rb").read())

with gradio.Blocks() as app:
    name, said, button = gradio.Textbox(label="name"), gradio.Textbox(label="said"), gradio.Button("Greet")
    button.click(greet, name, said, api_name="greet")
    file, size = gradio.File(), gradio.Number()
    file.upload(measure, file, size, api_name="measure")
demo = app.queue()
# listen
"""

CLIENT = """
import json, sys
from gradio_client import Client, handle_file

url, path = sys.argv[1:]
client = Client(url, verbose=False)
job = client.submit("Ada", api_name="/greet")
last = job.result(timeout=60)
print(json.dumps([last, job.outputs(), client.predict(handle_file(path), api_name="/measure")]))
"""
TYPE = """
const area = document.querySelector("textarea");
area.value = arguments[0];
area.dispatchEvent(new Event("input", {bubbles: true}));
"""
CLICK = "[...document.querySelectorAll('button')].find((each) => each.innerText === 'Greet').click()"
SAID = "return [...document.querySelectorAll('textarea')].map((each) => each.value)"


@pytest.fixture
def app(gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("gradio")
    environment = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(tmp_path / "temporary")}
    row = framework("Gradio")
    (tmp_path / "app.py").write_text(row.told(PROGRAM, gateway))
    with row.started(gateway, tmp_path, environment) as running:
        yield running


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
def test_a_call_in_a_browser(app: Application, browser: DevTools, sandbox: str) -> None:
    browser.open(app.url(sandbox=sandbox))
    poll(lambda: len(browser.evaluate(SAID)) == 2, "the page is drawn", START_TIMEOUT)
    browser.evaluate(TYPE, "Ada")
    browser.evaluate(CLICK)
    poll(lambda: browser.evaluate(SAID)[1] == "Hello, Ada", "the answer", START_TIMEOUT)


def test_a_call_by_its_client(app: Application, tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    (tmp_path / "noise").write_bytes(bytes(3_000_000))
    said = app.gateway.client(PYTHON, tmp_path / "client.py", app.url(), tmp_path / "noise")
    steps = ["step 0", "step 1", "step 2", "Hello, Ada"]
    assert json.loads(said.splitlines()[-1]) == ["Hello, Ada", steps, 3_000_000]

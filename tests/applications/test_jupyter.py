"""JupyterLab in a browser: a notebook opens, a cell runs, its output arrives, under the public name and a mask."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.applications.frameworks import UPLOAD, framework, websocket
from tests.applications.harness import MASKED, PLAIN, START_TIMEOUT, Application, Applications, all_applications
from tests.interop.harness import curl
from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.process import poll

pytestmark = all_applications

RUN = "document.querySelector('[data-command=\"notebook:run-cell-and-select-next\"]')"
OUTPUT = "return [...document.querySelectorAll('.jp-OutputArea-output')].map((each) => each.innerText).join('')"
SOURCE = "import time\nfor number in range(3):\n    print('line', number, flush=True)\n    time.sleep(0.1)\n6 * 7"


@pytest.fixture
def options() -> list[str]:
    return []


@pytest.fixture
def app(gateway: Applications, tmp_path: Path, options: list[str]) -> Iterator[Application]:
    require("jupyterlab", "ipykernel")
    cell = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": SOURCE}
    kernel = {"display_name": "Python", "language": "python", "name": "python3"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "sums.ipynb").write_text(json.dumps(notebook))
    arguments = ["--allow-root", "--no-browser", "--IdentityProvider.token=open"]
    arguments += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", *options]
    with framework("Jupyter").started(gateway, tmp_path, {"JUPYTER_PLATFORM_DIRS": "1"}, *arguments) as running:
        yield running


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
def test_a_cell_runs(app: Application, browser: DevTools, sandbox: str) -> None:
    browser.open(app.url("/lab/tree/sums.ipynb?token=open", sandbox))
    poll(lambda: browser.evaluate(f"return {RUN} !== null"), "the notebook is open", START_TIMEOUT)
    ready = "return document.body.innerText.includes('| Idle')"
    poll(lambda: browser.evaluate(ready), "the kernel is idle", START_TIMEOUT)
    browser.click(RUN)
    poll(lambda: "42" in browser.evaluate(OUTPUT), "the cell's value", START_TIMEOUT)
    assert browser.evaluate(OUTPUT).split() == ["line", "0", "line", "1", "line", "2", "42"]


@pytest.mark.parametrize("options", [["--ServerApp.allow_remote_access=False"]])
def test_for_this_machine_only_it_refuses_the_public_name_with_a_hint(app: Application) -> None:
    answer = curl(app.url("/lab"), app.gateway.ca)
    assert answer.status == 403
    assert "allow_remote_access" in (answer.header("X-Gateway-Hint") or "")


def test_a_file_is_uploaded_and_a_page_of_another_name_refused(app: Application) -> None:
    """As JupyterLab does it: base64 in JSON. A kernel's WebSocket is for pages of the same name only."""
    headers = ("--header", "Authorization: token open")
    content = base64.b64encode(bytes(UPLOAD)).decode()
    model = json.dumps({"type": "file", "format": "base64", "content": content})
    stored = curl(
        app.url("/api/contents/noise.bin"),
        app.gateway.ca,
        *headers,
        *("--request", "PUT", "--header", "Content-Type: application/json", "--data-binary", "@-"),
        stdin=model.encode(),
    )
    assert (stored.status, json.loads(stored.text)["size"]) == (201, UPLOAD)
    kernel = json.loads(curl(app.url("/api/kernels"), app.gateway.ca, *headers, "--request", "POST").text)["id"]
    channels = f"/api/kernels/{kernel}/channels"
    page = curl(app.url("/lab?token=open"), app.gateway.ca)
    cookies = [value.partition(";")[0] for name, value in page.headers if name.lower() == "set-cookie"]
    login = {"additional_headers": {"Cookie": "; ".join(cookies)}}
    with websocket(app, channels, **login) as opened:
        assert json.loads(opened.recv(60))["header"]["msg_type"] == "status"
    with pytest.raises(InvalidStatus) as refused, websocket(app, channels, "https://elsewhere.example", **login):
        pass
    assert refused.value.response.status_code == 403
    assert "c.ServerApp.allow_origin = " in refused.value.response.headers["X-Gateway-Hint"]

"""Streamlit in a browser: the page comes over a WebSocket, a button runs the script again, a file is uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.applications.frameworks import framework, websocket
from tests.applications.harness import MASKED, PLAIN, START_TIMEOUT, Application, Applications, all_applications
from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.process import poll

pytestmark = all_applications

SCRIPT = """
import streamlit

streamlit.write("Hello from Streamlit")
if streamlit.button("Count"):
    streamlit.session_state["count"] = streamlit.session_state.get("count", 0) + 1
streamlit.write(f"counted {streamlit.session_state.get('count', 0)}")
file = streamlit.file_uploader("A file")
if file is not None:
    streamlit.write(f"got {file.name} of {len(file.getvalue())}")
"""
UPLOAD = """
const files = new DataTransfer();
files.items.add(new File([new Uint8Array(5000000)], "noise.bin"));
const input = document.querySelector("input[type=file]");
input.files = files.files;
input.dispatchEvent(new Event("change", {bubbles: true}));
"""


@pytest.fixture
def app(gateway: Applications, tmp_path: Path) -> Iterator[Application]:
    require("streamlit")
    (tmp_path / "app.py").write_text(SCRIPT)
    options = ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    with framework("Streamlit").started(gateway, tmp_path, None, *options) as running:
        yield running


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
def test_the_script_runs_again_on_a_click(app: Application, browser: DevTools, sandbox: str) -> None:
    def shows(text: str) -> None:
        poll(lambda: text in browser.text, f"the page shows {text!r}", START_TIMEOUT)

    browser.open(app.url(sandbox=sandbox))
    shows("counted 0")
    for count in (1, 2):
        browser.evaluate("document.querySelector('[data-testid=stButton] button').click()")
        shows(f"counted {count}")
    browser.evaluate(UPLOAD)
    shows("got noise.bin of 5000000")


def test_a_page_of_another_name_is_refused_and_the_hint_says_why(app: Application) -> None:
    with pytest.raises(InvalidStatus) as refused, websocket(app, "/_stcore/stream", "https://elsewhere.example"):
        pass
    assert refused.value.response.status_code == 403
    assert "usually by its origin check" in refused.value.response.headers["X-Gateway-Hint"]

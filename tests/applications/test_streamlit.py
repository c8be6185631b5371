"""Streamlit in a browser: the page comes over a WebSocket, a button runs the script again, a file is uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import MASKED, PLAIN, PYTHON, START_TIMEOUT, Application, Applications, all_applications
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
    arguments = ["--server.address=::1", "--server.port={port}", "--server.headless=true"]
    arguments += ["--browser.gatherUsageStats=false", "--server.fileWatcherType=none"]
    command = (PYTHON, "-m", "streamlit", "run", tmp_path / "app.py", *arguments)
    with Application(gateway, *command, cwd=tmp_path, env={"HOME": str(tmp_path)}) as running:
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

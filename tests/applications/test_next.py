"""Next.js' dev server in a browser: a page is hydrated, a server action answers, an edit arrives without a reload."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications.harness import (
    INSTALLED,
    MASKED,
    NODE_MODULES,
    PLAIN,
    START_TIMEOUT,
    Application,
    Applications,
    all_applications,
)
from tests.support.components import require
from tests.support.devtools import DevTools
from tests.support.process import poll

pytestmark = all_applications

LAYOUT = "export default ({children}) => <html><body>{children}</body></html>;\n"
PAGE = """
"use client";
import {useState} from "react";
import {shout} from "./actions";

export default function Page() {
  const [said, say] = useState("nothing");
  return <><p>Hello from Next</p><button onClick={async () => say(await shout("hello"))}>Shout</button><b>{said}</b></>;
}
"""
CONFIG = 'export default {turbopack: {root: new URL("..", import.meta.url).pathname}};\n'
ACTIONS = '"use server";\nexport async function shout(word) { return word.toUpperCase(); }\n'


@pytest.fixture(scope="module")
def sources() -> Iterator[Path]:
    """Below what is installed: Turbopack looks at nothing outside of one root, and follows no link out of it."""
    require("node", "next", "react", "react-dom")
    folder = Path(tempfile.mkdtemp(prefix="next-", dir=INSTALLED))
    (folder / "app").mkdir()
    files = {"app/layout.jsx": LAYOUT, "app/page.jsx": PAGE, "app/actions.js": ACTIONS}
    for name, source in (files | {"package.json": "{}", "next.config.mjs": CONFIG}).items():
        (folder / name).write_text(source)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def app(gateway: Applications, sources: Path) -> Iterator[Application]:
    command = ("node", NODE_MODULES / "next" / "dist" / "bin" / "next", "dev", "-H", "::1", "-p", "{port}")
    environment = {"NEXT_TELEMETRY_DISABLED": "1"}
    with Application(gateway, *command, cwd=sources, env=environment) as running:
        yield running


@pytest.mark.parametrize("sandbox", [PLAIN, MASKED])
def test_a_page_an_action_and_an_edit(app: Application, browser: DevTools, sources: Path, sandbox: str) -> None:
    def shows(text: str) -> None:
        poll(lambda: text in browser.text, f"the page shows {text!r}", START_TIMEOUT)

    page = sources / "app" / "page.jsx"
    page.write_text(PAGE)
    # Compiled when it is first asked for, which may take longer than a browser is told to wait.
    app.gateway.client("curl", "--silent", "--fail", "--output", "/dev/null", app.url(sandbox=sandbox))
    browser.open(app.url(sandbox=sandbox))
    shows("Hello from Next")

    def answers() -> bool:
        """Clicks that come before React has taken the page over are lost."""
        browser.evaluate("document.querySelector('button').click()")
        return "HELLO" in browser.text

    poll(answers, "the action's answer", START_TIMEOUT)
    browser.evaluate("window.marker = 'still the same page'")
    page.write_text(PAGE.replace("Hello from", "Edited, hello from"))
    shows("Edited, hello from Next")
    assert browser.evaluate("return window.marker") == "still the same page"

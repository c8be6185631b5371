"""A real Vite app of three hundred modules over HTTP/2: it loads, faster than over HTTP/1.1, and edits arrive live."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import COMPONENTS, AppProcess, Component, GatewayProcess, require
from tests.support.browser import Browser, trust
from tests.support.long_cable import LongCable
from tests.support.process import ROOT

pytestmark = [pytest.mark.interop, pytest.mark.slow]

VITE = ROOT / "examples" / "vite"
PROGRAM = VITE / "node_modules" / "vite" / "bin" / "vite.js"
COMPONENTS["vite"] = Component(PROGRAM.is_file, "bash tests/setup.sh")
MODULES = 300
ROUND_TRIP = 0.050
"""To a gateway on the same continent. With none at all, Vite and the browser take as long as before."""

PAGE = """<!doctype html><title>modules</title><p id="sum"></p>
<script>performance.setResourceTimingBufferSize(1000)</script><script type="module" src="/src/main.js"></script>
"""
MODULE = "export const value = {number};\nif (import.meta.hot) import.meta.hot.accept();\n"
MAIN = """
{imports}
const sum = [{names}].reduce((sum, value) => sum + value, 0);
document.getElementById("sum").textContent = `the sum is ${{sum}}`;
import {{ word }} from "./word.js";
document.title = word;
if (import.meta.hot) import.meta.hot.accept("./word.js", (module) => {{ document.title = module.word; }});
"""

# Resolves to how long it took until all modules had run, their number, and by what protocol they came.
LOADED = """
const [text] = arguments;
return new Promise((resolve) => {
  const look = () => {
    const [page] = performance.getEntriesByType("navigation");
    if (document.getElementById("sum")?.textContent !== text || !page.loadEventEnd) return setTimeout(look, 20);
    const modules = performance.getEntriesByType("resource").filter((entry) => /\\/src\\/m\\d+\\.js/.test(entry.name));
    const protocols = [...new Set([page, ...modules].map((entry) => entry.nextHopProtocol))];
    resolve({took: page.loadEventEnd, count: modules.length, protocols});
  };
  look();
});
"""

# Resolves once the page's title is `text`, to what the marker is by then: a reload would have taken it.
TITLE = """
const [text] = arguments;
return new Promise((resolve) => {
  const look = () => document.title === text ? resolve(window.marker ?? null) : setTimeout(look, 20);
  look();
});
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """Vite, its sources, a gateway, and the directory where browsers have their homes."""

    vite: AppProcess
    sources: Path
    gateway: GatewayProcess
    homes: Path

    def browser(self, name: str, *arguments: str) -> Browser:
        trust(self.homes / name, self.gateway.ca)
        return Browser(self.homes / name, *arguments)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    require("node", "vite", "chromium", "chromedriver", "certutil")
    directory = tmp_path_factory.mktemp("modules")
    sources = directory / "app"
    (sources / "src").mkdir(parents=True)
    for name in ("package.json", "vite.config.js"):
        shutil.copy(VITE / name, sources)
    (sources / "node_modules").symlink_to(VITE / "node_modules")
    (sources / "index.html").write_text(PAGE)
    (sources / "src" / "word.js").write_text('export const word = "first";\n')
    for number in range(MODULES):
        (sources / "src" / f"m{number}.js").write_text(MODULE.format(number=number))
    imports = "\n".join(f'import {{ value as v{number} }} from "./m{number}.js";' for number in range(MODULES))
    names = ", ".join(f"v{number}" for number in range(MODULES))
    (sources / "src" / "main.js").write_text(MAIN.format(imports=imports, names=names))
    with (
        AppProcess(["node", str(PROGRAM), str(sources), "--clearScreen=false"]) as vite,
        GatewayProcess(vite.port, directory=directory) as gateway,
    ):
        yield Stage(vite, sources, gateway, directory)


def load(browser: Browser, url: str) -> dict[str, Any]:
    browser.open(url)
    seen: dict[str, Any] = browser.evaluate(LOADED, f"the sum is {sum(range(MODULES))}")
    return seen


def test_modules_load_faster_than_over_http1_and_edits_arrive(stage: Stage, record_property: Any) -> None:
    took = {}
    with LongCable(stage.gateway.tls_port, ROUND_TRIP / 2) as cable:
        url = f"https://{stage.gateway.host(stage.vite.port)}:{cable.port}/"
        with stage.browser("warm") as browser:
            load(browser, url)  # Vite transforms each module once, and remembers
        with stage.browser("http1", "--disable-http2") as browser:
            seen = load(browser, url)
            assert (seen["count"], seen["protocols"]) == (MODULES, ["http/1.1"])
            took["http/1.1"] = seen["took"]
        before = cable.connections
        with stage.browser("http2") as browser:
            seen = load(browser, url)
            assert (seen["count"], seen["protocols"]) == (MODULES, ["h2"])
            took["h2"] = seen["took"]
            browser.evaluate("window.marker = 'still the same page'")
            (stage.sources / "src" / "word.js").write_text('export const word = "second";\n')
            assert browser.evaluate(TITLE, "second") == "still the same page"
            # A WebSocket over HTTP/1.1 is a connection of its own; one more is what the browser keeps ready.
            assert cable.connections - before <= 2
    for protocol, milliseconds in took.items():
        print(f"{MODULES} modules over {protocol}: {milliseconds:.0f} ms")
        record_property(f"milliseconds over {protocol}", round(milliseconds))
    assert took["h2"] < took["http/1.1"]

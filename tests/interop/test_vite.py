"""A real Vite dev server behind a real gateway: its refusal is explained, under a mask it works, edits arrive live.

The domain here is not below .localhost, which Vite lets pass: it is one like a platform's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.interop.harness import COMPONENTS, Answer, AppProcess, Component, GatewayProcess, curl, require
from tests.support import browser as support
from tests.support.browser import Browser, trust
from tests.support.process import ROOT, poll

pytestmark = [pytest.mark.interop, pytest.mark.slow]

DOMAIN = "sandbox.test"
VITE = ROOT / "examples" / "vite"
PROGRAM = VITE / "node_modules" / "vite" / "bin" / "vite.js"
COMPONENTS["vite"] = Component(PROGRAM.is_file, "bash tests/setup.sh")
HINT = (
    f"the app refused its public name. Vite: server.allowedHosts: ['.{DOMAIN}'] in vite.config, "
    'or upstream.host = "localhost:{port}" in the gateway'
)

# What a plugin of the copy answers: the fields that Vite was asked with, and how many pages listen for edits.
ECHO = """
import { defineConfig, mergeConfig } from "vite";
import config from "./vite.config.js";

const echo = {
  name: "echo",
  configureServer(server) {
    server.middlewares.use("/asked", (request, response) => {
      response.setHeader("Content-Type", "text/plain");
      response.end(`${request.headers.host}\\n${request.headers["x-forwarded-host"]}\\n`);
    });
    server.middlewares.use("/listeners", (request, response) => {
      response.end(String(server.ws.clients.size));
    });
  },
};

export default mergeConfig(config, defineConfig({ plugins: [echo] }));
"""

# Resolves to what stands on the page once that is `text`, and to what the marker is by then: a reload would take it.
SHOWS = """
const [text] = arguments;
const greeting = document.getElementById("greeting");
return new Promise((resolve) => {
  const look = () => greeting.textContent === text && resolve([greeting.textContent, window.marker ?? null]);
  new MutationObserver(look).observe(greeting, {childList: true, characterData: true, subtree: true});
  look();
});
"""


class ViteGateway(GatewayProcess):
    """`gateway dev` for one port under `DOMAIN`; `mask` is upstream.host."""

    def __init__(self, port: int, mask: str, *, directory: Path) -> None:
        super().__init__(port, directory=directory)
        self.port = port
        config = directory / "gateway.toml"
        config.write_text(f"[upstream]\nhost = '{mask}'\n")
        self.command += ["--domain", DOMAIN, "--config", str(config)]

    def host(self, port: int, id: str = "local") -> str:
        return f"{port}-{id}.{DOMAIN}"

    def get(self, path: str, *arguments: str) -> Answer:
        name = f"{self.host(self.port)}:{self.tls_port}"
        return curl(self.url(self.port, path=path), self.ca, "--connect-to", f"{name}:localhost:", *arguments)


@dataclass(frozen=True, slots=True)
class App:
    """A Vite process and the copy of the example that it serves."""

    process: AppProcess
    sources: Path


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    require("node", "vite")
    sources = tmp_path_factory.mktemp("vite") / "app"
    shutil.copytree(VITE, sources, ignore=shutil.ignore_patterns("node_modules"))
    (sources / "node_modules").symlink_to(VITE / "node_modules")
    (sources / "echo.config.js").write_text(ECHO)
    command = ["node", str(PROGRAM), str(sources), "--config", str(sources / "echo.config.js"), "--clearScreen=false"]
    with AppProcess(command) as process:
        yield App(process, sources)


@pytest.fixture(scope="module")
def preserving(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViteGateway]:
    with ViteGateway(app.process.port, "preserve", directory=tmp_path_factory.mktemp("preserving")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def masking(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ViteGateway]:
    with ViteGateway(app.process.port, "localhost:{port}", directory=tmp_path_factory.mktemp("masking")) as gateway:
        yield gateway


def test_the_refusal_is_vites_own_and_names_the_fix(preserving: ViteGateway) -> None:
    for path in ("/", "/src/main.js", "/"):
        answer = preserving.get(path)
        assert answer.status == 403
        assert answer.text.startswith(
            f'Blocked request. This host ("{preserving.host(preserving.port)}") is not allowed'
        )
        assert answer.header("X-Gateway-Error") is None
        assert answer.header("X-Gateway-Hint") == HINT
    did, _, line = HINT.partition(". ")
    said = f"{preserving.host(preserving.port)}:{preserving.tls_port}: {did}\n            {line}\n"
    assert preserving.log.count(said) == 1, "one line a minute"


def test_under_a_mask_the_page_is_served(masking: ViteGateway) -> None:
    answer = masking.get("/", "--header", "Accept: text/html")
    assert (answer.status, answer.header("X-Gateway-Hint")) == (200, None)
    assert '<script type="module" src="/src/main.js">' in answer.text


def test_the_mask_hides_the_public_name_in_host_only(masking: ViteGateway) -> None:
    host, forwarded = masking.get("/asked").text.splitlines()
    assert host == f"localhost:{masking.port}"
    assert forwarded == f"{masking.host(masking.port)}:{masking.tls_port}"


def test_an_edit_arrives_without_a_reload(app: App, masking: ViteGateway, tmp_path: Path) -> None:
    require("chromium", "chromedriver", "certutil")
    greeting = app.sources / "src" / "greeting.js"
    before = greeting.read_text()
    trust(tmp_path / "home", masking.ca)
    with pytest.MonkeyPatch.context() as patch:
        # No name server knows the domain; the browser is told.
        patch.setattr(support, "ARGUMENTS", (*support.ARGUMENTS, f"--host-resolver-rules=MAP *.{DOMAIN} localhost"))
        with Browser(tmp_path / "home") as browser:
            browser.open(masking.url(masking.port))
            assert browser.evaluate(SHOWS, "Hello from Vite") == ["Hello from Vite", None]
            browser.evaluate("window.marker = 'still the same page'")
            poll(lambda: masking.get("/listeners").text == "1", "the page's WebSocket is connected")
            try:
                greeting.write_text(before.replace("Hello", "Edited, hello"))
                assert browser.evaluate(SHOWS, "Edited, hello from Vite") == [
                    "Edited, hello from Vite",
                    "still the same page",
                ]
            finally:
                greeting.write_text(before)

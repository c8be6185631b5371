"""Node's web frameworks as docs/frameworks.md has them started and told, and what befalls those that are told nothing.

The gateway's domain is no name below .localhost here: development servers let everybody in who comes by such a one.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.applications.frameworks import UPLOAD, Framework, ask, framework, get, upload, websocket
from tests.applications.harness import (
    INSTALLED,
    MASKED,
    NODE_MODULES,
    PLAIN,
    Application,
    Applications,
    all_applications,
)
from tests.interop.harness import Component
from tests.support.components import COMPONENTS, require
from tests.support.process import ROOT

VITE_MODULES = ROOT / "examples" / "vite" / "node_modules"
COMPONENTS["vite"] = Component((VITE_MODULES / "vite").is_dir, "bash tests/setup.sh")

ALL = ("proxy", "origin")
NEIGHBOUR = re.compile(r"https://[^\"]+")
"""The page of another port, in a row's settings."""


@contextmanager
def running(
    row: Framework, gateway: Applications, folder: Path, modules: Path = NODE_MODULES, **sources: str
) -> Iterator[Application]:
    """`row`'s command among files of these names, with its modules beside them."""
    (folder / "node_modules").symlink_to(modules)
    for name, source in sources.items():
        (folder / name.replace("_", ".")).write_text(source)
    with row.started(gateway, folder) as app:
        yield app


# --- Express ----------------------------------------------------------------------------------------------------------

EXPRESS = """
const express = require("express");
const multer = require("multer");
const session = require("express-session");

const app = express();
// proxy
app.use(session({secret: "s", resave: false, saveUninitialized: true, cookie: {secure: true}}));
app.get("/", (request, response) => response.send(`${request.protocol}://${request.host}/`));
app.get("/login", (request, response) => response.redirect(`${request.protocol}://${request.host}/`));
app.post("/upload", multer().single("file"), (request, response) => response.send(String(request.file.size)));
app.listen(process.env.PORT);
"""


@contextmanager
def express(gateway: Applications, folder: Path, *, of: tuple[str, ...] = ALL) -> Iterator[Application]:
    require("node", "express", "express-session", "multer")
    row = framework("Express")
    with running(row, gateway, folder, server_js=row.told(EXPRESS, gateway, of=of)) as app:
        yield app


def test_express(elsewhere: Applications, tmp_path: Path) -> None:
    with express(elsewhere, tmp_path) as app:
        for sandbox in (PLAIN, MASKED):
            page = get(app, sandbox=sandbox)
            assert page.text == app.url(sandbox=sandbox)
            assert "; Secure" in (page.header("Set-Cookie") or "")
            assert get(app, "/login", sandbox=sandbox).header("Location") == app.url(sandbox=sandbox)
        assert upload(app, "/upload", tmp_path).text == str(UPLOAD)


def test_express_that_is_told_nothing_takes_itself_for_http(elsewhere: Applications, tmp_path: Path) -> None:
    with express(elsewhere, tmp_path, of=()) as app:
        page = get(app)
        assert page.text == app.url().replace("https:", "http:")
        assert page.header("Set-Cookie") is None, "a session whose cookie is for https"
        login = ask(app, "/login")
        assert login.header("Location") == app.url().replace("https:", "http:")
        assert "Express: app.set('trust proxy', true)" in (login.header("X-Gateway-Hint") or "")


# --- Socket.IO --------------------------------------------------------------------------------------------------------

SOCKETIO = """
const {createServer} = require("node:http");
const {Server} = require("socket.io");

const http = createServer((request, response) => response.end("a page"));
const io = new Server(http, {
  // origin
  maxHttpBufferSize: 1e8,
});
io.on("connection", (socket) => socket.on("file", (file, acknowledge) => acknowledge(file.length)));
http.listen(process.env.PORT);
"""
POLL = "/socket.io/?EIO=4&transport=polling"


@contextmanager
def socketio(gateway: Applications, folder: Path, *, of: tuple[str, ...] = ALL) -> Iterator[Application]:
    require("node", "socket.io")
    row = framework("Socket.IO")
    with running(row, gateway, folder, server_js=row.told(SOCKETIO, gateway, of=of)) as app:
        yield app


def neighbour(gateway: Applications) -> str:
    """The origin of the page that the row lets in."""
    found = NEIGHBOUR.search(framework("Socket.IO").told("// origin", gateway, of=("origin",)))
    assert found is not None
    return found[0]


def test_socketio(elsewhere: Applications, tmp_path: Path) -> None:
    with socketio(elsewhere, tmp_path) as app:
        assert get(app).text == "a page"
        page = neighbour(elsewhere)
        polled = get(app, POLL, "--header", f"Origin: {page}")
        assert polled.header("Access-Control-Allow-Origin") == page
        for origin in (None, page):
            with websocket(app, "/socket.io/?EIO=4&transport=websocket", origin) as socket:
                assert str(socket.recv(60)).startswith('0{"sid":')
                socket.send("40")
                assert str(socket.recv(60)).startswith('40{"sid":')
                socket.send('451-07["file",{"_placeholder":true,"num":0}]')
                socket.send(bytes(UPLOAD))
                assert socket.recv(60) == f"437[{UPLOAD}]"


def test_socketio_that_is_told_nothing_answers_no_page_of_another_port(elsewhere: Applications, tmp_path: Path) -> None:
    with socketio(elsewhere, tmp_path, of=()) as app:
        polled = get(app, POLL, "--header", f"Origin: {neighbour(elsewhere)}")
        assert (polled.status, polled.header("Access-Control-Allow-Origin")) == (200, None)


# --- Vite -------------------------------------------------------------------------------------------------------------

VITE = """
const upload = (request, response) => {
  let octets = 0;
  request.on("data", (part) => (octets += part.length));
  request.on("end", () => response.end(String(octets)));
};

export default {
  // origin
  plugins: [{name: "upload", configureServer: (server) => void server.middlewares.use("/upload", upload)}],
};
"""
PAGE = '<!doctype html><title>Vite</title><script type="module" src="/main.js"></script>'
TOKEN = re.compile(r'wsToken = "([^"]+)"')


@contextmanager
def vite(gateway: Applications, folder: Path, *, of: tuple[str, ...] = ALL) -> Iterator[Application]:
    require("node", "vite")
    row = framework("Vite")
    sources = {"vite_config_mjs": row.told(VITE, gateway, of=of), "index_html": PAGE, "main_js": "export {};"}
    with running(row, gateway, folder, VITE_MODULES, **sources) as app:
        yield app


def test_vite(elsewhere: Applications, tmp_path: Path) -> None:
    with vite(elsewhere, tmp_path) as app:
        assert 'src="/main.js"' in get(app).text
        assert int(upload(app, "/upload", tmp_path).text) > UPLOAD
        token = TOKEN.search(get(app, "/@vite/client").text)
        assert token is not None
        with websocket(app, f"/?token={token[1]}", subprotocols=["vite-hmr"]) as edits:
            assert json.loads(edits.recv(60)) == {"type": "connected"}


def test_vite_that_is_told_nothing_refuses_the_name(elsewhere: Applications, tmp_path: Path) -> None:
    with vite(elsewhere, tmp_path, of=()) as app:
        page = ask(app)
        assert page.status == 403
        assert "allowedHosts: ['.sandbox.test']" in (page.header("X-Gateway-Hint") or "")
        with pytest.raises(InvalidStatus), websocket(app, "/", subprotocols=["vite-hmr"]):
            pass


# --- Next -------------------------------------------------------------------------------------------------------------

NEXT = {
    "package.json": "{}",
    "app/layout.jsx": "export default ({children}) => <html><body>{children}</body></html>;",
    "app/page.jsx": "export default () => <p>Hello from Next</p>;",
    "app/upload/route.js": """
export async function POST(request) {
  const form = await request.formData();
  return new Response(String(form.get("file").size));
}
""",
    "app/login/route.js": """
import {NextResponse} from "next/server";

export function GET(request) {
  let base = request.url;
  // proxy
  return NextResponse.redirect(new URL("/", base));
}
""",
    "next.config.mjs": """
export default {
  // origin
  turbopack: {root: new URL("..", import.meta.url).pathname},
};
""",
}
EDITS = "/_next/hmr?id=1"
SCRIPT = "/_next/static/chunks/nothing.js"


@contextmanager
def next_js(gateway: Applications, *, of: tuple[str, ...] = ALL) -> Iterator[Application]:
    """Below what is installed: Turbopack looks at nothing outside of one root, and follows no link out of it."""
    require("node", "next", "react", "react-dom")
    row = framework("Next")
    folder = Path(tempfile.mkdtemp(prefix="next-", dir=INSTALLED))
    try:
        for name, source in NEXT.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            places = [place for place in of if f"// {place}" in source]
            path.write_text(row.told(source, gateway, of=tuple(places)))
        with row.started(gateway, folder, {"NEXT_TELEMETRY_DISABLED": "1"}) as app:
            yield app
    finally:
        shutil.rmtree(folder)


@all_applications
def test_next(elsewhere: Applications, tmp_path: Path) -> None:
    with next_js(elsewhere) as app:
        for sandbox in (PLAIN, MASKED):
            assert "Hello from Next" in get(app, sandbox=sandbox).text
            assert get(app, "/login", sandbox=sandbox).header("Location") == app.url(sandbox=sandbox)
        assert upload(app, "/upload", tmp_path).text == str(UPLOAD)
        assert get(app, SCRIPT, "--header", f"Origin: https://{app.authority()}").status == 404
        with websocket(app, EDITS) as edits:
            assert edits.recv(60)


@all_applications
def test_next_that_is_told_nothing_leads_astray_and_reloads_nothing(elsewhere: Applications) -> None:
    with next_js(elsewhere, of=()) as app:
        login = ask(app, "/login")
        assert (login.header("Location") or "").startswith("https://localhost:")
        assert "which is the visitor's own machine" in (login.header("X-Gateway-Hint") or "")
        script = ask(app, SCRIPT, "--header", f"Origin: https://{app.authority()}")
        assert script.status == 403
        assert "allowedDevOrigins: ['*.sandbox.test']" in (script.header("X-Gateway-Hint") or "")
        # It answers with one word and no head, which the gateway knows.
        with pytest.raises(InvalidStatus, match="502") as refused, websocket(app, EDITS):
            pass
        assert b"Next.js" in refused.value.response.body

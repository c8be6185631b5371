"""Go's net/http with gorilla's handlers and WebSocket, Debian's, started and told as docs/frameworks.md has it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.applications.frameworks import UPLOAD, ask, framework, get, upload, websocket
from tests.applications.harness import MASKED, PLAIN, Application, Applications
from tests.support.components import require

SOURCE = """
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/gorilla/handlers"
	"github.com/gorilla/websocket"
)

var (
	_        = handlers.ProxyHeaders
	upgrader websocket.Upgrader
)

func base(r *http.Request) string {
	scheme := r.URL.Scheme
	if scheme == "" {
		scheme = "http"
		if r.TLS != nil {
			scheme = "https"
		}
	}
	return scheme + "://" + r.Host + "/"
}

func page(w http.ResponseWriter, r *http.Request)  { io.WriteString(w, base(r)) }
func login(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, base(r), http.StatusFound) }

func upload(w http.ResponseWriter, r *http.Request) {
	_, file, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, file.Size)
}

func echo(w http.ResponseWriter, r *http.Request) {
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer socket.Close()
	if kind, message, err := socket.ReadMessage(); err == nil {
		socket.WriteMessage(kind, message)
	}
}

func main() {
	var handler http.Handler = http.DefaultServeMux
	http.HandleFunc("/", page)
	http.HandleFunc("/login", login)
	http.HandleFunc("/upload", upload)
	http.HandleFunc("/socket", echo)
	// proxy
	log.Fatal(http.ListenAndServe(":"+os.Getenv("PORT"), handler))
}
"""
DEBIANS = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}
"""Packages come from Debian's folder, and nothing is fetched."""


@contextmanager
def go(gateway: Applications, folder: Path, *, of: tuple[str, ...] = ("proxy", "origin")) -> Iterator[Application]:
    require("golang-go", "golang-github-gorilla-handlers-dev", "golang-github-gorilla-websocket-dev")
    row = framework("Go")
    (folder / "main.go").write_text(row.told(SOURCE, gateway, of=of))
    # What of the standard library is built already, and HOME is another.
    cache = subprocess.run(["go", "env", "GOCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    with row.started(gateway, folder, DEBIANS | {"GOCACHE": cache}) as app:
        yield app


def test_go(elsewhere: Applications, tmp_path: Path) -> None:
    with go(elsewhere, tmp_path) as app:
        for sandbox in (PLAIN, MASKED):
            assert get(app, sandbox=sandbox).text == app.url(sandbox=sandbox)
            assert get(app, "/login", sandbox=sandbox).header("Location") == app.url(sandbox=sandbox)
        with websocket(app, "/socket") as socket:
            socket.send("größe")
            assert socket.recv(60) == "größe"
        assert upload(app, "/upload", tmp_path).text == str(UPLOAD)


def test_go_that_is_told_nothing_takes_itself_for_http(elsewhere: Applications, tmp_path: Path) -> None:
    with go(elsewhere, tmp_path, of=()) as app:
        login = ask(app, "/login")
        assert login.header("Location") == app.url().replace("https:", "http:")
        assert login.header("X-Gateway-Hint")
        foreign = f"https://5173-{app.authority().partition('-')[2]}"
        with pytest.raises(InvalidStatus, match="403"), websocket(app, "/socket", foreign):
            pass

"""The line to paste: how each common framework is told to listen where the gateway can reach it.

A table, and the order in which a person should read it. Every line has been run against the real program and seen to
accept on `[::1]`; most take IPv4 too, except uvicorn's and so Gradio's, whose event loop makes its IPv6 sockets
IPv6-only (with `--host 0.0.0.0` it is unreachable, with an empty host `--reload` falls back to IPv4). Gradio wants the
brackets: of `::` it makes a URL that it cannot read. Knows nothing of requests and of how a line is shown.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fix:
    """One line, ready to be pasted into a terminal or, where it is code, in place of the app's own."""

    framework: str
    line: str


@dataclass(frozen=True, slots=True)
class _Row:
    framework: str
    line: str
    """With `{port}`."""
    runtime: str
    """How the names of its language's processes begin: "python3.11", "node"."""
    commands: tuple[str, ...] = ()
    """How the names of the framework's own processes begin: "next-server (v1"."""


_TABLE = (
    _Row("Flask", "flask run --host=:: --port={port}", "python", ("flask",)),
    _Row("Flask, in code", 'app.run(host="::", port={port})', "python", ("flask",)),
    _Row("Vite", "npx vite --host :: --port {port}", "node", ("vite",)),
    _Row("Express", 'app.listen({port}, "::")', "node"),
    _Row("FastAPI", "uvicorn main:app --host :: --port {port}", "python", ("uvicorn", "fastapi")),
    _Row("Go", 'http.ListenAndServe(":{port}", handler)', "go"),
    _Row("Next", "npx next dev -H :: -p {port}", "node", ("next",)),
    _Row("Django", 'python manage.py runserver "[::]:{port}"', "python", ("django", "manage.py")),
    _Row("Gunicorn", 'gunicorn --bind "[::]:{port}" main:app', "python", ("gunicorn",)),
    _Row("Gradio, in code", 'demo.launch(server_name="[::]", server_port={port})', "python"),
    _Row("http.server", "python -m http.server {port} --bind ::", "python"),
)
"""In the order shown when nothing is known of the process; within a language, the likelier first."""


def fixes(port: int, process: str = "") -> list[Fix]:
    """A line per framework for `port`, the likely ones first when `process` ("python3", "uvicorn") says which."""
    name = process.lower()  # macOS says "Python"
    runtime = next((row.runtime for row in _TABLE if name.startswith((row.runtime, *row.commands))), None)

    def distance(row: _Row) -> int:
        return 0 if name.startswith(row.commands) else 1 if row.runtime == runtime else 2

    return [Fix(row.framework, row.line.replace("{port}", str(port))) for row in sorted(_TABLE, key=distance)]

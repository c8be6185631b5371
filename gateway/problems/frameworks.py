"""What is known of frameworks: the ports they choose, and the line to paste, by which each common one is told to listen
where the gateway can reach it. And of forwarders, which listen in an app's place and pass connections on: there no line
of a framework changes anything.

Tables, and the order in which a person should read it. Every line has been run against the real program and seen to
accept on `[::1]`; most take IPv4 too, except uvicorn's and so Gradio's, whose event loop makes its IPv6 sockets
IPv6-only (with `--host 0.0.0.0` it is unreachable, with an empty host `--reload` falls back to IPv4). Gradio wants the
brackets: of `::` it makes a URL that it cannot read. Knows nothing of requests and of how a line is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

PLAUSIBLE_PORTS = (3000, 3001, 4200, 5000, 5173, 8000, 8080, 8888)
"""What frameworks choose when nobody says: Express and Next, Angular, Flask, Vite, Django and uvicorn, Jupyter."""


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


_DOCKER = (
    Fix("Docker", 'docker run -p "[::]:{port}:{port}" IMAGE'),
    Fix("Docker Compose", 'ports: ["[::]:{port}:{port}"]'),
)
_PODMAN = (Fix("Podman", 'podman run -p "[::]:{port}:{port}" IMAGE'),)
_FORWARDERS: tuple[tuple[str, tuple[Fix, ...]], ...] = (
    ("docker-proxy", _DOCKER),
    ("com.docker*", _DOCKER),  # Docker Desktop
    ("rootlesskit", _DOCKER),  # Docker without root
    ("rootlessport*", _PODMAN),
    ("containers-root*", _PODMAN),  # the same, as it was called
    ("slirp4netns", _PODMAN),
    ("pasta", _PODMAN),
    ("pasta.*", _PODMAN),
    ("kubectl*", (Fix("kubectl", "kubectl port-forward --address :: pod/NAME {port}:{port}"),)),
    ("sshd*", (Fix("ssh -R, with GatewayPorts clientspecified", 'ssh -R "[::]:{port}:localhost:{port}" HOST'),)),
    ("ssh", (Fix("ssh -L", 'ssh -L "[::]:{port}:localhost:{port}" HOST'),)),
)
"""The process as the kernel calls it, in 15 octets. The last number is the app's own port, which nobody outside knows:
the same one is the likeliest."""


def is_forwarder(process: str) -> bool:
    """Whether `process` listens for an app that is elsewhere: in a container, a cluster, at the end of a tunnel."""
    return bool(_forwarder(process))


def _forwarder(process: str) -> tuple[Fix, ...]:
    return next((lines for name, lines in _FORWARDERS if fnmatchcase(process, name)), ())


def line_for(port: int, process: str) -> str:
    """The one line for a `process` whose name says what it is ("flask", "docker-proxy"); empty: it says too little."""
    name = process.lower()
    lines = _forwarder(process) or tuple(
        Fix(row.framework, row.line) for row in _TABLE if row.commands and name.startswith(row.commands)
    )
    return lines[0].line.replace("{port}", str(port)) if lines else ""


def fixes(port: int, process: str = "") -> list[Fix]:
    """A line per framework for `port`, the likely ones first when `process` ("python3", "uvicorn") says which.

    Those of a forwarder, and no others, if `process` is one.
    """
    if forwarder := _forwarder(process):
        return [Fix(each.framework, each.line.replace("{port}", str(port))) for each in forwarder]
    name = process.lower()  # macOS says "Python"
    runtime = next((row.runtime for row in _TABLE if name.startswith((row.runtime, *row.commands))), None)

    def distance(row: _Row) -> int:
        return 0 if name.startswith(row.commands) else 1 if row.runtime == runtime else 2

    return [Fix(row.framework, row.line.replace("{port}", str(port))) for row in sorted(_TABLE, key=distance)]

"""Servers that are not asked rightly: with TLS, with HTTP/2 only, no web servers at all; and proxies."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.errors import Reason
from tests.interop.situations import HASTY, Passes, Says, Where, situation
from tests.interop.situations.raw import OWN_ANSWER, another_service, late, terminated
from tests.interop.situations.stage import AS_POSTGRES, NODE_MODULES, Box, Program, Stage
from tests.support.components import program as component_program
from tests.support.process import ROOT, free_port

# --- nginx ------------------------------------------------------------------------------------------------------------


def nginx(box: Box, server: str, listen: str = "", more: str = "") -> Program:
    """nginx on one port; `server` is what stands in its block, `listen` what stands behind the port."""
    port, folder = free_port(), box.stage.folder
    config = folder / "nginx.conf"
    config.write_text(
        f"user root; daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n"
        f"fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n"
        f"{more} server {{ listen [::]:{port} {listen}; {server} }} }}\n"
    )
    return box.program("nginx", "-p", folder, "-c", config, port=port, cwd=folder)


TLS = "The app on port {port} expects HTTPS"
NO_TLS = "Start the app without TLS: without a certificate, a key, or an `--https` flag. Visitors still get https://."


def expects_tls(seen: str) -> Says:
    return Says(Reason.UPSTREAM_SPEAKS_TLS, TLS, seen, NO_TLS)


def certificate(stage: Stage) -> tuple[Path, Path]:
    certs = stage.machine.folder / "patient" / "certs"
    return certs / "leaf.pem", certs / "leaf.key"


@situation("nginx", Passes(200, "Reachable: the app answers 200 OK after {ms} ms."), needs=("nginx",))
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(nginx(box, "location / { return 200 hello; }").port)


@situation(
    "nginx with TLS",
    expects_tls(
        "the app answered “The plain HTTP request was sent to HTTPS port”, and answers when TLS is spoken to it"
    ),
    needs=("nginx",),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    cert, key = certificate(stage)
    return box.where(nginx(box, f"ssl_certificate {cert}; ssl_certificate_key {key};", "ssl").port)


@situation(
    "nginx that passes on its back end's 400",
    Passes(400, "Reachable: the app answers 400 Bad Request after {ms} ms.", OWN_ANSWER),
    needs=("nginx",),
)
def _(stage: Stage) -> Where:
    """The back end is nginx with TLS, and says so in the words by which such a server is known."""
    box = stage.sandbox()
    cert, key = certificate(stage)
    behind = free_port()
    more = f"server {{ listen 127.0.0.1:{behind} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; }}"
    return box.where(nginx(box, f"location / {{ proxy_pass http://127.0.0.1:{behind}; }}", more=more).port)


@situation(
    "nginx whose back end is dead",
    Passes(502, "Reachable: the app answers 502 Bad Gateway after {ms} ms.", OWN_ANSWER),
    needs=("nginx",),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(nginx(box, f"location / {{ proxy_pass http://127.0.0.1:{free_port()}; }}").port)


@situation(
    "haproxy without a server",
    Passes(503, "Reachable: the app answers 503 Service Unavailable after {ms} ms.", OWN_ANSWER),
    needs=("haproxy",),
)
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    config = stage.folder / "haproxy.cfg"
    config.write_text(
        "defaults\n mode http\n timeout client 10s\n timeout connect 1s\n timeout server 10s\n"
        f"frontend f\n bind :::{port}\n default_backend none\nbackend none\n"
    )
    box.program("haproxy", "-db", "-f", config, port=port)
    return box.where(port)


@situation(
    "nginx that closes the connection (444)",
    terminated("the app closed the connection before answering"),
    needs=("nginx",),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(nginx(box, "location / { return 444; }").port)


@situation(
    "nginx that expects a PROXY protocol header",
    terminated("the app closed the connection before answering"),
    needs=("nginx",),
)
def _(stage: Stage) -> Where:
    box = stage.sandbox()
    return box.where(nginx(box, "location / { return 200 hello; }", "proxy_protocol").port)


# --- TLS that hangs up ------------------------------------------------------------------------------------------------

HUNG_UP = "the app closed the connection before answering, and answers when TLS is spoken to it"


@situation("Node's https server", expects_tls(HUNG_UP), needs=("node",))
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    cert, key = certificate(stage)
    source = (
        "const fs = require('fs');"
        f"require('https').createServer({{cert: fs.readFileSync('{cert}'), key: fs.readFileSync('{key}')}},"
        f" (q, a) => a.end('hello')).listen({port}, '::')"
    )
    box.program("node", "-e", source, port=port)
    return box.where(port)


@situation("uvicorn with a certificate", expects_tls(HUNG_UP), needs=("fastapi", "uvicorn"))
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    cert, key = certificate(stage)
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", "examples/fastapi", "--host", "::"]
    box.program(*command, "--port", str(port), "--ssl-certfile", cert, "--ssl-keyfile", key, port=port, cwd=ROOT)
    return box.where(port)


@situation("openssl s_server", expects_tls(HUNG_UP), needs=("openssl",))
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    cert, key = certificate(stage)
    box.program("openssl", "s_server", "-6", "-accept", f"[::]:{port}", "-cert", cert, "-key", key, "-quiet", port=port)
    return box.where(port)


# --- no web servers ---------------------------------------------------------------------------------------------------


@situation(
    "sshd",
    another_service("the answer begins with “{banner}…”: an SSH server's banner"),
    needs=("sshd",),
)
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    key = stage.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)  # where it goes when it has given up its rights
    config = f"HostKey {key}\nPidFile none\nListenAddress [::]:{port}\nUsePAM no\nVersionAddendum {'x' * 60}\n"
    (stage.folder / "sshd_config").write_text(config)
    box.program(component_program("sshd"), "-D", "-e", "-f", stage.folder / "sshd_config", port=port)
    with box.network.inside(), socket.create_connection(("::1", port), 5) as visitor:
        banner = visitor.recv(100).decode().strip()
    return Where(box.id, port, box.address, facts={"banner": banner[:48]})


UNHEARD = "the app closed the connection before answering, and answers"


@situation(
    "Redis", another_service(f"{UNHEARD} “+PONG” to a PING, as Redis does"), needs=("redis-server",), command=True
)
def _(stage: Stage) -> Where:
    return redis(stage.sandbox())


@situation(
    "Redis with a password",
    another_service(f"{UNHEARD} “-NOAUTH Authentication required.” to a PING, as Redis does"),
    needs=("redis-server",),
)
def _(stage: Stage) -> Where:
    return redis(stage.sandbox(), "--requirepass", "secret")


def redis(box: Box, *more: str) -> Where:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "::", "--protected-mode", "no", "--save", ""]
    box.program(*command, *more, port=port)
    return box.where(port)


@situation(
    "PostgreSQL",
    another_service(f"{UNHEARD} “N” to an SSLRequest, as PostgreSQL does"),
    needs=("postgresql", "another user"),
)
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    folder = Path(stage.stack.enter_context(TemporaryDirectory(prefix="postgresql-")))
    shutil.chown(folder, "postgres")  # it refuses root
    user = [*AS_POSTGRES]
    data, settings = folder / "data", {"listen_addresses": "::", "port": port, "unix_socket_directories": folder}
    initdb = [*user, component_program("initdb"), "-D", data, "-A", "trust", "--no-sync"]
    subprocess.run(list(map(str, initdb)), check=True, capture_output=True, cwd="/")
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    box.program(*user, component_program("postgres"), "-D", data, *options, port=port, cwd=Path("/"))
    return box.where(port)


HTTP2_ONLY = Says(
    Reason.UPSTREAM_SPEAKS_HTTP2,
    "The app on port {port} speaks HTTP/2 only",
    "the app began with an HTTP/2 server's SETTINGS frame, and does not take HTTP/1.1",
    "Send the request again: what the app speaks has been noticed, and the next one goes by HTTP/2.",
)


@situation("nginx that speaks HTTP/2 only", HTTP2_ONLY, needs=("nginx",))
def _(stage: Stage) -> Where:
    box = stage.sandbox(protocol="http1")
    return box.where(nginx(box, "location / { return 200 hello; }", "http2").port)


@situation("Node's http2 server", HTTP2_ONLY, needs=("node",))
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(protocol="http1"), free_port()
    box.program("node", "-e", f"require('http2').createServer((q, a) => a.end('hi')).listen({port}, '::')", port=port)
    return box.where(port)


@situation("a gRPC server", HTTP2_ONLY, needs=("@grpc/grpc-js",))
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(protocol="http1"), free_port()
    modules = stage.folder / "node_modules"
    modules.symlink_to(NODE_MODULES)
    source = (
        "const grpc = require('@grpc/grpc-js');"
        f"new grpc.Server().bindAsync('[::]:{port}', grpc.ServerCredentials.createInsecure(), () => 0)"
    )
    box.program("node", "-e", source, port=port)
    return box.where(port)


@situation("netcat that says nothing", late("no answer within 0.7 s"), needs=("nc",), gateway=HASTY, at_once=False)
def _(stage: Stage) -> Where:
    box, port = stage.sandbox(), free_port()
    box.program("nc", "-6", "-l", "-k", "-d", str(port), port=port)
    return box.where(port)

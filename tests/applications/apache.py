"""Debian's Apache on a port of ::1, for what is served by its modules: git, Subversion, WebDAV."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.applications.harness import Application, Applications
from tests.support.components import program, require
from tests.support.process import free_port

MODULES = Path("/usr/lib/apache2/modules")
USER = "www-data"
"""Whom Apache becomes when root starts it; without that it refuses to start."""
ALWAYS = ("mpm_prefork", "authz_core")

# Git sends a pack of unknown length in chunks; Apache's default of 1 GiB for them is enough.
BASE = """\
ServerRoot "{folder}"
ServerName localhost
Listen [::1]:{port}
PidFile "{folder}/apache.pid"
Mutex "file:{folder}"
DefaultRuntimeDir "{folder}"
ErrorLog /dev/stderr
StartServers 2
MaxSpareServers 2
"""


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that Apache may read once `hand_over` has given it away; pytest's own are root's alone."""
    path = Path(tempfile.mkdtemp(prefix="gateway-apache-"))
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path)


def hand_over(path: Path) -> None:
    if os.geteuid() == 0:
        for each in (path, *path.rglob("*")):
            shutil.chown(each, USER, USER)


def apache(gateway: Applications, path: Path, modules: Sequence[str], config: str) -> Application:
    """Apache with `modules` and `config`, in which `{folder}` is `path`; everything in `path` becomes Apache's."""
    require("apache2-bin")
    port = free_port()
    loads = "".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so\n" for name in (*ALWAYS, *modules))
    user = f"User {USER}\nGroup {USER}\n" if os.geteuid() == 0 else ""
    text = loads + user + (BASE + config).replace("{port}", str(port)).replace("{folder}", str(path))
    (path / "apache.conf").write_text(text)
    hand_over(path)
    command = program("apache2")
    assert command is not None
    return Application(gateway, command, "-DFOREGROUND", "-f", path / "apache.conf", cwd=path, port=port)

"""git over HTTP, with git's own backend behind Apache: fifty megabytes pushed in one request, and cloned."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.applications.apache import apache, folder
from tests.applications.harness import Applications
from tests.support.components import require

SIZE = 50_000_000
IDENTITY = ("-c", "user.name=A", "-c", "user.email=a@example.com")

CONFIG = """
SetEnv GIT_PROJECT_ROOT "{folder}"
SetEnv GIT_HTTP_EXPORT_ALL 1
ScriptAlias "/" "/usr/lib/git-core/git-http-backend/"
<Directory "/usr/lib/git-core">
  Require all granted
</Directory>
"""


def git(*arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=cwd, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def test_a_push_of_fifty_megabytes_and_a_clone(gateway: Applications, tmp_path: Path) -> None:
    require("git")
    work = tmp_path / "work"
    git("init", "--quiet", "--initial-branch=main", work, cwd=tmp_path)
    (work / "noise").write_bytes(os.urandom(SIZE))
    # What no compression makes smaller need not be tried.
    git("config", "core.compression", "0", cwd=work)
    git("add", "noise", cwd=work)
    git(*IDENTITY, "commit", "--quiet", "--message=noise", cwd=work)
    with folder() as served:
        git("init", "--quiet", "--bare", served / "repository.git", cwd=tmp_path)
        for name, value in (("http.receivepack", "true"), ("core.compression", "0"), ("receive.unpackLimit", "1")):
            git("config", name, value, cwd=served / "repository.git")
        with apache(gateway, served, ("alias", "env", "cgi"), CONFIG) as app:
            url = app.url("/repository.git")
            gateway.client("git", "push", "--quiet", url, "main", cwd=work)
            gateway.client("git", "clone", "--quiet", "--branch=main", url, "clone", cwd=tmp_path)
    assert git("rev-parse", "HEAD", cwd=tmp_path / "clone") == git("rev-parse", "HEAD", cwd=work)
    assert (tmp_path / "clone" / "noise").read_bytes() == (work / "noise").read_bytes()

"""Subversion with mod_dav_svn: checkout, commit, and a copy, which names its Destination by the public URL.

Behind any proxy that ends TLS, mod_dav refuses that URL for its scheme. It says so in words that the hint is known by,
and passes once Apache is told to read https as http.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.applications.apache import apache, folder
from tests.applications.harness import Applications
from tests.interop.harness import curl
from tests.support.components import require

CONFIG = """
<Location "/svn">
  DAV svn
  SVNPath "{folder}/repository"
  Require all granted
</Location>
"""
AS_THE_HINT_SAYS = "RequestHeader edit Destination ^https: http: early\n"


@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_a_working_copy_and_a_copy_on_the_server(gateway: Applications, tmp_path: Path, told: bool) -> None:
    require("subversion", "libapache2-mod-svn")
    with folder() as served:
        subprocess.run(["svnadmin", "create", served / "repository"], check=True)
        modules = ("headers", "dav", "dav_svn")
        with apache(gateway, served, modules, CONFIG + (AS_THE_HINT_SAYS if told else "")) as app:
            authorities = f"servers:global:ssl-authority-files={gateway.ca}"
            svn = ("svn", "--non-interactive", "--config-dir", tmp_path / "config", "--config-option", authorities)
            url = app.url("/svn")
            gateway.client(*svn, "mkdir", "--message=trunk", f"{url}/trunk")
            gateway.client(*svn, "checkout", f"{url}/trunk", tmp_path / "work")
            work = tmp_path / "work"
            (work / "größe.txt").write_text("a line\n")
            gateway.client(*svn, "add", "größe.txt", cwd=work)
            assert "Committed revision 2" in gateway.client(*svn, "commit", "--message=a file", cwd=work)
            copy = (*svn, "copy", "--message=a tag", f"{url}/trunk", f"{url}/tag")
            if told:
                assert "Committed revision 3" in gateway.client(*copy)
                assert gateway.client(*svn, "cat", f"{url}/tag/größe.txt") == "a line\n"
            else:
                gateway.client(*copy, status=1)
                destination = f"Destination: {url}/tag"
                answer = curl(f"{url}/trunk", gateway.ca, "--request", "COPY", "--header", destination)
                assert answer.status == 502 and answer.header("X-Gateway-Error") is None
                assert "Destination" in (answer.header("X-Gateway-Hint") or "")

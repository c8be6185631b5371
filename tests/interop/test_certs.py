"""The local authority as its user meets it: commands, two folders, two domains, a real keytool."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.tls import local_ca
from gateway.tls.trust import java
from gateway.tls.trust.root import Root
from tests.interop.harness import GatewayProcess
from tests.support.components import program, require
from tests.support.process import clean_environment

pytestmark = pytest.mark.interop


def gateway(folder: Path, data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env=clean_environment({"XDG_DATA_HOME": str(data), "HOME": str(data)}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*.pem")}


def test_one_authority_from_every_folder_and_none_replaced(tmp_path: Path) -> None:
    data, here, there = tmp_path / "data", tmp_path / "here", tmp_path / "there"
    absent = gateway(here, data, "certs", "show")
    assert (absent.returncode, absent.stdout, list(here.iterdir())) == (1, "", [])
    assert "gateway certs init --domain sandbox.localhost makes them" in absent.stderr
    assert gateway(here, data, "certs", "init").returncode == 0
    made = contents(data)
    for verb in (("show",), ("show", "--domain", "foo.test"), ("renew", "--ca"), ("untrust",)):
        gateway(there, data, "certs", *verb)
    assert contents(data) == made
    assert gateway(there, data, "certs", "init", "--domain", "foo.test").returncode == 0
    phone = gateway(there, data, "certs", "init", "--domain", "local")
    assert (phone.returncode, "gateway dev --lan makes one for its names" in phone.stdout) == (0, True), phone.stderr
    assert contents(data).items() > made.items(), "beside it"
    assert list(there.iterdir()) == []
    assert gateway(there, data, "certs", "renew", "--ca", "--yes").returncode == 0
    assert contents(data)[data / "gateway/certs/sandbox.localhost/ca.pem"] not in made.values()


def test_files_that_cannot_be_written_are_served(tmp_path: Path) -> None:
    """Of an image, or mounted from another machine."""
    require("namespaces")
    assert gateway(tmp_path, tmp_path / "data", "certs", "init").returncode == 0
    folder = tmp_path / "data/gateway/certs"
    mount = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
    root = [] if os.geteuid() == 0 else ["--map-root-user"]

    def read_only(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = f"{mount} && exec {sys.executable} -m gateway certs {' '.join(arguments)}"
        environment = clean_environment({"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path / "data")})
        return subprocess.run(
            ["unshare", "--mount", *root, "sh", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    made = contents(folder)
    as_it_is = read_only("init")
    assert as_it_is.returncode == 0, as_it_is.stderr
    renewed = read_only("renew")
    assert renewed.returncode == 1
    assert "(read-only file system)" in renewed.stderr and str(folder) in renewed.stderr
    assert contents(folder) == made


def test_the_setting_names_a_folder(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[tls]\nlocal_authority = "mine"\n')
    assert gateway(tmp_path, tmp_path / "data", "certs", "init", "--config", str(config)).returncode == 0
    assert (tmp_path / "mine" / "ca.pem").exists()
    assert not (tmp_path / "data").exists()


def test_ca_goes_with_renew(tmp_path: Path) -> None:
    done = gateway(tmp_path, tmp_path / "data", "certs", "init", "--ca")
    assert (done.returncode, done.stderr) == (1, "gateway: --ca goes with renew: gateway certs renew --ca\n")


def test_the_printed_curl_line_of_a_domain_that_nobody_knows(tmp_path: Path) -> None:
    require("curl")
    with GatewayProcess("--domain", "foo.test", directory=tmp_path) as running:
        assert "-demo.foo.test is not found on this machine: " in running.printed(r"  names  .*")
        line = running.printed(r"curl [^\n]*--cacert [^\n]*https://[^\n]*")
        done = subprocess.run(
            ["sh", "-c", f"{line} --silent --show-error --output /dev/null --write-out '%{{http_code}}'"],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, "200"), f"{line}\n{done.stderr}"


def test_a_real_keytool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("keytool")
    roots = [Root.read(local_ca.ensure(tmp_path / name).authority) for name in ("first", "second")]
    keystore = ["-keystore", str(tmp_path / "cacerts"), "-storepass", "changeit"]
    [store] = java.stores()
    assert isinstance(store, java.Java)
    monkeypatch.setattr(store, "keystore", keystore)
    keytool = program("keytool") or ""
    command = [keytool, "-importcert", "-noprompt", "-alias", "debian:x.pem", "-file", str(roots[1].path), *keystore]
    subprocess.run(command, check=True, capture_output=True, timeout=60, env=os.environ)
    assert [store.status(root).done for root in roots] == [False, True]
    assert store.add(roots[0]).message == "added; restart what runs on Java"
    assert [store.status(root).done for root in roots] == [True, True]
    assert store.remove(roots[1]).message == "removed"
    assert [store.status(root).done for root in roots] == [True, False]

"""What `make run` ends in, taken at its word: the lines it prints are run as they stand."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.interop.harness import DOMAIN, GatewayProcess, curl, require, tcp_connection, tls_context
from tests.support.process import clean_environment, free_port, poll

pytestmark = pytest.mark.interop

CURL_LINE = r"curl [^\n]*--cacert [^\n]*https://[^\n]*"
DEMO_URL = rf"https://\d+-demo\.{re.escape(DOMAIN)}:\d+/"
REPORT = '{"status": %{http_code}, "verified": %{ssl_verify_result}, "type": "%{content_type}"}'


def test_the_printed_curl_line_answers_200(tmp_path: Path) -> None:
    require("curl")
    with GatewayProcess(directory=tmp_path) as gateway:
        line = gateway.printed(CURL_LINE)
        # As pasted, plus options that tell what came; `sh` sees the quoting the gateway printed.
        options = f"--silent --show-error --output /dev/null --write-out '{REPORT}'"
        done = subprocess.run(
            ["sh", "-c", f"{line} {options}"],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    report = json.loads(done.stdout)
    assert report["status"] == 200
    assert report["verified"] == 0
    assert report["type"].startswith("text/html")


def test_the_printed_url_is_the_demo_apps(tmp_path: Path) -> None:
    with GatewayProcess(directory=tmp_path) as gateway:
        url = urllib.parse.urlsplit(gateway.printed(DEMO_URL))
    assert url.port == gateway.tls_port


def test_one_live_line_per_request(tmp_path: Path) -> None:
    with GatewayProcess(directory=tmp_path) as gateway:
        url = gateway.printed(DEMO_URL)
        answer = curl(f"{url}ask-for-this?x=1", gateway.ca)
        shown = gateway.printed(r"[^\n]*GET[^\n]*/ask-for-this[^\n]*")
    assert str(answer.status) in shown.split()
    assert "\x1b" not in shown


def test_a_busy_port_that_must_be_had_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    with GatewayProcess(directory=tmp_path) as gateway:
        command = [sys.executable, "-m", "gateway", "dev", "--strict-port", "--listen-port", str(gateway.tls_port)]
        done = subprocess.run(
            [*command, "--certs", str(gateway.certs)],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        said = f"another gateway (pid {gateway.pid}) has port {gateway.tls_port}, for {gateway.printed(DEMO_URL)}"
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_another_site_is_not_told_what_runs_here(tmp_path: Path) -> None:
    require("curl")
    with GatewayProcess(free_port(), directory=tmp_path) as gateway:
        url = gateway.printed(r"https://\d+-local\.\S+/")
        own = curl(url, gateway.ca)
        other = curl(url, gateway.ca, "--header", "Origin: https://other.example")
    assert own.header("X-Gateway-Error") == "connection_refused"
    assert (other.status, other.body) == (502, b"")
    assert other.header("X-Gateway-Error") == "withheld"


def test_the_banner_says_what_else_is_reached(tmp_path: Path) -> None:
    with GatewayProcess(free_port(), directory=tmp_path) as gateway:
        assert gateway.printed(r"other ports https://<port>-local\.[^\n]* leads to any port of \S+")


def plain(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()


def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    def shown() -> str:
        with tcp_connection(gateway) as connection:
            context = tls_context(gateway.ca)
            with context.wrap_socket(connection, server_hostname=gateway.host(5000)) as tls:
                certificate = tls.getpeercert(binary_form=True)
                assert certificate is not None
                return hashlib.sha256(certificate).hexdigest()

    def told() -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/status", timeout=30) as answer:
            files: list[dict[str, Any]] = json.load(answer)["certificate_files"]
        [file] = files
        return file

    gateway, port = GatewayProcess(directory=tmp_path), free_port()
    gateway.env["GATEWAY_ADMIN__LISTEN"] = f"127.0.0.1:{port}"
    with gateway:
        first = shown()
        file = told()
        assert Path(file["name"]).parent.resolve() == gateway.certs.resolve()
        assert file["days_left"] > 1
        assert plain(file["sha256"]) == first
        renew = [sys.executable, "-m", "gateway", "certs", "renew", "--certs", str(gateway.certs)]
        done = subprocess.run(renew, env=clean_environment(), capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        poll(lambda: shown() != first, "the new certificate is served", 30)
        # Not by its end: that has whole seconds, and a machine may be so fast that it is the same.
        poll(lambda: plain(told()["sha256"]) == shown(), "it is told of", 30)
        assert curl(gateway.printed(DEMO_URL), gateway.ca).status == 200

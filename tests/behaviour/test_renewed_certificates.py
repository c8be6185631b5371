"""Certificates, keys and the admin's token are followed by every process: no signal, no roll, no restart."""

from __future__ import annotations

import http.client
import json
import re
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.tls.pair import CertificatePair
from tests.support.certificates import DAY, replace_pair, rsa_key, write_pair
from tests.support.handshakes import anybody, der_of
from tests.support.process import poll
from tests.support.serving import DOMAIN, PATIENCE, App, Serving, kill

WILDCARD = f"*.{DOMAIN}"
HANDSHAKES = 16
"""With two workers, all meet the same one twice in 65,536 times."""


@pytest.fixture
def app() -> Iterator[App]:
    with App() as app:
        yield app


class Renewing(Serving):
    """A gateway with certificates of the test's own."""

    def __init__(
        self, directory: Path, app: App, *pairs: CertificatePair, domains: tuple[str, ...] = (DOMAIN,)
    ) -> None:
        super().__init__(directory, app)
        self.client_tls = anybody()
        tables = [f"{{ cert = {json.dumps(str(pair.cert))}, key = {json.dumps(str(pair.key))} }}" for pair in pairs]
        config = directory / "gateway.toml"
        text = re.sub("certificates = .*", f"certificates = [{', '.join(tables)}]", config.read_text())
        self.token = directory / "token"
        self.token.write_text("first")
        text = text.replace("[admin]", f"[admin]\ntoken_file = {json.dumps(str(self.token))}")
        config.write_text(text.replace(f'["{DOMAIN}"]', json.dumps(domains)))

    def ready(self) -> None:
        self.wait_until(lambda: None not in (self.health()[1].get("workers") or [None]), "every process answers")

    def shown(self, name: str = f"5000-box.{DOMAIN}") -> set[bytes]:
        """What a few new connections are shown."""
        found = set()
        for _ in range(HANDSHAKES):
            with self.client_tls.wrap_socket(self.connect(port=self.tls_port), server_hostname=name) as connection:
                found.add(connection.getpeercert(binary_form=True) or b"")
        return found

    def api_status(self, token: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE)
        try:
            connection.request("GET", "/v1/sandboxes", headers={"Authorization": f"Bearer {token}"})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_renewal_reaches_every_worker_and_disturbs_nobody(tmp_path: Path, app: App, version: ssl.TLSVersion) -> None:
    pair = write_pair(tmp_path / "live", WILDCARD)
    with ExitStack() as left_open, Renewing(tmp_path, app, pair) as gateway:
        gateway.client_tls.minimum_version = gateway.client_tls.maximum_version = version
        before = der_of(pair)
        assert gateway.shown() == {before}
        open_connection = left_open.enter_context(gateway.secured(gateway.connect(port=gateway.tls_port)))
        gateway.ask(open_connection, last=False)
        assert open_connection.recv(65536).endswith(b"ok")

        replace_pair(pair, write_pair(tmp_path / "new", WILDCARD))
        renewed = {der_of(pair)}
        poll(lambda: gateway.shown() == renewed, "both workers show the new certificate")
        gateway.says("has changed and is served from now on")
        assert gateway.log.count("is served from now on") == 1, "one process tells"

        gateway.ask(open_connection, last=False)
        assert open_connection.recv(65536).endswith(b"ok"), "what was open goes on"
        session = open_connection.session
        for _ in range(HANDSHAKES):
            with gateway.client_tls.wrap_socket(
                gateway.connect(port=gateway.tls_port), server_hostname=gateway.host, session=session
            ) as connection:
                assert connection.session_reused, "the key of tickets stays, with every worker"
        open_connection.close()

        for worker in gateway.workers():
            kill(worker)
        assert gateway.shown() == renewed, "and who is replaced has it from the beginning"


def test_a_broken_pair_is_told_once_and_keeps_what_was(tmp_path: Path, app: App) -> None:
    pair = write_pair(tmp_path / "live", WILDCARD)
    with Renewing(tmp_path, app, pair) as gateway:
        replace_pair(pair, write_pair(tmp_path / "new", WILDCARD))
        gateway.says("is served from now on")
        renewed = {der_of(pair)}
        pair.key.write_bytes(b"")
        gateway.says(f"{pair.key} is not in PEM form")
        for process in (*gateway.workers(), gateway.admin()):
            kill(process)
        gateway.wait_until(lambda: gateway.health()[0] == 200, "others have taken their places")
        assert gateway.shown() == renewed, "what was good last, not what there was at the start"
        config = tmp_path / "gateway.toml"
        config.write_text(config.read_text().replace("[tls]", '[tls]\nminimum_version = "1.3"'))
        gateway.tell(signal.SIGHUP)
        gateway.says("reloaded: generation 2 serves")
        assert gateway.shown() == renewed, "nor does a reload take it away"
        write_pair(pair.cert.parent, WILDCARD, key=rsa_key())
        poll(lambda: gateway.shown() == {der_of(pair)}, "both workers show the next one, of another kind")
        assert gateway.log.count("is not in PEM form") == 2, "once, and once again for the new generation"


def test_one_expired_certificate_of_several(tmp_path: Path, app: App) -> None:
    good = write_pair(tmp_path / "good", WILDCARD)
    expired = write_pair(tmp_path / "expired", "*.other.example", not_after=datetime.now(UTC) - DAY)
    missing = CertificatePair(tmp_path / "none" / "cert.pem", tmp_path / "none" / "cert.key")
    gateway = Renewing(tmp_path, app, expired, missing, good, domains=(DOMAIN, "other.example"))
    gateway.env["GATEWAY_EDGE__HEALTH_PATH"] = "/healthz"

    def balancer() -> bytes:
        connection = gateway.connect()
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        return gateway.answer(connection).partition(b" ")[2][:3]

    with gateway:
        assert gateway.shown() == {der_of(good)}
        assert gateway.shown("5000-box.other.example") == {der_of(expired)}
        status, told = gateway.health()
        assert status == 503
        assert balancer() == b"503"
        assert told["status"] == "not ready"
        [sentence] = told["certificates"]
        assert sentence.startswith(f"no valid certificate for *.other.example: {expired.cert} expired on ")
        assert f"{expired.cert} expired on" in gateway.log
        assert f"{missing.cert} cannot be read (no such file or directory)." in gateway.log
        write_pair(expired.cert.parent, "*.other.example")
        gateway.wait_until(lambda: gateway.health()[0] == 200, "it is ready when the files are renewed")
        poll(lambda: balancer() == b"200", "a balancer hears of it")
        poll(lambda: gateway.shown("5000-box.other.example") == {der_of(expired)}, "and serves them")


def test_a_new_token_is_asked_for_without_a_restart(tmp_path: Path, app: App) -> None:
    with Renewing(tmp_path, app, write_pair(tmp_path / "live", WILDCARD)) as gateway:
        assert (gateway.api_status("first"), gateway.api_status("second")) == (200, 401)
        gateway.token.write_text("second\n")
        poll(lambda: gateway.api_status("second") == 200, "the new one opens")
        assert gateway.api_status("first") == 401
        gateway.says("its token is asked for now")
        gateway.token.write_text("")
        gateway.says("is empty")
        kill(gateway.admin())
        gateway.wait_until(lambda: gateway.health()[0] == 200, "another one answers")
        assert (gateway.api_status("second"), gateway.api_status("first"), gateway.api_status("")) == (200, 401, 401)

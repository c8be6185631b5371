"""Prometheus itself, with the files of config/deploy/, beside a gateway to which something happens: the alert fires."""

from __future__ import annotations

import json
import re
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.components import require
from tests.support.process import ROOT, Child, free_port, poll
from tests.support.serving import App, Serving, kill

pytestmark = [pytest.mark.interop, pytest.mark.ipv6]

DEPLOY = ROOT / "config" / "deploy"


class Prometheus(Child):
    """With prometheus.yaml as it stands, but for the target, and for patience: it looks once a second."""

    def __init__(self, folder: Path, target: int) -> None:
        self._port = free_port()
        shutil.copy(DEPLOY / "alerts.yaml", folder)
        config = (DEPLOY / "prometheus.yaml").read_text().replace("127.0.0.1:9090", f"127.0.0.1:{target}")
        file = folder / "prometheus.yaml"
        file.write_text(re.sub(r"_interval: 15s", "_interval: 1s", config))
        options = [f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{self._port}"]
        super().__init__(["prometheus", f"--config.file={file}", *options], cwd=folder)

    def asked(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def ready(self) -> None:
        self.wait_until(lambda: "Server is ready to receive web requests" in self.log, "it is ready")

    def value(self, query: str) -> float | None:
        result = self.asked(f"query?query={query}")["result"]
        return float(result[0]["value"][1]) if result else None

    def fired(self) -> set[str]:
        return {each["labels"]["alertname"] for each in self.asked("alerts")["alerts"] if each["state"] == "firing"}


def test_what_happens_is_told(tmp_path: Path) -> None:
    require("prometheus")
    with App() as app, Serving(tmp_path, app) as gateway, Prometheus(tmp_path, gateway.admin_port) as prometheus:
        poll(lambda: prometheus.value("gateway_ready") == 1, "it is scraped")
        poll(lambda: prometheus.value("gateway_worker_restarts_total") == 0, "nothing has happened yet")
        assert prometheus.fired() == set()
        worker = gateway.told()[0]["pid"]
        kill(worker)
        poll(lambda: "GatewayWorkerRestarted" in prometheus.fired(), "a worker that was killed")
        table = tmp_path / "sandboxes.toml"
        table.write_text(table.read_text() + '[sandboxes.lost]\naddress = "fd00::1"\n')
        gateway.host = gateway.host.replace("-box.", "-lost.")
        gateway.wait_until(lambda: b"destination_ip_prohibited" in gateway.get(), "a record that leads elsewhere")
        poll(lambda: "GatewayAddressProhibited" in prometheus.fired(), "it is told")
        assert prometheus.fired() == {"GatewayWorkerRestarted", "GatewayAddressProhibited"}

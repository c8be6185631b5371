"""docs/deploy.md as it is written, from `Install` to a page that is served, on a machine that has nothing of it.

The machine is this one's file system under a layer that is thrown away, and a network of its own. There is no systemd
to start the unit, so `systemctl` is only written down, and the unit's command is run as its user, with what the unit
leaves him.
"""

from __future__ import annotations

import http.client
import os
import re
import shlex
import socket
import ssl
from pathlib import Path

import pytest

from gateway.tls import local_ca
from tests.support.balancers import CLIENT, SITE, Fields, Server, serving
from tests.support.components import require
from tests.support.namespaces import Namespace
from tests.support.process import ROOT, Child

pytestmark = [pytest.mark.interop, pytest.mark.ipv6, pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 240.0
"""Seconds for all of it; most of them pip's."""
LAYER = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/upper /mnt/work /mnt/machine
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/machine
for each in /proc /dev; do mount --rbind $each /mnt/machine$each; done
for each in {root} {folder}; do mkdir -p /mnt/machine$each; mount --bind $each /mnt/machine$each; done
rm -rf /mnt/machine/etc/gateway /mnt/machine/opt/gateway
mkdir -p /mnt/machine/etc/letsencrypt/renewal-hooks/deploy
printf '#!/bin/sh\\necho systemctl "$@"\\n' > /mnt/machine/usr/local/sbin/systemctl
chmod 0755 /mnt/machine/usr/local/sbin/systemctl
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
chroot /mnt/machine bash -ec {steps}
exec nsenter --net={network} chroot /mnt/machine setpriv --reuid=gateway --regid=gateway --init-groups --no-new-privs \
    --inh-caps=-all,+net_bind_service --ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service \
    bash -c {serve}
"""


def blocks(section: str) -> list[str]:
    """What the document has one type there."""
    [text] = re.findall(
        rf"^## {section}\n(.*?)^## ", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_a_machine_with_nothing_serves(tmp_path: Path) -> None:
    require("networks", "package index")
    made = local_ca.ensure(tmp_path, SITE)
    (tmp_path / "fullchain.pem").write_bytes(made.certificate.read_bytes())
    (tmp_path / "privkey.pem").write_bytes(made.key.read_bytes())
    program, _release, user, start = blocks("Install")
    [hook] = blocks("A domain and its certificate")
    renewed = f"RENEWED_LINEAGE={tmp_path} /etc/letsencrypt/renewal-hooks/deploy/gateway\n"
    unit = (ROOT / "config" / "deploy" / "gateway.service").read_text()
    [command] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    [folder] = re.findall(r"^WorkingDirectory=(.*)$", unit, re.MULTILINE)
    network = Namespace()
    network.ip("address add fd00::5/128 dev lo nodad")
    script = LAYER.format(
        root=ROOT,
        folder=tmp_path,
        network=f"/proc/{os.getpid()}/fd/{network._there}",
        steps=shlex.quote(f"cd {ROOT}\n{program}{user}{hook}{renewed}{start}"),
        serve=shlex.quote(f"cd {folder} && exec {command}"),
    )
    gateway = Child(
        ["unshare", "--mount", "bash", "-c", script],
        cwd=tmp_path,
        env={"GATEWAY_PROCESS__DRAIN_DELAY": "0s", "PIP_NO_COMPILE": "1"},
    )
    context = ssl.create_default_context(cafile=made.authority)
    host = f"5000-demo.{SITE}"

    def connect(port: int) -> socket.socket:
        with network.inside():
            return socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(CLIENT, 0))

    gateway.start()  # here, where pip finds its index; it goes there itself
    with network, network.inside(), serving(Server(("fd00::5", 5000), Fields)):
        try:
            gateway.wait_until(lambda: "health on http://127.0.0.1:9090/readyz" in gateway.log, "it serves", PATIENCE)
            connection = http.client.HTTPConnection(host)
            connection.sock = context.wrap_socket(connect(443), server_hostname=host)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
            connection = http.client.HTTPConnection(host)
            connection.sock = connect(80)
            connection.request("GET", "/")
            assert connection.getresponse().status == 308
            connection.close()
        finally:
            assert gateway.stop() == 0
    assert "config/edge.toml: ok" in gateway.log
    assert "systemctl enable --now gateway.service" in gateway.log

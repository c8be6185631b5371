"""What a running gateway agrees to in a handshake, asked by OpenSSL's own client, and what a costly wish costs it."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.interop.harness import ServeProcess
from tests.support.components import require
from tests.support.process import descendants

pytestmark = pytest.mark.interop

HELLOS = 30
CPU_EACH = 0.005
"""Seconds; with ffdhe8192 it was 0.1."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    require("openssl")
    with ServeProcess({}, directory=tmp_path_factory.mktemp("gateway")) as running:
        yield running


def client(gateway: ServeProcess, *options: str) -> str:
    """What `openssl s_client` says after a handshake and an end of its input."""
    command = ["openssl", "s_client", "-connect", f"[::1]:{gateway.tls_port}", *options]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("group", "key"), [("X25519", "X25519"), ("P-256", "ECDH, prime256v1"), ("P-384", "ECDH, secp384r1")]
)
def test_the_groups_of_browsers_are_agreed_to(gateway: ServeProcess, group: str, key: str) -> None:
    said = client(gateway, "-tls1_3", "-groups", group)
    assert f"Server Temp Key: {key}, " in said and "Cipher is TLS_AES_128_GCM_SHA256" in said, said
    said = client(gateway, "-tls1_2", "-groups", "P-256" if group == "P-256" else f"{group}:P-256")  # the certificate's
    assert "Server Temp Key: " in said and "Cipher is ECDHE-" in said, said


@pytest.mark.parametrize("version", ["-tls1_3", "-tls1_2"])
@pytest.mark.parametrize("group", ["P-521", "X448", "ffdhe2048", "ffdhe3072", "ffdhe8192"])
def test_no_other_group_is(gateway: ServeProcess, group: str, version: str) -> None:
    said = client(gateway, version, "-groups", group)
    assert "Cipher is (NONE)" in said and "alert" in said, said


@pytest.mark.parametrize(
    ("wishes", "chosen"),
    [
        ("TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"),
        ("TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"),
        (
            "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
    ],
)
def test_the_cheapest_suite_goes_first(gateway: ServeProcess, wishes: str, chosen: str) -> None:
    assert f"Cipher is {chosen}" in client(gateway, "-tls1_3", "-ciphersuites", wishes)


@pytest.mark.parametrize(
    ("wishes", "chosen"),
    [
        ("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
)
def test_in_tls_1_2_too(gateway: ServeProcess, wishes: str, chosen: str) -> None:
    assert f"Cipher is {chosen}" in client(gateway, "-tls1_2", "-cipher", wishes)


def test_a_constant_share_of_a_large_group_costs_nothing(gateway: ServeProcess) -> None:
    """Who sends it does no work at all: the same octets again and again, and nothing is ever answered."""
    family = descendants(gateway.pid)
    before = cpu(family)
    for _ in range(HELLOS):
        with closing(socket.create_connection(("::1", gateway.tls_port), timeout=60)) as connection:
            connection.sendall(FFDHE8192)
            assert connection.recv(5)[:1] == b"\x15", "an alert"
    assert cpu(family) - before < HELLOS * CPU_EACH


def cpu(pids: list[int]) -> float:
    """Seconds of processor that `pids` have used."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def _extension(number: int, content: bytes) -> bytes:
    return struct.pack("!HH", number, len(content)) + content


def _client_hello() -> bytes:
    share = b"\x01\x04" + struct.pack("!H", 1024) + bytes(1023) + b"\x02"
    extensions = (
        _extension(43, b"\x02\x03\x04")
        + _extension(10, b"\x00\x02\x01\x04")
        + _extension(13, b"\x00\x04\x04\x03\x08\x04")
        + _extension(51, struct.pack("!H", len(share)) + share)
    )
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\0"
        + b"\x00\x02\x13\x01"
        + b"\x01\0"
        + struct.pack("!H", len(extensions))
        + extensions
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(message)) + message


FFDHE8192 = _client_hello()


# --- what is said about it ----------------------------------------------------------------------------------------


def check(gateway: ServeProcess, **environment: str) -> str:
    config = gateway.command[-1]
    command = [gateway.command[0], "-m", "gateway", "check", "--config", config]
    environ = {**gateway.env, **environment}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_check_and_the_first_lines_say_what_is_in_force(gateway: ServeProcess) -> None:
    line = next(line for line in check(gateway).splitlines() if line.startswith("TLS: "))
    assert "X25519, P-256, P-384; AES-128-GCM, ChaCha20-Poly1305 for who puts it first; OpenSSL " in line
    assert line.removeprefix("TLS: ") in gateway.log
    assert "decides" not in check(gateway)


def test_check_says_which_certificate_is_served_for_what(gateway: ServeProcess) -> None:
    assert re.search(r"^\S+: ECDSA, served for .*, any other name$", check(gateway), re.MULTILINE)


def test_a_users_own_configuration_is_respected_and_said(gateway: ServeProcess, tmp_path: Path) -> None:
    own = tmp_path / "own.cnf"
    own.write_text("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nGroups = P-521:ffdhe2048\n")
    said = check(gateway, OPENSSL_CONF=str(own))
    assert "TLS: groups P-521, ffdhe2048; " in said
    assert f"OPENSSL_CONF={own} decides" in said


def test_groups_that_no_openssl_has_are_refused(gateway: ServeProcess) -> None:
    assert 'tls.groups[0]: expected "X25519MLKEM768"' in check(gateway, GATEWAY_TLS__GROUPS="ffdhe2048")
    assert "tls.groups: at least one is needed" in check(gateway, GATEWAY_TLS__GROUPS="[]")

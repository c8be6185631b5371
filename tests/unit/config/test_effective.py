"""What `gateway check` prints loads to what is in force."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Loaded, Settings, load, render_effective
from gateway.config.effective import render_toml

EVERYTHING_CHANGED = """
[edge]
domains = ["B.dev", "a.dev"]
listen = ["[::1]:8443", "127.0.0.1:8443"]
listen_plain = ["[::1]:8080"]
plain = "redirect"
proxy_protocol = "require"
trusted_proxies = ["10.0.0.0/8", "fd00::1"]
http2 = false
coalescing = "discourage"
public_port = 8443
health_path = "/.well-known/health"
websocket_errors = "close"
[tls]
certificates = [{ cert = "c\\"1.pem", key = "k\\\\1.key" }, { cert = "ü.pem", key = "tab\\t.key" }]
local_authority = "mine"
minimum_version = "1.3"
groups = ["P-521", "X25519"]
[directory]
backend = "dns"
path = "elsewhere.toml"
url = "rediss://user:pass@[fd00::9]:6380/3"
zone = "Sandboxes.Internal"
nameservers = ["10.0.0.53", "fd00::53", "[fd00::53]:5353", "127.0.0.1:5353"]
ttl = "1m30s"
negative_ttl = "0s"
stale = "1d"
known_file = ""
[upstream]
allow = ["::1/128", "fd12:3456::/32"]
allow_ipv4 = ["10.0.0.0/8", "192.0.2.1/32"]
deny_ports = [22, 25]
connect_timeout = "1500ms"
response_header_timeout = "1s"
idle_timeout = "1s"
idle_proven = "1ms"
max_idle_per_target = 1
max_idle = 1
tunnel_grace = "1s"
host = "localhost:{port}"
[timeouts]
handshake = "1s"
request_header = "1s"
idle = "10m20s"
body_idle = "1s"
tunnel_idle = "1s"
tcp_keepalive = "1s"
half_closed = "1s"
linger = "1s"
[limits]
header_bytes = 10000
header_fields = 1
target_bytes = "1KiB"
field_bytes = "1025B"
buffer_bytes = "1MiB"
connections = 1
connections_per_address = 1
handshake_bytes = "1MiB"
http2_streams = 1
exchanges_per_sandbox = 1
[admin]
listen = "[::]:9090"
token_file = "token"
[process]
workers = 3
drain_delay = "0s"
drain_timeout = "1s"
max_draining = 1
drain_spread = "3s"
stuck_timeout = "0s"
[log]
format = "text"
level = "debug"
access = false
path = "access.log"
[otel]
endpoint = "http://127.0.0.1:4318/v1/traces"
sample_ratio = 0.25
"""


def written(loaded: Loaded) -> str:
    """The rows of `render_effective` as a configuration file."""
    lines: list[str] = []
    for path, value, _ in render_effective(loaded):
        section, key = path.split(".")
        if f"[{section}]" not in lines:
            lines.append(f"[{section}]")
        lines.append(f"{key} = {value}")
    return "\n".join(lines)


@pytest.mark.parametrize("text", ["", EVERYTHING_CHANGED], ids=["defaults", "everything changed"])
def test_what_is_printed_loads_to_the_same_settings(tmp_path: Path, text: str) -> None:
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text(text, encoding="utf-8")
    loaded = load(file=first, environ={}, serve=False)
    second.write_text(written(loaded), encoding="utf-8")
    assert load(file=second, environ={}, serve=False).settings == loaded.settings


def test_everything_changed_changes_everything_that_can_be(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(EVERYTHING_CHANGED, encoding="utf-8")
    changed = render_effective(load(file=file, environ={}, serve=False))
    default = render_effective(Loaded(Settings(), {path: "default" for path, _, _ in changed}))
    same = [path for (path, value, _), (_, before, _) in zip(changed, default, strict=True) if value == before]
    assert same == []


def test_a_row_has_path_value_and_origin() -> None:
    rows = render_effective(load(file=None, environ={"GATEWAY_TIMEOUTS__IDLE": "620s"}, serve=False))
    assert ("timeouts.idle", '"620s"', "environment GATEWAY_TIMEOUTS__IDLE") in rows
    assert ("limits.header_bytes", '"32KiB"', "default") in rows
    assert ("upstream.allow", '["fd00::/8"]', "default") in rows


TOML = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), inner),
    max_leaves=10,
)


@given(TOML)
def test_toml_survives_writing_and_reading(value: object) -> None:
    text = render_toml(value)
    assert "\n" not in text
    assert tomllib.loads(f"value = {text}")["value"] == value


def test_other_types_are_our_own_slip() -> None:
    with pytest.raises(TypeError, match="NoneType is not a TOML type"):
        render_toml(None)

"""The schema: every default, once more, as an operator would write it; and that no field lacks its words."""

from __future__ import annotations

import ast
import inspect
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config import Settings, load, render_effective
from gateway.config import settings as schema

DEFAULTS = """
[edge]
domains = []
listen = ["[::]:443"]
listen_plain = []
plain = "forward"
proxy_protocol = "off"
trusted_proxies = []
http2 = true
coalescing = "allow"
public_port = 443
health_path = ""
websocket_errors = "status"

[tls]
certificates = []
local_authority = ""
minimum_version = "1.2"
groups = ["X25519MLKEM768", "X25519", "P-256", "P-384"]

[directory]
backend = "sqlite"
path = "var/sandboxes.db"
url = "redis://127.0.0.1:6379/0"
zone = ""
nameservers = []
ttl = "5s"
negative_ttl = "1s"
stale = "10m"
known_file = "var/known-sandboxes"

[upstream]
allow = ["fd00::/8"]
allow_ipv4 = []
deny_ports = []
connect_timeout = "3s"
response_header_timeout = "5m"
idle_timeout = "60s"
idle_proven = "4s"
max_idle_per_target = 256
max_idle = 4096
tunnel_grace = "10s"
host = "preserve"

[timeouts]
handshake = "10s"
request_header = "10s"
idle = "75s"
body_idle = "60s"
tunnel_idle = "1h"
half_closed = "30s"
tcp_keepalive = "45s"
linger = "5s"

[limits]
header_bytes = "32KiB"
header_fields = 100
target_bytes = "8KiB"
field_bytes = "8KiB"
buffer_bytes = "64KiB"
connections = 20000
connections_per_address = 1000
handshake_bytes = "16MiB"
http2_streams = 256
exchanges_per_sandbox = 1000

[admin]
listen = "127.0.0.1:9090"
token_file = ""

[process]
workers = 0
drain_delay = "5s"
drain_timeout = "60s"
drain_spread = "10s"
max_draining = 2
stuck_timeout = "30s"

[log]
format = "json"
level = "info"
access = true
path = ""
[otel]
endpoint = ""
sample_ratio = 1.0
"""


def test_defaults_are_the_contract(tmp_path: Path) -> None:
    file = tmp_path / "defaults.toml"
    file.write_text(DEFAULTS)
    loaded = load(file=file, environ={}, serve=False)
    assert loaded.settings == Settings()
    # And the other way round: the text above leaves nothing out.
    written = [f"{section}.{key}" for section, keys in tomllib.loads(DEFAULTS).items() for key in keys]
    assert written == [path for path, _, _ in render_effective(loaded)]


def test_durations_and_sizes_are_plain_numbers() -> None:
    settings = Settings()
    assert type(settings.timeouts.request_header) is float
    assert type(settings.upstream.response_header_timeout) is float
    assert type(settings.limits.header_bytes) is int


def test_settings_are_frozen() -> None:
    timeouts: Any = Settings().timeouts
    with pytest.raises(AttributeError):
        timeouts.idle = 1.0


def test_every_setting_is_documented_at_the_field() -> None:
    tree = ast.parse(inspect.getsource(schema))
    undocumented = [
        f"{node.name}.{field.target.id}"
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name != "Settings"
        for field, after in zip(node.body, [*node.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]
    assert undocumented == []


def test_a_struct_decoded_on_its_own_refuses_unknown_fields() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"handshake": 1.0, "handshakes": 2.0}, schema.Timeouts)

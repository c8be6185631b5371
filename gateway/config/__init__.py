"""Settings: typed, frozen, documented at the field, validated once at start.

    loaded = load(file=Path("config/edge.toml"), environ=os.environ)
    loaded.settings.timeouts.request_header      # 10.0, seconds

`values` spells durations, sizes and addresses; `kinds` says what a setting may be; `settings` is the schema with every
default; `checks` holds the rules between settings; `sources` merges flag, environment, file and default; `effective`
prints the result, `reference` docs/settings.md. Imports no other room, so every room may take its section by value.
"""

from gateway.config.effective import fingerprint, render_effective
from gateway.config.settings import (
    Admin,
    Certificate,
    Directory,
    Edge,
    Limits,
    Log,
    Process,
    Settings,
    Timeouts,
    Tls,
    Upstream,
)
from gateway.config.sources import ConfigError, Loaded, load
from gateway.config.values import Listen, Network

__all__ = [
    "Admin",
    "Certificate",
    "ConfigError",
    "Directory",
    "Edge",
    "Limits",
    "Listen",
    "Loaded",
    "Log",
    "Network",
    "Process",
    "Settings",
    "Timeouts",
    "Tls",
    "Upstream",
    "fingerprint",
    "load",
    "render_effective",
]

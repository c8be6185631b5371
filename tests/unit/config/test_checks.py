"""Rules between settings, and what only `gateway serve` asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import ConfigError, load

SERVABLE: dict[str, object] = {
    "edge.domains": ["sandbox.example.dev"],
    "tls.certificates": [{"cert": "certs/wildcard.pem", "key": "certs/wildcard.key"}],
}


def problems_of(flags: dict[str, object], *, serve: bool = True) -> list[tuple[str, str]]:
    try:
        load(file=None, environ={}, flags=flags, serve=serve)
    except ConfigError as error:
        return error.problems
    return []


def test_a_domain_and_a_certificate_are_enough() -> None:
    assert problems_of(SERVABLE) == []


def test_nothing_is_needed_when_not_serving() -> None:
    assert problems_of({}, serve=False) == []


def test_plain_listeners_need_no_certificate() -> None:
    flags: dict[str, object] = {"edge.domains": "a.dev", "edge.listen": [], "edge.listen_plain": ["[::]:8080"]}
    assert problems_of(flags) == []


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"edge.domains": []}, "edge.domains", "at least one is needed"),
        ({"tls.certificates": []}, "tls.certificates", "edge.listen needs at least one"),
        ({"edge.listen": []}, "edge.listen", "there is no listener"),
        ({"edge.listen_plain": ["[::]:443"]}, "edge.listen_plain", "[::]:443 is in edge.listen too"),
        ({"admin.listen": "[::]:443"}, "admin.listen", "is a public listener"),
        ({"admin.listen": "0.0.0.0:9090"}, "admin.token_file", "is required, because admin.listen = 0.0.0.0:9090"),
        ({"directory.backend": "dns"}, "directory.zone", 'is required by directory.backend = "dns"'),
        ({"directory.backend": "file"}, "directory.path", 'is required by directory.backend = "file"'),
        ({"directory.path": "config/sandboxes.toml"}, "directory.path", 'set directory.backend = "file"'),
        ({"limits.target_bytes": "33KiB"}, "limits.target_bytes", "larger than limits.header_bytes"),
        ({"limits.field_bytes": "33KiB"}, "limits.field_bytes", "larger than limits.header_bytes"),
    ],
)
def test_a_broken_rule_is_reported_where_it_is_mended(change: dict[str, object], path: str, message: str) -> None:
    token: dict[str, object] = {} if path == "admin.token_file" else {"admin.token_file": "token"}
    [(at, said)] = problems_of({**SERVABLE, **token, **change})
    assert at == path
    assert message in said


@pytest.mark.parametrize("address", ["127.0.0.1:9090", "[::1]:9090", "127.1.2.3:1"])
def test_loopback_needs_no_token(address: str) -> None:
    assert problems_of({**SERVABLE, "admin.listen": address}) == []


def test_port_zero_is_never_the_same_socket() -> None:
    flags: dict[str, object] = {"edge.listen": ["[::1]:0"], "edge.listen_plain": ["[::1]:0"], "admin.listen": "[::1]:0"}
    assert problems_of({**SERVABLE, **flags}) == []


def test_a_value_found_wrong_is_not_judged_again() -> None:
    paths = [
        path
        for path, _ in problems_of({**SERVABLE, "edge.domains": ["."], "edge.listen": ["x"], "tls.certificates": []})
    ]
    assert paths == ["edge.domains[0]", "edge.listen[0]"]


CONFIGURATIONS = sorted(
    file for file in (Path(__file__).parents[3] / "config").glob("*.toml") if "sandboxes" not in file.name
)


def test_the_shipped_configurations_are_there() -> None:
    assert [file.name for file in CONFIGURATIONS] == [
        "behind-http-lb.toml",
        "behind-l4-lb.toml",
        "dev.toml",
        "edge.toml",
    ]


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_a_shipped_configuration_can_be_served(file: Path) -> None:
    loaded = load(file=file, environ={})
    assert loaded.origins["edge.domains"] == f"file {file}"
    assert loaded.settings.directory.backend == "file"
    table = "config/dev-sandboxes.toml" if file.name == "dev.toml" else "config/sandboxes.toml"
    assert loaded.settings.directory.path == Path(table)

"""Loading: who wins, where a value came from, and every mistake named by its path, all of them at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.config import ConfigError, Listen, Loaded, Settings, load, sources


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def problems_of(
    file: Path | None, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(file=file, environ=environ or {}, flags=flags, serve=False)
    return caught.value.problems


def from_environment(**environ: str) -> Loaded:
    return load(file=None, environ=environ, serve=False)


# --- precedence ----------------------------------------------------------------------------------------------------


def test_flag_over_environment_over_file_over_default(file: Path) -> None:
    file.write_text('[timeouts]\nidle = "1s"\nlinger = "1s"\nhandshake = "1s"\n')
    environ = {"GATEWAY_TIMEOUTS__IDLE": "2s", "GATEWAY_TIMEOUTS__LINGER": "2s"}
    loaded = load(file=file, environ=environ, flags={"timeouts.idle": "3s"}, serve=False)
    timeouts = loaded.settings.timeouts
    assert (timeouts.idle, timeouts.linger, timeouts.handshake, timeouts.request_header) == (3.0, 2.0, 1.0, 10.0)
    assert loaded.origins["timeouts.idle"] == "flag --idle"
    assert loaded.origins["timeouts.linger"] == "environment GATEWAY_TIMEOUTS__LINGER"
    assert loaded.origins["timeouts.handshake"] == f"file {file}"
    assert loaded.origins["timeouts.request_header"] == "default"


def test_a_value_that_loses_is_not_judged(file: Path) -> None:
    file.write_text('[log]\nlevel = "loud"\n')
    assert load(file=file, environ={"GATEWAY_LOG__LEVEL": "debug"}, serve=False).settings.log.level == "debug"


def test_flags_take_texts_toml_values_tuples_and_none() -> None:
    flags: dict[str, object] = {
        "edge.domains": "a.dev,b.dev",
        "edge.listen": ("[::1]:8443", "127.0.0.1:8443"),
        "edge.public_port": 8443,
        "limits.header_bytes": "16KiB",
        "log.level": None,
    }
    loaded = load(file=None, environ={}, flags=flags, serve=False)
    assert loaded.settings.edge.domains == ("a.dev", "b.dev")
    assert loaded.settings.edge.listen == (Listen("::1", 8443), Listen("127.0.0.1", 8443))
    assert loaded.settings.edge.public_port == 8443
    assert loaded.settings.limits.header_bytes == 16 * 1024
    assert loaded.origins["edge.public_port"] == "flag --public-port"
    assert loaded.origins["log.level"] == "default"


def test_an_unknown_flag_is_refused() -> None:
    assert problems_of(None, flags={"edge.colour": "red"}) == [("--colour", "unknown setting edge.colour")]


# --- environment ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "domains"),
    [
        ('["a.dev", "b.dev"]', ("a.dev", "b.dev")),
        ("a.dev", ("a.dev",)),
        ("a.dev, b.dev", ("a.dev", "b.dev")),
        ('"a.dev"', ("a.dev",)),
        ("a.dev,", ("a.dev",)),
        ("[]", ()),
        ("", ()),
    ],
)
def test_a_list_from_the_environment(text: str, domains: tuple[str, ...]) -> None:
    assert from_environment(GATEWAY_EDGE__DOMAINS=text).settings.edge.domains == domains


def test_listen_addresses_from_the_environment_may_be_bare() -> None:
    loaded = from_environment(GATEWAY_EDGE__LISTEN="[::1]:8443,127.0.0.1:8443")
    assert loaded.settings.edge.listen == (Listen("::1", 8443), Listen("127.0.0.1", 8443))


def test_numbers_booleans_and_tables_from_the_environment() -> None:
    settings = from_environment(
        GATEWAY_PROCESS__WORKERS="8",
        GATEWAY_LOG__ACCESS="false",
        GATEWAY_UPSTREAM__DENY_PORTS="22, 25",
        GATEWAY_LIMITS__BUFFER_BYTES="65536",
        GATEWAY_LIMITS__HEADER_BYTES="64KiB",
        GATEWAY_TLS__CERTIFICATES='[{ cert = "a.pem", key = "a.key" }]',
    ).settings
    assert settings.process.workers == 8
    assert settings.log.access is False
    assert settings.upstream.deny_ports == (22, 25)
    assert settings.limits.buffer_bytes == 65536
    assert settings.limits.header_bytes == 65536
    assert [(pair.cert, pair.key) for pair in settings.tls.certificates] == [(Path("a.pem"), Path("a.key"))]


@pytest.mark.parametrize("text", ["8", "true", "2026-01-01", "1.5", "[a]", '"8', "a b"])
def test_a_path_from_the_environment_stays_text_even_when_toml_would_read_more(text: str) -> None:
    assert from_environment(GATEWAY_DIRECTORY__PATH=text).settings.directory.path == Path(text)


def test_a_value_cannot_smuggle_a_second_key() -> None:
    text = '"info"\nother = 1'
    assert problems_of(None, {"GATEWAY_LOG__LEVEL": text})[0][0] == "log.level"


def test_names_without_two_underscores_are_somebody_elses() -> None:
    kubernetes = {"GATEWAY_PORT": "tcp://10.0.0.1:443", "GATEWAY_SERVICE_HOST": "10.0.0.1", "OTHER__KEY": "1"}
    assert set(from_environment(**kubernetes).origins.values()) == {"default"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GATEWAY_EDGE__DOMIANS", " (did you mean GATEWAY_EDGE__DOMAINS?)"),
        ("GATEWAY_NOTHING__LIKE_IT_AT_ALL", ""),
        ("GATEWAY_EDGE__domains", ""),
        ("GATEWAY___X", ""),
    ],
)
def test_an_unknown_variable_is_named(name: str, hint: str) -> None:
    [(path, message)] = problems_of(None, {name: "x"})
    assert path == name
    assert message.startswith("unknown setting")
    assert message.endswith(hint)


# --- mistakes, each with its path ----------------------------------------------------------------------------------

MISTAKES = [
    ("edge = 5", "edge", "is a section: write [edge] on a line of its own, its keys below"),
    ("[egde]", "egde", "unknown section (did you mean edge?)"),
    ("[edge]\ndomian = []", "edge.domian", "unknown key (did you mean edge.domains?)"),
    ("[edge.tls]\nx = 1", "edge.tls", "unknown key"),
    ("[directory]\nuri = 'x'", "directory.uri", "unknown key (did you mean directory.url?)"),
    ('[edge]\ndomains = "a.dev"', "edge.domains", 'expected a list, got "a.dev"'),
    ("[edge]\ndomains = [5]", "edge.domains[0]", 'expected a domain such as "sandbox.example.dev", got 5'),
    ('[edge]\ndomains = ["a.dev", "b..dev"]', "edge.domains[1]", 'got "b..dev"'),
    ('[edge]\ndomains = ["a.dev", "A.dev"]', "edge.domains[1]", '"A.dev" is listed twice'),
    ('[edge]\nlisten = ["localhost:443"]', "edge.listen[0]", "expected an address and a port"),
    ('[edge]\nlisten = ["[::]:443", "[0::0]:443"]', "edge.listen[1]", '"[0::0]:443" is listed twice'),
    ('[edge]\nplain = "drop"', "edge.plain", 'expected "forward" or "redirect", got "drop"'),
    (
        '[edge]\nproxy_protocol = "require"',
        "edge.trusted_proxies",
        'is required by edge.proxy_protocol = "require"',
    ),
    ('[edge]\ntrusted_proxies = ["10.0.0.1/8"]', "edge.trusted_proxies[0]", "bits set behind its prefix"),
    ("[edge]\npublic_port = 0", "edge.public_port", "expected a whole number from 1 to 65535, got 0"),
    ("[edge]\npublic_port = true", "edge.public_port", "expected a whole number, got true"),
    ("[tls]\ncertificates = ['a.pem']", "tls.certificates[0]", 'expected { cert = "…", key = "…" }, got "a.pem"'),
    ("[[tls.certificates]]\ncert = 'a.pem'", "tls.certificates[0].key", "is missing"),
    ("[[tls.certificates]]\ncert = 'a'\nkey = 'b'\nkye = 'c'", "tls.certificates[0].kye", "unknown key"),
    ("[[tls.certificates]]\ncert = ''\nkey = 'b'", "tls.certificates[0].cert", "expected the path of a file"),
    ("[tls]\nminimum_version = 1.2", "tls.minimum_version", 'expected "1.2" or "1.3", got 1.2'),
    ('[tls]\nminimum_version = "1.1"', "tls.minimum_version", 'expected "1.2" or "1.3", got "1.1"'),
    (
        '[directory]\nbackend = "mongo"',
        "directory.backend",
        'expected "sqlite" or "file" or "redis" or "dns", got "mongo"',
    ),
    ('[directory]\nurl = "http://a"', "directory.url", 'expected a URL such as "redis://127.0.0.1:6379/0"'),
    ('[directory]\nzone = "a..b"', "directory.zone", 'expected a domain such as "sandbox.example.dev", got "a..b"'),
    ('[directory]\nnameservers = ["ns1"]', "directory.nameservers[0]", 'such as "10.0.0.53" or "[fd00::53]:5353"'),
    ('[directory]\nnameservers = ["::1", "[::1]:53"]', "directory.nameservers[1]", "is listed twice"),
    ('[timeouts]\ntcp_keepalive = "1ms"', "timeouts.tcp_keepalive", "expected whole seconds, "),
    ('[timeouts]\ntcp_keepalive = "1500ms"', "timeouts.tcp_keepalive", "expected whole seconds, "),
    ('[timeouts]\ntcp_keepalive = "9h6m8s"', "timeouts.tcp_keepalive", "32767s at most (the kernel's), got"),
    ('[directory]\nttl = "0s"', "directory.ttl", 'must be longer than zero, got "0s"'),
    ('[upstream]\nallow = ["10.0.0.0/8"]', "upstream.allow[0]", "IPv6 only"),
    ('[upstream]\nallow_ipv4 = ["fd00::/8"]', "upstream.allow_ipv4[0]", "expected an IPv4 network"),
    ('[upstream]\nallow_ipv4 = "10.0.0.0/8"', "upstream.allow_ipv4", "expected a list"),
    ("[upstream]\nallow_ipv4 = [10]", "upstream.allow_ipv4[0]", 'expected a network such as "10.0.0.0/8", got 10'),
    ("[upstream]\ndeny_ports = [22, 65536]", "upstream.deny_ports[1]", "from 1 to 65535, got 65536"),
    ('[upstream]\nhost = "{id}:{port}"', "upstream.host", '"{id}" is not a placeholder'),
    ("[upstream]\nmax_idle_per_target = 0", "upstream.max_idle_per_target", "from 1 to"),
    ("[timeouts]\nidle = 75", "timeouts.idle", 'expected a duration such as "5s", "500ms" or "1h30m", got 75'),
    ('[timeouts]\nidle = "-1s"', "timeouts.idle", 'got "-1s"'),
    ('[limits]\nheader_bytes = "0B"', "limits.header_bytes", "expected a size from 1B"),
    ("[limits]\nheader_bytes = -1", "limits.header_bytes", 'expected a size such as "32KiB", got -1'),
    ("[limits]\nheader_bytes = 99999999999999", "limits.header_bytes", "expected a size"),
    ("[limits]\nconnections = 1e3", "limits.connections", "expected a whole number, got 1000.0"),
    ('[admin]\nlisten = ["127.0.0.1:9090"]', "admin.listen", "got a list"),
    ("[process]\nworkers = -1", "process.workers", "expected a whole number from 0 to 1024, got -1"),
    ('[log]\naccess = "yes"', "log.access", 'expected true or false, got "yes"'),
    ("[log]\nlevel = {}", "log.level", "got a table"),
]


@pytest.mark.parametrize(("text", "path", "message"), MISTAKES, ids=[f"{row[1]}-{n}" for n, row in enumerate(MISTAKES)])
def test_a_mistake_names_its_path(file: Path, text: str, path: str, message: str) -> None:
    file.write_text(text)
    [(at, said)] = problems_of(file)
    assert at == path
    assert message in said
    assert "\n" not in said


def test_all_problems_of_all_sources_at_once(file: Path) -> None:
    file.write_text('[edge]\ndomains = [".a", 5]\n[log]\nlevel = "loud"\ncolour = 1\n')
    environ = {"GATEWAY_TIMEOUTS__IDLE": "soon", "GATEWAY_X__Y": "1"}
    with pytest.raises(ConfigError) as caught:
        load(file=file, environ=environ, flags={"process.workers": -1}, serve=False)
    paths = [path for path, _ in caught.value.problems]
    assert sorted(paths) == sorted(
        [
            "edge.domains[0]",
            "edge.domains[1]",
            "log.level",
            "log.colour",
            "timeouts.idle",
            "GATEWAY_X__Y",
            "process.workers",
        ]
    )
    assert str(caught.value).splitlines() == [f"{path}: {message}" for path, message in caught.value.problems]


def test_a_mistake_outside_the_file_says_where() -> None:
    [(path, message)] = problems_of(None, {"GATEWAY_LOG__LEVEL": "loud"})
    assert path == "log.level"
    assert message.endswith("(from environment GATEWAY_LOG__LEVEL)")
    [(path, message)] = problems_of(None, flags={"log.level": "loud"})
    assert message.endswith("(from flag --level)")


def test_what_is_no_text_is_refused() -> None:
    octets = os.fsdecode(b"a\xff")
    environ = {"GATEWAY_DIRECTORY__PATH": octets, "GATEWAY_DIRECTORY__URL": f"redis://{octets}/"}
    for path, message in problems_of(None, environ):
        assert path in ("directory.path", "directory.url")
        assert "is not UTF-8 (from environment GATEWAY_DIRECTORY__" in message
        message.encode()


# --- files that cannot be read -------------------------------------------------------------------------------------


def test_broken_toml_is_one_sentence_with_the_line(file: Path) -> None:
    file.write_text("[edge]\ndomains = [\n")
    [(path, message)] = problems_of(file)
    assert path == str(file)
    assert message.startswith("is not valid TOML: ")
    file.write_text("[edge]\nlisten_plain = []\npublic_port 443\n")
    [(path, message)] = problems_of(file)
    assert "line 3" in message
    assert "\n" not in message


def test_lists_without_end_are_one_sentence(file: Path) -> None:
    lists = "[" * 5000
    file.write_text(f"a = {lists}")
    assert problems_of(file) == [(str(file), "is not valid TOML: thousands of lists, each in another")]
    [(path, _)] = problems_of(None, {"GATEWAY_LOG__LEVEL": lists})
    assert path == "log.level"


def test_a_missing_file_is_one_sentence(file: Path) -> None:
    assert problems_of(file) == [(str(file), "cannot be read: No such file or directory")]


def test_a_shells_pipe_is_read_to_its_end(file: Path) -> None:
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(file, os.O_WRONLY)
    os.write(writer, b"[limits]\n")

    def rest() -> None:
        os.write(writer, b"connections = 7\n")
        os.close(writer)

    later = threading.Timer(0.1, rest)
    later.start()
    try:
        assert load(file=file, environ={}, serve=False).settings.limits.connections == 7
    finally:
        later.join()
        os.close(reader)


def test_what_has_no_end_is_one_sentence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that serves reads it anew for a reload, and cannot even be told to end meanwhile."""
    monkeypatch.setattr(sources, "PIPE_TIME", 0.05)
    assert problems_of(Path("/dev/zero")) == [("/dev/zero", "has more than 4 MiB")]
    os.mkfifo(file)
    reader = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(file, os.O_WRONLY)
    try:
        assert problems_of(file) == [(str(file), "is a pipe whose end has not come within 0.05 s")]
    finally:
        os.close(writer)
        os.close(reader)


def test_a_pipe_that_nobody_writes_to_is_empty(file: Path) -> None:
    os.mkfifo(file)
    assert load(file=file, environ={}, serve=False).settings == Settings()


def test_a_folder_is_one_sentence(tmp_path: Path) -> None:
    assert problems_of(tmp_path) == [(str(tmp_path), "cannot be read: Is a directory")]


def test_a_file_that_is_no_text_is_one_sentence(file: Path) -> None:
    file.write_bytes(b"[edge]\n\xff\xfe")
    assert problems_of(file) == [(str(file), "is not UTF-8 text (byte 7)")]

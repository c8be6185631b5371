"""Every peer's configuration can be filled in, and the upstream they share answers as they expect."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import peers
from bench.load.websocket import ACCEPT, KEY, binary_frame
from bench.peers import HERE, PEERS, fill, placeholders
from bench.site import Site, Unable, write_sandboxes
from bench.upstream import BODY, response, switching
from gateway.config import load
from gateway.config.settings import Limits, Log, Timeouts


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for name in ("ca.pem", "leaf.pem", "leaf.key"):
        (tmp_path / name).write_text(name)
    return Site(
        directory=tmp_path,
        proxy_core=0,
        load_core=1,
        authority=tmp_path / "ca.pem",
        certificate=tmp_path / "leaf.pem",
        key=tmp_path / "leaf.key",
        ports=(5000, 5001, 5002),
        refused_port=9,
        sandboxes=write_sandboxes(tmp_path / "sandboxes.toml", ["bench", "s0", "s1"]),
        descriptors=20_000,
        awake=os.getpid(),
    )


@pytest.mark.parametrize("name", PEERS)
def test_no_placeholder_is_left(name: str, site: Site, tmp_path: Path) -> None:
    peer = PEERS[name]
    known = placeholders(peer, site, tmp_path)
    texts = [*peer.command, *peer.build, *(value for _, value in peer.environment)]
    if peer.configuration:
        texts.append((HERE / peer.configuration).read_text())
    assert not [text for text in texts if "@" in fill(text, known).replace("@refused", "")]


def test_the_gateways_limits_timeouts_and_log_are_the_defaults(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(fill((HERE / "gateway.toml").read_text(), placeholders(PEERS["gateway"], site, tmp_path)))
    measured = load(file=file, environ={}, serve=True).settings
    assert (measured.limits, measured.timeouts, measured.log) == (Limits(), Timeouts(), Log())
    assert measured.process.workers == 1


def test_mixed_hosts_have_a_port_each(site: Site) -> None:
    assert site.mixed_hosts == ["5001-s0.sandbox.localhost", "5002-s1.sandbox.localhost"]


@pytest.mark.parametrize(
    ("path", "size"), [(b"/", 33), (b"/16k", 16384), (b"/1m", 1048576), (b"/bytes/0", 0), (b"/bytes/100", 100)]
)
def test_the_upstream_answers_as_many_octets_as_asked(path: bytes, size: int) -> None:
    head, _, content = response(path).partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % size in head
    assert len(content) == size
    assert size < len(BODY) or content.endswith(BODY)


def test_the_upstream_proves_that_it_read_the_key() -> None:
    # The example of RFC 6455 section 1.3.
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in switching(b"dGhlIHNhbXBsZSBub25jZQ==")
    assert ACCEPT in switching(KEY.encode())


@pytest.mark.parametrize(("size", "head"), [(32, 6), (125, 6), (126, 8), (65535, 8), (65536, 14)])
def test_frames_have_the_head_of_their_size(size: int, head: int) -> None:
    frame = binary_frame(size)
    assert len(frame) == head + size
    assert frame[0] == 0x82
    assert frame[1] & 0x80


def test_the_gateway_of_another_checkout_runs_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.peers.PEERS", dict(PEERS))
    with pytest.raises(Unable, match="no checkout"):
        peers.add_before(tmp_path)
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__main__.py").touch()
    peers.add_before(tmp_path)
    before = peers.PEERS[peers.BEFORE]
    assert (before.tree, before.command) == (tmp_path, PEERS["gateway"].command)

"""The certificate store: every way in which files change under it, met by handshakes."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import os
import shutil
import ssl
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.tls import followed_pair
from gateway.tls.context import ContextOptions
from gateway.tls.errors import CertificateError
from gateway.tls.pair import Certificate, CertificatePair, read_pair
from gateway.tls.store import CertificateStore
from tests.support.certificates import DAY, replace_pair, rsa_key, write_pair
from tests.support.handshakes import anybody, chain, der_of, handshake, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    MakePair = Callable[..., CertificatePair]

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Clock:
    """The wall clock, in the hands of a test."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, *pairs: CertificatePair) -> CertificateStore:
    """A store that has looked at `pairs` until there was nothing more to see."""
    store = CertificateStore(pairs, ContextOptions(), clock)
    rest(store)
    return store


def rest(store: CertificateStore) -> None:
    """The files have come to rest: one look finds them changed, the next one reads them."""
    store.look()
    store.look()


def served(store: CertificateStore, name: str | None = "x.a.example", client: ssl.SSLContext | None = None) -> bytes:
    return shown(handshake(store.context, client or anybody(), name)[0])


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# --- one pair, replaced ---------------------------------------------------------------------------------------------


def test_renamed_into_place(make_pair: MakePair, clock: Clock) -> None:
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    before = served(store)
    replace_pair(pair, make_pair("*.a.example"))
    store.look()
    assert served(store) == before, "the first look waits for the files to rest"
    store.look()
    assert served(store) == der_of(pair) != before
    [file] = store.files()
    assert file.sha256.replace(":", "").lower() == hashlib.sha256(der_of(pair)).hexdigest()
    assert store.context.sni_callback is None, "no Python in a handshake"


def test_written_over(make_pair: MakePair, clock: Clock) -> None:
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    write_pair(pair.cert.parent, "*.a.example", "more.a.example")
    rest(store)
    assert served(store) == der_of(pair)


@pytest.mark.parametrize("which", ["live", "..data"])
def test_a_link_to_another_directory(make_pair: MakePair, clock: Clock, tmp_path: Path, which: str) -> None:
    """certbot changes a link for each file, Kubernetes one for the directory."""
    first, second = make_pair("*.a.example"), make_pair("*.a.example")
    live = tmp_path / "live"
    if which == "live":
        live.mkdir()
        for each in (first.cert, first.key):
            (live / each.name).symlink_to(each)
    else:
        (tmp_path / which).symlink_to(first.cert.parent)
        live.mkdir()
        for each in (first.cert, first.key):
            (live / each.name).symlink_to(tmp_path / which / each.name)
    store = make(clock, CertificatePair(live / "cert.pem", live / "cert.key"))
    assert served(store) == der_of(first)
    if which == "live":
        for each in (second.cert, second.key):
            (live / "next").symlink_to(each)
            (live / "next").rename(live / each.name)
    else:
        (tmp_path / "next").symlink_to(second.cert.parent)
        (tmp_path / "next").rename(tmp_path / which)
    rest(store)
    assert served(store) == der_of(second)


@pytest.mark.parametrize("first", ["cert", "key"])
def test_one_file_after_the_other(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    """A pair that is out of step for a look is no broken pair."""
    pair, new = make_pair("*.a.example"), make_pair("*.a.example")
    store = make(clock, pair)
    before = served(store)
    for path in ([new.cert, new.key], [new.key, new.cert])[first == "key"]:
        shutil.copy(path, pair.cert.with_name(path.name))
        store.look()
        assert served(store) == before
    store.look()
    assert served(store) == der_of(new)
    assert not errors(caplog)


def test_out_of_step_for_longer_is_told_and_goes_by(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pair, new = make_pair("*.a.example"), make_pair("*.a.example")
    store = make(clock, pair)
    before = served(store)
    new.cert.rename(pair.cert)
    for _ in range(5):
        store.look()
    assert served(store) == before
    until = f"{store.certificates[0].not_after:%Y-%m-%d}"
    assert errors(caplog) == [
        f"{pair.key} is not the key of {pair.cert}. The one from before, valid until {until}, is served on."
    ]
    new.key.rename(pair.key)
    rest(store)
    assert served(store) == der_of(pair)


def test_intermediates_come_and_go(make_pair: MakePair, clock: Clock) -> None:
    pair, issuer = make_pair("*.a.example"), make_pair("issuer.example")
    alone = pair.cert.read_bytes()
    store = make(clock, pair)
    for content, length in ((alone + issuer.cert.read_bytes(), 2), (alone, 1)):
        pair.cert.write_bytes(content)
        rest(store)
        client, _ = handshake(store.context, anybody(), "x.a.example")
        assert len(chain(client)) == length


def test_a_hundred_swaps_a_second(make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """What never rests is read even so, and nothing is said of halves."""
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    before, seen = served(store), set()
    for number in range(20):
        new = make_pair("*.a.example")
        new.key.rename(pair.key)
        if number % 2:
            store.look()  # out of step
        new.cert.rename(pair.cert)
        store.look()
        seen.add(served(store))
    assert len(seen - {before}) > 1
    rest(store)
    assert served(store) == der_of(pair)
    assert not errors(caplog)


# --- broken ---------------------------------------------------------------------------------------------------------


def truncate(pair: CertificatePair) -> None:
    pair.cert.write_bytes(pair.cert.read_bytes()[:90])


def lose_directory(pair: CertificatePair) -> None:
    pair.cert.parent.rename(pair.cert.parent.with_name("elsewhere"))


def empty_key(pair: CertificatePair) -> None:
    pair.key.write_bytes(b"")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (truncate, "holds no certificate that can be read."),
        (empty_key, "is not in PEM form: convert DER with openssl pkey -inform der."),
        (lose_directory, "cannot be read (no such file or directory)."),
    ],
)
def test_a_broken_pair_keeps_the_old_one_and_says_so_once(
    make_pair: MakePair,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    break_it: Callable[[CertificatePair], None],
    said: str,
) -> None:
    caplog.set_level(logging.INFO)
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    before = served(store)
    break_it(pair)
    for _ in range(5):
        store.look()
        assert served(store) == before
    [line] = errors(caplog)
    assert said in line
    write_pair(pair.cert.parent, "*.a.example")
    for _ in range(4):
        store.look()
    assert served(store) == der_of(pair)
    assert len(errors(caplog)) == 1
    assert f"{pair.cert} has changed and is served from now on" in caplog.text


def test_mended_to_what_it_was(make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    whole, until = pair.cert.read_bytes(), f"{store.certificates[0].not_after:%Y-%m-%d}"
    truncate(pair)
    rest(store)
    pair.cert.write_bytes(whole)
    for _ in range(4):
        store.look()
    assert [record.getMessage() for record in caplog.records] == [
        f"{pair.cert} holds no certificate that can be read. The one from before, valid until {until}, is served on.",
        f"{pair.cert} is fine again: it is what is served",
    ]


def test_not_permitted_for_a_while(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps a file from being read may leave no trace in it: it is tried again, and told once."""
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    replace_pair(pair, make_pair("*.a.example"))
    really_open = os.open

    def refuse(which: Path | str, flags: int) -> int:
        if which == pair.key:
            raise PermissionError(13, "Permission denied", str(which))
        return really_open(which, flags)

    monkeypatch.setattr(os, "open", refuse)
    for _ in range(5):
        store.look()
    [line] = errors(caplog)
    assert f"{pair.key} cannot be read (permission denied)." in line
    monkeypatch.undo()
    store.look()
    assert served(store) == der_of(pair)


@pytest.mark.parametrize("where", ["first", "entry"])
def test_a_load_that_fails_breaks_nothing(
    make_pair: MakePair, clock: Clock, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """No descriptor for a moment: what fails in the entry itself is served beside it."""
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    before, load_into = served(store), Certificate.load_into

    def fail(self: Certificate, context: ssl.SSLContext) -> None:
        if where == "first" or context is store.context:
            raise CertificateError(self.pair.cert, "cannot be loaded") from OSError(24, "Too many open files")
        load_into(self, context)

    replace_pair(pair, make_pair("*.a.example"))
    monkeypatch.setattr(Certificate, "load_into", fail)
    for _ in range(3):
        store.look()
    assert served(store) == (before if where == "first" else der_of(pair))
    monkeypatch.undo()
    store.look()
    assert served(store) == der_of(pair)
    replace_pair(pair, make_pair("*.a.example"))
    rest(store)
    assert served(store) == der_of(pair)
    assert store.context.sni_callback is None, "the entry is whole again"


def test_what_a_failed_load_left_broken_is_not_trusted(
    make_pair: MakePair, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if what comes next is what the entry held before it."""
    pair, other = make_pair("*.a.example"), make_pair("*.a.example")
    kept = make_pair("*.a.example")
    for source, to in ((pair.cert, kept.cert), (pair.key, kept.key)):
        shutil.copy(source, to)
    store = make(clock, pair)
    load_into = Certificate.load_into

    def fail(self: Certificate, context: ssl.SSLContext) -> None:
        if context is store.context:
            with contextlib.suppress(ssl.SSLError):
                context.load_cert_chain(pair.cert, kept.key)
            raise CertificateError(self.pair.cert, "cannot be loaded")
        load_into(self, context)

    replace_pair(pair, other)
    monkeypatch.setattr(Certificate, "load_into", fail)
    rest(store)
    monkeypatch.undo()
    replace_pair(pair, kept)
    rest(store)
    assert served(store) == der_of(pair)
    assert store.context.sni_callback is None


def test_what_is_written_while_it_is_read_waits_for_the_next_look(
    make_pair: MakePair, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a chain may be a good one."""
    pair, new = make_pair("*.a.example"), make_pair("*.a.example")
    store = make(clock, pair)
    before = served(store)
    replace_pair(pair, new)
    store.look()
    half = [b"", pair.cert.read_bytes()]

    def read_half(pair: CertificatePair) -> Certificate:
        pair.cert.write_bytes(half.pop())
        return read_pair(pair)

    for _ in range(2):
        monkeypatch.setattr(followed_pair, "read_pair", read_half)
        pair.cert.write_bytes(b"changed")
        store.look()
        store.look()
        assert served(store) == before
        monkeypatch.undo()
    assert not errors(caplog)


def test_only_a_live_context_that_was_loaded_is_ever_left_broken(make_pair: MakePair) -> None:
    """The fact this is built around: a failed load leaves a context without a key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    good, bad = make_pair("*.a.example"), make_pair("*.a.example")
    context.load_cert_chain(good.cert, good.key)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(bad.cert, good.key)
    with pytest.raises(ssl.SSLError):
        handshake(context, anybody())


def test_a_device_or_a_huge_file_is_not_read(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    pair.cert.unlink()
    os.mkfifo(pair.cert)
    rest(store)
    pair.cert.unlink()
    with pair.cert.open("wb") as file:
        file.truncate(1 << 40)
    rest(store)
    fifo, huge = errors(caplog)
    assert "is no file but a device, a pipe or a socket." in fifo
    assert "is too large for a certificate or a key." in huge


# --- several, other names, other kinds ------------------------------------------------------------------------------


def test_another_kind_of_key(make_pair: MakePair, clock: Clock) -> None:
    """A context forgets no kind: clients that prefer the old one must not get it any more."""
    pair = make_pair("*.a.example", key=rsa_key())
    store = make(clock, pair)
    clients = [anybody(V1_3), anybody(V1_2)]
    for key in (ec.generate_private_key(ec.SECP256R1()), rsa_key()):
        write_pair(pair.cert.parent, "*.a.example", key=key)
        rest(store)
        for client in clients:
            for name in ("x.a.example", "elsewhere.test", None):
                assert served(store, name, client) == der_of(pair)
    assert store.context.sni_callback is None, "what the entry holds is what is served again"


def test_a_second_kind_comes_and_goes(make_pair: MakePair, clock: Clock) -> None:
    """Which one it is going to be is not known when the context is made."""
    first = make_pair("*.a.example")
    second = make_pair("*.a.example", key=rsa_key())
    hidden = second.cert.with_name("hidden")
    second.cert.rename(hidden)
    store = make(clock, first, second)
    rsa_only = anybody(V1_2)
    rsa_only.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    with pytest.raises(ssl.SSLError):
        served(store, client=rsa_only)
    hidden.rename(second.cert)
    rest(store)
    assert served(store, client=rsa_only) == der_of(second)
    assert served(store) == der_of(first)
    assert store.context.sni_callback is None


def test_names_change(make_pair: MakePair, clock: Clock) -> None:
    first, second = make_pair("*.a.example"), make_pair("*.b.example")
    store = make(clock, first, second)
    entry = store.context
    assert served(store, "x.b.example") == der_of(second)
    write_pair(second.cert.parent, "*.c.example")
    rest(store)
    assert served(store, "x.c.example") == der_of(second)
    for name in ("x.a.example", "x.b.example", None):
        assert served(store, name) == der_of(first)
    write_pair(second.cert.parent, "*.a.example")
    rest(store)
    assert store.context.sni_callback is None, "one for all"
    assert store.context is entry
    assert served(store) == der_of(first)


def test_all_of_several_are_followed(make_pair: MakePair, clock: Clock) -> None:
    pairs = [make_pair(f"*.{name}.example") for name in "abc"]
    store = make(clock, *pairs)
    for pair, name in zip(pairs, "abc", strict=True):
        replace_pair(pair, make_pair(f"*.{name}.example"))
        rest(store)
        for each, other in zip(pairs, "abc", strict=True):
            assert served(store, f"X.{other}.example") == der_of(each)
    assert served(store, None) == der_of(pairs[0])


# --- what goes on over a swap ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("swap", ["renewed", "other kind", "other names"])
def test_sessions_are_resumed_and_connections_go_on(
    make_pair: MakePair, clock: Clock, version: ssl.TLSVersion, swap: str
) -> None:
    first, second = make_pair("*.a.example"), make_pair("*.b.example")
    store = make(clock, *([first, second] if swap == "other names" else [first]))
    client = anybody(version)
    open_connection, server = handshake(store.context, client, "x.a.example")
    names = ("*.a.example", "*.c.example") if swap == "other names" else ("*.a.example",)
    write_pair(first.cert.parent, *names, key=rsa_key() if swap == "other kind" else None)
    rest(store)
    server.write(b"y")
    assert open_connection.read(1) == b"y"
    resumed, server = handshake(store.context, client, "x.a.example", open_connection.session)
    assert resumed.session_reused
    assert server.session_reused
    assert served(store, client=client) == der_of(first)


def test_alpn_stays(make_pair: MakePair, clock: Clock) -> None:
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    write_pair(pair.cert.parent, "*.a.example", key=rsa_key())
    rest(store)
    client = anybody()
    client.set_alpn_protocols(["http/1.1", "h2"])
    assert handshake(store.context, client)[0].selected_alpn_protocol() == "h2"


def test_nothing_is_left_of_many_swaps(make_pair: MakePair, clock: Clock) -> None:
    first, second = make_pair("*.a.example"), make_pair("*.b.example")
    others = [make_pair("*.b.example"), make_pair("*.b.example", key=rsa_key()), make_pair("*.c.example")]
    store = make(clock, first, second)
    contexts: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()
    before = _descriptors()
    resident = 0
    for number in range(300):
        new = others[number % len(others)]
        for source, to in ((new.cert, second.cert), (new.key, second.key)):
            os.link(source, source.with_suffix(".new"))
            source.with_suffix(".new").rename(to)
        rest(store)
        contexts.update(store._live._beside.values())
        if number == 100:
            resident = _resident()
    assert _descriptors() == before
    gc.collect()
    assert len(contexts) <= 2, "a context goes with its last connection"
    assert _resident() - resident < 2 << 20
    assert served(store) == der_of(first)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- the clock ------------------------------------------------------------------------------------------------------


def test_what_is_valid_is_served(make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Expired, not valid yet, or broken: none of them keeps the others from being served."""
    expired = make_pair("*.a.example", not_after=clock.now - DAY)
    future = make_pair("*.a.example", "*.f.example", not_before=clock.now + DAY, not_after=clock.now + 9 * DAY)
    broken = make_pair("*.a.example")
    truncate(broken)
    good = make_pair("*.a.example", "*.b.example")
    store = make(clock, expired, future, broken, good)
    assert served(store, "x.a.example") == der_of(good)
    assert served(store, None) == der_of(good)
    assert served(store, "x.f.example") == der_of(future), "nothing better is for this name"
    assert store.unserved(["a.example", "b.example"]) == []
    [sentence] = store.unserved(["f.example"])
    assert "*.f.example" in sentence
    assert f"{expired.cert} expired on" in caplog.text
    assert f"{future.cert} is not valid before" in caplog.text
    assert f"{broken.cert} holds no certificate that can be read." in caplog.text


def test_the_start_fails_only_if_nothing_can_be_loaded(make_pair: MakePair, clock: Clock) -> None:
    broken, expired = make_pair("*.a.example"), make_pair("*.a.example", not_after=clock.now - DAY)
    truncate(broken)
    with pytest.raises(CertificateError, match="holds no certificate"):
        CertificateStore([broken], ContextOptions(), clock)
    assert served(make(clock, broken, expired)) == der_of(expired)


def test_an_expired_one_is_the_last_resort_for_its_names_only(make_pair: MakePair, clock: Clock) -> None:
    first = make_pair("*.a.example", not_after=clock.now + DAY)
    second = make_pair("*.a.example", "*.b.example", key=rsa_key(), not_after=clock.now + 2 * DAY)
    store = make(clock, first, second)
    assert served(store) == der_of(first)
    clock.now += timedelta(hours=25)
    store.look()
    assert served(store) == der_of(second), "noticed at run time"
    clock.now += DAY
    store.look()
    assert served(store) == der_of(first)
    assert served(store, "x.b.example") == der_of(second)


def test_readiness_follows_the_clock_and_the_files(make_pair: MakePair, clock: Clock) -> None:
    pair = make_pair("*.a.example", not_after=clock.now + DAY)
    store = make(clock, pair)
    assert store.unserved(["A.example"]) == []
    clock.now += 2 * DAY
    end = f"{store.certificates[0].not_after:%Y-%m-%d at %H:%M UTC}"
    assert store.unserved(["A.example", "c.example"]) == [
        f"no valid certificate for *.a.example: {pair.cert} expired on {end}: renew the certificate."
    ]
    write_pair(pair.cert.parent, "*.a.example", not_after=clock.now + 9 * DAY)
    rest(store)
    assert store.unserved(["A.example"]) == []
    assert served(store) == der_of(pair)


def test_a_domain_whose_pair_was_never_read_is_unserved(make_pair: MakePair, clock: Clock) -> None:
    good, broken = make_pair("*.a.example"), make_pair("*.b.example")
    key = broken.key.read_bytes()
    broken.key.unlink()
    store = make(clock, good, broken)
    assert store.unserved(["a.example"]) == []
    [sentence] = store.unserved(["b.example"])
    assert sentence == f"no valid certificate for *.b.example: {broken.key} cannot be read (no such file or directory)."
    broken.key.write_bytes(key)
    rest(store)
    assert store.unserved(["b.example"]) == []
    assert served(store, "x.b.example") == der_of(broken)


def test_a_renewal_that_is_not_valid_yet_waits(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair("*.a.example", not_after=clock.now + 9 * DAY)
    store = make(clock, pair)
    before = served(store)
    write_pair(pair.cert.parent, "*.a.example", not_before=clock.now + DAY, not_after=clock.now + 99 * DAY)
    for _ in range(5):
        store.look()
    assert served(store) == before
    [line] = errors(caplog)
    assert "is not valid before" in line
    clock.now += DAY + timedelta(seconds=1)
    store.look()
    assert served(store) == der_of(pair)


def test_an_expired_renewal_replaces_no_valid_one(make_pair: MakePair, clock: Clock) -> None:
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    before = served(store)
    write_pair(pair.cert.parent, "*.a.example", not_after=clock.now - DAY)
    rest(store)
    assert served(store) == before


# --- other settings -------------------------------------------------------------------------------------------------


def test_a_store_for_other_settings_keeps_what_the_one_before_had(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    pair, added = make_pair("*.a.example"), make_pair("*.b.example")
    before = make(clock, pair)
    der = served(before)
    truncate(pair)
    rest(before)
    caplog.clear()
    store = CertificateStore([pair, added], ContextOptions("1.3"), clock, before)
    assert not caplog.records, "not before it is in force"
    rest(store)
    assert len(errors(caplog)) == 1
    assert served(store) == der
    assert served(store, "x.b.example") == der_of(added)


def test_a_new_pair_must_be_whole_where_others_serve_already(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start the rest is better than nothing; at a reload nothing is better than less."""
    pair, added = make_pair("*.a.example"), make_pair("*.b.example")
    before = make(clock, pair)
    truncate(added)
    with pytest.raises(CertificateError, match="holds no certificate"):
        CertificateStore([pair, added], ContextOptions(), clock, before)
    assert not errors(caplog)
    known = make(clock, pair, added)
    assert served(CertificateStore([added, pair], ContextOptions(), clock, known)) == der_of(pair)


# --- what is told ---------------------------------------------------------------------------------------------------


def test_expiry_is_told_in_good_time(make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    begin = clock.now
    pair = make_pair("*.a.example", not_before=begin - 70 * DAY, not_after=begin + 20 * DAY)
    store = make(clock, pair)
    told = []
    for hours in range(0, 22 * 24, 6):
        clock.now = begin + timedelta(hours=hours, minutes=1)
        for _ in range(3):
            store.look()
        told += [(hours / 24, record.getMessage()) for record in caplog.records]
        caplog.clear()
    assert [days for days, _ in told] == [6, 13, 17, 19, 20]
    end = f"{store.certificates[0].not_after:%Y-%m-%d at %H:%M UTC}"
    assert told[0][1] == f"{pair.cert} expires in 13 days, on {end}: renew it"
    assert told[3][1] == f"{pair.cert} expires in 23 hours, on {end}: renew it"
    assert told[4][1].startswith(f"{pair.cert} expired on {end}: renew the certificate.")


@pytest.mark.parametrize(("lifetime", "told"), [(6, 1), (10, 3), (47, 14)])
def test_who_lives_for_days_is_not_told_of_all_the_time(
    make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture, lifetime: int, told: int
) -> None:
    begin = clock.now
    store = make(clock, make_pair("*.a.example", not_before=begin, not_after=begin + lifetime * DAY))
    while not caplog.records:
        clock.now += timedelta(hours=12)
        store.look()
    assert lifetime - (clock.now - begin) / DAY == told


def test_processes_that_listen_only(make_pair: MakePair, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Workers see what the supervisor sees; it is told once."""
    pair = make_pair("*.a.example")
    store = make(clock, pair)
    store.listen_only()
    truncate(pair)
    rest(store)
    clock.now += 40 * DAY
    store.look()
    write_pair(pair.cert.parent, "*.a.example", not_after=clock.now + 30 * DAY)
    rest(store)
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert served(store) == der_of(pair)


def test_no_key_stands_in_the_log(make_pair: MakePair, clock: Clock) -> None:
    store = make(clock, make_pair("*.a.example"))
    assert "PRIVATE" not in repr(store)


def test_the_octets_are_on_no_disk(make_pair: MakePair, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_for_writing(path: str, flags: int, *more: int) -> int:
        assert not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT), path
        return really_open(path, flags, *more)

    pair = make_pair("*.a.example")
    replacement = make_pair("*.a.example")
    store = make(clock, pair)
    replace_pair(pair, replacement)
    really_open = os.open
    monkeypatch.setattr(os, "open", open_for_writing)
    rest(store)
    assert served(store) == der_of(pair)

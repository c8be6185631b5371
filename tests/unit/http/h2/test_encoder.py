"""HPACK's encoder: by octets, and as PyPI's hpack reads them."""

from __future__ import annotations

import pytest
from hpack import Decoder, NeverIndexedHeaderTuple

from gateway.http.h2 import encoder
from gateway.http.h2.encoder import TABLE_SIZE_ZERO, encode_field, encode_fields, encode_section, encode_status
from gateway.http.h2.static_table import STATIC_FIELDS
from gateway.http.message import FieldSection


@pytest.mark.parametrize(
    ("name", "value", "octets"),
    [
        pytest.param(b":status", b"200", b"\x88", id="in the static table"),
        pytest.param(b":status", b"418", b"\x08\x03418", id="its name is, with a small index"),
        pytest.param(b"content-type", b"a/b", b"\x0f\x10\x03a/b", id="its name is, with a large index"),
        pytest.param(b"Content-Type", b"a/b", b"\x0f\x10\x03a/b", id="in any case"),
        pytest.param(b"vary", b"", b"\x0f\x2c\x00", id="with an empty value"),
        pytest.param(b"x-a", b"b", b"\x00\x03x-a\x01b", id="unknown"),
        pytest.param(b"X-A", b"B", b"\x00\x03x-a\x01B", id="unknown, in any case"),
        pytest.param(b"set-cookie", b"a=b", b"\x1f\x28\x03a=b", id="never indexed"),
        pytest.param(b"Authorization", b"Basic", b"\x1f\x08\x05Basic", id="never indexed, in any case"),
        pytest.param(b"x-a", b"b" * 126, b"\x00\x03x-a\x7e" + b"b" * 126, id="the longest length of one octet"),
        pytest.param(b"x-a", b"b" * 127, b"\x00\x03x-a\x7f\x00" + b"b" * 127, id="the shortest of two"),
        pytest.param(b"x-a", b"b" * 1337, b"\x00\x03x-a\x7f\xba\x09" + b"b" * 1337, id="of three"),
        pytest.param(b"n" * 200, b"", b"\x00\x7f\x49" + b"n" * 200 + b"\x00", id="a long name"),
    ],
)
def test_one_field_by_its_octets(name: bytes, value: bytes, octets: bytes) -> None:
    for _ in range(2):  # the second may be remembered
        assert encode_field(name, value) == octets


def test_a_pseudo_field_of_the_static_table_is_one_octet() -> None:
    for index, (name, value) in enumerate(STATIC_FIELDS, 1):
        if name.startswith(b":"):
            assert encode_field(name, value) == bytes((0x80 | index,))


def test_another_decoder_reads_it_and_its_table_stays_empty() -> None:
    fields = [(b":status", b"404"), (b"Server", b"x"), (b"ETag", b'"\xe4"'), (b"x-long", b"v" * 5000), (b"via", b"")]
    decoder = Decoder()
    assert list(decoder.decode(encode_fields(fields), raw=True)) == [(name.lower(), value) for name, value in fields]
    assert not decoder.header_table.dynamic_entries


@pytest.mark.parametrize("name", sorted(encoder.SENSITIVE))
def test_what_is_secret_may_not_be_indexed_on_its_way(name: bytes) -> None:
    (field,) = Decoder().decode(encode_fields([(name, b"secret")]), raw=True)
    assert isinstance(field, NeverIndexedHeaderTuple)


def test_nothing_else_is_called_secret() -> None:
    for name, _ in STATIC_FIELDS:
        if name not in encoder.SENSITIVE:
            (field,) = Decoder().decode(encode_field(name, b"x"), raw=True)
            assert not isinstance(field, NeverIndexedHeaderTuple)


def test_a_status_is_a_field() -> None:
    assert encode_status(200) == b"\x88"
    assert encode_status(299) == encode_field(b":status", b"299")
    for status in range(100, 600):
        assert Decoder().decode(encode_status(status), raw=True) == [(b":status", b"%d" % status)]


def test_a_peer_with_a_smaller_table_is_told_that_it_is_not_used() -> None:
    """Where a decoder waits for the update, its absence is a fault; see `TABLE_SIZE_ZERO`."""
    decoder = Decoder()
    decoder.max_allowed_table_size = 100
    decoder.header_table_size = 100
    assert decoder.decode(TABLE_SIZE_ZERO + encode_field(b"x-a", b"b"), raw=True) == [(b"x-a", b"b")]
    assert decoder.header_table_size == 0


def test_what_is_remembered_is_the_same() -> None:
    fields = [(b"ETag", b'"a"'), (b":status", b"200"), (b"Set-Cookie", b"a=b"), (b"x-a", b"b" * 300), (b"vary", b"")]
    octets = encode_fields(fields)
    section = FieldSection.of(fields)
    for _ in range(2):
        assert encode_section(section) == octets
    other = FieldSection([*section.field_lines, *FieldSection.of([(b"b", b"1")]).field_lines])
    assert encode_section(other) == octets + encode_field(b"b", b"1")


def test_a_flood_of_names_is_not_remembered_without_bound() -> None:
    for number in range(2 * encoder.REMEMBERED + 1):
        encode_fields([(b"x-flood-%d" % number, b"")])
    names = len(encoder._beginnings)
    assert names <= encoder.REMEMBERED
    encode_fields([(b"n" * (encoder.REMEMBERED_NAME + 1), b"")])
    assert len(encoder._beginnings) == names

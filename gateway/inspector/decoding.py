"""Octets as people read them: fields as text, bodies without their Content-Encoding, in bounded time and memory."""

from __future__ import annotations

import importlib
import zlib
from typing import Final

MOST_DECODED: Final = 1024 * 1024
"""Octets that what is kept of a body may unpack to; some milliseconds of work."""
_AUTOMATIC: Final = 32 + zlib.MAX_WBITS
"""zlib finds out by itself whether it is gzip's format or its own."""


def text(octets: bytes) -> str:
    """A field as text: UTF-8, which most of what is not ASCII is today, or else Latin-1."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def decoded(octets: bytes, encoding: bytes) -> tuple[bytes, str]:
    """A body's beginning without its Content-Encoding, and what is to be said of that; empty: nothing."""
    note = ""
    for coding in reversed([name.strip().lower() for name in encoding.split(b",")]):
        if coding in (b"", b"identity"):
            continue
        if coding in (b"gzip", b"x-gzip", b"deflate"):
            octets, note = _inflated(octets)
        elif coding == b"br":
            octets, note = _from_brotli(octets)
        else:
            return octets, f"as sent: {text(coding)[:32]} cannot be decoded here"
        if note:
            break
    return octets, note


def _inflated(octets: bytes) -> tuple[bytes, str]:
    for bits in (_AUTOMATIC, -zlib.MAX_WBITS):  # RFC 9110 section 8.4.1.2: some send "deflate" without the zlib wrapper
        stream = zlib.decompressobj(bits)
        try:
            plain = stream.decompress(octets, MOST_DECODED)
        except zlib.error:
            continue
        return plain, f"its first {len(plain)} octets" if stream.unconsumed_tail else ""
    return octets, "as sent: it is not what its Content-Encoding says"


def _from_brotli(octets: bytes) -> tuple[bytes, str]:
    """With the package that aiohttp uses, too, if it is installed."""
    try:
        brotli = importlib.import_module("brotli")
    except ImportError:
        return octets, "as sent, in Brotli: pip install Brotli shows it decoded"
    stream = brotli.Decompressor()
    try:
        return bytes(stream.process(octets, output_buffer_limit=MOST_DECODED))[:MOST_DECODED], ""
    except (brotli.error, TypeError):
        return octets, "as sent: it is not what its Content-Encoding says"

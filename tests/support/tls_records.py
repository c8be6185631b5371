"""TLS 1.3 records as no client library makes them: KeyUpdates by the thousand (RFC 8446 sections 4.6.3, 5.2, 7.1)."""

from __future__ import annotations

import ssl
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HANDSHAKE, APPLICATION_DATA = 22, 23
KEY_UPDATE = b"\x18\x00\x00\x01\x00"
"""update_not_requested"""


class Sealer:
    """Continues what a client has to say after its handshake, in its place: `keys` is the file that it logged to."""

    def __init__(self, tls: ssl.SSLObject, keys: Path) -> None:
        cipher = tls.cipher()
        assert cipher is not None
        self._name = cipher[0]
        self._hash = hashes.SHA384() if "SHA384" in self._name else hashes.SHA256()
        lines = [line.split() for line in keys.read_text(encoding="ascii").splitlines()]
        (self._secret,) = [bytes.fromhex(line[2]) for line in lines if line[0] == "CLIENT_TRAFFIC_SECRET_0"]
        self._number = 0

    def key_updates(self, count: int) -> bytes:
        return b"".join(self._key_update() for _ in range(count))

    def _key_update(self) -> bytes:
        record = self.record(HANDSHAKE, KEY_UPDATE)
        self._secret = self._derived(b"traffic upd", self._hash.digest_size)
        self._number = 0
        return record

    def record(self, kind: int, content: bytes) -> bytes:
        key = self._derived(b"key", 16 if "AES_128" in self._name else 32)
        nonce = int.from_bytes(self._derived(b"iv", 12), "big") ^ self._number
        self._number += 1
        inner = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        cipher = ChaCha20Poly1305(key) if "CHACHA20" in self._name else AESGCM(key)
        return header + cipher.encrypt(nonce.to_bytes(12, "big"), inner, header)

    def _derived(self, label: bytes, length: int) -> bytes:
        full = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(full)]) + full + b"\x00"
        return HKDFExpand(self._hash, length, info).derive(self._secret)

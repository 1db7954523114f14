"""Records of TLS 1.3 made by hand (RFC 8446), for what no library would send."""

from __future__ import annotations

import hmac
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HANDSHAKE, APPLICATION_DATA = 22, 23
KEY_BYTES = {"sha256": 16, "sha384": 32}
"""Of AES-GCM, by the hash that goes with it."""
KEY_UPDATE = b"\x18\0\0\x01\0"
KEY_UPDATE_REQUESTED = b"\x18\0\0\x01\x01"
"""Asks for the same in return."""


class ClientRecords:
    """Encrypts as the client of a connection that has just shaken hands."""

    def __init__(self, key_log: Path) -> None:
        """`key_log`: what `ssl.SSLContext.keylog_filename` had written for this connection alone."""
        words = [line.split() for line in key_log.read_text(encoding="ascii").splitlines()]
        [secret] = [each[2] for each in words if each[0] == "CLIENT_TRAFFIC_SECRET_0"]
        self._secret = bytes.fromhex(secret)
        self._hash = {32: "sha256", 48: "sha384"}[len(self._secret)]
        self._count = 0

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """The next one."""
        inner = content + bytes([kind])
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = int.from_bytes(self._derived(b"iv", 12), "big") ^ self._count
        self._count += 1
        key = self._derived(b"key", KEY_BYTES[self._hash])
        return header + AESGCM(key).encrypt(nonce.to_bytes(12, "big"), inner, header)

    def key_update(self, message: bytes = KEY_UPDATE) -> bytes:
        """One that changes the client's keys."""
        record = self.record(message, HANDSHAKE)
        self._secret, self._count = self._derived(b"traffic upd", len(self._secret)), 0
        return record

    def _derived(self, label: bytes, size: int) -> bytes:
        """HKDF-Expand-Label, of one block: section 7.1."""
        label = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0" + b"\x01"
        return hmac.digest(self._secret, info, self._hash)[:size]

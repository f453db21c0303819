"""The vault: authenticated encryption of identifying values, and keyed blind indexes to find them by."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class VaultError(Exception):
    """A stored value cannot be opened: its key is not configured, or it was altered."""


@dataclass(frozen=True)
class Vault:
    """Seals and opens values; `keys` maps a one-byte key id to a 32-byte key, `current` names the one to seal with.

    The key id is the first byte of every sealed value, so keys rotate by adding one and changing `current`.
    """

    keys: Mapping[int, bytes]
    current: int
    index_key: bytes

    def seal(self, plain: str | bytes, context: str) -> bytes:
        """Encrypt `plain`; `context` (table.column) is authenticated, so values cannot be swapped between columns."""
        data = plain.encode() if isinstance(plain, str) else plain
        nonce = os.urandom(_NONCE)
        return bytes([self.current]) + nonce + AESGCM(self.keys[self.current]).encrypt(nonce, data, context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        """Decrypt to text. Raises VaultError."""
        return self.open_bytes(sealed, context).decode()

    def open_bytes(self, sealed: bytes, context: str) -> bytes:
        """Decrypt to bytes. Raises VaultError."""
        key = self.keys.get(sealed[0]) if sealed else None
        if key is None:
            raise VaultError("a sealed value names a key that is not configured")
        try:
            return AESGCM(key).decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], context.encode())
        except InvalidTag:
            raise VaultError("a sealed value does not open with its key; it was altered or moved") from None

    def index(self, value: str, context: str) -> bytes:
        """The blind index of a normalised value: equal values meet, nobody without the key can try guesses."""
        return hmac.digest(self.index_key, f"{context}\0{value}".encode(), hashlib.sha256)[:16]

    def reference(self, *parts: str) -> str:
        """A short public reference such as `P7K3MZQ2XWTRA` for a patient, stable for the same parts and key."""
        digest = hmac.digest(self.index_key, "\0".join(("reference", *parts)).encode(), hashlib.sha256)
        return "P" + base64.b32encode(digest[:10]).decode().rstrip("=")

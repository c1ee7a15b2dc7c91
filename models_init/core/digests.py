"""Format SHA-256 digests as documents contain them: `sha256:` and 64 hexadecimal digits."""

from __future__ import annotations

import hashlib
from typing import Protocol


class Hash(Protocol):
    """A hash object of `hashlib`."""

    def hexdigest(self) -> str:
        """Return the digest of the bytes hashed so far, in hexadecimal digits."""


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """Return the digest of some bytes."""
    return digest_text(hashlib.sha256(data))


def digest_text(sha256: Hash) -> str:
    """Return the digest of the bytes that a SHA-256 object has hashed so far."""
    return f"sha256:{sha256.hexdigest()}"

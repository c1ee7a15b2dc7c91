"""Create, read, write and use secret keys in minisign's format.

The second line of a key file is the base64 of 158 bytes. The first 54 are `Ed`, the encryption (`Sc` for scrypt, two
zero bytes for none), `B2`, 32 bytes of salt, and scrypt's limits of operations and of memory (8 bytes each,
little-endian). The other 104 are encrypted by XOR with the output of scrypt for the password: the key's number (8),
seed (32), public key (32), and the BLAKE2b-256 of `Ed` and these three (zeros in a key that is not encrypted).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import TYPE_CHECKING

from nacl.exceptions import CryptoError
from nacl.pwhash import scrypt
from nacl.signing import SigningKey

from models_init.core.errors import UsageError
from models_init.formats.minisign import HASHED, LEGACY, PublicKey, Signature, binding, signed_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.core.pack_ref import PackRef

OPERATIONS, MEMORY = scrypt.OPSLIMIT_SENSITIVE, scrypt.MEMLIMIT_SENSITIVE
"""The scrypt cost of guessing one password, as in minisign: 1 GiB of memory and about three seconds."""

_COMMENT = "untrusted comment: "
_HEAD = struct.Struct("<2s2s2s32sQQ")
_SCRYPT, _UNENCRYPTED, _BLAKE2 = b"Sc", b"\0\0", b"B2"
_BODY, _NUMBER, _SEED, _SUM = 104, 8, 32, 32
_MEMORY_LIMIT = 4 << 30


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A secret signing key. Its seed is excluded from the repr."""

    number: bytes
    seed: bytes = field(repr=False)

    @classmethod
    def make(cls) -> SecretKey:
        """Generate a random key."""
        return cls(token_bytes(_NUMBER), token_bytes(_SEED))

    @property
    def public(self) -> PublicKey:
        """The public key that verifies this key's signatures."""
        return PublicKey(self.number, bytes(SigningKey(self.seed).verify_key))

    def sign(self, ref: PackRef, document: bytes) -> Signature:
        """Sign the manifest of this pack. The same key and document always give the same signature."""
        key = SigningKey(self.seed)
        comment = binding(ref).encode()
        signature = key.sign(signed_bytes(document, HASHED)).signature
        return Signature(HASHED, self.number, signature, comment, key.sign(signature + comment).signature)


def secret_key_text(key: SecretKey, password: str | None) -> str:
    """Return the content of a key file; without a password, the key is not encrypted."""
    body = key.number + key.seed + key.public.point
    if password is None:
        kind = "secret key without a password"
        raw = _HEAD.pack(LEGACY, _UNENCRYPTED, _BLAKE2, bytes(32), 0, 0) + body + bytes(_SUM)
    else:
        kind = "encrypted secret key"
        salt = token_bytes(32)
        stream = _stream(password, salt, OPERATIONS, MEMORY)
        raw = _HEAD.pack(LEGACY, _SCRYPT, _BLAKE2, salt, OPERATIONS, MEMORY) + _xor(body + _checksum(body), stream)
    return f"{_COMMENT}minisign {kind}\n{b64encode(raw).decode()}\n"


def public_key_text(key: PublicKey) -> str:
    """Return the content of a `.pub` file."""
    return f"{_COMMENT}minisign public key {key.id}\n{key}\n"


def read_secret_key(text: str, name: str, password: Callable[[], str]) -> SecretKey:
    """Parse a key file's content; `password` is called if the key is encrypted, `name` is used in messages.

    Raises `UsageError`: the content is not a secret key, or the password is wrong.
    """
    lines = text.splitlines()
    try:
        raw = b64decode(lines[1], validate=True) if len(lines) == 2 and lines[0].startswith(_COMMENT) else b""
    except ValueError:
        raw = b""
    if len(raw) != _HEAD.size + _BODY:
        raise UsageError(f"{name} is not a minisign secret key; name a file that `models-pack keygen` wrote")
    algorithm, encryption, hashing, salt, operations, memory = _HEAD.unpack_from(raw)
    body = raw[_HEAD.size :]
    if algorithm != LEGACY or hashing != _BLAKE2 or encryption not in {_SCRYPT, _UNENCRYPTED} or memory > _MEMORY_LIMIT:
        raise UsageError(f"{name} is a secret key of an unknown kind; create one with `models-pack keygen`")
    if encryption == _SCRYPT:
        body = _xor(body, _stream(password(), salt, operations, memory))
    number, seed, point = body[:_NUMBER], body[_NUMBER : _NUMBER + _SEED], body[_NUMBER + _SEED : -_SUM]
    key = SecretKey(number, seed)
    checksum = _checksum(body[:-_SUM]) if encryption == _SCRYPT else bytes(_SUM)
    if not hmac.compare_digest(checksum, body[-_SUM:]) or key.public.point != point:
        why = "the password is wrong, or the file is damaged" if encryption == _SCRYPT else "the file is damaged"
        raise UsageError(f"{name} cannot be read: {why}")
    return key


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(LEGACY + body, digest_size=_SUM).digest()


def _xor(body: bytes, stream: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(body, stream, strict=True))


def _stream(password: str, salt: bytes, operations: int, memory: int) -> bytes:
    try:
        return scrypt.kdf(_BODY, password.encode(), salt, operations, memory)
    except (CryptoError, MemoryError) as error:
        raise UsageError(
            f"the password cannot be used: scrypt needs {memory >> 20} MiB of memory, which is not available; "
            "free some memory, then run again"
        ) from error

"""Parse minisign public keys and signatures, and verify the signature of a manifest.

A signature is valid for one document: the manifest of the pack and version named in its trusted comment. The format is
that of https://jedisct1.github.io/minisign/: four lines. The second has the
signature of the document, the last that of this signature and the trusted comment in the third line. The first line is
not signed, so it is neither shown nor used.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import SignatureError
from models_init.core.redaction import register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.core.pack_ref import PackRef

SIGNATURE_LIMIT = 64 << 10
"""Maximum size of a signature file in bytes; minisign itself writes at most 10 KiB."""

LEGACY, HASHED = b"Ed", b"ED"
"""The algorithms: the document itself is signed (minisign before 0.10, and with -l), or its BLAKE2b-512 hash."""

_UNTRUSTED, _TRUSTED = b"untrusted comment: ", b"trusted comment: "
_ANOTHER = "it is truncated, changed, or not a minisign signature"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key: `number` is the key id as 8 bytes, `point` the Ed25519 key as 32 bytes."""

    number: bytes
    point: bytes

    @classmethod
    def parse(cls, text: str) -> PublicKey:
        """Parse the one line that minisign prints. Raises `ValueError`: it is not a public key."""
        raw = _decoded(text.encode(), 42)
        if raw[:2] != LEGACY:
            raise ValueError("it is not an Ed25519 key")
        return cls(raw[2:10], raw[10:])

    @property
    def id(self) -> str:
        """The key id as minisign shows it: up to sixteen hexadecimal digits."""
        return key_id(self.number)

    def __str__(self) -> str:
        return b64encode(LEGACY + self.number + self.point).decode()


@dataclass(frozen=True, slots=True)
class Signature:
    """A parsed signature, well-formed but not verified."""

    algorithm: bytes
    number: bytes
    signature: bytes
    comment: bytes
    seal: bytes

    @classmethod
    def parse(cls, document: bytes) -> Signature:
        """Parse the four lines exactly as minisign writes them.

        Raises `ValueError`: the document is anything else. Additional content is rejected, because it would not be
        covered by any check and could be changed unnoticed.
        """
        lines = document.split(b"\n")
        if len(lines) != 5 or lines[4]:
            raise ValueError(f"it has {len(lines) - 1} lines instead of 4")
        if not lines[0].startswith(_UNTRUSTED) or not lines[2].startswith(_TRUSTED):
            raise ValueError(_ANOTHER)
        raw = _decoded(lines[1], 74)
        if raw[:2] not in {LEGACY, HASHED}:
            raise ValueError("its algorithm is unknown")
        return cls(raw[:2], raw[2:10], raw[10:], lines[2].removeprefix(_TRUSTED), _decoded(lines[3], 64))

    @property
    def key_id(self) -> str:
        """The id of the signing key as named in the signature; it is not verified."""
        return key_id(self.number)

    def encoded(self, remark: str) -> bytes:
        """Return the four lines; `remark` is the text of the first."""
        raw = b64encode(self.algorithm + self.number + self.signature)
        lines = (_UNTRUSTED + remark.encode(), raw, _TRUSTED + self.comment, b64encode(self.seal))
        return b"".join(line + b"\n" for line in lines)

    def is_by(self, key: PublicKey, document: bytes) -> bool:
        """Return True if the key signed this document and the trusted comment."""
        return (
            key.number == self.number
            and _verified(key, signed_bytes(document, self.algorithm), self.signature)
            and _verified(key, self.signature + self.comment, self.seal)
        )

    def binds(self, ref: PackRef) -> bool:
        """Return True if the trusted comment names this pack and version exactly once, and no other."""
        words = re.split(rb"[ \t]+", self.comment)
        named = [word for word in words if word.startswith((b"pack=", b"version="))]
        return sorted(named) == [b"pack=" + ref.name.encode(), b"version=" + ref.version.encode()]


def key_id(number: bytes) -> str:
    """Format a key id as minisign shows it."""
    return f"{int.from_bytes(number, 'little'):X}"  # as minisign prints it, without leading zeros


def binding(ref: PackRef) -> str:
    """Return the trusted comment that makes a signature valid for this pack and version."""
    return f"pack={ref.name} version={ref.version}"


def signed_bytes(document: bytes, algorithm: bytes) -> bytes:
    """Return the bytes that are signed: the document or its BLAKE2b-512 hash, depending on the algorithm."""
    return document if algorithm == LEGACY else hashlib.blake2b(document).digest()


def public_keys(text: str) -> tuple[PublicKey, ...]:
    """Parse public keys that are separated by newlines, commas or blanks. Comment lines of `.pub` files are skipped.

    Raises `ValueError`: the text contains no key, or anything other than keys. The message does not include a word that
    may be a secret key.
    """
    lines = [line for line in text.splitlines() if not line.startswith(_UNTRUSTED.decode())]
    words = [word for line in lines for word in re.split(r"[\s,]+", line) if word]
    if not words:
        raise ValueError("holds no public key")
    return tuple(dict.fromkeys(map(_public_key, words)))


def verify(ref: PackRef, document: bytes, signature: bytes, keys: Sequence[PublicKey]) -> str:
    """Return the id of the trusted key that signed this manifest for this pack and version. Raises `SignatureError`."""
    try:
        read = Signature.parse(signature)
    except ValueError as error:
        raise SignatureError(
            f"the signature of {ref} cannot be used: {error} ({_trust(keys)}); the publisher must publish it again"
        ) from error
    claimed = [key for key in keys if key.number == read.number]
    if not claimed:
        raise SignatureError(
            f"the manifest of {ref} is signed by key {read.key_id}, which is not trusted here ({_trust(keys)}); "
            f"add {read.key_id} to MODELS_PUBLIC_KEY only if the publisher has announced it, else inform the publisher"
        )
    if not any(read.is_by(key, document) for key in claimed):
        raise SignatureError(
            f"the signature of {ref} by key {read.key_id} does not match the manifest ({_trust(keys)}): the manifest, "
            "the signature or its trusted comment was changed; do not install it, and inform the publisher"
        )
    if not read.binds(ref):
        raise SignatureError(
            f"the signature by key {read.key_id} ({_trust(keys)}) is not for {ref}: its trusted comment says "
            f"{_shown(read.comment)} instead of {binding(ref)!r}; inform the publisher"
        )
    return read.key_id


def unsigned(ref: PackRef, where: str, keys: Sequence[PublicKey]) -> SignatureError:
    """Return the error for a manifest without a signature."""
    return SignatureError(
        f"the manifest of {ref} is not signed at {where}, and only signed ones are trusted here ({_trust(keys)}); "
        "ask the publisher for its signature"
    )


def _trust(keys: Sequence[PublicKey]) -> str:
    ids = list(dict.fromkeys(key.id for key in keys))
    return f"trusted: {', '.join(ids)}"


def _shown(comment: bytes, limit: int = 200) -> str:
    """Format a signed comment on one line, shortened. A trusted key signed it, but perhaps for another purpose."""
    text = comment.decode(errors="replace")
    return repr(text if len(text) <= limit else f"{text[:limit]}…")


def _public_key(word: str) -> PublicKey:
    try:
        return PublicKey.parse(word)
    except ValueError:
        pass
    if len(word) > 100:  # a secret key has 212 characters
        register(word)
    raise ValueError(
        "is not a minisign public key (56 characters that start with RW; several separated by commas)"
    ) from None


def _decoded(text: bytes, length: int) -> bytes:
    """Decode canonical base64 of `length` bytes. Raises `ValueError` for anything else."""
    try:
        raw = b64decode(text, validate=True)
    except NotBase64:
        raw = b""
    if len(raw) != length or b64encode(raw) != text:
        raise ValueError(_ANOTHER)
    return raw


def _verified(key: PublicKey, message: bytes, signature: bytes) -> bool:
    from nacl.exceptions import BadSignatureError  # noqa: PLC0415 - 20 ms that are only needed to check signatures
    from nacl.signing import VerifyKey  # noqa: PLC0415 - as above

    try:
        VerifyKey(key.point).verify(message, signature)
    except BadSignatureError:
        return False
    return True

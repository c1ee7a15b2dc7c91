"""Sign version directories, and find the key that signed one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import SignatureError, UsageError
from models_init.core.units import some
from models_init.formats.minisign import unsigned, verify
from models_init.publish.pack.drafts import draft, publish, sync

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.formats.minisign import PublicKey
    from models_init.publish.pack.version_directory import VersionDirectory
    from models_init.publish.signing.keys import SecretKey


@dataclass(frozen=True, slots=True)
class SignResult:
    """A version directory whose manifest is signed; `fresh` is False if this key had already signed it."""

    ref: PackRef
    directory: VersionDirectory
    fresh: bool


def signer(directory: VersionDirectory, keys: Sequence[PublicKey]) -> str:
    """Return the id of the key that signed the directory's manifest.

    Raises `SignatureError`: none of `keys` has signed it, or the signature cannot be read.
    """
    ref, document = directory.ref(), directory.document()
    signature = directory.signature_document()
    if signature is None:
        raise unsigned(ref, str(directory.path), keys)
    return verify(ref, document, signature, keys)


def sign(directories: Sequence[VersionDirectory], key: SecretKey, *, replace: bool) -> list[SignResult]:
    """Sign the manifests that this key has not signed; check all directories before writing anything.

    Raises `ManifestError` or a subclass: a manifest cannot be used by sites.
    Raises `UsageError`: a different signature exists and `replace` is False.
    Raises `VolumeError` or a subclass: the disk is full or cannot be written.
    """
    for directory in directories:
        directory.parsed()
    signed = [_is_signed(directory, key.public) for directory in directories]
    other = [
        str(directory.signature)
        for directory, done in zip(directories, signed, strict=True)
        if not done and directory.signature.exists()
    ]
    if other and not replace:
        raise UsageError(f"{some(other)}: not a signature of this manifest by this key; use --force to replace it")
    return [_sign(directory, key, fresh=not done) for directory, done in zip(directories, signed, strict=True)]


def _is_signed(directory: VersionDirectory, key: PublicKey) -> bool:
    try:
        return bool(signer(directory, [key]))
    except SignatureError:
        return False


def _sign(directory: VersionDirectory, key: SecretKey, *, fresh: bool) -> SignResult:
    ref = directory.ref()
    if fresh:
        signature = key.sign(ref, directory.document()).encoded(f"{ref}, signed by key {key.public.id}")
        with draft(directory.signature) as file:
            file.write(signature)
            sync(file, directory.signature)
            publish(directory.signature)
    return SignResult(ref, directory, fresh)

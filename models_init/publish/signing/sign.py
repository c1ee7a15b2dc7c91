"""Sign version folders, and find the key that signed one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import SignatureError, UsageError
from models_init.core.units import some
from models_init.formats.minisign import SIGNATURE_LIMIT, unsigned, verify
from models_init.publish.pack.version_folder import draft, publish, sync

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.formats.minisign import PublicKey
    from models_init.publish.pack.version_folder import VersionFolder
    from models_init.publish.signing.keys import SecretKey


@dataclass(frozen=True, slots=True)
class SignResult:
    """A version folder whose manifest is signed; `fresh` is False if this key had already signed it."""

    ref: PackRef
    folder: VersionFolder
    fresh: bool


def signer(folder: VersionFolder, keys: Sequence[PublicKey]) -> str:
    """Return the id of the key that signed the folder's manifest.

    Raises `SignatureError`: none of `keys` has signed it, or the signature cannot be read.
    """
    ref, document = folder.ref(), folder.document()
    try:
        with folder.signature.open("rb") as file:
            signature = file.read(SIGNATURE_LIMIT)
    except FileNotFoundError as error:
        raise unsigned(ref, str(folder.path), keys) from error
    except OSError as error:
        raise SignatureError(f"{folder.signature} cannot be read: {error.strerror}") from error
    return verify(ref, document, signature, keys)


def sign(folders: Sequence[VersionFolder], key: SecretKey, *, replace: bool) -> list[SignResult]:
    """Sign the manifests that this key has not signed; check all folders before writing anything.

    Raises `ManifestError` or a subclass: a manifest cannot be used by sites.
    Raises `UsageError`: a different signature exists and `replace` is False.
    Raises `VolumeError` or a subclass: the disk is full or cannot be written.
    """
    for folder in folders:
        folder.parsed()
    signed = [_is_signed(folder, key.public) for folder in folders]
    other = [
        str(folder.signature)
        for folder, done in zip(folders, signed, strict=True)
        if not done and folder.signature.exists()
    ]
    if other and not replace:
        raise UsageError(f"{some(other)}: not this key's signature of this manifest; --force replaces it")
    return [_sign(folder, key, fresh=not done) for folder, done in zip(folders, signed, strict=True)]


def _is_signed(folder: VersionFolder, key: PublicKey) -> bool:
    try:
        return bool(signer(folder, [key]))
    except SignatureError:
        return False


def _sign(folder: VersionFolder, key: SecretKey, *, fresh: bool) -> SignResult:
    ref = folder.ref()
    if fresh:
        signature = key.sign(ref, folder.document()).encoded(f"{ref}, signed by key {key.public.id}")
        with draft(folder.signature) as file:
            file.write(signature)
            sync(file, folder.signature)
            publish(folder.signature)
    return SignResult(ref, folder, fresh)

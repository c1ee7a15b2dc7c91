"""Ways to tamper with a signed pack, all applied to DUTCH."""

from __future__ import annotations

import hashlib
import shutil
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.formats.minisign import HASHED, LEGACY, Signature, binding
from models_init.publish.signing.keys import SecretKey
from tests.signing.vendor import KEY, OTHER, REMARK, forged
from tests.site import COMMON, DUTCH, NEWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.signing.vendor import SignedPacks


@dataclass(frozen=True)
class Tampering:
    """A way to tamper, and a part of the resulting message."""

    name: str
    apply: Callable[[SignedPacks], None]
    message: str

    def __str__(self) -> str:
        return self.name


CHANGED, INVALID, WRONG_PACK, UNTRUSTED, UNSIGNED = (
    "does not match the manifest",
    "cannot be used",
    "is not for nl-nl 2026.04",
    "is not trusted here",
    "is not signed at",
)


def _on_manifest(change: Callable[[bytes], bytes]) -> Callable[[SignedPacks], None]:
    def apply(signed_packs: SignedPacks) -> None:
        path = signed_packs.manifest(DUTCH)
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before

    return apply


def _on_signature(change: Callable[[bytes], bytes]) -> Callable[[SignedPacks], None]:
    def apply(signed_packs: SignedPacks) -> None:
        path = signed_packs.signature(DUTCH)
        before = path.read_bytes()
        path.write_bytes(change(before))
        assert path.read_bytes() != before

    return apply


def _on_part(**parts: Callable[[bytes], bytes]) -> Callable[[SignedPacks], None]:
    """Change parts of a signature, and encode it again."""

    def change(document: bytes) -> bytes:
        read = Signature.parse(document)
        return replace(read, **{name: part(getattr(read, name)) for name, part in parts.items()}).encoded(REMARK)

    return _on_signature(change)


def _flip(at: int, bit: int = 1) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at] ^= bit
        return bytes(changed)

    return change


def _line(number: int, change: Callable[[bytes], bytes]) -> Callable[[SignedPacks], None]:
    def whole(document: bytes) -> bytes:
        lines = document.split(b"\n")
        lines[number] = change(lines[number])
        return b"\n".join(lines)

    return _on_signature(whole)


def _signed(key: SecretKey, comment: bytes, algorithm: bytes = HASHED) -> Callable[[SignedPacks], None]:
    def apply(signed_packs: SignedPacks) -> None:
        document = signed_packs.manifest(DUTCH).read_bytes()
        signed_packs.signature(DUTCH).write_bytes(forged(key, document, comment, algorithm).encoded(REMARK))

    return apply


def _swap_signatures(signed_packs: SignedPacks) -> None:
    one, other = signed_packs.signature(DUTCH), signed_packs.signature(COMMON)
    ours, theirs = one.read_bytes(), other.read_bytes()
    one.write_bytes(theirs)
    other.write_bytes(ours)


def _swap_manifests(signed_packs: SignedPacks) -> None:
    _swap_signatures(signed_packs)
    one, other = signed_packs.manifest(DUTCH), signed_packs.manifest(COMMON)
    ours, theirs = one.read_bytes(), other.read_bytes()
    one.write_bytes(theirs)
    other.write_bytes(ours)


def _rename_version(signed_packs: SignedPacks) -> None:
    """Replace the version by the other one: archive, manifest and signature."""
    shutil.rmtree(signed_packs.manifest(DUTCH).parent)
    shutil.copytree(signed_packs.manifest(NEWER).parent, signed_packs.manifest(DUTCH).parent)


def _relabel_version(signed_packs: SignedPacks) -> None:
    """Replace the version by the other one, and change the version in its manifest."""
    _rename_version(signed_packs)
    manifest = signed_packs.manifest(DUTCH)
    manifest.write_bytes(manifest.read_bytes().replace(b'"2026.07"', b'"2026.04"'))


def _other_manifest(signed_packs: SignedPacks) -> None:
    shutil.copy(signed_packs.manifest(NEWER), signed_packs.manifest(DUTCH))


def _other_signature(signed_packs: SignedPacks) -> None:
    shutil.copy(signed_packs.signature(NEWER), signed_packs.signature(DUTCH))


def _comment_of_another(signed_packs: SignedPacks) -> None:
    """Combine a valid signature with the comment and global signature of another key."""
    ours = Signature.parse(signed_packs.signature(DUTCH).read_bytes())
    theirs = forged(OTHER, signed_packs.manifest(DUTCH).read_bytes(), ours.comment)
    signed_packs.signature(DUTCH).write_bytes(replace(ours, seal=theirs.seal).encoded(REMARK))


def _seal_of_another_pack(signed_packs: SignedPacks) -> None:
    ours, theirs = (Signature.parse(signed_packs.signature(ref).read_bytes()) for ref in (DUTCH, NEWER))
    spliced = replace(theirs, comment=ours.comment, seal=ours.seal)
    signed_packs.signature(DUTCH).write_bytes(spliced.encoded(REMARK))


def _hash_as_document(signed_packs: SignedPacks) -> None:
    """Replace the manifest by its hash: the signature of the hash is then a legacy signature of that document."""
    document = signed_packs.manifest(DUTCH).read_bytes()
    signed_packs.manifest(DUTCH).write_bytes(hashlib.blake2b(document).digest())


def _remove(signed_packs: SignedPacks) -> None:
    signed_packs.signature(DUTCH).unlink()


def _directory(signed_packs: SignedPacks) -> None:
    _remove(signed_packs)
    signed_packs.signature(DUTCH).mkdir()


def _digit(document: bytes) -> bytes:
    """Change a digest in the manifest, which stays valid."""
    at = document.index(b'"digest":"sha256:') + 30
    return document[:at] + (b"0" if document[at : at + 1] != b"0" else b"1") + document[at + 1 :]


def _respelled(line: bytes) -> bytes:
    """Use a different base64 encoding of the same bytes."""
    end = line.index(b"=")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    spelled = alphabet[alphabet.index(line[end - 1]) + 1]
    changed = line[: end - 1] + bytes([spelled]) + line[end:]
    assert b64decode(changed) == b64decode(line)
    return changed


_BINDING = binding(DUTCH).encode()
_SAME_ID = SecretKey(KEY.number, OTHER.seed)
"""Another key with the id of the trusted one: ids are random numbers, not derived from keys."""

TAMPERINGS = [
    Tampering("manifest: first byte", _on_manifest(_flip(0)), CHANGED),
    Tampering("manifest: byte in the middle", _on_manifest(_flip(400)), CHANGED),
    Tampering("manifest: last byte", _on_manifest(_flip(-1)), CHANGED),
    Tampering("manifest: a digest", _on_manifest(_digit), CHANGED),
    Tampering(
        "manifest: the archive's name", _on_manifest(lambda text: text.replace(b"pack.tar", b"park.tar")), CHANGED
    ),
    Tampering("manifest: a byte more", _on_manifest(lambda text: text + b"\n"), CHANGED),
    Tampering("manifest: a byte less", _on_manifest(lambda text: text[:-1]), CHANGED),
    Tampering("manifest: empty", _on_manifest(lambda _: b""), CHANGED),
    Tampering("manifest: CRLF", _on_manifest(lambda text: text.replace(b"\n", b"\r\n")), CHANGED),
    Tampering("manifest: of another version", _other_manifest, CHANGED),
    Tampering("manifest: the hash that was signed", _hash_as_document, CHANGED),
    Tampering("signature: missing", _remove, UNSIGNED),
    Tampering("signature: a directory", _directory, UNSIGNED),
    Tampering("signature: empty", _on_signature(lambda _: b""), INVALID),
    Tampering("signature: two lines", _on_signature(lambda text: b"\n".join(text.split(b"\n")[:2]) + b"\n"), INVALID),
    Tampering("signature: three lines", _on_signature(lambda text: b"\n".join(text.split(b"\n")[:3]) + b"\n"), INVALID),
    Tampering("signature: last byte cut off", _on_signature(lambda text: text[:-1]), INVALID),
    Tampering("signature: half of it", _on_signature(lambda text: text[: len(text) // 2]), INVALID),
    Tampering("signature: two glued", _on_signature(lambda text: text + text), INVALID),
    Tampering("signature: a line more", _on_signature(lambda text: text + b"\n"), INVALID),
    Tampering("signature: something before it", _on_signature(lambda text: b"\n" + text), INVALID),
    Tampering("signature: CRLF", _on_signature(lambda text: text.replace(b"\n", b"\r\n")), INVALID),
    Tampering("signature: no text", _on_signature(lambda text: b"\xff\xfe" + text), INVALID),
    Tampering(
        "signature: a public key", _on_signature(lambda _: f"untrusted comment: x\n{KEY.public}\n".encode()), INVALID
    ),
    Tampering("signature: base64 spelled differently", _line(1, _respelled), INVALID),
    Tampering("seal: base64 spelled differently", _line(3, _respelled), INVALID),
    Tampering("signature: blank behind the base64", _line(1, lambda line: line + b" "), INVALID),
    Tampering("signature: no base64", _line(1, lambda line: b"*" + line[1:]), INVALID),
    Tampering("signature: too short", _line(1, lambda line: b64encode(b64decode(line)[:-1])), INVALID),
    Tampering("signature: no comment that is trusted", _line(2, lambda line: line[2:]), INVALID),
    Tampering("signature: no comment that is not", _line(0, lambda line: line[2:]), INVALID),
    Tampering("signature: algorithm unknown", _on_part(algorithm=lambda _: b"EX"), INVALID),
    Tampering("signature: algorithm the older one", _on_part(algorithm=lambda _: LEGACY), CHANGED),
    Tampering("signature: first byte", _on_part(signature=_flip(0)), CHANGED),
    Tampering("signature: last byte", _on_part(signature=_flip(-1, 0x10)), CHANGED),
    Tampering("signature: nothing but zeros", _on_part(signature=lambda _: bytes(64)), CHANGED),
    Tampering("key id: a byte", _on_part(number=_flip(0)), UNTRUSTED),
    Tampering("key id: another's", _on_part(number=lambda _: OTHER.number), UNTRUSTED),
    Tampering("seal: first byte", _on_part(seal=_flip(0)), CHANGED),
    Tampering("seal: last byte", _on_part(seal=_flip(-1, 0x10)), CHANGED),
    Tampering("comment: a letter", _on_part(comment=_flip(2)), CHANGED),
    Tampering("comment: a blank more", _on_part(comment=lambda text: text + b" "), CHANGED),
    Tampering("comment: gone", _on_part(comment=lambda _: b""), CHANGED),
    Tampering("comment: its case", _line(2, bytes.upper), INVALID),
    Tampering("comment and seal: by another key", _comment_of_another, CHANGED),
    Tampering("comment and seal: of this pack, signature of another", _seal_of_another_pack, CHANGED),
    Tampering("swapped: signatures of two packs", _swap_signatures, CHANGED),
    Tampering("swapped: manifests with signatures of two packs", _swap_manifests, "is not for"),
    Tampering("swapped: signature of another version", _other_signature, CHANGED),
    Tampering("another version under this name", _rename_version, WRONG_PACK),
    Tampering("another version under this name, relabelled", _relabel_version, CHANGED),
    Tampering("signed by an untrusted key", _signed(OTHER, _BINDING), UNTRUSTED),
    Tampering("signed by an untrusted key, as minisign did it", _signed(OTHER, _BINDING, LEGACY), UNTRUSTED),
    Tampering("signed by an untrusted key with the trusted number", _signed(_SAME_ID, _BINDING), CHANGED),
    Tampering("comment names nothing", _signed(KEY, b"timestamp:1795354140\tfile:manifest.json\thashed"), WRONG_PACK),
    Tampering("comment names no version", _signed(KEY, b"pack=nl-nl"), WRONG_PACK),
    Tampering("comment names no pack", _signed(KEY, b"version=2026.04"), WRONG_PACK),
    Tampering("comment names another version", _signed(KEY, b"pack=nl-nl version=2026.07"), WRONG_PACK),
    Tampering("comment names another pack", _signed(KEY, b"pack=nl version=2026.04"), WRONG_PACK),
    Tampering("comment names two packs", _signed(KEY, _BINDING + b" pack=common"), WRONG_PACK),
    Tampering("comment names two versions", _signed(KEY, b"version=2026.07 " + _BINDING), WRONG_PACK),
    Tampering("comment names the pack in another word", _signed(KEY, b"xpack=nl-nl version=2026.04"), WRONG_PACK),
    Tampering("comment is not text", _signed(KEY, b"\xff" + _BINDING), WRONG_PACK),
    Tampering("comment in capitals", _signed(KEY, _BINDING.upper()), WRONG_PACK),
]

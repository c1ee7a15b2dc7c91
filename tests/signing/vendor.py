"""Keys, small signed packs, and the real minisign."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from models_init.formats.manifest import MANIFEST_NAME, SIGNATURE_NAME
from models_init.formats.minisign import HASHED, LEGACY, Signature, signed_bytes
from models_init.publish.signing.keys import SecretKey
from tests.publish.packs import pack
from tests.services import require_tool
from tests.site import COMMON, DUTCH, NEWER, Site

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.core.pack_ref import PackRef

FILES = {"am/final.mdl": bytes(range(256)) * 40, "conf/mfcc.conf": b"--sample-frequency=16000\n"}
KEY = SecretKey(bytes(range(1, 9)), b"a vendor's seed of thirty-two by")
OTHER = SecretKey(bytes(range(11, 19)), b"another's seed of thirty-two byt")
REMARK = "untrusted"


@dataclass(frozen=True)
class SignedPacks:
    """Version directories in a directory, which a test may change."""

    directory: Path

    def manifest(self, ref: PackRef) -> Path:
        """Return the path of a manifest."""
        return self.directory / ref.name / ref.version / MANIFEST_NAME

    def signature(self, ref: PackRef) -> Path:
        """Return the path of a signature."""
        return self.directory / ref.name / ref.version / SIGNATURE_NAME

    def site(self, volume: Path, *keys: SecretKey) -> Site:
        """Return a site that installs COMMON and DUTCH from here and trusts these keys."""
        return Site(
            volume,
            {
                "REALTIME_LANGUAGES": DUTCH.name,
                "REALTIME_LANGUAGE_VERSION": DUTCH.version,
                "REALTIME_COMMON_VERSION": COMMON.version,
                "MODELS_URL": self.directory.as_uri(),
                "MODELS_PUBLIC_KEY": ",".join(str(key.public) for key in keys),
            },
        )

    def sign(self, key: SecretKey, *refs: PackRef) -> None:
        """Sign these packs with a key."""
        for ref in refs:
            self.signature(ref).write_bytes(key.sign(ref, self.manifest(ref).read_bytes()).encoded(REMARK))


def build_signed_packs(directory: Path) -> SignedPacks:
    """Build COMMON, DUTCH and NEWER, signed by KEY."""
    for ref, more in {COMMON: b"common", DUTCH: b"old", NEWER: b"new"}.items():
        pack(directory, {**FILES, "notes.txt": more * 1000}, ref)
    signed_packs = SignedPacks(directory / "out")
    signed_packs.sign(KEY, COMMON, DUTCH, NEWER)
    return signed_packs


def forged(key: SecretKey, document: bytes, comment: bytes, algorithm: bytes = HASHED) -> Signature:
    """Sign any document with any trusted comment, as minisign does."""
    signing = SigningKey(key.seed)
    signature = signing.sign(signed_bytes(document, algorithm)).signature
    return Signature(algorithm, key.number, signature, comment, signing.sign(signature + comment).signature)


def unencrypted(key: SecretKey) -> str:
    """Return the content of a key file as `minisign -G -W` writes it."""
    raw = LEGACY + bytes(2) + b"B2" + bytes(48) + key.number + key.seed + key.public.point + bytes(32)
    return f"untrusted comment: minisign encrypted secret key\n{b64encode(raw).decode()}\n"


def minisign(*arguments: object, password: str = "", code: int = 0) -> str:
    """Run minisign and return its output."""
    command = [require_tool("minisign"), *map(str, arguments)]
    done = subprocess.run(command, input=f"{password}\n" * 2, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done
    return done.stdout

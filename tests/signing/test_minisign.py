"""In both directions with the real minisign: its keys and signatures here, ours there."""

from __future__ import annotations

import shutil
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from models_init.formats.minisign import binding, key_id, public_keys
from models_init.publish.cli.main import main
from models_init.publish.signing.keys import public_key_text
from tests.signing.vendor import KEY, minisign, unencrypted
from tests.site import COMMON, DUTCH, NEWER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.signing.vendor import SignedPacks

PASSWORD = "correct horse, battery"
EVERY = (COMMON, DUTCH, NEWER)


def packs_signed_by_minisign(signed_packs: SignedPacks, key: Path, *options: str) -> None:
    for ref in EVERY:
        minisign("-S", "-s", key, "-m", signed_packs.manifest(ref), "-t", binding(ref), *options)


@pytest.mark.parametrize("options", [(), ("-l",)], ids=["hashed", "legacy"])
def test_its_signatures_are_accepted(options: tuple[str, ...], signed_packs: SignedPacks, tmp_path: Path) -> None:
    """A key and signatures of minisign, with the trusted comment that binds: installed; an altered manifest is not."""
    secret, public = tmp_path / "its.key", tmp_path / "its.pub"
    minisign("-G", "-W", "-s", secret, "-p", public)
    packs_signed_by_minisign(signed_packs, secret, *options)
    site = signed_packs.site(tmp_path / "models").but(MODELS_PUBLIC_KEY_FILE=str(public))
    document = signed_packs.manifest(DUTCH).read_bytes()
    signed_packs.manifest(DUTCH).write_bytes(document + b"\n")
    assert site.run().code == 13
    signed_packs.manifest(DUTCH).write_bytes(document)
    assert site.run().code == 0


def test_it_accepts_our_signatures(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """A key of ours verifies there, and shows the trusted comment; an altered manifest does not verify."""
    assert main(["keygen", "--out", str(tmp_path / "ours"), "--no-password"]) == 0
    assert main(["sign", str(signed_packs.directory), "--key", str(tmp_path / "ours.key"), "--force"]) == 0
    for ref in EVERY:
        out = minisign("-V", "-p", tmp_path / "ours.pub", "-m", signed_packs.manifest(ref))
        assert f"Trusted comment: {binding(ref)}\n" in out
    signed_packs.manifest(DUTCH).write_bytes(b"{}")
    minisign("-V", "-p", tmp_path / "ours.pub", "-m", signed_packs.manifest(DUTCH), code=1)


def test_it_makes_the_same_signature(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """With the same key, manifest and trusted comment all bytes but the remark's are equal."""
    (tmp_path / "a.key").write_text(unencrypted(KEY))
    (tmp_path / "a.pub").write_text(public_key_text(KEY.public))
    ours = signed_packs.signature(DUTCH).read_bytes().splitlines()
    packs_signed_by_minisign(signed_packs, tmp_path / "a.key")
    assert signed_packs.signature(DUTCH).read_bytes().splitlines()[1:] == ours[1:]
    minisign("-V", "-p", tmp_path / "a.pub", "-m", signed_packs.manifest(DUTCH))


def test_it_uses_our_keys_without_a_password(tmp_path: Path) -> None:
    """It signs with a key of `keygen --no-password`, and makes the same public key of it, with the same id."""
    assert main(["keygen", "--out", str(tmp_path / "ours"), "--no-password"]) == 0
    (tmp_path / "file").write_bytes(b"anything")
    minisign("-S", "-s", tmp_path / "ours.key", "-m", tmp_path / "file")
    minisign("-V", "-p", tmp_path / "ours.pub", "-m", tmp_path / "file")
    minisign("-R", "-s", tmp_path / "ours.key", "-p", tmp_path / "again.pub")
    assert (tmp_path / "again.pub").read_bytes() == (tmp_path / "ours.pub").read_bytes()


def test_it_uses_our_keys_with_a_password(tmp_path: Path) -> None:
    """It opens with the password a key that `keygen` has encrypted wholly, and signs what the public key verifies."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    arguments = ["keygen", "--out", str(tmp_path / "ours"), "--password-file", str(tmp_path / "password")]
    assert main(arguments) == 0
    (key,) = public_keys((tmp_path / "ours.pub").read_text())
    raw = b64decode((tmp_path / "ours.key").read_text().splitlines()[1])
    assert key.point not in raw
    assert key.number not in raw
    (tmp_path / "file").write_bytes(b"anything")
    minisign("-S", "-s", tmp_path / "ours.key", "-m", tmp_path / "file", password=PASSWORD)
    minisign("-V", "-p", tmp_path / "ours.pub", "-m", tmp_path / "file")


def test_we_use_its_keys_with_a_password(
    signed_packs: SignedPacks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sign` opens a key that minisign has encrypted, and minisign verifies what it signs."""
    secret, public = tmp_path / "its.key", tmp_path / "its.pub"
    minisign("-G", "-s", secret, "-p", public, password=PASSWORD)
    shutil.rmtree(signed_packs.directory / COMMON.name)
    signed_packs.signature(NEWER).unlink()
    monkeypatch.setenv("MODELS_KEY_PASSWORD", PASSWORD)
    assert main(["sign", str(signed_packs.directory), "--key", str(secret), "--force"]) == 0
    for ref in (DUTCH, NEWER):
        minisign("-V", "-p", public, "-m", signed_packs.manifest(ref))


@pytest.mark.parametrize(
    ("number", "shown"), [(b"\xff\x33\x96\xb2\x6a\xf8\x05\x0d", "D05F86AB29633FF"), (bytes(8), "0")]
)
def test_key_id_has_no_leading_zeros(number: bytes, shown: str) -> None:
    """One key of 16 begins with a zero, which minisign does not print: its public key file must be the same as ours."""
    assert key_id(number) == shown

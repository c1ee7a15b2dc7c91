"""Compatibility with the real minisign: keys and signatures in both directions."""

from __future__ import annotations

import random
import shutil
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest

from models_init.formats.minisign import binding, key_id, public_keys
from models_init.publish.cli.main import main
from models_init.publish.signing import keys
from models_init.publish.signing.keys import public_key_text
from tests.signing.vendor import KEY, minisign, unencrypted
from tests.site import COMMON, DUTCH, NEWER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.signing.vendor import SignedPacks

PASSWORD = "correct horse, battery"
KEY_IDS = {"leading zero": bytes(range(1, 9)), "16 digits": bytes(range(11, 19)), "zero": bytes(8)}
"""Ids of generated keys: minisign prints them without leading zeros."""
EVERY = (COMMON, DUTCH, NEWER)


@pytest.fixture(params=KEY_IDS)
def key_number(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The 8 bytes of the id of the key that `keygen` generates; its other random bytes come from a seed."""
    number, chance = KEY_IDS[request.param], random.Random(1)
    monkeypatch.setattr(keys, "token_bytes", lambda size: number if size == len(number) else chance.randbytes(size))
    return number


def packs_signed_by_minisign(signed_packs: SignedPacks, key: Path, *options: str) -> None:
    for ref in EVERY:
        minisign("-S", "-s", key, "-m", signed_packs.manifest(ref), "-t", binding(ref), *options)


@pytest.mark.parametrize("options", [(), ("-l",)], ids=["hashed", "legacy"])
def test_signatures_of_minisign_are_accepted(
    options: tuple[str, ...], signed_packs: SignedPacks, tmp_path: Path
) -> None:
    secret, public = tmp_path / "its.key", tmp_path / "its.pub"
    minisign("-G", "-W", "-s", secret, "-p", public)
    packs_signed_by_minisign(signed_packs, secret, *options)
    site = signed_packs.site(tmp_path / "models").but(MODELS_PUBLIC_KEY_FILE=str(public))
    document = signed_packs.manifest(DUTCH).read_bytes()
    signed_packs.manifest(DUTCH).write_bytes(document + b"\n")
    assert site.run().code == 13
    signed_packs.manifest(DUTCH).write_bytes(document)
    assert site.run().code == 0


def test_minisign_verifies_our_signatures(signed_packs: SignedPacks, tmp_path: Path) -> None:
    assert main(["keygen", "--out", str(tmp_path / "ours"), "--no-password"]) == 0
    assert main(["sign", str(signed_packs.directory), "--key", str(tmp_path / "ours.key"), "--force"]) == 0
    for ref in EVERY:
        out = minisign("-V", "-p", tmp_path / "ours.pub", "-m", signed_packs.manifest(ref))
        assert f"Trusted comment: {binding(ref)}\n" in out
    signed_packs.manifest(DUTCH).write_bytes(b"{}")
    minisign("-V", "-p", tmp_path / "ours.pub", "-m", signed_packs.manifest(DUTCH), code=1)


def test_minisign_makes_same_signature(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """All bytes are equal, except for the untrusted comment."""
    (tmp_path / "a.key").write_text(unencrypted(KEY))
    (tmp_path / "a.pub").write_text(public_key_text(KEY.public))
    ours = signed_packs.signature(DUTCH).read_bytes().splitlines()
    packs_signed_by_minisign(signed_packs, tmp_path / "a.key")
    assert signed_packs.signature(DUTCH).read_bytes().splitlines()[1:] == ours[1:]
    minisign("-V", "-p", tmp_path / "a.pub", "-m", signed_packs.manifest(DUTCH))


def test_minisign_uses_our_unencrypted_key(tmp_path: Path, key_number: bytes) -> None:
    assert main(["keygen", "--out", str(tmp_path / "ours"), "--no-password"]) == 0
    (tmp_path / "file").write_bytes(b"anything")
    minisign("-S", "-s", tmp_path / "ours.key", "-m", tmp_path / "file")
    minisign("-V", "-p", tmp_path / "ours.pub", "-m", tmp_path / "file")
    minisign("-R", "-s", tmp_path / "ours.key", "-p", tmp_path / "again.pub")
    assert (tmp_path / "again.pub").read_bytes() == (tmp_path / "ours.pub").read_bytes()
    assert (tmp_path / "ours.pub").read_text().splitlines()[0].endswith(f" {key_id(key_number)}")


def test_minisign_uses_our_encrypted_key(tmp_path: Path) -> None:
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


def test_sign_uses_encrypted_key_of_minisign(
    signed_packs: SignedPacks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    """This is the form in which minisign prints ids."""
    assert key_id(number) == shown

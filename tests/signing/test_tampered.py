"""Whatever is not signed rightly is refused, before anything of it is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_init.core.errors import SignatureError
from models_init.formats.minisign import public_keys, verify
from tests.publish.packs import REF
from tests.signing.tampering import WAYS, Tampering
from tests.signing.vendor import KEY, OTHER, REMARK
from tests.site import COMMON, DUTCH, PREFIX, in_container

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.signing.vendor import SignedPacks
    from tests.site import Packs

_DOCUMENT = b'{"schema":1,"pack":"nl-nl","version":"2026.04"}\n'
_SIGNATURE = KEY.sign(REF, _DOCUMENT).encoded(REMARK)
_REMARK_END = _SIGNATURE.index(b"\n")
_REMARK_START = len(b"untrusted comment: ")


def files_of(volume: Path, name: str) -> list[Path]:
    """List what lies on the volume of a pack."""
    return [path for path in volume.rglob("*") if path.is_file() and name in str(path.relative_to(volume))]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_it_is_refused_and_nothing_is_installed(way: Tampering, signed_packs: SignedPacks, tmp_path: Path) -> None:
    """Exit code 13; one line names pack, trusted key and what is wrong; nothing of the pack is on the volume."""
    way.do(signed_packs)
    done = signed_packs.site(tmp_path / "models", KEY).run()
    assert done.code == 13
    assert way.told in done.fault
    assert f"trusted: {KEY.public.id}" in done.fault
    assert "nl-nl 2026.04" in done.fault or ("swapped" in way.name and "common 2026.04" in done.fault)
    assert "publisher" in done.fault
    assert files_of(tmp_path / "models", DUTCH.name) == []
    assert not (tmp_path / "models/current").exists()


def test_the_signed_packs_are_installed(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """What all of them were made from is good: each is logged with the key that has signed it."""
    done = signed_packs.site(tmp_path / "models", KEY).run()
    assert done.code == 0
    assert done.steps.count("signed") == 2
    assert f"signed pack=nl-nl version=2026.04 key={KEY.public.id}" in done.err


def test_a_stranger_is_named(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """The line names who has signed, whom the site trusts, and what to do."""
    signed_packs.sign(OTHER, DUTCH)
    fault = signed_packs.site(tmp_path / "models", KEY).run().fault
    assert f"nl-nl 2026.04 is signed by key {OTHER.public.id}, which is not trusted here" in fault
    assert f"(trusted: {KEY.public.id}); add {OTHER.public.id} to MODELS_PUBLIC_KEY only if" in fault


def test_a_broken_manifest_is_not_even_parsed(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """Without a key it is a manifest that cannot be used (10); with one, a signature that does not fit (13)."""
    signed_packs.manifest(DUTCH).write_bytes(b"{" * 100_000)
    assert signed_packs.site(tmp_path / "one").run().code == 10
    assert signed_packs.site(tmp_path / "other", KEY).run().code == 13


def test_from_a_container_it_is_the_same(
    azurite: Azurite, packs: Packs, stocked_shelf: SignedPacks, tmp_path: Path
) -> None:
    """Signed packs are installed from a container; unsigned, and tampered with, they are refused."""
    container = azurite.fresh_container()
    container.put_tree(stocked_shelf.directory, PREFIX)
    environment = in_container(packs, container.container_url, container.sas("r"))
    keys = {"MODELS_PUBLIC_KEY": str(KEY.public)}
    site = replace(stocked_shelf.site(tmp_path / "models"), environment={**environment, **keys})
    assert site.run("--plan").code == 0
    key = f"{PREFIX}nl-nl/2026.04/manifest.json"
    container.put(f"{key}.minisig", stocked_shelf.signature(COMMON).read_bytes())
    assert "does not fit the manifest" in site.run().fault
    container.delete(f"{key}.minisig")
    done = site.run()
    assert (done.code, done.fault.count("the manifest of nl-nl 2026.04 is not signed at http://")) == (13, 1)
    container.put(f"{key}.minisig", stocked_shelf.signature(DUTCH).read_bytes())
    assert site.run().code == 0


@given(st.integers(0, len(_DOCUMENT) - 1), st.integers(1, 255))
def test_any_other_byte_of_the_manifest_is_refused(at: int, bits: int) -> None:
    """One byte of the document is another one."""
    spoilt = bytearray(_DOCUMENT)
    spoilt[at] ^= bits
    with pytest.raises(SignatureError):
        verify(REF, bytes(spoilt), _SIGNATURE, [KEY.public])


@given(st.integers(0, len(_SIGNATURE) - 1), st.integers(1, 255))
def test_any_other_byte_of_the_signature_is_refused(at: int, bits: int) -> None:
    """One byte is another one; but the remark that nobody signs may be any text, and is in no message."""
    spoilt = bytearray(_SIGNATURE)
    spoilt[at] ^= bits
    if _REMARK_START <= at < _REMARK_END and spoilt[at] != ord("\n"):
        assert verify(REF, _DOCUMENT, bytes(spoilt), [KEY.public]) == KEY.public.id
        return
    with pytest.raises(SignatureError):
        verify(REF, _DOCUMENT, bytes(spoilt), [KEY.public])


@given(st.binary(max_size=400))
def test_anything_else_is_refused(text: bytes) -> None:
    """Bytes of any kind are no signature, and no reason for another error."""
    with pytest.raises(SignatureError):
        verify(REF, _DOCUMENT, text, [KEY.public])


@given(st.text(max_size=200))
def test_any_text_is_keys_or_a_clear_error(text: str) -> None:
    """Text that holds no key is a `ValueError` that does not repeat it."""
    with pytest.raises(ValueError, match=r"^(holds no public key|is no public key of minisign \(56 letters .*\))\Z"):
        public_keys(text)

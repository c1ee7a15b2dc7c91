"""Packs with an invalid signature are refused before their content is used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_init.core.errors import SignatureError
from models_init.formats.minisign import public_keys, verify
from tests.publish.packs import REF
from tests.signing.tampering import TAMPERINGS, Tampering
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
    """List the files of a pack on the volume."""
    return [path for path in volume.rglob("*") if path.is_file() and name in str(path.relative_to(volume))]


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=str)
def test_tampered_pack_is_refused_and_not_installed(
    tampering: Tampering, signed_packs: SignedPacks, tmp_path: Path
) -> None:
    tampering.apply(signed_packs)
    done = signed_packs.site(tmp_path / "models", KEY).run()
    assert done.code == 13
    assert tampering.message in done.fault
    assert f"trusted: {KEY.public.id}" in done.fault
    assert "nl-nl 2026.04" in done.fault or ("swapped" in tampering.name and "common 2026.04" in done.fault)
    assert "publisher" in done.fault
    assert files_of(tmp_path / "models", DUTCH.name) == []
    assert not (tmp_path / "models/current").exists()


def test_signed_packs_are_installed(signed_packs: SignedPacks, tmp_path: Path) -> None:
    done = signed_packs.site(tmp_path / "models", KEY).run()
    assert done.code == 0
    assert done.steps.count("signed") == 2
    assert f"signed pack=nl-nl version=2026.04 key={KEY.public.id}" in done.err


def test_untrusted_key_is_named(signed_packs: SignedPacks, tmp_path: Path) -> None:
    signed_packs.sign(OTHER, DUTCH)
    fault = signed_packs.site(tmp_path / "models", KEY).run().fault
    assert f"nl-nl 2026.04 is signed by key {OTHER.public.id}, which is not trusted here" in fault
    assert f"(trusted: {KEY.public.id}); add {OTHER.public.id} to MODELS_PUBLIC_KEY only if" in fault


def test_signature_is_verified_before_manifest_is_parsed(signed_packs: SignedPacks, tmp_path: Path) -> None:
    signed_packs.manifest(DUTCH).write_bytes(b"{" * 100_000)
    assert signed_packs.site(tmp_path / "one").run().code == 10
    assert signed_packs.site(tmp_path / "other", KEY).run().code == 13


def test_signatures_are_verified_from_container(
    azurite: Azurite, packs: Packs, original_packs: SignedPacks, tmp_path: Path
) -> None:
    container = azurite.fresh_container()
    container.put_tree(original_packs.directory, PREFIX)
    environment = in_container(packs, container.container_url, container.sas("r"))
    keys = {"MODELS_PUBLIC_KEY": str(KEY.public)}
    site = replace(original_packs.site(tmp_path / "models"), environment={**environment, **keys})
    assert site.run("--plan").code == 0
    key = f"{PREFIX}nl-nl/2026.04/manifest.json"
    container.put(f"{key}.minisig", original_packs.signature(COMMON).read_bytes())
    assert "does not match the manifest" in site.run().fault
    container.delete(f"{key}.minisig")
    done = site.run()
    assert (done.code, done.fault.count("the manifest of nl-nl 2026.04 is not signed at http://")) == (13, 1)
    container.put(f"{key}.minisig", original_packs.signature(DUTCH).read_bytes())
    assert site.run().code == 0


@given(st.integers(0, len(_DOCUMENT) - 1), st.integers(1, 255))
def test_any_changed_byte_of_manifest_is_refused(at: int, bits: int) -> None:
    changed = bytearray(_DOCUMENT)
    changed[at] ^= bits
    with pytest.raises(SignatureError):
        verify(REF, bytes(changed), _SIGNATURE, [KEY.public])


@given(st.integers(0, len(_SIGNATURE) - 1), st.integers(1, 255))
def test_any_changed_byte_of_signature_is_refused(at: int, bits: int) -> None:
    """The exception is the untrusted comment, which is not used."""
    changed = bytearray(_SIGNATURE)
    changed[at] ^= bits
    if _REMARK_START <= at < _REMARK_END and changed[at] != ord("\n"):
        assert verify(REF, _DOCUMENT, bytes(changed), [KEY.public]) == KEY.public.id
        return
    with pytest.raises(SignatureError):
        verify(REF, _DOCUMENT, bytes(changed), [KEY.public])


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_not_a_valid_signature(text: bytes) -> None:
    with pytest.raises(SignatureError):
        verify(REF, _DOCUMENT, text, [KEY.public])


@given(st.text(max_size=200))
def test_text_without_keys_raises_value_error(text: str) -> None:
    """The message does not contain the text."""
    with pytest.raises(ValueError, match=r"^(holds no public key|is not a minisign public key \(56 characters .*\))\Z"):
        public_keys(text)

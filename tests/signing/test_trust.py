"""Trusted keys: settings, rotation, and when signatures are verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from models_init.cli.settings import load
from models_init.core.errors import UsageError
from models_init.formats.minisign import binding, public_keys
from models_init.publish.signing.keys import public_key_text
from tests.signing.vendor import KEY, OTHER, forged, unencrypted
from tests.site import COMMON, DUTCH, NEWER, NOWHERE, PREFIX, in_container

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.signing.vendor import SignedPacks
    from tests.site import Packs

ONE, TWO = KEY.public, OTHER.public
PUB = public_key_text(ONE), public_key_text(TWO)


# --- settings ---


@pytest.mark.parametrize(
    "text",
    [
        f"{ONE},{TWO}",
        f" {ONE} , {TWO} ,",
        f"{ONE} {TWO}",
        f"{ONE}\n{TWO}\n",
        f"{ONE}\t{TWO},{ONE}",
        "".join(PUB),
        "\r\n".join("".join(PUB).splitlines()),
        f"\n\n{PUB[0]}\n{TWO}",
    ],
)
def test_public_keys_are_read_in_any_notation(text: str, tmp_path: Path) -> None:
    assert public_keys(text) == (ONE, TWO)
    (tmp_path / "keys").write_text(text)
    assert load({"MODELS_PUBLIC_KEY": text}, with_packs=False).read_public_keys() == (ONE, TWO)
    in_file = {"MODELS_PUBLIC_KEY_FILE": str(tmp_path / "keys")}
    assert load(in_file, with_packs=False).read_public_keys() == (ONE, TWO)


def test_public_keys_of_variable_and_file_are_combined(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{TWO}\n{ONE}\n")
    values = {"MODELS_PUBLIC_KEY": str(ONE), "MODELS_PUBLIC_KEY_FILE": str(tmp_path / "keys")}
    assert load(values, with_packs=False).read_public_keys() == (ONE, TWO)
    assert load({}, with_packs=False).read_public_keys() == ()


@pytest.mark.parametrize(
    "text",
    [
        "x",
        ",",
        PUB[0].splitlines()[0],
        str(ONE)[:-1],
        str(ONE) + "A",
        str(ONE).replace("RW", "RV", 1),
        f"{ONE},x",
        f"{ONE};{TWO}",
        "/run/secrets/vendor.pub",
        "untrusted comment: minisign public key " + str(ONE),
    ],
)
def test_invalid_public_key_is_reported_before_any_request(
    text: str, signed_packs: SignedPacks, tmp_path: Path
) -> None:
    site = signed_packs.site(tmp_path / "models").but(MODELS_URL=NOWHERE, MODELS_SAS_TOKEN="sig=x")
    done = site.run(MODELS_PUBLIC_KEY=text)
    assert (done.code, done.fault.startswith("MODELS_PUBLIC_KEY=")) == (2, True)
    (tmp_path / "keys").write_text(text)
    done = site.run(MODELS_PUBLIC_KEY_FILE=str(tmp_path / "keys"))
    assert (done.code, done.fault.startswith(f"MODELS_PUBLIC_KEY_FILE={tmp_path}/keys ")) == (2, True)


def test_unusable_public_key_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, message in {
        "empty": "holds no public key",
        "binary": "cannot be read: it is not text",
        "none": "cannot be read: No such file or directory",
        ".": "cannot be read: Is a directory",
    }.items():
        found = load({"MODELS_PUBLIC_KEY": str(ONE), "MODELS_PUBLIC_KEY_FILE": f"{tmp_path}/{name}"}, with_packs=False)
        with pytest.raises(UsageError, match=f"MODELS_PUBLIC_KEY_FILE={tmp_path}/{name} {message}"):
            found.read_public_keys()


def test_secret_key_as_public_key_is_not_printed() -> None:
    secret = unencrypted(KEY).splitlines()[1]
    with pytest.raises(UsageError, match=r"MODELS_PUBLIC_KEY=.* is not a minisign public key") as wrong:
        load({"MODELS_PUBLIC_KEY": secret}, with_packs=False)
    assert secret[100:120] not in str(wrong.value)


# --- rotation ---


def test_two_keys_are_trusted_during_rotation(signed_packs: SignedPacks, tmp_path: Path) -> None:
    old, both, new = (signed_packs.site(tmp_path / "models", *keys) for keys in ((KEY,), (KEY, OTHER), (OTHER,)))
    assert [site.run("--plan").code for site in (old, both, new)] == [0, 0, 13]
    signed_packs.sign(OTHER, DUTCH)
    assert [site.run("--plan").code for site in (old, both, new)] == [13, 0, 13]
    signed_packs.sign(OTHER, COMMON)
    assert [site.run("--plan").code for site in (old, both, new)] == [13, 0, 0]
    assert new.run().code == 0


def test_keys_with_same_id_are_all_tried(signed_packs: SignedPacks, tmp_path: Path) -> None:
    alike = type(KEY)(KEY.number, OTHER.seed)
    assert signed_packs.site(tmp_path / "models", alike, KEY).run().code == 0


def test_trusted_comment_may_have_more_words(signed_packs: SignedPacks, tmp_path: Path) -> None:
    for ref, comment in {
        DUTCH: b"timestamp:1\tversion=2026.04\tpack=nl-nl\thashed",
        COMMON: binding(COMMON).encode(),
    }.items():
        signed_packs.signature(ref).write_bytes(
            forged(KEY, signed_packs.manifest(ref).read_bytes(), comment).encoded("")
        )
    assert signed_packs.site(tmp_path / "models", KEY).run().code == 0


# --- when signatures are verified ---


def test_signatures_are_fetched_only_with_public_key(
    azurite: Azurite, packs: Packs, original_packs: SignedPacks, tmp_path: Path
) -> None:
    container = azurite.fresh_container()
    container.put_tree(original_packs.directory, PREFIX)
    environment = in_container(packs, container.container_url, container.sas("r"))
    site = original_packs.site(tmp_path / "models").but(**environment)
    assert site.run().code == 0
    assert _signatures_asked_for(container) == []
    assert site.run(MODELS_PUBLIC_KEY=str(ONE), REALTIME_LANGUAGE_VERSION=NEWER.version).code == 0
    assert _signatures_asked_for(container) == [f"{PREFIX}nl-nl/2026.07/manifest.json.minisig"]


def _signatures_asked_for(container: Azurite) -> list[str]:
    return [
        request.path for request in container.requests() if (request.method, request.path[-8:]) == ("GET", ".minisig")
    ]


def test_installed_release_starts_without_keys(signed_packs: SignedPacks, tmp_path: Path) -> None:
    site = signed_packs.site(tmp_path / "models", KEY)
    assert site.run().code == 0
    done = site.run(python=("-X", "importtime"), MODELS_URL=NOWHERE, MODELS_PUBLIC_KEY_FILE="/nowhere")
    assert (done.code, done.out.startswith("nothing to do")) == (0, True)
    loaded = [line.rpartition("|")[2].strip() for line in done.err.splitlines()]
    assert {"models_init.cli.settings", "models_init.formats.minisign"} <= set(loaded)
    assert [name for name in loaded if name.startswith(("nacl", "_cffi", "models_init.install.trust"))] == []


def test_unsigned_installed_packs_stay_current(signed_packs: SignedPacks, tmp_path: Path) -> None:
    for ref in (COMMON, DUTCH, NEWER):
        signed_packs.signature(ref).unlink()
    unsigned, strict = signed_packs.site(tmp_path / "models"), signed_packs.site(tmp_path / "models", KEY)
    assert unsigned.run().code == 0
    current = (tmp_path / "models/current").readlink()
    assert strict.run().out.startswith("nothing to do")
    assert strict.run("--verify").code == 0
    assert strict.run("--repair").code == 0
    upgrade: Mapping[str, str] = {"REALTIME_LANGUAGE_VERSION": NEWER.version}
    assert "nl-nl 2026.07 is not signed" in strict.run(**upgrade).fault
    assert (tmp_path / "models/current").readlink() == current
    signed_packs.sign(KEY, NEWER)
    assert strict.run(**upgrade).code == 0


def test_repair_requires_signed_manifest(signed_packs: SignedPacks, tmp_path: Path) -> None:
    site = signed_packs.site(tmp_path / "models", KEY)
    assert site.run().code == 0
    signature = signed_packs.signature(DUTCH).read_bytes()
    kept = tmp_path / "models/manifests/nl-nl/2026.04.json"
    kept.write_bytes(b"{}")
    signed_packs.signature(DUTCH).unlink()
    done = site.run("--repair")
    assert (done.code, "nl-nl 2026.04 is not signed" in done.fault) == (13, True)
    assert kept.read_bytes() == b"{}"
    signed_packs.signature(DUTCH).write_bytes(signature)
    assert site.run("--repair").code == 0
    assert kept.read_bytes() == signed_packs.manifest(DUTCH).read_bytes()


def test_json_log_has_exit_code_of_signature_fault(signed_packs: SignedPacks, tmp_path: Path) -> None:
    signed_packs.signature(DUTCH).unlink()
    done = signed_packs.site(tmp_path / "models", KEY).run("--json", MODELS_LOG_FORMAT="json")
    assert done.code == 13
    message = json.loads(done.err.splitlines()[-1])
    assert message["exit_code"] == 13

"""Whom a site trusts: how keys are set, changed, and when they are asked."""

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
def test_several_keys_are_read(text: str, tmp_path: Path) -> None:
    """One a line, between commas or blanks, as `.pub` files in a row; in the variable and in the file alike."""
    assert public_keys(text) == (ONE, TWO)
    (tmp_path / "keys").write_text(text)
    assert load({"MODELS_PUBLIC_KEY": text}, with_packs=False).read_public_keys() == (ONE, TWO)
    in_file = {"MODELS_PUBLIC_KEY_FILE": str(tmp_path / "keys")}
    assert load(in_file, with_packs=False).read_public_keys() == (ONE, TWO)


def test_the_keys_of_variable_and_file_count_together(tmp_path: Path) -> None:
    """None of them is lost, none stands twice."""
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
def test_a_malformed_key_is_exit_code_2_before_any_socket(text: str, signed_packs: SignedPacks, tmp_path: Path) -> None:
    """In the variable or in the file: one line that names the setting; it never counts as no key."""
    site = signed_packs.site(tmp_path / "models").but(MODELS_URL=NOWHERE, MODELS_SAS_TOKEN="sig=x")
    done = site.run(MODELS_PUBLIC_KEY=text)
    assert (done.code, done.fault.startswith("MODELS_PUBLIC_KEY=")) == (2, True)
    (tmp_path / "keys").write_text(text)
    done = site.run(MODELS_PUBLIC_KEY_FILE=str(tmp_path / "keys"))
    assert (done.code, done.fault.startswith(f"MODELS_PUBLIC_KEY_FILE={tmp_path}/keys ")) == (2, True)


def test_a_file_without_keys_is_not_no_file(tmp_path: Path) -> None:
    """Empty, missing, a directory, no text: each is told, and nothing is trusted by mistake."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, told in {
        "empty": "holds no public key",
        "binary": "cannot be read: it is not text",
        "none": "cannot be read: No such file or directory",
        ".": "cannot be read: Is a directory",
    }.items():
        found = load({"MODELS_PUBLIC_KEY": str(ONE), "MODELS_PUBLIC_KEY_FILE": f"{tmp_path}/{name}"}, with_packs=False)
        with pytest.raises(UsageError, match=f"MODELS_PUBLIC_KEY_FILE={tmp_path}/{name} {told}"):
            found.read_public_keys()


def test_a_secret_key_in_the_wrong_place_is_not_shown() -> None:
    """Who sets MODELS_PUBLIC_KEY to a secret key is told so, without it."""
    secret = unencrypted(KEY).splitlines()[1]
    with pytest.raises(UsageError, match=r"MODELS_PUBLIC_KEY=.* is no public key") as wrong:
        load({"MODELS_PUBLIC_KEY": secret}, with_packs=False)
    assert secret[100:120] not in str(wrong.value)


# --- rotation ---


def test_two_keys_are_trusted_while_they_change(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """Before, during and after: packs of either key with both set, the new one's alone when the old one is gone."""
    old, both, new = (signed_packs.site(tmp_path / "models", *keys) for keys in ((KEY,), (KEY, OTHER), (OTHER,)))
    assert [site.run("--plan").code for site in (old, both, new)] == [0, 0, 13]
    signed_packs.sign(OTHER, DUTCH)
    assert [site.run("--plan").code for site in (old, both, new)] == [13, 0, 13]
    signed_packs.sign(OTHER, COMMON)
    assert [site.run("--plan").code for site in (old, both, new)] == [13, 0, 0]
    assert new.run().code == 0


def test_a_signature_that_both_might_have_made_is_tried_with_each(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """Two keys of one number are two keys."""
    alike = type(KEY)(KEY.number, OTHER.seed)
    assert signed_packs.site(tmp_path / "models", alike, KEY).run().code == 0


def test_more_may_stand_in_the_trusted_comment(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """In any order, between blanks or tabs, with words of other tools beside them."""
    for ref, comment in {
        DUTCH: b"timestamp:1\tversion=2026.04\tpack=nl-nl\thashed",
        COMMON: binding(COMMON).encode(),
    }.items():
        signed_packs.signature(ref).write_bytes(
            forged(KEY, signed_packs.manifest(ref).read_bytes(), comment).encoded("")
        )
    assert signed_packs.site(tmp_path / "models", KEY).run().code == 0


# --- when they are asked ---


def test_without_a_key_no_signature_is_asked_for(
    azurite: Azurite, packs: Packs, stocked_shelf: SignedPacks, tmp_path: Path
) -> None:
    """What nobody checks nobody fetches; with a key, once for each new pack."""
    container = azurite.fresh_container()
    container.put_tree(stocked_shelf.directory, PREFIX)
    environment = in_container(packs, container.container_url, container.sas("r"))
    site = stocked_shelf.site(tmp_path / "models").but(**environment)
    assert site.run().code == 0
    assert _signatures_asked_for(container) == []
    assert site.run(MODELS_PUBLIC_KEY=str(ONE), REALTIME_LANGUAGE_VERSION=NEWER.version).code == 0
    assert _signatures_asked_for(container) == [f"{PREFIX}nl-nl/2026.07/manifest.json.minisig"]


def _signatures_asked_for(container: Azurite) -> list[str]:
    return [
        request.path for request in container.requests() if (request.method, request.path[-8:]) == ("GET", ".minisig")
    ]


def test_a_start_with_nothing_to_do_asks_for_nothing(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """With the release there, neither source nor key file nor library is needed."""
    site = signed_packs.site(tmp_path / "models", KEY)
    assert site.run().code == 0
    done = site.run(python=("-X", "importtime"), MODELS_URL=NOWHERE, MODELS_PUBLIC_KEY_FILE="/nowhere")
    assert (done.code, done.out.startswith("nothing to do")) == (0, True)
    loaded = [line.rpartition("|")[2].strip() for line in done.err.splitlines()]
    assert {"models_init.cli.settings", "models_init.formats.minisign"} <= set(loaded)
    assert [name for name in loaded if name.startswith(("nacl", "_cffi", "models_init.install.trust"))] == []


def test_what_was_installed_before_a_key_was_set_stays(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """Unsigned packs stay current; what comes from then on must be signed, and nothing is lost when it is not."""
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


def test_repair_believes_signed_manifests_alone(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """A manifest that has to be fetched anew is checked like any other; then the repair goes through."""
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


def test_json_tells_it_too(signed_packs: SignedPacks, tmp_path: Path) -> None:
    """Programs find exit code and text of the fault in the last log line."""
    signed_packs.signature(DUTCH).unlink()
    done = signed_packs.site(tmp_path / "models", KEY).run("--json", MODELS_LOG_FORMAT="json")
    assert done.code == 13
    told = json.loads(done.err.splitlines()[-1])
    assert told["exit_code"] == 13

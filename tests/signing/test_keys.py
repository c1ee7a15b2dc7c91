"""`models-pack keygen` and `sign`: what they write, what they refuse, what never leaves them."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest

from models_init.formats.minisign import public_keys
from models_init.publish.cli.main import main
from models_init.publish.signing import keys
from models_init.publish.signing.keys import SecretKey, public_key_text, read_secret_key, secret_key_text
from tests.publish.packs import pack
from tests.publish.test_cli import PROGRAM, refusal
from tests.services import require_tool
from tests.signing.vendor import FILES, KEY, OTHER, unencrypted
from tests.site import COMMON, DUTCH, NEWER

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.publish.pack.version_directory import VersionDirectory
    from tests.services.azurite import Azurite
    from tests.signing.vendor import SignedPacks


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MODELS_"):
            monkeypatch.delenv(name)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "vendor.key"
    path.write_text(unencrypted(KEY))
    return path


def _no_password() -> str:
    raise AssertionError("nobody should be asked")


# --- keygen ---


def test_a_pair_is_made_for_its_owner_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The secret key has mode 0600 and fits the public one, whose text is what sites set."""
    assert main(["keygen", "--out", str(tmp_path / "new"), "--no-password", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    secret, public = tmp_path / "new.key", tmp_path / "new.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    key = read_secret_key(secret.read_text(), "new", _no_password)
    assert public.read_text() == public_key_text(key.public)
    assert public_keys(public.read_text()) == (key.public,)
    assert (facts["key"], facts["public_key"], facts["encrypted"]) == (key.public.id, str(key.public), False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.key", "new.pub"]


def test_two_pairs_differ(tmp_path: Path) -> None:
    """Each has a number and a seed of its own."""
    for name in ("one", "other"):
        main(["keygen", "--out", str(tmp_path / name), "--no-password"])
    one, other = (public_keys((tmp_path / f"{name}.pub").read_text()) for name in ("one", "other"))
    assert one[0].number != other[0].number
    assert one[0].point != other[0].point


@pytest.mark.parametrize("name", ["old.key", "old.pub"])
def test_keys_are_never_overwritten(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where one of the two files is, even as a link that leads nowhere, nothing is written."""
    (tmp_path / name).symlink_to("nowhere")
    told = refusal(capsys, ["keygen", "--out", str(tmp_path / "old"), "--no-password"])
    assert f"{name} is there, and keys are never overwritten" in told
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_place_without_a_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory is no prefix, and a directory that is missing is not made."""
    assert "is a directory: name the files in it" in refusal(
        capsys, ["keygen", "--out", str(tmp_path), "--no-password"]
    )
    assert "there is no directory" in refusal(capsys, ["keygen", "--out", f"{tmp_path}/a/b", "--no-password"])


def test_a_password_is_needed_or_renounced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal, a file or the variable there is no key, rather than one that is not encrypted."""
    with open(os.devnull) as nothing:  # what a pipeline has on standard input
        done = subprocess.run(
            [*PROGRAM, "keygen", "--out", tmp_path / "new"], stdin=nothing, capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert "name a --password-file, set MODELS_KEY_PASSWORD, or run on a terminal" in done.stderr
    (tmp_path / "empty").write_text("\nsecond line\n")
    for file in ("empty", "missing"):
        arguments = ["keygen", "--out", str(tmp_path / "new"), "--password-file", str(tmp_path / file)]
        assert f"--password-file {tmp_path / file} " in refusal(capsys, arguments)
    assert not (tmp_path / "new.key").exists()


def test_passwords_that_are_typed_differently_make_no_key(tmp_path: Path) -> None:
    """On a terminal it is asked for twice, unseen."""
    setsid = require_tool("setsid")
    terminal, program_side = pty.openpty()
    command = [setsid, "--ctty", "--wait", *PROGRAM, "keygen", "--out", str(tmp_path / "new")]
    with subprocess.Popen(command, stdin=program_side, stdout=program_side, stderr=program_side) as process:
        os.close(program_side)
        seen = b""
        for prompt, typed in ((b"new key: ", b"one two three\n"), (b"again: ", b"four five six\n")):
            while prompt not in seen:
                seen += os.read(terminal, 1000)
            os.write(terminal, typed)
        while b"differ" not in seen:
            seen += os.read(terminal, 1000)
        assert process.wait(30) == 2
    os.close(terminal)
    assert b"the two passwords differ" in seen
    assert b"one two" not in seen
    assert not (tmp_path / "new.key").exists()


# --- secret keys ---


@pytest.fixture
def _quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What guessing costs is tried with minisign; here it would only cost time."""
    monkeypatch.setattr(keys, "OPERATIONS", 1 << 15)
    monkeypatch.setattr(keys, "MEMORY", 1 << 24)


@pytest.mark.usefixtures("_quick_scrypt")
def test_a_password_encrypts_all_that_is_secret() -> None:
    """With a password the seed is nowhere in the file, and the key comes back with it."""
    text = secret_key_text(KEY, "a password")
    assert KEY.seed not in b64decode(text.splitlines()[1])
    assert read_secret_key(text, "it", lambda: "a password") == KEY


@pytest.mark.usefixtures("_quick_scrypt")
@pytest.mark.parametrize("way", ["variable", "file"])
def test_a_wrong_password_is_told_and_not_shown(
    way: str,
    signed_packs: SignedPacks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 2, and what was signed stays as it was; the right one signs."""
    path, password = tmp_path / "its.key", tmp_path / "password"
    path.write_text(secret_key_text(OTHER, "right horse, battery"))
    before = signed_packs.signature(DUTCH).read_bytes()
    arguments = ["sign", str(signed_packs.directory), "--key", str(path), "--force"]
    arguments += ["--password-file", str(password)] if way == "file" else []
    for typed, code in (("wrong horse, battery", 2), ("right horse, battery", 0)):
        password.write_text(f"{typed}\r\n")
        if way == "variable":
            monkeypatch.setenv("MODELS_KEY_PASSWORD", typed)
        assert main(arguments) == code
        told = capsys.readouterr()
        assert "horse" not in told.out + told.err
        assert (f"{path} cannot be read: the password is wrong, or the file is damaged" in told.err) == (code == 2)
        assert (signed_packs.signature(DUTCH).read_bytes() == before) == (code == 2)


def test_a_key_shows_its_seed_to_nobody() -> None:
    """Its repr is of no use to a thief."""
    assert repr(KEY.seed) not in repr(KEY)


def _changed(at: int, data: bytes) -> str:
    raw = bytearray(b64decode(unencrypted(KEY).splitlines()[1]))
    raw[at : at + len(data)] = data
    return f"untrusted comment: x\n{b64encode(raw).decode()}\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no secret key of minisign"),
        ("\n\n", "is no secret key of minisign"),
        (unencrypted(KEY)[:-20], "is no secret key of minisign"),
        (unencrypted(KEY) + "more\n", "is no secret key of minisign"),
        (public_key_text(KEY.public), "is no secret key of minisign"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n", "is no secret key of minisign"),
        (_changed(0, b"RS"), "a secret key of an unknown kind"),
        (_changed(2, b"Ar"), "a secret key of an unknown kind"),
        (_changed(4, b"S3"), "a secret key of an unknown kind"),
        (_changed(46, bytes([255] * 8)), "a secret key of an unknown kind"),
        (_changed(70, b"x"), "the file is damaged"),
        (_changed(110, b"x"), "the file is damaged"),
    ],
)
def test_another_file_is_no_secret_key(
    text: str, told: str, signed_packs: SignedPacks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told in one line, exit code 2, and nothing of the file is shown."""
    path = tmp_path / "it.key"
    path.write_text(text)
    line = refusal(capsys, ["sign", str(signed_packs.directory), "--key", str(path)])
    assert f"{path} " in line
    assert told in line
    assert b64encode(KEY.seed).decode()[4:20] not in line


# --- sign ---


def test_it_signs_all_and_does_so_once(
    signed_packs: SignedPacks, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every version directory gets the same bytes each time; what this key has signed is left as it is."""
    signatures = {ref: signed_packs.signature(ref).read_bytes().splitlines()[1:] for ref in (COMMON, DUTCH, NEWER)}
    signed_packs.signature(DUTCH).unlink()
    assert main(["sign", str(signed_packs.directory), "--key", str(key_file), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["key"] == KEY.public.id
    assert [(each["pack"], each["version"], each["already_signed"]) for each in facts["packs"]] == [
        ("common", "2026.04", True),
        ("nl-nl", "2026.04", False),
        ("nl-nl", "2026.07", True),
    ]
    assert {ref: signed_packs.signature(ref).read_bytes().splitlines()[1:] for ref in signatures} == signatures
    assert main(["sign", str(signed_packs.directory), "--key", str(key_file)]) == 0
    assert f"nl-nl 2026.04: already signed by key {KEY.public.id}\n" in capsys.readouterr().out


def test_another_signature_is_replaced_by_force_alone(
    signed_packs: SignedPacks, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where another key's signature lies, or a broken one, nothing is signed; with --force all of it is."""
    signed_packs.sign(OTHER, DUTCH)
    signed_packs.signature(COMMON).write_bytes(b"")
    signed_packs.signature(NEWER).unlink()
    arguments = ["sign", str(signed_packs.directory), "--key", str(key_file)]
    told = refusal(capsys, arguments)
    assert f"{signed_packs.signature(COMMON)}, {signed_packs.signature(DUTCH)}: not this key's signature" in told
    assert not signed_packs.signature(NEWER).exists()
    assert main([*arguments, "--force"]) == 0
    assert main(["check", str(signed_packs.directory), "--public-key", str(KEY.public)]) == 0


def test_it_signs_no_manifest_that_sites_could_not_read(
    signed_packs: SignedPacks, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Broken, or another pack's: exit code 10, and no other one is signed either."""
    signed_packs.signature(COMMON).unlink()
    arguments = ["sign", str(signed_packs.directory), "--key", str(key_file), "--force"]
    for document in (b"{}", signed_packs.manifest(COMMON).read_bytes()):
        signed_packs.manifest(DUTCH).write_bytes(document)
        assert "the manifest of nl-nl 2026.04 " in refusal(capsys, arguments, 10)
        assert not signed_packs.signature(COMMON).exists()


def test_the_key_goes_nowhere(signed_packs: SignedPacks, key_file: Path, tmp_path: Path) -> None:
    """After signing, the key is in its own file alone: not in a file beside it, nor in what was printed."""
    signed_packs.signature(DUTCH).unlink()
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    command = [*PROGRAM, "sign", str(signed_packs.directory), "--key", str(key_file)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} - before == {signed_packs.signature(DUTCH)}
    secret = key_file.read_bytes().split(b"\n")[1]
    for text in (done.stdout, done.stderr, signed_packs.signature(DUTCH).read_bytes()):
        assert KEY.seed not in text
        assert b64encode(KEY.seed)[:20] not in text
        assert secret[100:120] not in text


# --- check, upload ---


def test_check_judges_signatures_as_a_site_would(
    signed_packs: SignedPacks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With keys (as text, or in a file) it names who has signed; unsigned and strange ones are exit code 13."""
    (tmp_path / "keys").write_text(public_key_text(KEY.public) + public_key_text(OTHER.public))
    signed_packs.sign(OTHER, COMMON)
    assert main(["check", str(signed_packs.directory), "--public-key", str(tmp_path / "keys")]) == 0
    told = capsys.readouterr().out
    assert f", signed by {KEY.public.id}\n" in told
    assert f", signed by {OTHER.public.id}\n" in told
    signed_packs.signature(DUTCH).unlink()
    assert main(["check", str(signed_packs.directory), "--public-key", str(KEY.public)]) == 13
    told = capsys.readouterr().out
    assert f"common/2026.04: the manifest of common 2026.04 is signed by key {OTHER.public.id}, which" in told
    assert "nl-nl/2026.04: the manifest of nl-nl 2026.04 is not signed" in told
    assert main(["check", str(signed_packs.directory)]) == 0
    assert "no public key of minisign" in refusal(
        capsys, ["check", str(signed_packs.directory), "--public-key", "RWxyz"]
    )


def test_wrong_bytes_weigh_more_than_a_signature(signed_packs: SignedPacks) -> None:
    """Exit code 30 where both are wrong."""
    archive = signed_packs.manifest(DUTCH).with_name("pack.tar.zst")
    archive.write_bytes(archive.read_bytes()[:-1])
    assert main(["check", str(signed_packs.directory), "--public-key", str(OTHER.public)]) == 30


def test_a_new_signature_of_what_is_published_is_uploaded_on_demand(
    tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a change of keys: refused without --replace-signatures, then replaced; the manifest stays."""
    container = azurite.fresh_container()
    directory: VersionDirectory = pack(tmp_path, FILES)
    monkeypatch.setenv("MODELS_SAS_TOKEN", container.sas("rw"))
    arguments = ["upload", str(tmp_path / "out"), "--url", container.container_url]
    signed: dict[SecretKey, bytes] = {
        key: key.sign(directory.ref(), directory.document()).encoded("x") for key in (KEY, OTHER)
    }
    key = "realtime/nl-nl/2026.04/manifest.json.minisig"
    directory.signature.write_bytes(signed[KEY])
    assert main(arguments) == 0
    directory.signature.write_bytes(signed[OTHER])
    assert "if you have signed it anew, repeat with --replace-signatures" in refusal(capsys, arguments)
    assert container.get(key) == signed[KEY]
    assert main([*arguments, "--replace-signatures"]) == 0
    assert container.get(key) == signed[OTHER]
    assert container.get("realtime/nl-nl/2026.04/manifest.json") == directory.document()

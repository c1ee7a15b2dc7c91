"""`models-pack keygen` and `sign`: key files, passwords, signatures, secrets in no output."""

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
    raise AssertionError("no password is needed")


# --- keygen ---


def test_keygen_writes_pair_readable_by_owner_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", "--out", str(tmp_path / "new"), "--no-password", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    secret, public = tmp_path / "new.key", tmp_path / "new.pub"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    key = read_secret_key(secret.read_text(), "new", _no_password)
    assert public.read_text() == public_key_text(key.public)
    assert public_keys(public.read_text()) == (key.public,)
    assert (facts["key"], facts["public_key"], facts["encrypted"]) == (key.public.id, str(key.public), False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.key", "new.pub"]


def test_generated_keys_differ(tmp_path: Path) -> None:
    for name in ("one", "other"):
        main(["keygen", "--out", str(tmp_path / name), "--no-password"])
    one, other = (public_keys((tmp_path / f"{name}.pub").read_text()) for name in ("one", "other"))
    assert one[0].number != other[0].number
    assert one[0].point != other[0].point


@pytest.mark.parametrize("name", ["old.key", "old.pub"])
def test_existing_key_file_is_kept(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken link counts as an existing file."""
    (tmp_path / name).symlink_to("nowhere")
    message = refusal(capsys, ["keygen", "--out", str(tmp_path / "old"), "--no-password"])
    assert f"{name} exists, and keys are never overwritten" in message
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_keygen_refuses_directory_and_missing_parent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is a directory: name the files in it" in refusal(
        capsys, ["keygen", "--out", str(tmp_path), "--no-password"]
    )
    assert "does not exist; create it, readable only by you" in refusal(
        capsys, ["keygen", "--out", f"{tmp_path}/a/b", "--no-password"]
    )


def test_missing_password_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open(os.devnull) as nothing:  # the standard input of a pipeline
        done = subprocess.run(
            [*PROGRAM, "keygen", "--out", tmp_path / "new"], stdin=nothing, capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert "use --password-file, set MODELS_KEY_PASSWORD, or run on a terminal" in done.stderr
    (tmp_path / "empty").write_text("\nsecond line\n")
    for file in ("empty", "missing"):
        arguments = ["keygen", "--out", str(tmp_path / "new"), "--password-file", str(tmp_path / file)]
        assert f"--password-file {tmp_path / file} " in refusal(capsys, arguments)
    assert not (tmp_path / "new.key").exists()


def test_password_that_is_not_utf8_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODELS_KEY_PASSWORD", "caf\udce9 au lait")  # Latin-1
    assert "MODELS_KEY_PASSWORD is not UTF-8" in refusal(capsys, ["keygen", "--out", str(tmp_path / "new")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("typed", "refused"),
    [
        ([b"caf\xe9 au lait"], b"the typed password is not UTF-8"),  # Latin-1
        ([b"one two three", b"four five six"], b"the two passwords differ"),
    ],
    ids=["not UTF-8", "different"],
)
def test_typed_passwords_that_cannot_be_used_write_no_key(typed: list[bytes], refused: bytes, tmp_path: Path) -> None:
    setsid = require_tool("setsid")
    terminal, program_side = pty.openpty()
    command = [setsid, "--ctty", "--wait", *PROGRAM, "keygen", "--out", str(tmp_path / "new")]
    with subprocess.Popen(command, stdin=program_side, stdout=program_side, stderr=program_side) as process:
        os.close(program_side)
        seen = b""
        for prompt, text in zip((b"new key: ", b"Repeat the password: "), typed, strict=False):
            while prompt not in seen:
                seen += os.read(terminal, 1000)
            os.write(terminal, text + b"\n")
        while refused not in seen and b"bug" not in seen:
            seen += os.read(terminal, 1000)
        assert process.wait(30) == 2
    os.close(terminal)
    assert (refused in seen, typed[0][:3] in seen) == (True, False)
    assert not list(tmp_path.iterdir())


# --- secret keys ---


@pytest.fixture
def _quick_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a low cost of scrypt, to save time; the tests with minisign use the real one."""
    monkeypatch.setattr(keys, "OPERATIONS", 1 << 15)
    monkeypatch.setattr(keys, "MEMORY", 1 << 24)


@pytest.mark.usefixtures("_quick_scrypt")
def test_password_encrypts_seed() -> None:
    text = secret_key_text(KEY, "a password")
    assert KEY.seed not in b64decode(text.splitlines()[1])
    assert read_secret_key(text, "it", lambda: "a password") == KEY


@pytest.mark.usefixtures("_quick_scrypt")
@pytest.mark.parametrize("tampering", ["variable", "file"])
def test_wrong_password_is_reported_and_not_printed(
    tampering: str,
    signed_packs: SignedPacks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, password = tmp_path / "its.key", tmp_path / "password"
    path.write_text(secret_key_text(OTHER, "right horse, battery"))
    before = signed_packs.signature(DUTCH).read_bytes()
    arguments = ["sign", str(signed_packs.directory), "--key", str(path), "--force"]
    arguments += ["--password-file", str(password)] if tampering == "file" else []
    for typed, code in (("wrong horse, battery", 2), ("right horse, battery", 0)):
        password.write_text(f"{typed}\r\n")
        if tampering == "variable":
            monkeypatch.setenv("MODELS_KEY_PASSWORD", typed)
        assert main(arguments) == code
        message = capsys.readouterr()
        assert "horse" not in message.out + message.err
        assert (f"{path} cannot be read: the password is wrong, or the file is damaged" in message.err) == (code == 2)
        assert (signed_packs.signature(DUTCH).read_bytes() == before) == (code == 2)


def test_repr_of_secret_key_has_no_seed() -> None:
    assert repr(KEY.seed) not in repr(KEY)


def _changed(at: int, data: bytes) -> str:
    raw = bytearray(b64decode(unencrypted(KEY).splitlines()[1]))
    raw[at : at + len(data)] = data
    return f"untrusted comment: x\n{b64encode(raw).decode()}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a minisign secret key"),
        ("\n\n", "is not a minisign secret key"),
        (unencrypted(KEY)[:-20], "is not a minisign secret key"),
        (unencrypted(KEY) + "more\n", "is not a minisign secret key"),
        (public_key_text(KEY.public), "is not a minisign secret key"),
        ("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n", "is not a minisign secret key"),
        (_changed(0, b"RS"), "a secret key of an unknown kind"),
        (_changed(2, b"Ar"), "a secret key of an unknown kind"),
        (_changed(4, b"S3"), "a secret key of an unknown kind"),
        (_changed(46, bytes([255] * 8)), "a secret key of an unknown kind"),
        (_changed(70, b"x"), "the file is damaged"),
        (_changed(110, b"x"), "the file is damaged"),
    ],
)
def test_invalid_secret_key_file_is_reported_and_not_printed(
    text: str, message: str, signed_packs: SignedPacks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "it.key"
    path.write_text(text)
    line = refusal(capsys, ["sign", str(signed_packs.directory), "--key", str(path)])
    assert f"{path} " in line
    assert message in line
    assert b64encode(KEY.seed).decode()[4:20] not in line


def test_secret_key_given_instead_of_its_file_is_not_printed(
    signed_packs: SignedPacks, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key without a slash in its first 200 characters is longer than the name of a file can be."""
    key = SecretKey(bytes(8), bytes(32))
    text = secret_key_text(key, None)
    secret = text.split()[-1]
    assert "/" not in secret[:200]
    for arguments in (["sign", "--key"], ["check", "--public-key"]):
        for given in (text, secret):
            line = refusal(capsys, [arguments[0], str(signed_packs.directory), arguments[1], given])
            assert secret[100:150] not in line


# --- sign ---


def test_sign_signs_unsigned_packs_only(
    signed_packs: SignedPacks, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_other_signature_is_replaced_with_force_only(
    signed_packs: SignedPacks, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_packs.sign(OTHER, DUTCH)
    signed_packs.signature(COMMON).write_bytes(b"")
    signed_packs.signature(NEWER).unlink()
    arguments = ["sign", str(signed_packs.directory), "--key", str(key_file)]
    message = refusal(capsys, arguments)
    signatures = f"{signed_packs.signature(COMMON)}, {signed_packs.signature(DUTCH)}"
    assert f"{signatures}: not a signature of this manifest by this key" in message
    assert not signed_packs.signature(NEWER).exists()
    assert main([*arguments, "--force"]) == 0
    assert main(["check", str(signed_packs.directory), "--public-key", str(KEY.public)]) == 0


def test_invalid_manifest_prevents_signing(
    signed_packs: SignedPacks, key_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No other manifest is signed either."""
    signed_packs.signature(COMMON).unlink()
    arguments = ["sign", str(signed_packs.directory), "--key", str(key_file), "--force"]
    for document in (b"{}", signed_packs.manifest(COMMON).read_bytes()):
        signed_packs.manifest(DUTCH).write_bytes(document)
        assert "the manifest of nl-nl 2026.04 " in refusal(capsys, arguments, 10)
        assert not signed_packs.signature(COMMON).exists()


def test_secret_key_is_in_no_file_or_output(signed_packs: SignedPacks, key_file: Path, tmp_path: Path) -> None:
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


def test_check_verifies_signatures_with_public_keys(
    signed_packs: SignedPacks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "keys").write_text(public_key_text(KEY.public) + public_key_text(OTHER.public))
    signed_packs.sign(OTHER, COMMON)
    assert main(["check", str(signed_packs.directory), "--public-key", str(tmp_path / "keys")]) == 0
    message = capsys.readouterr().out
    assert f", signed by {KEY.public.id}\n" in message
    assert f", signed by {OTHER.public.id}\n" in message
    signed_packs.signature(DUTCH).unlink()
    assert main(["check", str(signed_packs.directory), "--public-key", str(KEY.public)]) == 13
    message = capsys.readouterr().out
    assert f"common/2026.04: the manifest of common 2026.04 is signed by key {OTHER.public.id}, which" in message
    assert "nl-nl/2026.04: the manifest of nl-nl 2026.04 is not signed" in message
    assert main(["check", str(signed_packs.directory)]) == 0
    assert "must be a minisign public key" in refusal(
        capsys, ["check", str(signed_packs.directory), "--public-key", "RWxyz"]
    )


def test_wrong_bytes_are_more_severe_than_missing_signature(signed_packs: SignedPacks) -> None:
    archive = signed_packs.manifest(DUTCH).with_name("pack.tar.zst")
    archive.write_bytes(archive.read_bytes()[:-1])
    assert main(["check", str(signed_packs.directory), "--public-key", str(OTHER.public)]) == 30


def test_published_signature_is_replaced_on_request_only(
    tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert "if you have signed it again, repeat with --replace-signatures" in refusal(capsys, arguments)
    assert container.get(key) == signed[KEY]
    assert main([*arguments, "--replace-signatures"]) == 0
    assert container.get(key) == signed[OTHER]
    assert container.get("realtime/nl-nl/2026.04/manifest.json") == directory.document()

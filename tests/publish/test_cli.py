"""The command line of `models-pack`: arguments, results, errors, exit codes, signals."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models_init import __version__
from models_init.core.pack_ref import PackRef
from models_init.publish.cli.main import COMMANDS, main
from models_init.publish.pack.version_directory import VersionDirectory
from tests import samples
from tests.publish.packs import archive_of, pack, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.services.azurite import Azurite

FILES = {"am/final.mdl": bytes(range(256)) * 40, "conf/empty": b""}
TOKEN = f"sv=2026-10-06&sp=rw&sig={'A' * 43}%3D"
PROGRAM = [sys.executable, "-m", "models_init.publish"]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MODELS_"):
            monkeypatch.delenv(name)


def build_arguments(source: Path, out: Path, *more: str) -> list[str]:
    return ["build", str(source), "--name", "nl-nl", "--version", "2026.04", "--out", str(out), *more]


def _ref(name: str) -> PackRef:
    return PackRef(name, "1")


def refusal(capsys: pytest.CaptureFixture[str], arguments: Sequence[str], code: int = 2) -> str:
    """Run a command that must fail, and return its one line of error."""
    assert main(arguments) == code
    message = capsys.readouterr()
    *before, last = message.err.splitlines(keepends=True)
    assert all(line.startswith("models-pack: uploading to ") for line in before)
    assert last.startswith("models-pack: error: ")
    return last


# --- arguments ---


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    message = capsys.readouterr().out
    assert {"build", "check", "upload"} <= {command.NAME for command in COMMANDS}
    for command in COMMANDS:
        assert f"{command.NAME} " in message
        with pytest.raises(SystemExit):
            main([command.NAME, "--help"])
        assert "--json" in capsys.readouterr().out


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"models-pack {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["destroy"], "invalid choice: 'destroy'"),
        (["build", "x"], "the following arguments are required: --name, --version, --out"),
        (build_arguments(Path("x"), Path("y"), "--level", "23"), "'23' is not a number from 1 to 22"),
        (build_arguments(Path("x"), Path("y"), "--level", "high"), "'high' is not a number from 1 to 22"),
        (
            build_arguments(Path("x"), Path("y"), "--chunk-size", "1GB"),
            "'1GB' is not a size: write it like 512KiB or 1MiB, or auto",
        ),
        (build_arguments(Path("x"), Path("y"), "--chunk-size", "5MiB"), "a chunk has from 4KiB to 4MiB"),
        (build_arguments(Path("x"), Path("y"), "--chunk-size", "1"), "a chunk has from 4KiB to 4MiB"),
        (build_arguments(Path("x"), Path("y"), "--name", "NL nl"), "'NL nl' is not a pack name"),
        (build_arguments(Path("x"), Path("y"), "--version", "../1"), "'../1' is not a version"),
        (build_arguments(Path("missing"), Path("y")), "the directory missing does not exist"),
        (["check", "missing"], "missing is not a directory"),
    ],
)
def test_invalid_command_line_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refusal(capsys, arguments)


@pytest.mark.parametrize("path", ["x" * 300, "loop"], ids=["too long", "loop of links"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("build", "PATH", "--name", "nl-nl", "--version", "1", "--out", "out"),
        ("build", "source", "--name", "nl-nl", "--version", "1", "--out", "PATH"),
        ("describe", "PATH", "--name", "nl-nl", "--version", "1", "--out", "out"),
        ("check", "PATH"),
        ("check", "packs", "--public-key", "PATH"),
        ("keygen", "--out", "PATH/new", "--no-password"),
        ("sign", "PATH", "--key", "key"),
        ("sign", "packs", "--key", "PATH"),
        ("upload", "PATH"),
        ("compare", "PATH", "PATH"),
        ("inspect", "PATH"),
    ],
    ids=" ".join,
)
def test_path_that_cannot_be_used_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    write(tmp_path / "source", {"a": b"a"})
    pack(tmp_path / "packs", FILES)
    assert main([argument.replace("PATH", path) for argument in arguments]) not in (0, 1)
    assert capsys.readouterr().err.count("models-pack: error: ") == 1


def test_unreadable_signature_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = pack(tmp_path, FILES)
    directory.signature.mkdir()
    arguments = ["upload", str(directory.path), "--url", "oci://localhost:1/models"]
    assert "manifest.json.minisig cannot be read: Is a directory" in refusal(capsys, arguments, 13)
    directory.signature.rmdir()
    directory.signature.write_bytes(bytes(64 * 1024 + 1))
    assert "manifest.json.minisig is too large for a signature" in refusal(capsys, arguments, 13)


def test_output_inside_source_directory_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "source", FILES)
    assert "is inside" in refusal(capsys, build_arguments(source, source / "out"))
    assert "is inside" in refusal(capsys, build_arguments(source, source))


# --- results ---


def test_build_and_check_print_one_line_for_each_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "source", FILES)
    assert main(build_arguments(source, tmp_path / "out")) == 0
    message = capsys.readouterr()
    assert message.out.startswith(f"nl-nl 2026.04: built in {tmp_path}/out/nl-nl/2026.04: 2 files, 10.0 KiB, 1 chunk, ")
    assert main(build_arguments(source, tmp_path / "out")) == 0
    assert ": unchanged in " in capsys.readouterr().out
    assert main(["check", str(tmp_path / "out")]) == 0
    message = capsys.readouterr()
    assert message.out.startswith("nl-nl/2026.04: valid: 2 files, 10.0 KiB, archive ")
    assert message.err == ""


_WITHOUT_EXTRA = (
    "import sys; sys.modules.update({'numpy': None, 'azure': None});"
    "from models_init.publish.cli.main import main; sys.exit(main())"
)
"""Runs `models-pack` as after `pip install models-init`, without the packages of the extra `publish`."""


@pytest.mark.parametrize(("command", "package"), [("build", "numpy"), ("upload", "azure")])
def test_missing_package_is_reported_with_its_extra(tmp_path: Path, command: str, package: str) -> None:
    pack(tmp_path, FILES)
    arguments = {
        "build": build_arguments(write(tmp_path / "source", FILES), tmp_path / "new"),
        "upload": ["upload", str(tmp_path / "out"), "--url", "https://nowhere.invalid/models"],
    }[command]
    environment = {"PATH": os.environ["PATH"], "MODELS_SAS_TOKEN": TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_EXTRA, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    message = (
        f"models-pack: error: `models-pack {command}` needs a package that is not installed: {package}; "
        "run pip install 'models-init[publish]', then run it again\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    assert not (tmp_path / "new").exists()


def test_other_commands_need_no_extra(tmp_path: Path) -> None:
    first, second = pack(tmp_path, FILES), pack(tmp_path, FILES, PackRef("nl-nl", "2026.07"))
    archive, key = tmp_path / "a.tar", str(tmp_path / "key")
    subprocess.run(["tar", "-cf", archive, "-C", tmp_path, "source-nl-nl-2026.04"], check=True)
    environment = {
        "PATH": os.environ["PATH"],
        "REALTIME_LANGUAGES": "nl-nl@2026.04",
        "REALTIME_COMMON_VERSION": "1",
        "MODELS_URL": str(tmp_path / "out"),
    }
    pack(tmp_path, FILES, PackRef("common", "1"))
    runs: dict[str, list[str]] = {
        "describe": [str(archive), "--name", "de-de", "--version", "1", "--out", str(tmp_path / "out")],
        "check": [str(tmp_path / "out")],
        "keygen": ["--out", key, "--no-password"],
        "sign": [str(tmp_path / "out"), "--key", f"{key}.key"],
        "compare": [str(first.path), str(second.path)],
        "bundle": ["--out", str(tmp_path / "site.tar")],
        "inspect": [str(tmp_path / "site.tar")],
    }
    assert {command.NAME for command in COMMANDS} == {*runs, "build", "upload"}
    for command, arguments in runs.items():
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_EXTRA, command, *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), (command, done)
    helped = subprocess.run([sys.executable, "-c", _WITHOUT_EXTRA, "--help"], capture_output=True, check=False)
    assert helped.returncode == 0


def test_json_result_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "source", FILES)
    main(build_arguments(source, tmp_path / "out", "--json", "--chunk-size", "4KiB", "--level", "1"))
    facts = json.loads(capsys.readouterr().out)
    chunks = sum(len(file.chunks) for file in VersionDirectory(tmp_path / "out/nl-nl/2026.04").parsed().files)
    assert chunks > 1
    assert (facts["pack"], facts["version"], facts["files"], facts["chunks"]) == ("nl-nl", "2026.04", 2, chunks)
    assert facts["archive"]["size"] == (tmp_path / "out/nl-nl/2026.04/pack.tar.zst").stat().st_size
    main(["check", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["packs"][0]["sound"] is True


def test_json_failure_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The object has the exit code, the error and its remedy; the line on standard error is still written."""
    message = "the directory nosuch does not exist; name the directory with the models"
    assert main(build_arguments(Path("nosuch"), tmp_path, "--json")) == 2
    printed = capsys.readouterr()
    assert printed.err == f"models-pack: error: {message}\n"
    remedy = "name the directory with the models"
    assert json.loads(printed.out) == {"exit_code": 2, "error": message, "remedy": remedy}

    assert main(["check", "--json", "--unknown"]) == 2
    failed = json.loads(capsys.readouterr().out)
    assert (failed["exit_code"], failed["remedy"]) == (2, "see models-pack check --help")

    archive_of(pack(tmp_path, FILES)).write_bytes(b"wrong")
    assert main(["check", str(tmp_path), "--json"]) == 30
    failed = json.loads(capsys.readouterr().out)
    assert (failed["exit_code"], failed["packs"][0]["sound"]) == (30, False)
    assert failed["error"].startswith(f"{failed['packs'][0]['fault_count']} faults in nl-nl/2026.04: ")


def test_check_exits_with_most_severe_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, worse = (pack(tmp_path, FILES, ref) for ref in map(_ref, ("common", "nl-nl", "en-us")))
    bad.manifest.write_bytes(b"{}")
    assert "1 fault in nl-nl/1: do not publish it; build again" in refusal(capsys, ["check", str(tmp_path)], 10)
    archive_of(worse).write_bytes(b"wrong")
    assert main(["check", str(tmp_path)]) == 30
    message = capsys.readouterr()
    assert f"{good.path.parent.name}/1: valid" in message.out
    assert "nl-nl/1: the manifest of nl-nl 1 cannot be used" in message.out
    assert "en-us/1: am/final.mdl: the chunk of bytes 0 to 10240 is wrong" in message.out
    assert "faults in en-us/1, nl-nl/1: do not publish them" in message.err


def test_check_shortens_long_list_of_faults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = pack(tmp_path, {f"file{number:03}": b"x" for number in range(200)})
    archive_of(directory).write_bytes(b"")
    main(["check", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 51
    assert lines[-1].startswith("nl-nl/2026.04: and 15")
    assert lines[-1].endswith(" more faults")


def test_upload_publishes_all_packs_below_directory(
    tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = azurite.fresh_container()
    for name in ("common", "nl-nl"):
        pack(tmp_path, FILES, _ref(name))
    (tmp_path / "token").write_text(f"?{fresh.sas('rw')}\n")
    monkeypatch.setenv("MODELS_SAS_TOKEN_FILE", str(tmp_path / "token"))
    arguments = ["upload", str(tmp_path), "--url", fresh.container_url]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.err == f"models-pack: uploading to {fresh.container_url}/realtime/\n"
    assert printed.out.startswith(f"common 1: published at {fresh.container_url}/realtime/common/1: ")
    assert fresh.keys() == [
        f"realtime/{name}/1/{file}" for name in ("common", "nl-nl") for file in ("manifest.json", "pack.tar.zst")
    ]
    assert main([*arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["packs"]
    assert [(each["pack"], each["already_published"], each["sent"]) for each in facts] == [
        ("common", True, 0),
        ("nl-nl", True, 0),
    ]
    assert main(arguments) == 0
    assert "nl-nl 1: already published at " in capsys.readouterr().out


def test_upload_accepts_other_or_empty_prefix(
    tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = azurite.fresh_container()
    pack(tmp_path, FILES, _ref("common"))
    monkeypatch.setenv("MODELS_SAS_TOKEN", fresh.sas("rw"))
    for prefix in ("", "/a/b/"):
        assert main(["upload", str(tmp_path), "--url", fresh.container_url, "--prefix", prefix]) == 0
    files = ("common/1/manifest.json", "common/1/pack.tar.zst")
    assert fresh.keys() == [*(f"a/b/{file}" for file in files), *files]


# --- tokens ---


def test_missing_or_misplaced_token_is_reported_and_not_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tmp_path, FILES)
    url = ["--url", "https://nowhere.invalid/models"]
    assert "MODELS_SAS_TOKEN" in refusal(capsys, ["upload", str(tmp_path), *url])
    message = refusal(capsys, ["upload", str(tmp_path), "--url", "https://nowhere.invalid/models?sv=1&sig=geheim1234"])
    assert "geheim1234" not in message
    assert "MODELS_SAS_TOKEN" in message
    monkeypatch.setenv("MODELS_SAS_TOKEN", "sv=1&sp=rw&sig=geheim1234")
    assert "geheim1234" not in refusal(capsys, ["upload", str(tmp_path), *url], 22)
    assert "is not a blob container" in refusal(capsys, ["upload", str(tmp_path), "--url", "file:///packs"])


def test_refused_token_is_not_printed(
    tmp_path: Path, azurite: Azurite, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(tmp_path, FILES)
    token = azurite.sas("rw", expires_in=-5)
    monkeypatch.setenv("MODELS_SAS_TOKEN", token)
    message = refusal(capsys, ["upload", str(tmp_path), "--url", azurite.container_url], 22)
    assert token not in message
    assert token.rpartition("sig=")[2] not in message


# --- as a process ---


def test_build_and_check_do_not_import_azure_sdk(tmp_path: Path) -> None:
    source = write(tmp_path / "source", FILES)
    code = (
        "import sys; from models_init.publish.cli.main import main; code = main(sys.argv[1:]);"
        "loaded = {'azure', 'aiohttp'} & set(sys.modules); assert not loaded, loaded; sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, *build_arguments(source, tmp_path / "out")], check=True)
    subprocess.run([sys.executable, "-c", code, "check", str(tmp_path)], check=True)


def test_module_and_script_are_same_program(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("models-pack")
    for program in (PROGRAM, [str(script)]):
        done = subprocess.run([*program, "check", str(tmp_path)], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("models-pack: error: ")


def test_bar_is_drawn_on_terminal_only(tmp_path: Path) -> None:
    source = write(tmp_path / "source", FILES)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [*PROGRAM, *build_arguments(source, tmp_path / "out")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True, check=True)
    os.set_blocking(ours, False)
    shown = os.read(ours, 10_000).decode()
    os.close(theirs)
    os.close(ours)
    assert "nl-nl 2026.04:   0%" in shown  # it is not drawn again for so little work
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("sent", "code", "message"),
    [(signal.SIGINT, 130, "models-pack: interrupted"), (signal.SIGTERM, 143, "models-pack: terminated")],
)
def test_signal_ends_build_with_one_line_and_no_files(
    tmp_path: Path, sent: signal.Signals, code: int, message: str
) -> None:
    source = samples.write_tree(
        tmp_path / "source", samples.Shape(texts=0, weights=(64 << 20,), dense=(), unusual=False)
    )
    out = tmp_path / "out"
    command = [*PROGRAM, *build_arguments(source, out, "--level", "19")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        draft = out / "nl-nl/2026.04/pack.tar.zst.part"
        while not draft.exists() or not draft.stat().st_size:
            assert process.poll() is None
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert not out.exists()


def test_signal_ends_upload_with_one_line(tmp_path: Path, azurite: Azurite) -> None:
    fresh = azurite.fresh_container()
    source = samples.write_tree(
        tmp_path / "source", samples.Shape(texts=0, weights=(), dense=(100 << 20,), unusual=False)
    )
    assert main(build_arguments(source, tmp_path / "out", "--level", "1")) == 0
    environment = os.environ | {"MODELS_SAS_TOKEN": fresh.sas("rw")}
    command = [*PROGRAM, "upload", str(tmp_path / "out"), "--url", fresh.container_url, "--connections", "1"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        fresh.log.until(f"PUT /{fresh.account}/{fresh.container}/realtime/nl-nl/2026.04/pack.tar.zst?")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[1:]) == (143, ["models-pack: terminated; run again"])
    assert fresh.keys() == []

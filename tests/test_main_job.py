"""Install, plan, status and error messages of the program, run as a process with a directory or a container."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import shutil
import signal
import termios
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from models_init import __version__
from models_init.cli.settings import SETTINGS
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.publish.pack.build import BuildOptions, build
from models_init.publish.pack.source_tree import scan
from tests import services
from tests.eventually import eventually
from tests.services.faults import Cut, Reset, Stall, expired, throttled
from tests.services.faulty import FOREVER, FaultyServer
from tests.site import COMMON, DUTCH, NEWER, NOWHERE, archive_key, in_container
from tests.tokens import token

if TYPE_CHECKING:
    from tests.services.azurite import Azurite
    from tests.site import Done, Packs, Site

_RESULT_KEYS = [
    "release", "packs", "bytes_fetched", "bytes_by_source", "bytes_reused", "bytes_written", "seconds", "retries",
    "activated",
]  # fmt: skip
_ID = re.compile(r"[0-9a-f]{12}")
_HEAVY = {"azure", "asyncio", "structlog", "aiohttp", "tqdm", "ssl", "zstandard", "tenacity"}


@pytest.fixture(params=["directory", "container"])
def either(request: pytest.FixtureRequest, site: Site, packs: Packs) -> Site:
    """The same site with either source."""
    if request.param == "directory":
        return site
    container: Azurite = request.getfixturevalue("container")
    return site.but(**in_container(packs, container.container_url, container.sas()))


@pytest.fixture
def installed(site: Site) -> Site:
    assert site.run().code == 0
    return site


# -- installing


def _source_name(site: Site) -> str:
    url = site.environment["MODELS_URL"]
    return url if url.startswith("file:") else f"{url}/realtime/"


def test_install_gives_published_trees(either: Site, packs: Packs) -> None:
    """Both packs are identical to the published ones, in one release to which the relative link `current` points."""
    done = either.run()
    assert done.code == 0
    assert packs.differences(either, COMMON, DUTCH) == []
    assert _ID.fullmatch(os.readlink(either.volume / "current").removeprefix("releases/"))
    names = sorted(path.name for path in (either.volume / "current").iterdir())
    assert names == ["common", "nl-nl", "release.json"]
    assert re.fullmatch(
        rf"release {_ID.pattern} \(common 2026.04, nl-nl 2026.04\) is current: "
        r"11.5 MiB fetched, 0 B reused, 13.2 MiB written in .* s, 0 retries\n",
        done.out,
    )


def test_json_result_has_documented_keys(either: Site, packs: Packs) -> None:
    """The result is one object with exactly the documented keys and the right figures."""
    done = either.run("--json")
    assert list(done.json) == _RESULT_KEYS
    size = sum(packs.manifest(ref).size for ref in (COMMON, DUTCH))
    assert done.json == {
        "release": os.readlink(either.volume / "current").removeprefix("releases/"),
        "packs": {"common": "2026.04", "nl-nl": "2026.04"},
        "bytes_fetched": done.json["bytes_fetched"],
        "bytes_by_source": {_source_name(either): done.json["bytes_fetched"]},
        "bytes_reused": 0,
        "bytes_written": size,
        "seconds": done.json["seconds"],
        "retries": 0,
        "activated": True,
    }
    archives = sum(packs.manifest(ref).archive.size for ref in (COMMON, DUTCH))
    assert 0.9 * archives < done.json["bytes_fetched"] <= archives
    assert done.json["seconds"] > 0


def test_release_record_has_packs_and_origin(site: Site) -> None:
    """`release.json` has packs, versions, manifest digests, time, source and program."""
    release_id = site.run("--json").json["release"]
    record = json.loads((site.volume / "current/release.json").read_text())
    assert list(record) == ["schema", "release", "packs", "created", "source", "program"]
    assert record["release"] == release_id
    assert {name: pack["version"] for name, pack in record["packs"].items()} == {
        "common": "2026.04",
        "nl-nl": "2026.04",
    }
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", pack["manifest"]) for pack in record["packs"].values())
    assert record["source"] == site.environment["MODELS_URL"]
    assert record["program"] == f"models_init {__version__}"


def test_release_id_depends_only_on_packs(site: Site, packs: Packs, container: Azurite, tmp_path: Path) -> None:
    """Source, volume and time do not matter."""
    other = site.but(**in_container(packs, container.container_url, container.sas()), MODELS_DIR=str(tmp_path / "b"))
    assert site.run("--json").json["release"] == other.run("--json").json["release"]


def test_steps_are_logged_in_order(site: Site) -> None:
    """Stderr has one line for each step, and stdout only the result."""
    done = site.run()
    assert done.steps == ["resolved", "resolved", "fetching", "published", "published", "activated"]
    assert len(done.err.splitlines()) == 6
    assert done.out.count("\n") == 1


def test_json_log_has_time_level_and_event(site: Site) -> None:
    """With MODELS_LOG_FORMAT=json every line of stderr is an object."""
    lines = [json.loads(line) for line in site.run(MODELS_LOG_FORMAT="json").err.splitlines()]
    assert [line["event"] for line in lines] == [
        "resolved", "resolved", "fetching", "published", "published", "activated",
    ]  # fmt: skip
    assert all(list(line)[:3] == ["time", "level", "event"] for line in lines)
    failed = site.run(MODELS_LOG_FORMAT="json", REALTIME_LANGUAGE_VERSION="1999.01")
    assert json.loads(failed.err.splitlines()[-1])["exit_code"] == failed.code == 21


def test_log_level_error_still_reports_failure(site: Site) -> None:
    assert site.run(MODELS_LOG_LEVEL="error").err == ""
    failed = site.run(MODELS_LOG_LEVEL="error", REALTIME_LANGUAGE_VERSION="1999.01")
    assert len(failed.err.splitlines()) == len(failed.faults) == 1


def test_file_modes_do_not_depend_on_umask(site: Site, packs: Packs) -> None:
    assert site.run(through=["sh", "-c", 'umask 077; exec "$@"', "sh"]).code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_upgrade_fetches_only_changed_chunks(installed: Site, packs: Packs) -> None:
    """The new version is complete, and the old one stays installed."""
    done = installed.run("--json", REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert packs.differences(installed, COMMON, NEWER) == []
    assert 0 < done.json["bytes_fetched"] < 0.1 * packs.manifest(NEWER).size
    assert done.json["bytes_reused"] > 0.9 * packs.manifest(NEWER).size
    assert (installed.volume / "packs/nl-nl/2026.04").is_dir()


def test_two_concurrent_runs_give_one_release(site: Site, packs: Packs) -> None:
    """One run installs, the other waits and finds nothing to do; both succeed."""
    with site.start("--json") as one, site.start("--json") as other:
        results = [json.loads(process.communicate(timeout=60)[0]) for process in (one, other)]
        assert [one.returncode, other.returncode] == [0, 0]
    assert sorted(result["activated"] for result in results) == [False, True]
    assert packs.differences(site, COMMON, DUTCH) == []


# -- nothing to do


def test_nothing_to_do_needs_no_source_and_no_token(installed: Site) -> None:
    """If the wanted release is current, a run succeeds with an unreachable MODELS_URL and no token."""
    done = installed.run("--json", MODELS_URL=NOWHERE)
    assert (done.code, done.err) == (0, "")
    assert done.json == {
        "release": os.readlink(installed.volume / "current").removeprefix("releases/"),
        "packs": {"common": "2026.04", "nl-nl": "2026.04"},
        "bytes_fetched": 0,
        "bytes_by_source": {},
        "bytes_reused": 0,
        "bytes_written": 0,
        "seconds": 0.0,
        "retries": 0,
        "activated": False,
    }
    assert installed.run(MODELS_URL=NOWHERE).out == (
        f"nothing to do: release {done.json['release']} (common 2026.04, nl-nl 2026.04) is current\n"
    )


def test_nothing_to_do_opens_no_socket(installed: Site, tmp_path: Path) -> None:
    """The run succeeds if sockets are forbidden, and does not try to open one."""
    trace = tmp_path / "trace"
    strace = [services.require_tool("strace"), "-f", "-qq", "-e", "trace=network", "-e", "inject=socket:error=EPERM"]
    done = installed.run("--json", through=[*strace, "-o", str(trace)], MODELS_URL=NOWHERE)
    assert (done.code, done.json["activated"]) == (0, False)
    assert trace.read_text() == ""


def test_trace_shows_sockets_of_an_install(site: Site, packs: Packs, tmp_path: Path) -> None:
    """Control for the test above: an install from a container opens sockets, and the trace shows them."""
    trace = tmp_path / "trace"
    strace = [services.require_tool("strace"), "-f", "-qq", "-e", "trace=network", "-e", "inject=socket:error=EPERM"]
    failed = site.but(**in_container(packs, NOWHERE, token())).run(
        through=[*strace, "-o", str(trace)], MODELS_RETRY_SECONDS="0.1"
    )
    assert failed.code == 20
    assert "socket(" in trace.read_text()


def test_nothing_to_do_needs_no_network(installed: Site) -> None:
    """The run succeeds in a network namespace without any active device."""
    services.require_root()
    done = installed.run("--json", through=[services.require_tool("unshare"), "-n"], MODELS_URL=NOWHERE)
    assert (done.code, done.json["activated"]) == (0, False)


def test_nothing_to_do_imports_no_expensive_modules(installed: Site) -> None:
    """No SDK, asyncio, structlog or tqdm; pydantic may be imported."""
    done = installed.run(python=["-X", "importtime"], MODELS_URL=NOWHERE)
    imported = {line.rpartition("|")[2].strip() for line in done.err.splitlines() if line.startswith("import time:")}
    assert "models_init.cli.up_to_date" in imported
    assert {name.partition(".")[0] for name in imported} & _HEAVY == set()


def test_nothing_to_do_needs_no_writable_volume(installed: Site) -> None:
    """A volume that is mounted read-only is sufficient for a start."""
    assert installed.run(through=_read_only(installed.volume)).code == 0


# -- plan, status, help


def test_plan_as_json_has_all_figures_and_changes_nothing(either: Site, packs: Packs) -> None:
    """--plan --json has the bytes to fetch, reuse and write, source, disk space, and the packs to activate."""
    done = either.run("--plan", "--json")
    assert done.code == 0
    common, dutch = packs.manifest(COMMON), packs.manifest(DUTCH)
    plan = done.json
    fetched = {ref.pack: sum(c.length for f in ref.files for c in f.chunks) for ref in (common, dutch)}
    assert plan == {
        "source": plan["source"],
        "mirrors": [],
        "current": None,
        "activates": {"common": "2026.04", "nl-nl": "2026.04"},
        "packs": {
            content.pack: {
                "version": content.version,
                "installed": False,
                "bytes": content.size,
                "bytes_to_fetch": fetched[content.pack],
                "bytes_to_reuse": 0,
                "bytes_to_write": content.size,
            }
            for content in (common, dutch)
        },
        "bytes_to_fetch": sum(fetched.values()),
        "bytes_to_reuse": 0,
        "bytes_to_write": common.size + dutch.size,
        "disk_bytes_needed": plan["disk_bytes_needed"],
        "disk_bytes_free": plan["disk_bytes_free"],
        "fits": True,
    }
    assert plan["source"].startswith(either.environment["MODELS_URL"])
    assert common.size + dutch.size <= plan["disk_bytes_needed"] < plan["disk_bytes_free"]
    assert not either.volume.exists()


def test_plan_is_a_table(site: Site) -> None:
    """--plan without --json shows packs, sizes and totals in aligned columns."""
    lines = site.run("--plan").out.splitlines()
    assert lines[0] == f"source   {site.environment['MODELS_URL']}"
    assert re.fullmatch(rf"volume   {site.volume}: 29\.\d MiB needed, .* free", lines[1])
    assert lines[2:] == [
        "current  none",
        "",
        "PACK    VERSION       SIZE     FETCH  REUSE      WRITE  STATE",
        "common  2026.04  119.4 KiB  89.1 KiB    0 B  119.4 KiB  to install",
        "nl-nl   2026.04   13.1 MiB  11.4 MiB    0 B   13.1 MiB  to install",
        "",
        "would fetch 11.5 MiB, reuse 0 B, write 13.2 MiB, and activate common 2026.04, nl-nl 2026.04",
    ]


def test_plan_of_installed_release_needs_no_source(installed: Site) -> None:
    plan = installed.run("--plan", "--json", MODELS_URL=NOWHERE).json
    assert (plan["bytes_to_fetch"], plan["bytes_to_write"], plan["disk_bytes_needed"]) == (0, 0, 0)
    assert [pack["installed"] for pack in plan["packs"].values()] == [True, True]
    assert installed.run("--plan", MODELS_URL=NOWHERE).out.splitlines()[-1].startswith("nothing to do: release ")
    assert plan["current"] == os.readlink(installed.volume / "current").removeprefix("releases/")


def test_plan_reports_lack_of_space(site: Site) -> None:
    """The figures are those of --check, the last line reports the lack of space, and the exit code is 0."""
    site.volume.mkdir()
    small = site.run("--plan", "--json", through=_in_tmpfs(site.volume, "10m"))
    assert (small.code, small.json["fits"]) == (0, False)
    lines = site.run("--plan", through=_in_tmpfs(site.volume, "10m")).out.splitlines()
    assert (needed := re.fullmatch(r"volume   .*: (.*) needed, 10\.0 MiB free", lines[1]))
    assert lines[-1].startswith("DOES NOT FIT: the volume lacks ")
    assert f": {needed[1]} are needed and 10.0 MiB are free" in lines[-1]
    assert "would" not in lines[-1]
    check = site.run("--check", through=_in_tmpfs(site.volume, "10m"))
    assert lines[-1].removeprefix("DOES NOT FIT: ") in check.out


def test_plan_reports_lack_of_inodes(site: Site) -> None:
    """The last line is the message of an install, which would fail."""
    site.volume.mkdir()
    few = _in_tmpfs(site.volume, "1g,nr_inodes=30")
    assert site.run("--plan", "--json", through=few).json["fits"] is False
    last = site.run("--plan", through=few).out.splitlines()[-1]
    assert re.match(r"DOES NOT FIT: the volume lacks \d+ inodes: ", last)
    assert re.match(r"the volume lacks \d+ inodes: ", site.run(through=few).fault)


def test_status_of_an_empty_volume(site: Site) -> None:
    """--status of a missing volume succeeds, needs no settings and creates nothing."""
    done = site.run("--status", "--json", REALTIME_LANGUAGES="", REALTIME_COMMON_VERSION="")
    assert done.json == {
        "volume": str(site.volume),
        "disk_bytes_free": done.json["disk_bytes_free"],
        "current": None,
        "releases": [],
        "packs": [],
    }
    assert re.fullmatch(rf"volume   {site.volume}: .* free\ncurrent  none\n", site.run("--status").out)
    assert not site.volume.exists()


def test_status_as_json_lists_releases_and_packs(installed: Site, packs: Packs) -> None:
    """Each pack is current, installed or incomplete, with size and version."""
    first = os.readlink(installed.volume / "current").removeprefix("releases/")
    assert installed.run(REALTIME_LANGUAGE_VERSION=NEWER.version).code == 0
    second = os.readlink(installed.volume / "current").removeprefix("releases/")
    (installed.volume / "staging/en-us/2026.04@0123456789ab").mkdir(parents=True)
    status = installed.run("--status", "--json").json
    assert status == {
        "volume": str(installed.volume),
        "disk_bytes_free": status["disk_bytes_free"],
        "current": second,
        "releases": [
            {
                "release": release,
                "packs": {"common": "2026.04", "nl-nl": version},
                "created": known["created"],
                "source": packs.url,
                "staged": False,
            }
            for release, version, known in zip([first, second], ["2026.04", "2026.07"], status["releases"], strict=True)
        ],
        "packs": [
            {"pack": "common", "version": "2026.04", "bytes": packs.manifest(COMMON).size, "state": "current"},
            {"pack": "nl-nl", "version": "2026.04", "bytes": packs.manifest(DUTCH).size, "state": "installed"},
            {"pack": "nl-nl", "version": "2026.07", "bytes": packs.manifest(NEWER).size, "state": "current"},
            {"pack": "en-us", "version": "2026.04", "bytes": 0, "bytes_total": None, "state": "incomplete"},
        ],
    }


def test_status_is_a_table(installed: Site) -> None:
    """--status without --json shows the same; a star marks the current release."""
    release = os.readlink(installed.volume / "current").removeprefix("releases/")
    out = installed.run("--status").out
    assert f"current  {release} (common 2026.04, nl-nl 2026.04)\n" in out
    assert (
        "PACK    VERSION       SIZE  STATE\ncommon  2026.04  119.4 KiB  current\nnl-nl   2026.04   13.1 MiB  current\n"
    ) in out
    assert re.search(rf"\n\*  {release}  20.*  common 2026.04, nl-nl 2026.04  file:///", out)


def test_help_lists_every_setting_with_its_default(site: Site) -> None:
    """--help names each environment variable, its flag, its default, and every exit code."""
    done = site.run("--help")
    assert (done.code, done.err) == (0, "")
    text = " ".join(done.out.split())
    for setting in SETTINGS:
        assert setting.variable in text
        assert (setting.flag or "no flag") in text
        assert f"{setting.help} [{setting.default or 'not set'}]" in text
    for code in (0, 1, 2, 10, 11, 12, 13, 20, 21, 22, 23, 30, 40, 41, 42, 43, 44, 45, 130, 143):
        assert f" {code} " in text


def test_version_names_program_and_version(site: Site) -> None:
    assert site.run("--version").out == f"models-init {__version__}\n"


def test_flags_override_environment(site: Site, packs: Packs) -> None:
    flags = ["--dir", str(site.volume), "--url", packs.url, "--languages", "nl-nl", "--language-version", "2026.07"]
    done = site.run(*flags, "--json", MODELS_DIR="/nowhere/models", MODELS_URL=NOWHERE, REALTIME_LANGUAGES="xx")
    assert done.json["packs"] == {"common": "2026.04", "nl-nl": "2026.07"}


# -- invalid input: one line and its exit code


@pytest.mark.parametrize(
    ("variables", "arguments", "fault"),
    [
        ({"REALTIME_LANGUAGES": ""}, [], "REALTIME_LANGUAGES is not set; set it to the languages to install"),
        (
            {"REALTIME_LANGUAGE_VERSION": ""},
            [],
            "REALTIME_LANGUAGE_VERSION is not set; set it to the version that your",
        ),
        ({"REALTIME_COMMON_VERSION": ""}, [], "REALTIME_COMMON_VERSION is not set; set it to the version that your"),
        (
            {"REALTIME_LANGUAGES": "Nederlands"},
            [],
            "REALTIME_LANGUAGES=Nederlands: 'Nederlands' is not a language code",
        ),
        ({"MODELS_URL": "nowhere"}, [], "MODELS_URL=nowhere is not a container URL"),
        ({"MODELS_LOG_LEVEL": "loud"}, [], "MODELS_LOG_LEVEL=loud is not one of debug, info, warning, error"),
        ({}, ["--plan", "--status"], "argument --status: not allowed with argument --plan; see --help"),
        ({}, ["--no-such-flag"], "unknown argument '--no-such-flag'; see --help"),
        ({}, ["--languages"], "argument --languages: expected one argument; see --help"),
    ],
)
def test_usage_error_is_one_line(site: Site, variables: dict[str, str], arguments: list[str], fault: str) -> None:
    """An invalid environment or command line gives one line and exit code 2, and the volume is not touched."""
    done = site.run(*arguments, **variables)
    assert done.code == 2
    assert done.fault.startswith(fault)
    assert not site.volume.exists()


def test_usage_errors_are_reported_together(site: Site) -> None:
    """Each error has its own line."""
    done = site.run(REALTIME_LANGUAGES="", REALTIME_COMMON_VERSION="", MODELS_MEMORY="much")
    assert done.code == 2
    assert [fault.partition(" ")[0] for fault in done.faults] == [
        "MODELS_MEMORY=much", "REALTIME_LANGUAGES", "REALTIME_COMMON_VERSION",
    ]  # fmt: skip


def test_usage_error_opens_no_socket(site: Site, packs: Packs, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = [services.require_tool("strace"), "-f", "-qq", "-e", "trace=network", "-o", str(trace)]
    served = site.but(**in_container(packs, NOWHERE, token()))
    assert served.run(through=strace, REALTIME_LANGUAGES="Dutch").code == 2
    assert trace.read_text() == ""


def test_missing_token_is_reported(site: Site, packs: Packs) -> None:
    """Exit code 2; the message names both variables."""
    done = site.but(**in_container(packs, NOWHERE, "")).run()
    assert done.code == 2
    assert done.fault.startswith("MODELS_SAS_TOKEN is not set; put the SAS token there, or")


def test_unknown_pack_is_reported(either: Site) -> None:
    """Exit code 21; the message lists the published packs."""
    done = either.run(REALTIME_LANGUAGES="xx-yy")
    assert done.code == 21
    assert done.fault.startswith("there is no pack xx-yy at ")
    assert done.fault.endswith("; packs are: common, nl-nl")


def test_unknown_version_is_reported(either: Site) -> None:
    """Exit code 21; the message lists the published versions."""
    done = either.run(REALTIME_LANGUAGE_VERSION="1999.01")
    assert done.code == 21
    assert done.fault == "nl-nl 1999.01 does not exist; versions of nl-nl are: 2026.04, 2026.07; set one of them"


def test_unknown_version_is_reported_without_permission_to_list(site: Site, packs: Packs, container: Azurite) -> None:
    """Exit code 21 even if the token has no permission to list."""
    reader = site.but(**in_container(packs, container.container_url, container.sas("r")))
    done = reader.run(REALTIME_LANGUAGE_VERSION="1999.01")
    assert done.code == 21
    assert done.fault.startswith(f"nl-nl 1999.01 is not at {container.container_url}/realtime/ ")


def test_missing_source_directory_is_reported(site: Site, tmp_path: Path) -> None:
    """Exit code 20, as for a bundle that does not exist; the message names the directory."""
    done = site.run(MODELS_URL=f"file://{tmp_path}/none")
    assert done.code == 20
    assert f"{tmp_path}/none" in done.fault


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("expired", ["the SAS token expired at 20"]),
        ("not yet valid", ["the SAS token is not valid before 20"]),
        ("wrong signature", ["its signature is wrong, or it was made for another container or account"]),
        ("other container", ["its signature is wrong, or it was made for another container or account"]),
        ("no read permission", ["the SAS token has no permission to read (sp=l)"]),
        ("one blob", ["the SAS token is for one blob, not for the container (sr=b)"]),
        ("cut", ["the SAS token has a broken signature (field sig): it was cut or changed when it was copied; "]),
    ],
)
def test_rejected_token_is_explained(
    site: Site, packs: Packs, container: Azurite, fault: str, words: list[str]
) -> None:
    """Exit code 22 and one line with cause (expired, signature, permission, scope) and remedy."""
    good = container.sas()
    tokens = {
        "expired": container.sas(expires_in=-60),
        "not yet valid": container.sas(starts_in=600),
        "wrong signature": good.partition("sig=")[0] + token().rpartition("&")[2],
        "other container": container.fresh_container().sas(),
        "no read permission": container.sas("l"),
        "one blob": container.blob_sas(archive_key(DUTCH)),
        "cut": good[:-5],
    }
    done = site.but(**in_container(packs, container.container_url, tokens[fault])).run()
    assert done.code == 22
    assert all(text in done.fault for text in words)
    assert "put a valid token into MODELS_SAS_TOKEN or MODELS_SAS_TOKEN_FILE and run again" in done.fault


def test_unreachable_source_is_reported(site: Site, packs: Packs) -> None:
    """Exit code 20 after MODELS_RETRY_SECONDS."""
    address = f"http://127.0.0.1:{services.free_port()}/models"
    done = site.but(**in_container(packs, address, token())).run(MODELS_RETRY_SECONDS="0.5")
    assert done.code == 20
    assert "127.0.0.1" in done.fault
    assert "cannot be reached" in done.fault


@pytest.fixture
def corrupted(site: Site, packs: Packs, tmp_path: Path) -> Site:
    """Return a site whose source is a copy of the directory that a test may corrupt."""
    shutil.copytree(packs.directory, tmp_path / "corrupted")
    return site.but(MODELS_URL=f"file://{tmp_path}/corrupted")


@pytest.mark.parametrize(
    ("content", "code", "fault"),
    [
        (b"", 10, "the manifest of nl-nl 2026.04 cannot be used: "),
        (b"<html>not found</html>", 10, "the manifest of nl-nl 2026.04 cannot be used: "),
        (b'{"schema": "1"}', 10, "the manifest of nl-nl 2026.04 cannot be used: "),
        (b'{"schema": 1, "pack": "nl-nl"', 10, "the manifest of nl-nl 2026.04 cannot be used: "),
        (b"[" * 100_000, 10, "the manifest of nl-nl 2026.04 cannot be used: "),
        (b"\xff\xfe\x00", 10, "the manifest of nl-nl 2026.04 cannot be used: "),
        (
            b'{"schema": 2, "new": true}',
            11,
            "the manifest of nl-nl 2026.04 has schema 2, and this version of models_init",
        ),
    ],
    ids=["empty", "HTML", "schema as text", "truncated", "nested", "not UTF-8", "newer schema"],
)
def test_unusable_manifest_is_reported(corrupted: Site, content: bytes, code: int, fault: str) -> None:
    """Exit code 10, or 11 for a newer schema; the message names the pack."""
    (_source(corrupted) / "nl-nl/2026.04/manifest.json").write_bytes(content)
    done = corrupted.run()
    assert done.code == code
    assert done.fault.startswith(fault)
    assert not (corrupted.volume / "current").exists()


def test_manifest_of_another_pack_is_reported(corrupted: Site) -> None:
    """Exit code 10; the message names both packs."""
    directory = _source(corrupted)
    shutil.copy(directory / "common/2026.04/manifest.json", directory / "nl-nl/2026.04/manifest.json")
    done = corrupted.run()
    assert done.code == 10
    assert done.fault.startswith("the manifest of nl-nl 2026.04 is that of common 2026.04")


def test_truncated_archive_is_reported(corrupted: Site) -> None:
    """The message names the archive, and nothing becomes current."""
    archive = _source(corrupted) / "nl-nl/2026.04/pack.tar.zst"
    os.truncate(archive, archive.stat().st_size // 2)
    done = corrupted.run()
    assert done.code in (20, 30)
    assert "pack.tar.zst" in done.fault
    assert not (corrupted.volume / "current").exists()


def test_wrong_chunk_is_retried_once_and_named(site: Site, packs: Packs) -> None:
    """A wrong chunk is fetched again once, then exit code 30 names chunk and file; everything else is kept.

    Once the archive is correct, the next run fetches only that chunk.
    """
    chosen = next(file for file in packs.manifest(DUTCH).files if file.path.endswith(".weights"))
    chunk = chosen.chunks[2]
    objects = packs.objects()
    good = objects[archive_key(DUTCH)]
    objects[archive_key(DUTCH)] = _flipped(good, chunk.offset + chunk.length // 2)

    async def scenario() -> tuple[Done, Done]:
        async with FaultyServer(objects) as server:
            served = site.but(**in_container(packs, server.url, token()))
            failed = await asyncio.to_thread(served.run)
            asked = [seen.range for seen in server.seen if seen.range and seen.key == archive_key(DUTCH)]
            attempts = [wanted for wanted in asked if _covers(wanted, chunk.offset)]
            assert len(attempts) == 2
            assert attempts[1] == (chunk.offset, chunk.offset + chunk.length)
            server.objects[archive_key(DUTCH)] = good
            return failed, await asyncio.to_thread(served.run, "--json")

    failed, fixed = asyncio.run(scenario())
    assert failed.code == 30
    at = sum(before.size for before in chosen.chunks[:2])
    place = f"the chunk at {chunk.offset} of pack.tar.zst ({chosen.path}, byte {at})"
    assert f"nl-nl 2026.04: {place} is wrong, also after a second download" in failed.fault
    assert fixed.json["bytes_fetched"] == chunk.length
    assert list(fixed.json["bytes_by_source"].values()) == [chunk.length]
    assert packs.differences(site, COMMON, DUTCH) == []


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _covers(asked: tuple[int, int], at: int) -> bool:
    return asked[0] <= at < asked[1]


def _source(site: Site) -> Path:
    return Path(site.environment["MODELS_URL"].removeprefix("file://"))


# -- transient faults


async def test_transient_faults_are_retried_and_counted(site: Site, packs: Packs) -> None:
    """Throttled, cut and reset responses cause retries, and the install succeeds."""
    key = archive_key(DUTCH)
    faults = [throttled(times=2), Cut(at=100_000, on=key), Reset(at=1_000_000, on=key), throttled(429, retry_after=0)]
    async with FaultyServer(packs.objects(), faults) as server:
        done = await asyncio.to_thread(site.but(**in_container(packs, server.url, token())).run, "--json")
    assert (done.code, done.json["activated"], done.json["retries"]) == (0, True, 5)
    assert done.steps.count("retrying") <= 1 + done.steps.count("recovered"), "one line for each outage"
    assert packs.differences(site, COMMON, DUTCH) == []


async def test_renewed_token_file_is_used_at_once(site: Site, packs: Packs, tmp_path: Path) -> None:
    """A token that expires during the install is read again from its file, without a retry."""
    secret = tmp_path / "token"
    old, new = token(), token(sv="2026-01-01")
    secret.write_text(old + "\n")
    async with FaultyServer(packs.objects(), [Stall(at=1000, on=archive_key(COMMON))], token=old) as server:
        served = site.but(**in_container(packs, server.url, ""), MODELS_SAS_TOKEN_FILE=str(secret))
        running = asyncio.create_task(asyncio.to_thread(served.run, "--json", MODELS_IDLE_SECONDS="3"))
        await eventually(lambda: any(seen.key == archive_key(COMMON) for seen in server.seen), "the first range")
        secret.write_text(new)
        server.token = new
        done = await running
    assert (done.code, done.json["activated"], done.json["retries"]) == (0, True, 1)


async def test_token_expiring_during_install_keeps_fetched_data(site: Site, packs: Packs) -> None:
    """Exit code 22, and the next run continues from there."""
    late = replace(expired(), on=archive_key(DUTCH), after=1)
    async with FaultyServer(packs.objects(), [late]) as server:
        served = site.but(**in_container(packs, server.url, token()), MODELS_CONNECTIONS="1")
        failed = await asyncio.to_thread(served.run)
        server.script()
        done = await asyncio.to_thread(served.run, "--json")
    assert failed.code == 22
    assert "the SAS token is not valid at this time" in failed.fault
    assert done.json["bytes_fetched"] < packs.manifest(DUTCH).archive.size


async def test_total_seconds_ends_the_run(site: Site, packs: Packs) -> None:
    """MODELS_TOTAL_SECONDS ends a run with exit code 20, and the next one continues from there."""
    rest = Stall(at=2 << 20, on=archive_key(DUTCH), times=FOREVER)
    async with FaultyServer(packs.objects(), [rest]) as server:
        served = site.but(**in_container(packs, server.url, token()), MODELS_CONNECTIONS="1")
        ended = await asyncio.to_thread(served.run, MODELS_TOTAL_SECONDS="4", MODELS_IDLE_SECONDS="60")
        server.script()
        done = await asyncio.to_thread(served.run, "--json", MODELS_TOTAL_SECONDS="600")
    assert (ended.code, done.code) == (20, 0)
    assert ended.fault.endswith("was ended after MODELS_TOTAL_SECONDS=4; what was verified is kept, run again to go on")
    assert done.json["bytes_fetched"] < packs.manifest(DUTCH).archive.size


async def test_rate_limit_slows_the_install_down(site: Site, packs: Packs) -> None:
    """With MODELS_MAX_RATE the same tree is installed, more slowly."""
    async with FaultyServer(packs.objects()) as server:
        served = site.but(**in_container(packs, server.url, token()))
        done = await asyncio.to_thread(served.run, "--json", MODELS_MAX_RATE="8MB/s")
    assert (done.code, done.json["retries"]) == (0, 0)
    assert done.json["seconds"] >= done.json["bytes_fetched"] / 8e6
    assert packs.differences(site, COMMON, DUTCH) == []


# -- the volume


def _in_tmpfs(directory: Path, options: str) -> list[str]:
    """Return a prefix that runs a command with a private tmpfs on the directory."""
    services.require_root()
    script = f'mount -t tmpfs -o size={options} tmpfs "{directory}" && exec "$@"'
    return [services.require_tool("unshare"), "-m", "sh", "-c", script, "sh"]


def _read_only(directory: Path) -> list[str]:
    """Return a prefix that runs a command with the directory mounted read-only."""
    services.require_root()
    script = f'mount --bind "{directory}" "{directory}" && mount -o remount,bind,ro "{directory}" && exec "$@"'
    return [services.require_tool("unshare"), "-m", "sh", "-c", script, "sh"]


def _unprivileged() -> list[str]:
    """Return a prefix that runs a command without the capabilities that bypass file permissions."""
    services.require_root()
    return [services.require_tool("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]


def test_read_only_volume_is_reported(site: Site) -> None:
    """Exit code 43 with the remedy."""
    site.volume.mkdir()
    done = site.run(through=_read_only(site.volume))
    assert done.code == 43
    assert str(site.volume) in done.fault
    assert "Read-only file system; mount the volume read-write" in done.fault


def test_volume_of_another_user_is_reported(site: Site) -> None:
    """Exit code 43; the message names the user that needs access."""
    site.volume.mkdir()
    os.chown(site.volume, 65534, 65534)
    done = site.run(through=_unprivileged())
    assert done.code == 43
    assert "Permission denied; check its owner" in done.fault


@pytest.mark.parametrize("arguments", [[], ["--plan"], ["--status"], ["--verify"]])
def test_inaccessible_volume_is_reported(site: Site, arguments: list[str]) -> None:
    """Exit code 43 for every action if a parent directory is not accessible."""
    closed = site.volume / "closed"
    (closed / "models").mkdir(parents=True)
    closed.chmod(0o700)
    os.chown(closed, 65534, 65534)
    done = site.run(*arguments, through=_unprivileged(), MODELS_DIR=str(closed / "models"))
    assert done.code == 43
    assert "Permission denied" in done.fault


@pytest.mark.parametrize("arguments", [[], ["--plan"], ["--status"]])
def test_inaccessible_packs_are_reported(installed: Site, arguments: list[str]) -> None:
    """Exit code 43: inaccessible packs do not count as missing."""
    closed = installed.volume / "packs"
    closed.chmod(0o700)
    os.chown(closed, 65534, 65534)
    done = installed.run(*arguments, through=_unprivileged())
    assert done.code == 43
    assert "Permission denied" in done.fault


def test_volume_that_is_a_file_is_reported(site: Site) -> None:
    site.volume.write_text("a file")
    done = site.run()
    assert (done.code, done.fault) == (43, f"{site.volume} is not a directory; check MODELS_DIR")


def test_volume_without_parent_directory_is_reported(site: Site, tmp_path: Path) -> None:
    """Exit code 43 for a mistyped MODELS_DIR, and no directories are created."""
    done = site.run(MODELS_DIR=str(tmp_path / "none/models"))
    assert done.code == 43
    assert done.fault == f"{tmp_path}/none/models does not exist, nor does its parent directory; check MODELS_DIR"
    assert not (tmp_path / "none").exists()


def test_too_long_volume_name_is_reported(site: Site, tmp_path: Path) -> None:
    done = site.run(MODELS_DIR=str(tmp_path / ("x" * 300)))
    assert 40 <= done.code < 50
    assert "File name too long" in done.fault


def test_lack_of_space_is_reported_before_download(site: Site, packs: Packs) -> None:
    """Exit code 41; the message states how much is missing, and no archive is requested."""
    site.volume.mkdir()

    async def scenario() -> Done:
        async with FaultyServer(packs.objects()) as server:
            served = site.but(**in_container(packs, server.url, token()))
            done = await asyncio.to_thread(served.run, through=_in_tmpfs(site.volume, "20m"))
            assert [seen.key for seen in server.seen if "manifest" not in seen.key] == []
            return done

    done = asyncio.run(scenario())
    assert done.code == 41
    assert re.match(
        r"the volume lacks [\d.]+ MiB: [\d.]+ MiB are needed and [\d.]+ MiB are free; make room", done.fault
    )


def test_lack_of_inodes_is_reported_before_download(site: Site) -> None:
    """Exit code 41; the message states that inodes are missing."""
    site.volume.mkdir()
    done = site.run(through=_in_tmpfs(site.volume, "1g,nr_inodes=30"))
    assert done.code == 41
    assert re.match(r"the volume lacks \d+ inodes: \d+ are needed for files and directories; make room", done.fault)


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        ("fallocate", "ENOSPC", 41),
        ("pwrite64", "ENOSPC", 41),
        ("pwrite64", "EIO", 40),
        ("fsync", "EROFS", 43),
        ("syncfs", "EIO", 40),
        ("symlink", "EPERM", 43),
    ],
)
def test_disk_failure_during_install_is_reported(site: Site, packs: Packs, call: str, error: str, code: int) -> None:
    """The exit code is that of the failure, nothing becomes current that was not synced, and the next run succeeds."""
    strace = [services.require_tool("strace"), "-f", "-qq", "-e", f"trace={call}", "-o", os.devnull]
    done = site.run(through=[*strace, "-e", f"inject={call}:error={error}:when=1+"])
    assert done.code == code
    assert len(done.faults) == 1
    assert not (site.volume / "current").exists()
    assert site.run().code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_repair_names_what_it_restored_and_removed(installed: Site) -> None:
    """A file that is not part of the pack is removed, and the message names it."""
    pack = installed.volume / "packs/nl-nl/2026.04"
    (pack / "notes.txt").write_text("mine")
    (pack / "conf/empty.conf").chmod(0o600)
    (installed.volume / "manifests/common/2026.04.json").unlink()
    done = installed.run("--repair")
    assert [line.split() for line in done.out.splitlines()[1:4]] == [
        ["common", "2026.04", "manifest", "restored"],
        ["nl-nl", "2026.04", "conf/empty.conf", "mode", "mode", "set"],
        ["nl-nl", "2026.04", "notes.txt", "extra", "removed"],
    ]
    assert re.search(r"is repaired: 3 differences, 0 B fetched$", done.out.strip())
    assert installed.run("--repair").out.endswith(" is intact: nothing to repair\n")


def test_repair_reports_damage_that_remains(installed: Site) -> None:
    """If the file system does not keep a change, the repair fails and names the damage."""
    file = installed.volume / "packs/nl-nl/2026.04/notes.txt"
    file.write_text("mine")
    strace = [services.require_tool("strace"), "-f", "-qq", "-o", os.devnull, "-P", str(file)]
    lost = [*strace, "-e", "trace=rename,renameat,renameat2", "-e", "inject=rename,renameat,renameat2:retval=0"]
    done = installed.run("--repair", through=lost)
    assert done.code == 45
    assert (
        "is still damaged after the repair: 1 difference, the first in nl-nl 2026.04: notes.txt (extra)" in done.fault
    )
    assert file.exists()
    assert installed.run("--repair").code == 0
    assert installed.run("--verify").code == 0


def test_upgrade_without_anything_to_fetch_says_so(installed: Site, packs: Packs, tmp_path: Path) -> None:
    """If the new version has the same files, the log reports the reused bytes instead of a fetch of 0 bytes."""
    same = PackRef(DUTCH.name, "2026.05")
    own = shutil.copytree(packs.directory, tmp_path / "own")
    build(scan(packs.trees[DUTCH]), BuildOptions(same, level=1, chunk_size=256 << 10), own, NullObserver())
    done = installed.run(MODELS_URL=own.as_uri(), REALTIME_LANGUAGE_VERSION=same.version)
    assert done.steps == ["resolved", "reusing", "published", "activated"]
    assert " is current: 0 B fetched, 13.2 MiB reused" in done.out


def test_locked_volume_is_reported(site: Site) -> None:
    """Exit code 42 if another run holds the lock for too long; the message names that run."""
    site.volume.mkdir()
    lock = site.volume / ".lock"
    holder = ["flock", str(lock), "sh", "-c", 'echo "install by process 7" >"$0"; exec "$@"', str(lock)]
    done = site.run(through=[services.require_tool(holder[0]), *holder[1:]], MODELS_LOCK_SECONDS="0.3")
    assert done.code == 42
    assert f"{site.volume} is in use (install by process 7), for longer than 0 s" in done.fault
    assert "waiting" in done.steps


# -- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_signal_during_fetch_keeps_verified_data(
    site: Site, packs: Packs, number: signal.Signals, code: int
) -> None:
    """SIGTERM and SIGINT end an install within two seconds with 143 and 130; the next run continues from there.

    The second range of the archive stalls, so that the process is still fetching when the signal arrives.
    """
    key = archive_key(DUTCH)
    async with FaultyServer(packs.objects(), [Stall(at=1000, on=key, after=1, times=FOREVER)]) as server:
        served = site.but(**in_container(packs, server.url, token()), MODELS_CONNECTIONS="1")
        with served.start() as process:
            await eventually(lambda: _has(served, packs), "writing the first chunks")
            process.send_signal(number)
            began = time.monotonic()
            out, err = await asyncio.to_thread(process.communicate, timeout=60)
            assert time.monotonic() - began < 2.0
        assert (process.returncode, out) == (code, "")
        assert "Traceback" not in err
        assert err.splitlines()[-1].split()[1:3] == ["info", "stopped"]
        assert f"signal={number.name}" in err
        assert not (site.volume / "current").exists()
        server.script()
        done = await asyncio.to_thread(served.run, "--json")
    assert "checking_staging" in done.steps
    assert 0 < done.json["bytes_fetched"] < packs.manifest(DUTCH).archive.size
    assert done.json["bytes_reused"] > 0
    assert packs.differences(site, COMMON, DUTCH) == []


async def test_progress_of_interrupted_install_is_shown_and_continued(site: Site, packs: Packs) -> None:
    """--status shows the stored share of the pack, and the bar of the next run covers the whole pack."""
    size = packs.manifest(DUTCH).size
    async with FaultyServer(packs.objects(), [Stall(at=1000, on=archive_key(DUTCH), after=1, times=FOREVER)]) as server:
        served = site.but(**in_container(packs, server.url, token()), MODELS_CONNECTIONS="1")
        with served.start() as process:
            await eventually(lambda: _has(served, packs), "writing the first chunks")
            process.kill()
            await asyncio.to_thread(process.communicate)
        (staged,) = [pack for pack in served.run("--status", "--json").json["packs"] if pack["pack"] == DUTCH.name]
        assert (staged["state"], staged["bytes_total"]) == ("incomplete", size)
        assert 1 << 20 <= staged["bytes"] < 0.99 * size
        share = 100 * staged["bytes"] // size
        assert re.search(rf"\nnl-nl .* 13\.1 MiB  incomplete, {share} % \([0-9.]+ MiB\)\n", served.run("--status").out)
        server.script()
        shown, done = await asyncio.to_thread(_run_on_terminal, served)
    assert done["bytes_fetched"] < packs.manifest(DUTCH).archive.size
    assert re.search(r"\r100%\|█+\| 11\.[45]MiB/11\.[45]MiB ", shown)


def _has(site: Site, packs: Packs) -> bool:
    """Return True if the first MiB of the first large file is in staging."""
    name = "am/final-0.weights"
    wanted = (packs.trees[DUTCH] / name).read_bytes()[: 1 << 20]
    found = [directory / name for directory in site.staging(DUTCH)]
    return any(path.exists() and path.read_bytes().startswith(wanted) for path in found)


# -- output


def test_terminal_shows_a_bar(site: Site) -> None:
    """Stderr shows a bar with bytes, rate and time below the log lines; it ends at 100 %."""
    shown, _ = _run_on_terminal(site)
    assert re.search(r"\r100%\|█+\| 11\.5MiB/11\.5MiB \[[0-9:]+<00:00, .*MiB/s\]", shown)
    assert " activated " in shown


def _run_on_terminal(site: Site) -> tuple[str, dict[str, Any]]:
    """Install with a terminal as stderr; return what it shows, and the result."""
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    with open(terminal, "w") as stderr, site.start("--json", stderr=stderr) as process:
        stderr.close()
        shown = re.sub(r"\x1b\[[0-9]*[A-Zm]", "", _read_all(controller))  # without colors and cursor movements
        out, _ = process.communicate(timeout=60)
    result = json.loads(out)
    assert (process.returncode, result["activated"]) == (0, True)
    return shown, result


def _read_all(controller: int) -> str:
    shown = b""
    while select.select([controller], [], [], 60)[0]:
        try:
            piece = os.read(controller, 65536)
        except OSError:  # the terminal is closed
            break
        shown += piece
    os.close(controller)
    return shown.decode()


def test_pipe_gets_plain_lines(site: Site) -> None:
    """Without a terminal, stderr has complete lines without carriage returns or colors."""
    err = site.run().err
    assert err.endswith("\n")
    assert not re.search(r"[\r\x1b]", err)


def test_closed_stderr_does_not_fail_the_install(site: Site) -> None:
    """If stderr is closed or not read, the install continues."""
    assert site.run("--json", through=["sh", "-c", 'exec "$@" 2>&-', "sh"]).json["activated"]

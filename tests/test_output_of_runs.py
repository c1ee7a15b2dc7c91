"""The output of a run: one JSON object, also on failure, and warnings about misspelled variables."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

from tests.eventually import eventually
from tests.site import NOWHERE

if TYPE_CHECKING:
    from tests.site import Packs, Site


VARIABLES = {
    "REALTIME_LANGUAGES": "nl-nl",
    "REALTIME_LANGUAGE_VERSION": "2026.04",
    "REALTIME_COMMON_VERSION": "2026.04",
    "MODELS_URL": NOWHERE,
}


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "texts"),
    [
        (
            ["--json", "--activate", "none"],
            {},
            44,
            ("release none is not installed; ", "nothing is installed"),
        ),
        (["--json", "--rolback"], {}, 2, ("unknown argument '--rolback'; ", "did you mean --rollback?")),
        (
            ["--rolback"],
            {"MODELS_LOG_FORMAT": "JSON"},
            2,
            ("unknown argument '--rolback'; ", "did you mean --rollback?"),
        ),
        (
            ["--plan"],
            {"MODELS_LOG_FORMAT": "json", "MODELS_DIR": "models"},
            2,
            ("MODELS_DIR=models is not an absolute path; ", "write it with all directories, beginning with /"),
        ),
        (
            ["--json"],
            {"MODELS_DIR": "models", "MODELS_CONNECTIONS": "0"},
            2,
            (
                "MODELS_DIR=models is not an absolute path; write it with all directories, beginning with /; MODELS_",
                "write it with all directories, beginning with /",
            ),
        ),
    ],
)
def test_failure_is_one_object_on_stdout(
    site: Site, arguments: list[str], variables: dict[str, str], code: int, texts: tuple[str, str]
) -> None:
    """With `--json`, or with JSON as the log format, programs read exit code, error and remedy from stdout."""
    done = site.but(**VARIABLES).run(*arguments, **variables)
    assert done.code == code
    assert set(done.json) == {"exit_code", "error", "remedy"}
    assert done.json["exit_code"] == code
    assert done.json["error"].startswith(texts[0])
    assert done.json["remedy"] == texts[1]


def test_log_format_of_settings_applies_to_their_own_errors(site: Site) -> None:
    """The format and the level are read by the same rules as in a run, e.g. in upper case."""
    done = site.run(MODELS_LOG_FORMAT="JSON", MODELS_CONNECTIONS="0", MODELS_URL=NOWHERE)
    events = [json.loads(line) for line in done.err.splitlines()]
    assert {event["event"] for event in events} == {"failed"}
    assert "MODELS_CONNECTIONS=0 is not a whole number from 1 to 64" in [event["error"] for event in events]


def test_result_is_an_object_if_the_log_is_json(site: Site, packs: Packs) -> None:
    """Success and a failed verification are one object; a document such as the compose overlay stays as it is."""
    full = site.but(**packs.environment, MODELS_LOG_FORMAT="json")
    assert full.run().json["activated"] is True
    file = next(path for path in sorted(full.active("common").resolve().rglob("*")) if path.is_file())
    file.write_bytes(b"damaged")
    damaged = full.run("--verify")
    assert (damaged.code, damaged.json["exit_code"]) == (45, 45)
    assert full.run("--render-overlay").out.startswith("# ")


async def test_termination_is_one_object(site: Site, packs: Packs) -> None:
    """A run that is stopped by a signal prints the exit code and how to continue."""
    slow = site.but(**packs.environment, MODELS_MAX_RATE="10KB")
    with slow.start("--json") as process:
        await eventually((slow.volume / "staging").exists, "the download")
        process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.to_thread(process.communicate, timeout=30)
    assert json.loads(out) == {
        "exit_code": 143,
        "error": "stopped by SIGTERM",
        "remedy": "run again to continue; verified data is kept",
    }


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("MODELS_CONNECTION", "MODELS_CONNECTIONS"),
        ("MODEL_URL", "MODELS_URL"),
        ("MODELS_SAS_TOKENS", "MODELS_SAS_TOKEN"),
        ("REALTIME_LANGUAGES_VERSION", "REALTIME_LANGUAGE_VERSION"),
        ("WHISPER_VARIANTS", "WHISPER_VARIANT"),
    ],
)
def test_misspelled_variable_is_named_with_the_nearest_setting(site: Site, variable: str, setting: str) -> None:
    """The warning is logged by every action."""
    done = site.run("--status", **{variable: "x"})
    assert done.code == 0
    assert f'warning unknown_variable variable={variable} text="did you mean {setting}?"' in done.err


@pytest.mark.parametrize(
    "variable",
    ["REALTIME_LICENSE_FILE", "MODELS_INIT_TAG", "MODELS_INIT_SERVICE_HOST", "MODELS_KEY_PASSWORD", "LANGUAGES"],
)
def test_other_variables_cause_no_warning(site: Site, variable: str) -> None:
    """Variables of the compose files, of Kubernetes and of other programs are ignored."""
    assert site.run("--status", **{variable: "x"}).err == ""

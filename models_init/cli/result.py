"""Define the result of an action, for programs and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models_init.core.errors import EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models_init.formats.release import Release


@dataclass(frozen=True, slots=True)
class Result:
    """The output of an action on stdout (an object for programs, text for people), and its exit code.

    `warnings` are logged to stderr before the output. `is_document` is True if the text is a file, such as a compose
    overlay, which becomes JSON only with `--json`. `is_written` is True if the action has already written to stdout.
    """

    content: dict[str, Any]
    text: str
    exit_code: int = EXIT_OK
    warnings: tuple[str, ...] = ()
    is_document: bool = False
    is_written: bool = False


def installed_content(release: Release) -> dict[str, Any]:
    """Return a result's content: the current release, and counters of 0."""
    return unchanged_content(release.id, release.versions)


def unchanged_content(release_id: str | None, versions: Mapping[str, str]) -> dict[str, Any]:
    """Return the content of a result that changed nothing: a release, if there is one, and its packs."""
    return {
        "release": release_id,
        "packs": versions,
        "bytes_fetched": 0,
        "bytes_by_source": {},
        "bytes_reused": 0,
        "bytes_written": 0,
        "seconds": 0.0,
        "retries": 0,
        "activated": False,
    }


def activated(release: Release, *, action: str) -> Result:
    """Return the result of an activation by the operator; `action` describes it, e.g. "rolled back to"."""
    return Result(
        installed_content(release) | {"activated": True},
        f"{action} release {release}; restart the engine to use it; "
        "later runs keep it until the environment names another set of packs",
    )


def already_current(release: Release, hint: str = "") -> Result:
    """Return the result of an activation that changed nothing."""
    return Result(installed_content(release), f"nothing to do: release {release} is already current{hint}")

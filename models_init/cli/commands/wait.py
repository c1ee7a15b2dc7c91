"""`--wait`: wait until the packs of the environment are installed. Reads the volume only; needs no token or network."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING

from models_init.cli.result import Result
from models_init.core.errors import NotInstalledError
from models_init.output import console
from models_init.output.render import share
from models_init.volume.layout import Volume
from models_init.volume.staging import staging_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.cli.arguments import Command
    from models_init.cli.settings import Settings
    from models_init.core.pack_ref import PackRef

_POLL_SECONDS = 1.0
_REPORT_SECONDS = 10.0


def run(command: Command, settings: Settings) -> Result:
    """Wait for the packs, for the seconds that the command line names. Raises `NotInstalledError`."""
    volume, limit, began = Volume(settings.directory), float(command.release), monotonic()
    next_report = began
    while missing := volume.missing(settings.packs):
        waited = monotonic() - began
        if waited >= limit:
            raise _not_installed(volume, missing, limit)
        if began + waited >= next_report:
            _report(settings, volume, missing, limit - waited)
            next_report += _REPORT_SECONDS
        sleep(min(_POLL_SECONDS, limit - waited))
    packs = settings.packs
    content = {"packs": {ref.name: ref.version for ref in packs}, "seconds": round(monotonic() - began, 3)}
    return Result(content, f"installed on {volume.root}: {_listed(packs)}")


def _report(settings: Settings, volume: Volume, missing: Sequence[PackRef], left: float) -> None:
    staged = {ref: path for ref, path in volume.staged() if ref in missing}
    shown = []
    for ref in missing:
        text = str(ref)
        with suppress(OSError):  # an install may be changing staging
            if ref in staged and (done := share(*staging_progress(staged[ref], ref))):
                text = f"{ref} ({done})"
        shown.append(text)
    console.note(
        "waiting_for_packs",
        {"missing": shown, "at_most_seconds": round(left)},
        log_format=settings.log_format,
        level=settings.log_level,
    )


def _not_installed(volume: Volume, missing: Sequence[PackRef], limit: float) -> NotInstalledError:
    waited = f" after {limit:.0f} s" if limit else ""
    return NotInstalledError(
        f"{volume.root} lacks {_listed(missing)}{waited}: --wait installs nothing itself; install them with the same "
        "settings (models-init, or models-init --stage) on this volume, and look at the log of that run: in Kubernetes "
        "it is an init container, a Job or a DaemonSet"
    )


def _listed(packs: Sequence[PackRef]) -> str:
    return ", ".join(map(str, packs))

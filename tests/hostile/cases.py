"""All cases, by a name that can be a directory's."""

from __future__ import annotations

import re

from tests.hostile import archives, links, manifests
from tests.hostile.case import HostileCase, said


def directory_name(case: HostileCase) -> str:
    """The case's name as one that any file system takes."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", case.name)


def _attempt() -> HostileCase:
    """A write outside the volume, as an operator may want one: it shows that the watch sees it."""
    log = {"MODELS_TERMINATION_LOG": "{outside}/log"}
    return HostileCase("a write elsewhere", "has schema 3", said("schema", to=3), code=11, variables=log)


CONTROL = _attempt()
TABLE = [*manifests.CASES, *archives.CASES, *links.CASES]
CASES = {directory_name(case): case for case in [*TABLE, CONTROL]}
assert len(CASES) == len(TABLE) + 1, "two cases have one name"

"""All cases, by name."""

from __future__ import annotations

import re

from tests.hostile import archives, links, manifests
from tests.hostile.case import HostileCase, said


def directory_name(case: HostileCase) -> str:
    """Return the case's name as a valid file name."""
    return re.sub(r"[^A-Za-z0-9-]+", "_", case.name)


def _control_case() -> HostileCase:
    """Return a case that writes outside the volume at the operator's request, to prove that the trace shows it."""
    log = {"MODELS_TERMINATION_LOG": "{outside}/log"}
    return HostileCase("a write elsewhere", "has schema 3", said("schema", to=3), code=11, variables=log)


CONTROL = _control_case()
TABLE = [*manifests.CASES, *archives.CASES, *links.CASES]
CASES = {directory_name(case): case for case in [*TABLE, CONTROL]}
assert len(CASES) == len(TABLE) + 1, "two cases have one name"

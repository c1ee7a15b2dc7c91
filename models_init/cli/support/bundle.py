"""Pack members into one tar.gz archive, each redacted and limited in size, with a README that explains them."""

from __future__ import annotations

import io
import json
import re
import tarfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.redaction import MARK, redact
from models_init.core.units import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DIRECTORY = "models-init-support"

MEMBER_LIMIT = 256 << 10
"""Maximum size of a member in bytes; of a longer one, only the end is kept. Redaction takes a second per megabyte."""

TOTAL_LIMIT = 4 << 20
"""Maximum size of all members in bytes, so that the archive stays below 5 MB even if nothing can be compressed."""

_PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)", re.DOTALL)

_README = """\
This archive describes an installation of speech models by models-init. It contains no tokens, passwords or license
contents: every member was redacted, and each place where something was removed shows {mark}.

What could not be collected is listed in not-collected.txt. docs/support.md leads from symptoms to members.

{members}
"""


@dataclass(frozen=True, slots=True)
class SupportMember:
    """A file of the archive: its name, one line for the README, and its content."""

    name: str
    description: str
    text: str


def json_text(value: object) -> str:
    """Return a value as indented JSON; what JSON does not support becomes text."""
    return json.dumps(value, indent=1, default=text_of, ensure_ascii=False) + "\n"


def cleaned(text: str) -> str:
    """Return the end of a text without registered secrets, values that are named like credentials, and private keys."""
    text = _PRIVATE_KEY.sub(MARK, _end(text))
    return "".join(redact(line) for line in text.splitlines(keepends=True))


def pack(members: Iterable[SupportMember], failures: Sequence[str]) -> bytes:
    """Return the archive. `failures` has one line for each thing that could not be collected."""
    found = list(members)
    missed = "".join(f"{line}\n" for line in failures) or "everything was collected\n"
    found.append(SupportMember("not-collected.txt", "what could not be collected, and why", missed))
    width = max(len(member.name) for member in found)
    table = "\n".join(f"{member.name:<{width}}  {member.description}" for member in found)
    readme = _README.format(mark=MARK, members=table)
    output, total = io.BytesIO(), 0
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for name, text in [("README.txt", readme), *((member.name, member.text) for member in found)]:
            data = cleaned(text).encode(errors="backslashreplace")
            total += len(data)
            if total <= TOTAL_LIMIT:
                archive.addfile(_entry(name, len(data)), io.BytesIO(data))
    return output.getvalue()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(f"{DIRECTORY}/{name}")
    entry.size, entry.mtime, entry.mode = size, int(time.time()), 0o644
    return entry


def _end(text: str) -> str:
    """Return a text, or only its last lines if it exceeds the limit of a member."""
    if len(text) <= MEMBER_LIMIT:
        return text
    tail = text[-MEMBER_LIMIT:]
    return f"[{len(text) - len(tail)} characters before this were left out]\n{tail.partition(chr(10))[2] or tail}"

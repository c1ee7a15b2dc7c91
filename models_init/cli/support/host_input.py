"""Read the texts that `support.sh` collects on the host: from stdin, each after a line `==> NAME <==` as of `tail`.

Values in the configuration of compose are replaced, because they may be secrets of other services.
"""

from __future__ import annotations

import json
import re
from typing import IO, TYPE_CHECKING, Any

from models_init.cli.settings import SETTINGS
from models_init.cli.support.bundle import json_text
from models_init.core.redaction import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator

_INPUT_LIMIT = 16 << 20  # characters
_HEAD = re.compile(r"^==> ([A-Za-z0-9][A-Za-z0-9._-]{0,80}) <==\n", re.MULTILINE)
_CONFIG = "compose-config.json"
_PLAIN_SETTINGS = {setting.variable for setting in SETTINGS if setting.flag}
_VALUES = ("environment", "args", "labels")


def sections(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """Yield name and text of each section."""
    text = stream.read(_INPUT_LIMIT).decode(errors="replace")
    _, *parts = _HEAD.split(text)
    for name, content in zip(parts[::2], parts[1::2], strict=True):
        yield name, _without_values(content) if name == _CONFIG else content


def _without_values(text: str) -> str:
    """Return the configuration of compose; of the values, only those of this program's settings are kept."""
    try:
        config = json.loads(text)
    except ValueError as error:
        return f"the configuration cannot be read: {error}\n"
    return json_text(_masked(config))


def _masked(value: Any, *, hide: bool = False) -> Any:
    """Replace all values below `environment`, `args`, `labels`, and the content of configs and secrets."""
    if isinstance(value, dict):
        return {
            name: inner
            if hide and name in _PLAIN_SETTINGS
            else _masked(inner, hide=hide or name in _VALUES or (name == "content" and isinstance(inner, str)))
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_masked(inner, hide=hide) for inner in value]
    return MARK if hide and value is not None else value

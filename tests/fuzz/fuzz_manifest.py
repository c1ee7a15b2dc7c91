"""Fuzz the manifest reader: any bytes are a consistent manifest or are rejected in one line."""

from __future__ import annotations

import copy
import json
import os
import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from models_init.core.errors import ManifestError
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import CHUNK_LIMIT, FRAME_LIMIT, encode, parse
from models_init.transfer.ranges import spans
from tests.fuzz import check_message

if TYPE_CHECKING:
    from models_init.formats.manifest import Manifest

REF = PackRef("nl-nl", "2026.04")
LARGEST = 16 << 10
"""Maximum size of an input in bytes."""

_VALUES: tuple[object, ...] = (
    *(None, True, False, 0, 1, -1, 2**53 - 1, 2**53, 2**63, 2**64, 10**999, 0.5, 1e300, CHUNK_LIMIT, FRAME_LIMIT + 1),
    *("", "nl-nl", "../x", "/x", "a/b", "a\0", "\u202e", "n" * 256, "sha256:" + "0" * 64, "sha256:" + "A" * 64),
    *([], {}, [[]], {"size": 1, "entries": 1}, [{"pack": "common", "versions": ["1"]}]),
)


def check(data: bytes) -> None:
    """Read the input; fail if the reader breaks one of its guarantees."""
    try:
        found = parse(data, REF)
    except ManifestError as error:
        check_message(error)
        return
    assert found.ref == REF
    again = parse(encode(found), REF)
    assert again == found, "encoding changes the manifest"
    _check_paths(found)
    _check_extents(found)


def _check_paths(found: Manifest) -> None:
    paths = [*(file.path for file in found.files), *found.all_directories()]
    assert len(set(paths)) == len(paths), "a path occurs twice"
    for path in paths:
        assert os.path.normpath(f"/root/{path}") == f"/root/{path}", "a path leads out of the pack"
        assert max(map(len, os.fsencode(path).split(b"/"))) <= 255
        assert "\0" not in path


def _check_extents(found: Manifest) -> None:
    placed = list(found.placements())
    assert sum(placement.chunk.size for placement in placed) <= found.size
    for before, after in pairwise(placement.chunk for placement in placed):
        assert before.offset + before.length <= after.offset, "frames overlap"
    fetched = [placement for span in spans(placed) for batch in span.batches for placement in batch.placements]
    assert fetched == placed, "a chunk is fetched twice or never"


def mutate(data: bytes, seed: int) -> bytes | None:
    """Change values of a JSON document; return None if the bytes are not JSON."""
    chance = random.Random(seed)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    for _ in range(chance.randint(1, 4)):
        _change(document, chance)
    return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _change(document: Any, chance: random.Random) -> None:
    """Descend at random; replace, remove, copy or shuffle values."""
    inner = document
    while isinstance(inner, (dict, list)) and inner:
        key = chance.choice(sorted(inner)) if isinstance(inner, dict) else chance.randrange(len(inner))
        child = inner[key]
        if isinstance(child, (dict, list)) and child and chance.random() < 0.8:
            inner = child
            continue
        match chance.randrange(6):
            case 0:
                del inner[key]
            case 1 if isinstance(inner, list):
                inner.insert(key, child)
            case 2 if isinstance(inner, list):
                chance.shuffle(inner)
            case 3 if isinstance(child, int):
                inner[key] = child + chance.choice((-1, 1, 4096, -4096))
            case 4 if isinstance(child, str) and child:
                at = chance.randrange(len(child))
                inner[key] = child[:at] + chance.choice("./\0é\u202e%9z") + child[at + 1 :]
            case _:
                inner[key] = copy.deepcopy(chance.choice(_VALUES))
        return

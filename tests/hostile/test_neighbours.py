"""A hostile pack does not change other installed packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile.case import FILES, PACK, VERSION, HostileSetup, honest, publish
from tests.site import Site

if TYPE_CHECKING:
    from pathlib import Path

_MODEL = "am/final.mdl"


def test_wrong_file_digest_does_not_spread_to_other_packs(tmp_path: Path) -> None:
    """A file with the digest of a file in another pack, but other chunks, is not reused for that pack."""
    setup = HostileSetup(tmp_path)
    setup.create()
    evil = [b"evil  " * (len(plain) // 6) + b"!" * (len(plain) % 6) for plain in FILES[_MODEL]]
    document, archive = honest({**FILES, _MODEL: evil}, "en-us")
    true, _ = honest()
    document["files"][0]["digest"] = true["files"][0]["digest"]
    publish(setup.source / "en-us" / VERSION, document, archive)
    site = Site(setup.volume, setup.environment)
    assert site.run(REALTIME_LANGUAGES="en-us").code == 0
    done = site.run("--json")
    assert done.code == 0, done.err
    assert (site.active(PACK) / _MODEL).read_bytes() == b"".join(FILES[_MODEL])
    assert (site.active(PACK) / "words.txt").samefile(setup.volume / "packs/en-us" / VERSION / "words.txt")
    assert site.run("--verify").code == 0

"""Apply the layers of ordinary images: upper layers win, whiteouts remove, links are replaced by their targets."""

from __future__ import annotations

import errno
import gzip
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zstandard

from models_init.core.digests import digest_of
from models_init.formats import manifest
from models_init.formats.manifest import Archive, Manifest, OpaqueArchive, encode
from tests.archive.archives import GNU, file, long_name, pax
from tests.archive.images import described, directory, hard, layer, link, regular, scanned, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BASE = layer(
    directory("bin"),
    link("bin/sh", "/bin/busybox"),
    hard("bin/ls", "bin/busybox"),
    directory("models"),
    directory("models/nl-nl"),
    directory("models/nl-nl/am"),
    regular("models/nl-nl/am/final", b"weights"),
    regular("models/nl-nl/a.conf", b"a"),
    regular("models/nl-nl/b.conf", b"b"),
)
_ABOVE = (directory("models"), directory("models/nl-nl"))


@pytest.mark.parametrize(
    ("upper", "expected"),
    [
        pytest.param((regular("models/nl-nl/a.conf", b"new"),), {"a.conf": b"new"}, id="replaced file"),
        pytest.param((regular("models/nl-nl/.wh.b.conf"),), {"b.conf": ...}, id="removed file"),
        pytest.param((regular("models/nl-nl/.wh.am"),), {"am": ..., "am/final": ...}, id="removed directory"),
        pytest.param(
            (regular("models/nl-nl/am/new", b"n"), regular("models/nl-nl/.wh.am")),
            {"am/final": ..., "am/new": b"n"},
            id="whiteout after the new content",
        ),
        pytest.param(
            (
                directory("models/nl-nl/am"),
                regular("models/nl-nl/am/new", b"n"),
                regular("models/nl-nl/am/.wh..wh..opq"),
            ),
            {"am/final": ..., "am/new": b"n"},
            id="opaque directory",
        ),
        pytest.param((regular("models/nl-nl/am", b"file"),), {"am": b"file", "am/final": ...}, id="file for directory"),
        pytest.param(
            (directory("models/nl-nl/a.conf"), regular("models/nl-nl/a.conf/x", b"x")),
            {"a.conf": None, "a.conf/x": b"x"},
            id="directory for file",
        ),
        pytest.param(
            (regular(".wh.models"), *_ABOVE, regular("models/nl-nl/only", b"o")),
            {"am": ..., "am/final": ..., "a.conf": ..., "b.conf": ..., "only": b"o"},
            id="whiteout above the pack",
        ),
        pytest.param((hard("models/nl-nl/c", "models/nl-nl/a.conf"),), {"c": b"a"}, id="hard link to a lower layer"),
        pytest.param(
            (regular("models/nl-nl/x", b"x"), hard("models/nl-nl/y", "models/nl-nl/x")),
            {"x": b"x", "y": b"x"},
            id="hard link in the layer",
        ),
        pytest.param((link("models/nl-nl/l", "a.conf"),), {"l": b"a"}, id="link to a file"),
        pytest.param((link("models/nl-nl/l", "am"),), {"l": None, "l/final": b"weights"}, id="link to a directory"),
        pytest.param((link("models/nl-nl/am/l", "../a.conf"),), {"am/l": b"a"}, id="link upwards inside"),
        pytest.param((link("models/nl-nl/l", "/models/nl-nl/am/final"),), {"l": b"weights"}, id="absolute link inside"),
        pytest.param(
            (link("models/nl-nl/l", "m/final"), link("models/nl-nl/m", "am")),
            {"l": b"weights", "m": None, "m/final": b"weights"},
            id="link through a link",
        ),
        pytest.param(
            (link("models/nl-nl/l", "../../models/nl-nl/a.conf"),), {"l": b"a"}, id="link that leaves and comes back"
        ),
        pytest.param((directory("models/nl-nl/empty"),), {"empty": None}, id="empty directory"),
        pytest.param((regular("/models/./nl-nl//c", b"c"),), {"c": b"c"}, id="name that runtimes clean"),
        pytest.param(
            (long_name(b"models/nl-nl/" + b"n" * 120) + file(b"n", b"long", magic=GNU),),
            {"n" * 120: b"long"},
            id="GNU name",
        ),
        pytest.param(
            (pax({b"path": "models/nl-nl/één".encode(), b"SCHILY.xattr.user.a": b"\xff"}) + file(b"e", b"p"),),
            {"één": b"p"},
            id="pax name",
        ),
        pytest.param((directory("dev"), file(b"dev/null", kind=b"3"), file(b"\xff\xfe")), {}, id="other entries"),
        pytest.param((regular(".wh..wh.plnk/12.34"), directory(".wh..wh.orph")), {}, id="records of aufs at the top"),
        pytest.param((pax({b"APK-TOOLS.checksum.SHA1": b"0"}) + file(b"lib/libc"),), {}, id="keyword of a vendor"),
        pytest.param((long_name(b"opt/\xff") + file(b"x", magic=GNU),), {}, id="GNU name that is not UTF-8"),
    ],
)
def test_upper_layer_is_applied(tmp_path: Path, upper: tuple[bytes, ...], expected: dict[str, object]) -> None:
    before: dict[str, object] = {"am": None, "am/final": b"weights", "a.conf": b"a", "b.conf": b"b"}
    wanted = {name: content for name, content in (before | expected).items() if content is not ...}
    assert unpacked([BASE, layer(*upper)], tmp_path / "tree") == wanted


def test_hard_link_keeps_the_content_that_an_upper_layer_replaces(tmp_path: Path) -> None:
    lower = layer(regular("models/nl-nl/a", b"old"), hard("models/nl-nl/b", "models/nl-nl/a"))
    upper = layer(regular("models/nl-nl/a", b"new"))
    assert unpacked([lower, upper], tmp_path / "tree") == {"a": b"new", "b": b"old"}


def test_unsupported_entry_removed_by_an_upper_layer_is_accepted(tmp_path: Path) -> None:
    lower = layer(file(b"models/nl-nl/fifo", kind=b"6"), link("models/nl-nl/out", "/etc"), regular("models/nl-nl/a"))
    upper = layer(regular("models/nl-nl/.wh.fifo"), regular("models/nl-nl/.wh.out"))
    assert unpacked([lower, upper], tmp_path / "tree") == {"a": b""}


def test_models_directory_is_used_if_it_has_no_directory_for_the_pack(tmp_path: Path) -> None:
    assert unpacked([layer(regular("models/final", b"f"))], tmp_path / "tree") == {"final": b"f"}


def test_path_of_the_setting_is_used(tmp_path: Path) -> None:
    layers = [layer(regular("opt/nl-nl/final", b"f"), regular("models/nl-nl/other", b"o"))]
    assert unpacked(layers, tmp_path / "tree", paths=("/opt/nl-nl",)) == {"final": b"f"}


def test_executable_bit_is_kept(tmp_path: Path) -> None:
    stream = [layer(regular("models/nl-nl/run", b"#!", 0o700), hard("models/nl-nl/too", "models/nl-nl/run"))]
    unpacked(stream, tmp_path / "tree")
    assert [(tmp_path / "tree/nl-nl" / name).stat().st_mode & 0o777 for name in ("run", "too")] == [0o755, 0o755]


def test_hard_link_becomes_a_copy_on_a_volume_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    upper = layer(regular("models/nl-nl/run", b"#!", 0o755), hard("models/nl-nl/too", "models/nl-nl/run"))
    assert unpacked([upper], tmp_path / "tree") == {"run": b"#!", "too": b"#!"}
    assert (tmp_path / "tree/nl-nl/too").stat().st_mode & 0o777 == 0o755


def _zstd(window_log: int) -> Callable[[bytes], bytes]:
    parameters = zstandard.ZstdCompressionParameters(window_log=window_log, write_content_size=False)

    def compress(data: bytes) -> bytes:
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()  # without the size in the header
        return packer.compress(data) + packer.flush()

    return compress


@pytest.mark.parametrize(
    "compress",
    [
        pytest.param(bytes, id="tar"),
        pytest.param(gzip.compress, id="gzip"),
        pytest.param(zstandard.compress, id="zstd"),
        pytest.param(_zstd(27), id="zstd with a window of 128 MiB"),
    ],
)
def test_compression_is_detected(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    result = scanned(*described([BASE], compress), tmp_path / "tree")
    assert (result.fault, result.digest) == ("", digest_of(b"image"))


def test_wrong_layers_are_named_by_number(tmp_path: Path) -> None:
    image, stream = described([BASE, layer(regular("models/nl-nl/x")), layer(regular("models/nl-nl/y"))])
    damaged = stream[:-600] + b"?" + stream[-599:]
    result = scanned(image, damaged, tmp_path / "tree")
    assert (result.digest, result.wrong) == ("", frozenset({2}))
    assert not (tmp_path / "tree").exists()


_DEEP = "/".join("d" * 5 for _ in range(200))
_GOOD = (directory("models"), regular("models/nl-nl/good", b"g"))


def _sparse() -> bytes:
    return pax({b"GNU.sparse.major": b"1", b"GNU.sparse.name": b"models/nl-nl/x"})


def _device(name: bytes, kind: bytes) -> bytes:
    return file(name, kind=kind)


def _many(count: int) -> bytes:
    return b"".join(regular(f"models/nl-nl/{number:06}") for number in range(count))


HOSTILE = {
    "character device": ((_device(b"models/nl-nl/null", b"3"),), "'models/nl-nl/null' is a character device; a pack"),
    "block device": ((_device(b"models/nl-nl/sda", b"4"),), "'models/nl-nl/sda' is a block device; a pack"),
    "fifo": ((_device(b"models/nl-nl/pipe", b"6"),), "'models/nl-nl/pipe' is a fifo; a pack"),
    "contiguous file": ((_device(b"models/nl-nl/c", b"7"),), "'models/nl-nl/c' is a contiguous file"),
    "sparse file": ((_sparse() + regular("x"),), "describes a sparse file"),
    "link to a file of the system": (
        (link("models/nl-nl/l", "/etc/passwd"),),
        "'models/nl-nl/l' is a symbolic link to '/etc/passwd', out of the directory of the pack, /models/nl-nl",
    ),
    "link upwards": ((link("models/nl-nl/l", "../../etc/passwd"),), "out of the directory of the pack"),
    "link to another pack": (
        (regular("models/en-us/a"), link("models/nl-nl/l", "../en-us/a")),
        "is a symbolic link to '../en-us/a', out of the directory of the pack",
    ),
    "link to nothing": ((link("models/nl-nl/l", "missing"),), "to 'missing', which does not exist"),
    "link to itself": ((link("models/nl-nl/l", "l"),), "over more than 40 links"),
    "links in a circle": ((link("models/nl-nl/l", "m"), link("models/nl-nl/m", "l")), "over more than 40 links"),
    "link to its own directory": (
        (link("models/nl-nl/d/l", "."),),
        "'models/nl-nl/d/l' is a symbolic link to a directory that contains it",
    ),
    "link to the directory above": ((link("models/nl-nl/d/l", "../.."),), "is a symbolic link to"),
    "directories that link to each other": (
        (link("models/nl-nl/a/b", "../c"), link("models/nl-nl/c/a", "../a")),
        "is a symbolic link to a directory that contains it",
    ),
    "hard link to a file of the system": (
        (hard("models/nl-nl/h", "etc/shadow"),),
        "'models/nl-nl/h' is a hard link to 'etc/shadow', which is not below /models; a pack",
    ),
    "hard link upwards": ((hard("models/nl-nl/h", "models/../etc/shadow"),), "which is not below /models"),
    "hard link to nothing": ((hard("models/nl-nl/h", "models/nl-nl/no"),), "which does not exist; a pack"),
    "hard link to a directory": ((hard("models/nl-nl/h", "models/nl-nl"),), "which is a directory; a pack"),
    "hard link with content": (
        (file(b"models/nl-nl/h", b"content", kind=b"1"),),
        "is a hard link with 7 bytes of content",
    ),
    "file below a link": (
        (link("models/nl-nl/d", "/etc"), regular("models/nl-nl/d/passwd")),
        "'models/nl-nl/d/passwd' is below 'models/nl-nl/d', a symbolic link to '/etc'",
    ),
    "file below a file": (
        (regular("models/nl-nl/f"), regular("models/nl-nl/f/g")),
        "'models/nl-nl/f/g' is below 'models/nl-nl/f', a file",
    ),
    "pack behind a link": (
        (regular(".wh.models"), link("models", "srv")),
        "'models' is a symbolic link to 'srv', not a directory",
    ),
    "pack that is a file": ((regular("models/nl-nl", b"x"),), "'models/nl-nl' is a file, not a directory"),
    "no pack": (
        (regular(".wh.models"), directory("srv")),
        "it contains nothing below /models/nl-nl or /models; at its top are 'bin', 'srv'",
    ),
    "name that leads upwards": ((regular("models/nl-nl/../../etc/passwd"),), "leads upwards"),
    "name with a line break": ((regular("models/nl-nl/a\nb"),), "an entry has an invalid name"),
    "name that is not UTF-8": ((file(b"models/nl-nl/\xff"),), "an entry has an invalid name"),
    "name that is too long": (
        (long_name(f"models/nl-nl/{_DEEP}".encode()) + file(b"x", magic=GNU),),
        "is too long for a path",
    ),
    "file twice": (
        (regular("models/nl-nl/a"), regular("models/nl-nl/a")),
        "'models/nl-nl/a' occurs twice in the layer",
    ),
    "file and directory": (
        (regular("models/nl-nl/a/b"), regular("models/nl-nl/a")),
        "'models/nl-nl/a' is also a directory in the layer",
    ),
    "whiteout without a name": ((regular("models/nl-nl/.wh."),), "is a whiteout without a name"),
    "whiteout of the parent": ((regular("models/nl-nl/.wh..."),), "is a whiteout without a name"),
    "file below a whiteout": ((regular("models/nl-nl/.wh.d/x"),), "is an entry below a whiteout"),
    "record of aufs": ((regular("models/nl-nl/.wh..wh.plnk"),), "is a record of the file system aufs"),
    "file without a name": ((regular("./"),), "is that of the top directory"),
}
"""Upper layers that cannot be installed, and words of the message."""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_layer_is_reported_with_its_number(tmp_path: Path, name: str) -> None:
    entries, words = HOSTILE[name]
    result = scanned(*described([BASE, layer(*entries)]), tmp_path / "tree")
    assert words in result.fault
    if name != "no pack":
        assert result.fault.startswith("layer 2 of 2 (sha256:")
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b"\xfd7zXZ\0", "it is an xz file", id="xz"),
        pytest.param(gzip.compress(layer(*_GOOD))[:-9], "the gzip stream is truncated", id="truncated gzip"),
        pytest.param(zstandard.compress(layer(*_GOOD))[:-1], "truncated within a frame", id="truncated zstd"),
        pytest.param(layer(*_GOOD)[:-512], "it is truncated", id="truncated tar"),
        pytest.param(layer(*_GOOD) + b"more", "data follows the end", id="data after the end"),
        pytest.param(_zstd(28)(layer(*_GOOD)), "requires a window of 256 MiB, more than 128 MiB", id="large window"),
        pytest.param(gzip.compress(bytes(2 << 20)), "bytes of zeros follow the end", id="zeros"),
        pytest.param(
            zstandard.compress(file(b"boot", bytes(80 << 20)) + layer()), "it unpacks to more than", id="bomb outside"
        ),
        pytest.param(
            zstandard.compress(file(b"models/nl-nl/b", bytes(80 << 20)) + layer()),
            "it exceeds the limit of",
            id="bomb in the pack",
        ),
    ],
)
def test_unreadable_layer_is_reported(tmp_path: Path, blob: bytes, words: str) -> None:
    image, _ = described([BASE, b"other"])
    image = replace(image, layers=(image.layers[0], replace(image.layers[1], digest=digest_of(blob), size=len(blob))))
    result = scanned(image, BASE + blob, tmp_path / "tree")
    assert words in result.fault
    assert result.fault.startswith("layer 2 of 2 (sha256:")


def test_layer_with_another_diff_id_is_reported(tmp_path: Path) -> None:
    image, stream = described([BASE, layer(*_GOOD)])
    image = replace(image, layers=(image.layers[0], replace(image.layers[1], diff_id=digest_of(b"other"))))
    assert (
        "its content differs from the digest in the image's configuration"
        in scanned(image, stream, tmp_path / "tree").fault
    )


def test_too_many_entries_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_init.archive.scan.ENTRIES_LIMIT", 100)
    result = scanned(*described([layer(_many(50)), layer(_many(50))]), tmp_path / "tree")
    assert "it exceeds the limit of 100 files, directories and whiteouts" in result.fault


def test_copies_for_links_are_limited(tmp_path: Path) -> None:
    """Each directory has two links to the next one: 2 to the power of 30 copies of one file."""
    pairs = [
        (link(f"models/nl-nl/{n}/a", f"../{n + 1}"), link(f"models/nl-nl/{n}/b", f"../{n + 1}")) for n in range(30)
    ]
    entries = [entry for pair in pairs for entry in pair]
    result = scanned(*described([layer(*entries, regular("models/nl-nl/30/x", bytes(1 << 20)))]), tmp_path / "tree")
    assert "with the copies for its links" in result.fault


def test_pack_of_the_deepest_path_is_unpacked_and_removed(tmp_path: Path) -> None:
    """A path of 1,023 bytes has 512 parts, more than half of the calls that Python nests."""
    deep = "/".join("d" * 512)
    lower = layer(pax({b"path": f"models/nl-nl/{deep}".encode()}) + file(b"d", b"content"))
    paths = ("/models/nl-nl",)
    assert unpacked([lower], tmp_path / "deep", paths)[deep] == b"content"
    upper = layer(regular("models/nl-nl/.wh.d"), regular("models/nl-nl/only", b"o"))
    assert unpacked([lower, upper], tmp_path / "removed", paths) == {"only": b"o"}


@pytest.mark.parametrize("name", ["models/other/link", "models/nl-nl/removed"])
def test_target_that_is_not_utf8_is_accepted_outside_the_pack(tmp_path: Path, name: str) -> None:
    """The layer is not recorded in the derived manifest, so it is fetched again for the next version."""
    target = file(b"././@LongLink", b"\xff\0", kind=b"K", magic=GNU)
    lower = layer(target + link(name, "x"), regular("models/nl-nl/a", b"a"))
    upper = layer(regular("models/nl-nl/.wh.removed"), regular("models/nl-nl/b", b"b"))
    image, stream = described([lower, upper])
    result = scanned(image, stream, tmp_path / "tree")
    archive = Archive("image.layers", len(stream), digest_of(b"image"))
    published = Manifest(1, "nl-nl", "1", archive, (), plain=OpaqueArchive(image=image))
    derived = manifest.parse(encode(result.builder.derived(published, digest_of(b"m"), result.image)), published.ref)
    assert [file.path for file in derived.files] == ["a", "b"]
    assert derived.image
    assert [each.entries is None for each in derived.image.layers] == [True, False]


def test_target_longer_than_any_path_is_refused(tmp_path: Path) -> None:
    long = layer(link("models/nl-nl/l", "./" * 2048 + "a"), regular("models/nl-nl/a", b"a"))
    assert "which is too long for a path" in scanned(*described([long]), tmp_path / "tree").fault

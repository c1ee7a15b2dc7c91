"""Checks of license files: the outcome and the message for each kind of file."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import pytest

from models_init.core.errors import LicenseError
from models_init.install.license_checks import LicenseFiles, LicenseReport, inspect
from tests.license_files import ENGINE, document, expiring, fields, jwt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OK, WARNING, FAILED = "ok", "warning", "failed"


class Case(NamedTuple):
    """A file, the outcome of its check, and a part of the message."""

    content: bytes | Callable[[Path], object]
    outcome: str
    message: str


def _text(text: str) -> bytes:
    return text.encode()


def _in(*names: str, **changed: object) -> bytes:
    content: object = fields(**changed)
    for name in reversed(names):
        content = {name: content, "kid": "1"}
    return json.dumps(content).encode()


def _seconds(days: int) -> int:
    return int((datetime.now(UTC) + timedelta(days=days)).timestamp())


def _copied_into_a_directory(path: Path) -> None:
    path.mkdir()
    (path / path.name).write_bytes(ENGINE)


_V1 = document(realtime=None, max_realtime_streams=None, languages=None)

PLATFORM = {
    "v2": Case(document(), OK, "licensee Example Hospital; languages nl-nl, en-us; 4 realtime streams; until "),
    "v2 with two languages more": Case(document(languages=["nl-nl", "en-us", "de-de", "fr-fr"]), OK, "de-de"),
    "v2 below license": Case(_in("license"), OK, "licensee Example Hospital"),
    "v2 below license and payload": Case(_in("license", "payload"), OK, "4 realtime streams"),
    "v2 below claims": Case(_in("claims"), OK, "languages nl-nl, en-us"),
    "JWT": Case(_text(jwt(fields())), OK, "licensee Example Hospital"),
    "JWT with claims": Case(_text(jwt({"claims": fields(expires=None), "exp": _seconds(90)})), OK, "until "),
    "JWT below license": Case(json.dumps({"license": jwt(fields())}).encode(), OK, "languages nl-nl"),
    "JWS in JSON": Case(
        json.dumps({"payload": jwt(fields()).split(".")[1], "signature": "x"}).encode(), OK, "4 realtime streams"
    ),
    "camel case": Case(
        document(
            max_realtime_streams=None, maxRealtimeStreams="4", languages=None, Languages="nl_NL, EN-us", expires=None,
            expiresAt=_seconds(90) * 1000,
        ),
        OK,
        "languages nl-nl, en-us; 4 realtime streams",
    ),
    "dashes and a word for true": Case(
        document(realtime="yes", max_realtime_streams=None, **{"max-realtime-streams": 2}), OK, "2 realtime streams"
    ),
    "all languages": Case(document(languages=["*"]), OK, "languages *"),
    "UTF-8 with a byte order mark": Case(b"\xef\xbb\xbf" + document(), OK, "licensee Example Hospital"),
    "UTF-16": Case(document().decode().encode("utf-16"), OK, "licensee Example Hospital"),
    "CRLF": Case(json.dumps(fields(), indent=1).replace("\n", "\r\n").encode(), OK, "licensee Example Hospital"),
    "a repeated field with one value": Case(
        document()[:-1] + b', "realtime": true}', OK, "licensee Example Hospital"
    ),
    "v1": Case(_V1, FAILED, "is a v1 license, without `realtime`; ask the vendor's support for a v2 license"),
    "v1 below license": Case(json.dumps({"license": json.loads(_V1)}).encode(), FAILED, "is a v1 license"),
    "an empty object": Case(b"{}", FAILED, "is a v1 license"),
    "no realtime": Case(document(realtime=False), FAILED, "does not include realtime (`realtime` is false)"),
    "another language": Case(
        document(languages=["de-de", "en-us"]), FAILED, "does not include nl-nl; it includes de-de, en-us; change"
    ),
    "no language": Case(document(languages=[]), FAILED, "does not include en-us, nl-nl; it includes no language"),
    "expired": Case(document(expires="2026-01-31"), FAILED, "expired on 2026-01-31; ask the vendor's support for"),
    "expired in seconds": Case(document(expires=None, exp=1700000000), FAILED, "expired on 2023-11-14"),
    "expired without a zone": Case(document(expires="2026-01-31T10:00:00"), FAILED, "expired on 2026-01-31"),
    "different values of a field": Case(
        document()[:-1] + b', "realtime": false}', FAILED, "has two different values for realtime"
    ),
    "truncated": Case(document()[:60], FAILED, "cannot be read as JSON: it is not JSON: "),
    "HTML": Case(b"\n<!DOCTYPE html><html><title>Sign in</title></html>", FAILED, "is a web page; ask"),
    "empty": Case(b" \n", FAILED, "is empty"),
    "binary": Case(ENGINE[1:], FAILED, "is not text"),
    "a list": Case(b'["realtime"]', FAILED, "has no JSON object"),
    "a truncated JWT": Case(b"eyJhbGciOi.eyJyZWFsdGltZSI.", FAILED, "a JSON Web Token whose payload cannot be"),
    "10 MB": Case(document(padding="x" * (10 << 20)), FAILED, "is larger than 1 MiB, which no license is"),
    "deeply nested": Case(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, FAILED, "nested too deeply"),
    "a directory": Case(lambda path: path.mkdir(), FAILED, "is a directory, which docker creates if the file"),
    "a FIFO": Case(os.mkfifo, FAILED, "is not a regular file"),
    "missing": Case(lambda _: None, OK, "not checked: "),
    "/dev/null": Case(lambda path: path.symlink_to("/dev/null"), OK, "not checked: "),
    "a dangling link": Case(lambda path: path.symlink_to("elsewhere"), WARNING, "is a link to elsewhere, which does"),
    "expires soon": Case(document(expires=expiring(13.5)), WARNING, ", in 13 d 1"),
    "fewer streams": Case(document(max_realtime_streams=1), WARNING, "permits 1 realtime stream, fewer than the 2"),
    "languages without countries": Case(
        document(languages=["nl", "en-us"]), WARNING, "includes en-us, nl; whether that covers nl-nl was not checked"
    ),
    "no list of languages": Case(document(languages=None), WARNING, "has no field for languages, so that was not"),
    "no expiry and no streams": Case(
        document(expires=None, max_realtime_streams=None), WARNING, "no field for max_realtime_streams, expires, so"
    ),
    "values of other types": Case(
        document(realtime="maybe", max_realtime_streams=-1, languages={"nl-nl": {}}, expires="next year", licensee=[]),
        WARNING,
        "realtime is neither true nor false, max_realtime_streams is not a whole number, languages is not a list of "
        "language codes, expires is not a time, licensee is not a name",
    ),
    "the last day in another zone": Case(document(expires="9999-12-31T23:59:59-05:00"), OK, "until 9999-12-31"),
    "the first day in another zone": Case(document(expires="0001-01-01T00:00:00+05:00"), FAILED, "expired on "),
    "a huge expiry": Case(document(expires=10**30), WARNING, "expires is not a time"),
}  # fmt: skip

_TEXT = b"-----BEGIN LICENSE-----\nbGljZW5zZQ==\n-----END LICENSE-----\n"

ENGINE_CASES = {
    "binary": Case(ENGINE, OK, "sha256 785b0751fc2c; the engine verifies it"),
    "text": Case(_TEXT, OK, "the engine verifies it, this program does not"),
    "binary with two CRLF by chance": Case(b"\0\r\n\xff\r\n", OK, "the engine verifies it"),
    "missing": Case(lambda _: None, FAILED, "does not exist; put the file there that the vendor sent"),
    "a directory": Case(lambda path: path.mkdir(), FAILED, "is a directory, which docker creates if the file to mount"),
    "a directory with the file": Case(_copied_into_a_directory, FAILED, "license.dat is probably the file)"),
    "empty": Case(b"", FAILED, "is empty; ask the vendor's support for license.dat"),
    "blank": Case(b"\0" * 100, FAILED, "is empty"),
    "license.json": Case(
        lambda path: shutil.copy(path.with_name("license.json"), path), FAILED, "is the same file as license.json"
    ),
    "another license.json": Case(document(licensee="Other"), FAILED, "is JSON, like license.json; "),
    "HTML": Case(b"<html>log in</html>", FAILED, "is a web page; download license.dat again"),
    "text with CRLF": Case(_TEXT.replace(b"\n", b"\r\n"), FAILED, "has Windows line ends (CRLF)"),
    "binary with CRLF": Case(ENGINE.replace(b"\n", b"\r\n"), FAILED, "has Windows line ends (CRLF)"),
    "10 MB": Case(ENGINE * 10_240, FAILED, "is larger than 1 MiB"),
    "/dev/null": Case(lambda path: path.symlink_to("/dev/null"), FAILED, "is not a regular file"),
    "a dangling link": Case(lambda path: path.symlink_to("../elsewhere"), WARNING, "which does not exist here; name"),
}


def _make(path: Path, case: Case) -> None:
    if isinstance(case.content, bytes):
        path.write_bytes(case.content)
    else:
        case.content(path)


def _inspect(directory: Path, **options: bool) -> LicenseReport:
    files = LicenseFiles(directory / "license.json", directory / "license.dat")
    return inspect(files, ["en-us", "nl-nl"], **options)


@pytest.mark.parametrize("case", PLATFORM.values(), ids=PLATFORM)
def test_platform_license_is_judged(tmp_path: Path, case: Case) -> None:
    (tmp_path / "license.dat").write_bytes(ENGINE)
    _make(tmp_path / "license.json", case)
    report = _inspect(tmp_path)
    found = report.platform
    outcome = FAILED if found.failures else WARNING if found.warnings else OK
    text = "\n".join(found.failures or found.warnings or [found.note])
    assert (outcome, case.message in text) == (case.outcome, True), text
    assert str(tmp_path / "license.json") in text or outcome == OK
    assert report.engine.failures == []
    json.dumps(report.facts())


@pytest.mark.parametrize("case", ENGINE_CASES.values(), ids=ENGINE_CASES)
def test_engine_license_is_judged(tmp_path: Path, case: Case) -> None:
    (tmp_path / "license.json").write_bytes(document())
    _make(tmp_path / "license.dat", case)
    report = _inspect(tmp_path)
    found = report.engine
    outcome = FAILED if found.failures else WARNING if found.warnings else OK
    text = "\n".join(found.failures or found.warnings or [found.note])
    assert (outcome, case.message in text) == (case.outcome, True), text
    assert report.platform.failures == []


def test_all_failures_are_reported_with_code_23(tmp_path: Path) -> None:
    (tmp_path / "license.json").write_bytes(document(languages=["de-de"], expires="2026-01-01"))
    report = _inspect(tmp_path)
    error = LicenseError(*report.failures)
    assert error.exit_code == 23
    assert [fault.split()[1:3] for fault in error.faults] == [["does", "not"], ["expired", "on"], ["does", "not"]]


def test_failures_are_warnings_if_lenient(tmp_path: Path) -> None:
    (tmp_path / "license.json").write_bytes(document(realtime=False))
    report = _inspect(tmp_path, lenient=True)
    assert report.failures == []
    assert ["does not include realtime" in report.warnings[0], "does not exist" in report.warnings[1]] == [True, True]

"""The certificates that a connection trusts, and the file formats of MODELS_CA_FILE."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UsageError
from models_init.sources.http.tls import client_context, describe_connection
from tests import services
from tests.services.certificates import issue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.services.certificates import Certificates

_AUTHORITY = """
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = An old authority
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
subjectKeyIdentifier = none
authorityKeyIdentifier = none
[leaf]
subjectAltName = IP:127.0.0.1
subjectKeyIdentifier = none
authorityKeyIdentifier = none
"""


def openssl(*arguments: object, data: bytes = b"") -> bytes:
    command = [services.require_tool("openssl"), *map(str, arguments)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "127.0.0.1") -> ssl.SSLObject:
    """Perform a handshake in memory; return the client's end."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for end in (here, there, here, there):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return here


def served_by(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture
def old(tmp_path: Path) -> Certificates:
    """An authority without a subject key identifier, and a leaf without an authority key identifier, by openssl."""
    config = tmp_path / "openssl.cnf"
    config.write_text(_AUTHORITY)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-config", config)
    made = issue(tmp_path)  # only its paths are used
    ca_key, request = tmp_path / "ca.key", tmp_path / "leaf.csr"
    openssl("req", "-x509", "-days", 2, *new_key, "-keyout", ca_key, "-out", made.authority)
    openssl("req", *new_key, "-subj", "/CN=leaf", "-keyout", made.key, "-out", request)
    signed_by = ("-CA", made.authority, "-CAkey", ca_key, "-CAcreateserial", "-extfile", config, "-extensions", "leaf")
    openssl("x509", "-req", "-in", request, "-days", 2, *signed_by, "-out", made.certificate)
    return made


def test_authority_without_key_identifier_is_accepted(old: Certificates) -> None:
    """Many corporate authorities have none; by default, Python 3.13 and newer would refuse the chain."""
    text = openssl("x509", "-in", old.certificate, "-noout", "-text").decode()
    assert "Key Identifier" not in text
    client = client_context(str(old.authority))
    assert describe_connection(handshake(client, old.server_context()), "ca.pem") == (
        "TLSv1.3, certificate by An old authority, trusted by ca.pem"
    )
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default of Python 3.13
    with pytest.raises(ssl.SSLCertVerificationError, match=r"Missing (Authority|Subject) Key Identifier"):
        handshake(client, old.server_context())


@pytest.mark.parametrize("ca_file", [True, False], ids=["MODELS_CA_FILE", "the system's"])
def test_verification_flags_are_same_on_every_python(certificates: Certificates, *, ca_file: bool) -> None:
    """Certificates and names are verified, a chain may end at any trusted certificate, key identifiers are optional."""
    context = client_context(str(certificates.authority) if ca_file else "")
    assert context.verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_only_authorities_of_ca_file_are_trusted(certificates: Certificates, tmp_path: Path) -> None:
    """A certificate of another authority is refused, and so is one for another host."""
    client = client_context(str(issue(tmp_path).authority))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|unable to get"):
        handshake(client, certificates.server_context())
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(client_context(str(certificates.authority)), certificates.server_context(), "models.example")


def test_server_certificate_can_be_pinned(certificates: Certificates) -> None:
    """A file with the server's own certificate, which is not an authority, makes this server trusted."""
    assert handshake(client_context(str(certificates.certificate)), certificates.server_context()).version()


def test_intermediate_authority_is_trust_anchor(tmp_path: Path, old: Certificates) -> None:
    """The file may contain only the issuing authority, without the root that signed it."""
    config, root_key = tmp_path / "openssl.cnf", tmp_path / "ca.key"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-config", config)
    signed = ("-days", 2, "-CAcreateserial", "-extfile", config)
    middle, middle_key, request = tmp_path / "middle.pem", tmp_path / "middle.key", tmp_path / "middle.csr"
    openssl("req", *new_key, "-subj", "/CN=middle", "-keyout", middle_key, "-out", request)
    root = ("-CA", old.authority, "-CAkey", root_key, "-extensions", "authority")
    openssl("x509", "-req", "-in", request, *signed, *root, "-out", middle)
    by_middle = ("-CA", middle, "-CAkey", middle_key, "-extensions", "leaf")
    openssl("x509", "-req", "-in", tmp_path / "leaf.csr", *signed, *by_middle, "-out", old.certificate)
    assert handshake(client_context(str(middle)), old.server_context()).version()


# -- files that are read


def _text(ours: Certificates, _: Certificates) -> bytes:
    return openssl("x509", "-in", ours.authority, "-text")


def _trusted(ours: Certificates, _: Certificates) -> bytes:
    return openssl("x509", "-in", ours.authority, "-trustout", "-addtrust", "serverAuth")


READABLE: dict[str, Callable[[Certificates, Certificates], bytes]] = {
    "PEM": lambda ours, _: ours.authority.read_bytes(),
    "DER": lambda ours, _: openssl("x509", "-in", ours.authority, "-outform", "DER"),
    "text around": _text,
    "CRLF": lambda ours, _: ours.authority.read_bytes().replace(b"\n", b"\r\n"),
    "byte order mark": lambda ours, _: b"\xef\xbb\xbf" + ours.authority.read_bytes(),
    "UTF-16": lambda ours, _: ours.authority.read_text().encode("utf-16"),
    "comments in UTF-8": lambda ours, _: "# Autorité\n".encode() + ours.authority.read_bytes(),
    "several": lambda ours, other: other.authority.read_bytes() + ours.authority.read_bytes(),
    "several after a byte order mark": lambda ours, other: (
        b"\xef\xbb\xbf" + ours.authority.read_bytes() + other.authority.read_bytes()
    ),
    "with its key": lambda ours, _: ours.key.read_bytes() + ours.authority.read_bytes(),
    "TRUSTED CERTIFICATE": _trusted,
}


@pytest.mark.parametrize("form", READABLE)
def test_ca_file_is_read_in_each_common_format(form: str, certificates: Certificates, tmp_path: Path) -> None:
    """PEM and DER files of Windows and Linux tools make the server trusted."""
    path = tmp_path / "ca file"
    path.write_bytes(READABLE[form](certificates, issue(tmp_path)))
    assert handshake(client_context(str(path)), certificates.server_context()).version()


def test_distrusted_certificate_is_not_trusted(certificates: Certificates, tmp_path: Path) -> None:
    """OpenSSL's own format can state that a certificate is not trusted for servers."""
    path = tmp_path / "ca.pem"
    path.write_bytes(openssl("x509", "-in", certificates.authority, "-trustout", "-addreject", "serverAuth"))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client_context(str(path)), certificates.server_context())


# -- files that are refused


def _pkcs7(certificates: Certificates, form: str) -> bytes:
    return openssl("crl2pkcs7", "-nocrl", "-certfile", certificates.authority, "-outform", form)


def _request(certificates: Certificates) -> bytes:
    return openssl("req", "-new", "-key", certificates.key, "-subj", "/CN=request")


_PAGE = b"\n<!DOCTYPE html>\n<title>Sign in</title>\n"

REFUSED: dict[str, tuple[Callable[[Certificates], bytes], str]] = {
    "PKCS#7": (
        lambda ours: _pkcs7(ours, "PEM"),
        r"is a PKCS#7 file \(\.p7b\); convert it: openssl pkcs7 -print_certs -in '{path}' -out ca\.pem$",
    ),
    "PKCS#7 in DER": (
        lambda ours: _pkcs7(ours, "DER"),
        r"is a PKCS#7 file \(\.p7b\); convert it: openssl pkcs7 -inform DER -print_certs -in '{path}' -out ca\.pem$",
    ),
    "PKCS#12": (
        lambda ours: openssl("pkcs12", "-export", "-in", ours.authority, "-nokeys", "-passout", "pass:x"),
        r"is a PKCS#12 file \(\.pfx, \.p12\); convert it: openssl pkcs12 -nokeys -in '{path}' -out ca\.pem$",
    ),
    "a key": (
        lambda ours: ours.key.read_bytes(),
        "is a private key, not a certificate; set it to the file with your CA",
    ),
    "a key in DER": (
        lambda ours: openssl("pkey", "-in", ours.key, "-outform", "DER"),
        "is a private key, not a certificate; set it to the file with your CA",
    ),
    "an EC key in DER": (
        lambda ours: openssl("ec", "-in", ours.key, "-outform", "DER"),
        "is a private key, not a certificate; set it to the file with your CA",
    ),
    "a request": (_request, "is a certificate request, not a certificate; set it to the file"),
    "a request in DER": (
        lambda ours: openssl("req", "-outform", "DER", data=_request(ours)),
        "contains no certificate in PEM or DER format; set it to the file",
    ),
    "a web page": (lambda _: _PAGE, "is a web page, not a certificate; download the certificate again"),
    "nothing": (lambda _: b"", "is empty; set it to the file with your CA's certificate in PEM or DER format"),
    "line ends only": (lambda _: b"\r\n", "is empty; set it to the file"),
    "other text": (lambda _: b"no certificate", "contains no certificate in PEM or DER format; set it to the file"),
    "zeros": (lambda _: bytes(100), "contains no certificate in PEM or DER format; set it to the file"),
    "a part of DER": (lambda _: b"\x30\x82\x01", "contains no certificate in PEM or DER format; set it to the file"),
    "a part of PEM": (
        lambda ours: ours.authority.read_bytes()[:200],
        "contains a damaged certificate; get the file again",
    ),
    "a part of the last": (
        lambda ours: ours.authority.read_bytes() + ours.authority.read_bytes().replace(b"M", b"%"),
        "contains a damaged certificate; get the file again",
    ),
    "too much": (
        lambda ours: ours.authority.read_bytes() + bytes(16 << 20),
        "is larger than 16 MiB; set it to the file",
    ),
}


@pytest.mark.parametrize("form", REFUSED)
def test_unsupported_ca_file_format_is_named_with_remedy(form: str, certificates: Certificates, tmp_path: Path) -> None:
    """One line names the file's format and the command that converts it."""
    written, words = REFUSED[form]
    path = tmp_path / "ca file"
    path.write_bytes(written(certificates))
    with pytest.raises(UsageError, match=f"^MODELS_CA_FILE={path} {words.format(path=path)}"):
        client_context(str(path))


@pytest.mark.parametrize(
    ("form", "command"),
    [
        ("PEM", "openssl pkcs7 -print_certs"),
        ("DER", "openssl pkcs7 -inform DER -print_certs"),
        ("PKCS#12", "openssl pkcs12 -nokeys -passin pass:x"),
    ],
)
def test_suggested_conversion_command_works(
    form: str, command: str, certificates: Certificates, tmp_path: Path
) -> None:
    """The command in the message works (openssl asks for the password of a PKCS#12 file)."""
    path, made = tmp_path / "bundle", tmp_path / "ca.pem"
    path.write_bytes(REFUSED["PKCS#12"][0](certificates) if form == "PKCS#12" else _pkcs7(certificates, form))
    openssl(*command.split()[1:], "-in", path, "-out", made)
    assert handshake(client_context(str(made)), certificates.server_context()).version()


def test_unreadable_ca_file_path_is_reported(tmp_path: Path) -> None:
    """A missing file, a directory and an unreadable file have different messages."""
    with pytest.raises(UsageError, match=r"^MODELS_CA_FILE=/missing cannot be read: No such file or directory; check"):
        client_context("/missing")
    with pytest.raises(UsageError, match=rf"^MODELS_CA_FILE={tmp_path} is a directory; set it to one file with all"):
        client_context(str(tmp_path))
    with pytest.raises(UsageError, match=r"cannot be read: embedded null byte; check"):
        client_context("/a\0b")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that may not read the file")
def test_ca_file_without_read_permission_is_reported(certificates: Certificates, tmp_path: Path) -> None:
    """The message says that permission is missing."""
    path = tmp_path / "ca.pem"
    path.write_bytes(certificates.authority.read_bytes())
    path.chmod(0)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(UsageError, match=r"cannot be read: Permission denied; check the path, the mount and the"):
            client_context(str(path))
    finally:
        os.seteuid(0)


def test_importing_aiohttp_loads_no_certificates_and_keeps_the_environment() -> None:
    """Its default context then trusts no certificate; this program passes its own context to every connection."""
    script = """
import os, ssl
os.environ["SSL_CERT_FILE"] = "/kept"
from models_init.sources.http.aiohttp_import import aiohttp
assert os.environ.pop("SSL_CERT_FILE") == "/kept"
print(aiohttp.connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509"])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", "0\n")

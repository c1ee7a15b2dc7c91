"""Build the TLS context of all connections from MODELS_CA_FILE, and describe the encryption of a connection.

Certificates may be in PEM format (also with other text, CRLF line ends or a byte order mark) or DER format. For other
formats, the error message names the format and the command that converts it.
"""

from __future__ import annotations

import os
import re
import shlex
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_init.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The flags are the same on every Python version. PARTIAL_CHAIN: each certificate of the file is a trust anchor, even if
# it is not a self-signed root, as in curl; Python 3.13 and later set it. STRICT, which Python 3.13 and later also set,
# is left out: it rejects certificates without an Authority Key Identifier, which RFC 5280 requires but many corporate
# authorities omit.
_VERIFY_FLAGS = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN

_MAX_FILE = 16 << 20  # bytes; the list of all public authorities has 0.2 MiB

_KEY = "a private key, not a certificate"
_P7B, _PFX = "a PKCS#7 file (.p7b)", "a PKCS#12 file (.pfx, .p12)"
_WEB_PAGE = "a web page, not a certificate"
_ANOTHER_FILE = "set it to the file with your CA's certificate in PEM or DER format"
_ADVICE = {
    _P7B: "convert it: openssl pkcs7{form} -print_certs -in {file} -out ca.pem",
    _PFX: "convert it: openssl pkcs12 -nokeys -in {file} -out ca.pem",
    _WEB_PAGE: "download the certificate again",
}

_LABEL = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_PEM_FORMATS = {
    "PKCS7": _P7B,
    "CMS": _P7B,
    "CERTIFICATE REQUEST": "a certificate request, not a certificate",
    "NEW CERTIFICATE REQUEST": "a certificate request, not a certificate",
    "X509 CRL": "a list of revoked certificates, not a certificate",
    "PUBLIC KEY": "a public key, not a certificate",
}
_DER_FORMATS = {  # by the first bytes of the content of the outermost SEQUENCE
    b"\x02\x01\x03": _PFX,  # version 3, RFC 7292
    b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02": _P7B,  # the type signedData, RFC 2315
    b"\x02\x01\x00": _KEY,  # version 0, RFC 5208 and RFC 8017
    b"\x02\x01\x01\x04": _KEY,  # version 1 and an OCTET STRING, RFC 5915
}


def client_context(ca_file: str) -> ssl.SSLContext:
    """Return a context that trusts only the certificates in `ca_file`, or those of the system if it is empty.

    Raises `UsageError`: the file cannot be read as certificates. The message contains the reason and the remedy.
    """
    data = _read(ca_file) if ca_file else b""
    try:
        context = ssl.create_default_context(**_anchors(ca_file, data)) if ca_file else ssl.create_default_context()
    except (OSError, ValueError):  # OpenSSL raises OSError, without the reason
        raise _fault(ca_file, *_diagnosis(data, shlex.quote(ca_file))) from None
    context.verify_flags = _VERIFY_FLAGS
    return context


def describe_connection(tls: ssl.SSLObject, ca_file: str) -> str:
    """Describe the protocol, the issuer of the server's certificate, and the trusted certificates."""
    certificate: Mapping[str, Any] = tls.getpeercert() or {}
    issuer = dict(pair for part in certificate.get("issuer", ()) for pair in part)
    by = issuer.get("commonName") or issuer.get("organizationName") or "an unnamed authority"
    paths = ssl.get_default_verify_paths()
    trusted = ca_file or paths.cafile or paths.capath or "the system"
    return f"{tls.version()}, certificate by {by}, trusted by {trusted}"


def _read(ca_file: str) -> bytes:
    path = Path(ca_file)
    if path.is_dir():
        raise _fault(ca_file, "is a directory", "set it to one file with all certificates")
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: the path contains a NUL
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise _fault(ca_file, f"cannot be read: {why}", "check the path, the mount and the permissions") from None
    if not data.strip():
        raise _fault(ca_file, "is empty", _ANOTHER_FILE)
    if len(data) > _MAX_FILE:
        raise _fault(ca_file, f"is larger than {_MAX_FILE >> 20} MiB", _ANOTHER_FILE)
    return data


def _anchors(ca_file: str, data: bytes) -> dict[str, Any]:
    """Return the arguments for `ssl.create_default_context`."""
    text = _text(data)
    if "-----BEGIN TRUSTED CERTIFICATE-----" in text:  # OpenSSL's own format, whose trust settings need `cafile`
        return {"cafile": ca_file}
    return {"cadata": text if "-----BEGIN " in text else data}


def _text(data: bytes) -> str:
    """Decode PEM, which is ASCII; a byte order mark and non-ASCII characters of comments are dropped."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16, as written by redirection in PowerShell
        data = data.decode("utf-16", "ignore").encode()
    return data.decode("ascii", "ignore")


def _diagnosis(data: bytes, file: str) -> tuple[str, str]:
    """Return why OpenSSL could not read the file, and the remedy. `file` is its path, quoted for a shell."""
    text, is_der = _text(data), data[:1] == b"\x30"
    labels = _LABEL.findall(text)
    if "CERTIFICATE" in labels or "X509 CERTIFICATE" in labels:
        return "contains a damaged certificate", "get the file again"
    if labels:
        found = next((_KEY for label in labels if label.endswith("PRIVATE KEY")), _PEM_FORMATS.get(labels[0], ""))
    elif is_der:
        content = data[_header_size(data) :]
        found = next((name for start, name in _DER_FORMATS.items() if content.startswith(start)), "")
    else:
        found = _WEB_PAGE if re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE) else ""
    advice = _ADVICE.get(found, _ANOTHER_FILE).format(file=file, form=" -inform DER" if is_der else "")
    return f"is {found}" if found else "contains no certificate in PEM or DER format", advice


def _header_size(data: bytes) -> int:
    """Return the size in bytes of the tag and the length at the beginning of DER."""
    long_form = len(data) > 1 and data[1] & 0x80
    return 2 + (data[1] & 0x7F if long_form else 0)


def _fault(ca_file: str, what: str, advice: str) -> UsageError:
    return UsageError(f"MODELS_CA_FILE={ca_file} {what}; {advice}")

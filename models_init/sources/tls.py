"""Temporary."""

from __future__ import annotations
import ssl
from models_init.errors import UsageError


def trusted_context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"MODELS_CA_FILE={ca_file} cannot be read as certificates: {error}") from error


def describe_connection(tls, ca_file: str) -> str:
    certificate = tls.getpeercert() or {}
    issuer = dict(pair for part in certificate.get("issuer", ()) for pair in part)
    by = issuer.get("commonName") or issuer.get("organizationName") or "nobody in particular"
    paths = ssl.get_default_verify_paths()
    trusted = ca_file or paths.cafile or paths.capath or "the system"
    return f"{tls.version()}, certificate by {by}, trusted by {trusted}"

"""Certificates for servers on loopback: good ones, expired ones, of another name, for a protocol of yesterday."""

from __future__ import annotations

import ssl
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme


def certified(
    *, name: str = "localhost", expired: bool = False, oldest: bool = False
) -> tuple[ssl.SSLContext, trustme.CA]:
    authority = trustme.CA()
    until = datetime(2020, 1, 1, tzinfo=UTC) if expired else None
    certificate = authority.issue_cert(name, not_after=until, not_before=until and until - timedelta(days=9))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if oldest:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
    certificate.configure_cert(context)
    return context, authority


def trusted(authority: trustme.CA, folder: Path) -> Path:
    """The file of that authority's certificate."""
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"

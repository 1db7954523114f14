"""Whose certificates are believed by what makes connections: those of the system, or of ``SSL_CERT_FILE``."""

from __future__ import annotations

import ssl
from pathlib import Path

from voice_agent.errors import SettingsError


def verification(url: str, *, own: Path | None = None) -> ssl.SSLContext | bool:
    """What httpx verifies the server of `url` with, the same as WebSockets are: by itself it asks no system.

    `own`: the certificate of the server itself, which is asked for by an address that does not stand in it. Raises
    `SettingsError` if it cannot be read.
    """
    if not url.startswith("https:"):
        return True  # There is nothing to verify, and reading the system's certificates takes 20 ms.
    if own is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        context.load_verify_locations(own)
    except OSError as error:
        raise SettingsError(f"the certificate in {str(own)!r} cannot be read: {error.strerror}.") from error
    return context

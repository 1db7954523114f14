"""The certificate and key with which a server speaks TLS, read again when their files change.

Whoever renews them writes new files, or moves a link to others, as Kubernetes does with secrets. A connection keeps the
pair with which it began; the next one gets the newest. Files that do not fit change nothing: it may be that only one of
them has been written yet.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import structlog

from voice_agent.errors import SettingsError
from voice_agent.settings import TlsFiles

LOOK_S = 5.0
"""How often the files are read."""
ALPN = ["http/1.1"]
"""What is spoken over TLS (RFC 7301)."""
NOT_MATCHING = "KEY_VALUES_MISMATCH"

log = structlog.get_logger(__name__)


class Certificates:
    """One server's. `watch` is to be a task for as long as it accepts connections."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises `SettingsError` if they cannot be used."""
        self._files = files
        self._seen = self._contents()
        """What the files held when they were last looked at; nothing if one could not be read."""
        self.context = self._load()
        """For the next connection."""

    async def watch(self, told: Callable[[str], None]) -> None:
        """Look again and again, until cancelled. `told`: what becomes of a change, ``taken`` or ``kept``."""
        while True:
            await asyncio.sleep(LOOK_S)
            # A disk may be slow, and a large key takes milliseconds.
            taken = await asyncio.to_thread(self.look)
            if taken is not None:
                told("taken" if taken else "kept")

    def look(self) -> bool | None:
        """Read the files; None: they are as they were. False: what is new cannot be used, and is told in one line."""
        try:
            contents = self._contents()
        except SettingsError as error:
            is_news, self._seen = bool(self._seen), ()
            return self._keep(error) if is_news else None
        if contents == self._seen:
            return None
        # What is read below may be newer still: then the next look finds a change again.
        self._seen = contents
        try:
            self.context = self._load()
        except SettingsError as error:
            return self._keep(error)
        log.info("certificate read anew", file=str(self._files.certificate))
        return True

    def _keep(self, error: SettingsError) -> bool:
        log.error("the certificate is kept: the new one cannot be used", error=str(error))
        return False

    def _contents(self) -> tuple[bytes, ...]:
        return self._read("TLS_CERT", self._files.certificate), self._read("TLS_KEY", self._files.key)

    def _read(self, name: str, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise SettingsError(f"{self._files.prefix}{name}: cannot read {str(path)!r}: {error.strerror}.") from error

    def _load(self) -> ssl.SSLContext:
        files = self._files
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION  # It would be work that a peer may ask for without end.
        context.set_alpn_protocols(ALPN)
        certificate = f"{files.prefix}TLS_CERT: {str(files.certificate)!r}"
        key = f"{files.prefix}TLS_KEY: {str(files.key)!r}"
        try:
            context.load_cert_chain(files.certificate, files.key, password=_no_passphrase)
        except _Encrypted as error:
            raise SettingsError(f"{key} has a passphrase, which nobody could type; take it off.") from error
        except ssl.SSLError as error:
            if error.reason == NOT_MATCHING:
                raise SettingsError(
                    f"{key} is not the key of the certificate in {str(files.certificate)!r}."
                ) from error
            try:
                context.load_verify_locations(files.certificate)
            except ssl.SSLError:
                raise SettingsError(f"{certificate} holds no certificate in PEM form.") from error
            raise SettingsError(f"{key} holds no private key in PEM form that can be used.") from error
        except OSError as error:
            raise SettingsError(f"{certificate} and its key cannot be read: {error.strerror}.") from error
        return context


class _Encrypted(Exception):
    """The key has a passphrase."""


def _no_passphrase() -> NoReturn:
    """Without it OpenSSL would ask at the terminal."""
    raise _Encrypted

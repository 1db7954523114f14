"""TLS between two pairs of bytes (`ssl.MemoryBIO`), the server's side; nothing here waits or touches a socket."""

from __future__ import annotations

import ssl
from contextlib import suppress

READ_BYTES = 64 * 1024
"""Asked for at once; a record has 16 KiB at most."""


class TlsSession:
    """One connection's. What any of its methods has to be sent to the peer, `take_unsent` gives.

    Each raises `ssl.SSLError` if the peer broke the protocol; an alert that says so may be to be sent then.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.is_established = False
        """Whether the handshake is over: before that nothing can be encrypted."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def feed(self, data: bytes) -> None:
        """More of what the peer sends."""
        self._incoming.write(data)

    @property
    def has_more(self) -> bool:
        """Whether bytes were fed that `read` has not seen."""
        return bool(self._incoming.pending or self.ssl_object.pending())

    def shake_hands(self) -> bool:
        """Go on with the handshake; whether it is over."""
        with suppress(ssl.SSLWantReadError):
            self.ssl_object.do_handshake()
            self.is_established = True
        return self.is_established

    def read(self) -> bytes | None:
        """What the next record holds; None: it is not whole. Empty: the peer sends nothing more."""
        try:
            return self.ssl_object.read(READ_BYTES)
        except ssl.SSLWantReadError:
            return None

    def encrypt(self, data: bytes | bytearray | memoryview) -> bytes:
        """The records of these bytes, and whatever is to be sent before them."""
        self.ssl_object.write(data)
        return self._outgoing.read()

    def end(self) -> None:
        """Say that nothing more is sent (RFC 8446, section 6.1)."""
        with suppress(ssl.SSLError):  # It would wait for the peer to say the same.
            self.ssl_object.unwrap()

    def take_unsent(self) -> bytes:
        """What TLS has to say by itself: of a handshake, an alert."""
        return self._outgoing.read()

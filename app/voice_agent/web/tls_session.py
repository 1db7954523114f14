"""TLS between two pairs of bytes (`ssl.MemoryBIO`), the server's side; nothing here waits or touches a socket.

OpenSSL works through all records it has until one holds application data. So it is given one at a time: whoever reads
may stop between any two, however many there are of changes of keys (RFC 8446, section 4.6.3) or alerts.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

READ_BYTES = 64 * 1024
"""Asked for at once; a record has 16 KiB at most."""
HEADER_BYTES = 5
"""Of a record: its type, its version, and how many bytes follow."""


class TlsSession:
    """One connection's. What any of its methods has to be sent to the peer, `take_unsent` gives.

    Each raises `ssl.SSLError` if the peer broke the protocol; an alert that says so may be to be sent then.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self.is_established = False
        """Whether the handshake is over: before that nothing can be encrypted."""
        self.idle_records = 0
        """Since the handshake: records in a row that held nothing for the protocol."""
        self._fed = bytearray()
        """What OpenSSL has not been given yet."""
        self._missing = 0
        """Bytes that belong to the record that it was given last."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def feed(self, data: bytes) -> None:
        """More of what the peer sends."""
        self._fed += data

    def forget(self) -> None:
        """Drop what was fed and not read."""
        self._fed.clear()

    @property
    def has_more(self) -> bool:
        """Whether bytes were fed that `read` has something to do with."""
        return len(self._fed) >= (1 if self._missing else HEADER_BYTES)

    def read(self) -> bytes | None:
        """Go on with the handshake, or give what the next record holds; by one record each time.

        None: it is not whole, or was not meant for the protocol. Empty: the peer sends nothing more.
        """
        is_whole = self._give_record()
        try:
            if self.is_established:
                data = self.ssl_object.read(READ_BYTES)
                self.idle_records = 0
                return data
            self.ssl_object.do_handshake()
            self.is_established = True
        except ssl.SSLWantReadError:
            self.idle_records += is_whole and self.is_established
        return None

    def _give_record(self) -> bool:
        """Give OpenSSL one record, or as much of it as has come; whether it has it whole now."""
        if not self.has_more:
            return False
        if not self._missing:
            self._missing = HEADER_BYTES + int.from_bytes(self._fed[3:HEADER_BYTES], "big")
        piece = self._fed[: self._missing]
        del self._fed[: len(piece)]
        self._missing -= len(piece)
        self._incoming.write(piece)
        return not self._missing

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

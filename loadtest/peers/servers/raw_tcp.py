"""The floor: every byte that comes is written back as it is, on uvloop; no WebSocket, JSON or base64 is looked at.

Only the upgrade is answered, blindly, so that the generator can connect. Run: ``python raw_tcp.py PORT``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Mirror(asyncio.Protocol):
    """One caller."""

    def __init__(self) -> None:
        self._upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are not registered as such

    def data_received(self, data: bytes) -> None:
        """Write it back."""
        if self._upgraded:
            self._transport.write(data)
        else:
            self._upgraded = True
            self._transport.write(UPGRADED)


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(Mirror, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())

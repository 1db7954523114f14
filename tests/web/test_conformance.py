"""The Autobahn cases of WebSocket conformance, against the real server."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.web.rig import running
from voice_agent.runtime.ports import Listener, Transport
from voice_agent.web.call_socket import CallSocket
from voice_agent.websocket.frames import text_frame

NOT_RUN = ("9.*", "12.*", "13.*")
"""Megabytes, and compression, which is off for audio."""
BINARY_BIT = 3
"""Turns the first byte of a text frame into that of a binary one."""


class Echo(Listener):
    """Sends everything back, binary too, which calls never do."""

    def __init__(self, socket: CallSocket) -> None:
        self._socket = socket

    def take(self, message: str | bytes) -> bool:
        if self._socket._writer.drained is not None:
            return False
        if isinstance(message, str):
            return self._socket.write(message.encode())
        frame = text_frame(message)
        self._socket._transport.write(bytes((frame[0] ^ BINARY_BIT,)) + frame[1:])
        return True

    def reserve(self, size_bytes: int) -> None:
        """Anything may be held."""

    def limit_reached(self, limit: str) -> None:
        raise AssertionError(limit)

    async def ready(self) -> None:
        while self._socket._writer.drained is not None:
            await self._socket._writer.drained.wait()


async def echo(transport: Transport) -> None:
    """Send everything back until the caller leaves."""
    assert isinstance(transport, CallSocket)
    await transport.deliver(Echo(transport))


async def test_the_cases_of_autobahn_pass(tmp_path: Path) -> None:
    """Framing, pings, reserved bits, opcodes, fragments, UTF-8 and closing: 247 cases."""
    async with running() as server:
        server.pod.script = echo
        address = f"127.0.0.1:{server.port}/realtime"
        left_out = [word for case in NOT_RUN for word in ("-x", case)]
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("kosoku"),
            *left_out,
            "-p",
            "4",
            "-o",
            str(tmp_path),
            address,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await process.communicate()
    assert process.returncode == 0, told.decode()
    assert "247 cases passed" in told.decode()

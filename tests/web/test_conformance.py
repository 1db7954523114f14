"""The Autobahn cases of WebSocket conformance, against the real server."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.web.rig import running
from voice_agent.runtime.ports import Listener, Transport
from voice_agent.web.call_socket import CallSocket
from voice_agent.websocket.frames import text_frame

NOT_RUN = ("9.*", "12.*", "13.*")
"""Megabytes, and compression, which is off for audio."""
CASES = 247
TRIES = 5
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
    """Framing, pings, reserved bits, opcodes, fragments, UTF-8 and closing: 247 cases.

    The checker waits one second for what it expects, by a clock that a busy machine makes short: what failed is asked
    again, alone. A server that is wrong is wrong each time.
    """
    async with running() as server:
        server.pod.script = echo
        address = f"127.0.0.1:{server.port}/realtime"
        passed, failed, told = await _run(address, tmp_path, [word for case in NOT_RUN for word in ("-x", case)])
        assert passed + len(failed) == CASES, told
        for _ in range(TRIES):
            asked = [word for case in failed for word in ("-i", case)]
            _, failed, told = await _run(address, tmp_path, asked) if failed else (0, [], told)
    assert not failed, told


async def _run(address: str, folder: Path, chosen: list[str]) -> tuple[int, list[str], str]:
    """How many cases passed, which failed, and what the checker says."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("kosoku"),
        *chosen,
        "-p",
        "2",
        "-o",
        str(folder),
        address,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    told = said.decode()
    [index] = folder.rglob("index.json")
    [cases] = json.loads(index.read_text(encoding="utf-8")).values()
    failed = [case for case, found in cases.items() if "FAILED" in found["behavior"] + found["behaviorClose"]]
    assert bool(process.returncode) == bool(failed), told
    return len(cases) - len(failed), failed, told

"""A caller's microphone: a frame every 20 ms, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from voice_agent.call.audio import PCM
from voice_agent.client.pacing import FRAME_MS, Metronome
from voice_agent.client.wav import read_wav

FRAME_BYTES = PCM.size(FRAME_MS)


class Microphone:
    """`run` it beside; what is not said is silence."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._left = b""
        self._said = asyncio.Event()

    async def run(self) -> None:
        """Until it is cancelled."""
        metronome = Metronome(FRAME_MS)
        while True:
            await metronome.tick()
            frame, self._left = self._left[:FRAME_BYTES], self._left[FRAME_BYTES:]
            if frame and not self._left:
                self._said.set()
            await self._send(frame.ljust(FRAME_BYTES, b"\0"))

    async def say(self, recording: Path) -> None:
        """Until its last frame."""
        self._said.clear()
        self._left = read_wav(recording)
        await self._said.wait()

"""The caller's audio as it comes, for an agent that asked for it."""

from __future__ import annotations

import asyncio
from collections import deque

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.clip import Clip

MAX_WAITING_BYTES = 512 * 1024
"""Of audio that an agent has not read: ten seconds of PCM. What is older is dropped, for the next frames are wanted."""


class FrameQueue:
    """One reader's."""

    def __init__(self) -> None:
        self._waiting: deque[Clip] = deque()
        self._waiting_bytes = 0
        self._came = asyncio.Event()
        self._is_over = False

    def put(self, audio: bytes, audio_format: AudioFormat) -> None:
        """A frame came."""
        self._waiting.append(Clip(audio, audio_format))
        self._waiting_bytes += len(audio)
        while self._waiting_bytes > MAX_WAITING_BYTES:
            self._waiting_bytes -= len(self._waiting.popleft().audio)
        self._came.set()

    def end(self) -> None:
        """No more comes."""
        self._is_over = True
        self._came.set()

    def __aiter__(self) -> FrameQueue:
        return self

    async def __anext__(self) -> Clip:
        while not self._waiting:
            if self._is_over:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame.audio)
        return frame

"""The caller's audio as it comes, for an agent that asked for it."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from contextlib import suppress

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.clip import Clip

MAX_WAITING_BYTES = 512 * 1024
"""Of audio that an agent has not read: ten seconds of PCM. What is older is dropped, for the next frames are wanted."""

MAX_WAITING_FRAMES = 4096
"""Stops a client that sends frames of one sample, which take far more in memory than their bytes."""


class FrameQueue:
    """What waits for one reader."""

    def __init__(self) -> None:
        self._waiting: deque[Clip] = deque()
        self._waiting_bytes = 0
        self._came = asyncio.Event()
        self._is_over = False

    def put(self, audio: bytes, audio_format: AudioFormat) -> None:
        """A frame came. One that is empty, or no whole number of samples, is none."""
        if not audio or len(audio) % audio_format.sample_bytes:
            return
        self._waiting.append(Clip(audio, audio_format))
        self._waiting_bytes += len(audio)
        while self._waiting_bytes > MAX_WAITING_BYTES or len(self._waiting) > MAX_WAITING_FRAMES:
            self._waiting_bytes -= len(self._waiting.popleft().audio)
        self._came.set()

    def end(self) -> None:
        """No more comes."""
        self._is_over = True
        self._came.set()

    async def get(self) -> Clip:
        """The next frame. Raises `StopAsyncIteration`."""
        while not self._waiting:
            if self._is_over:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        frame = self._waiting.popleft()
        self._waiting_bytes -= len(frame.audio)
        return frame


class CallFrames:
    """What an agent reads frames with. Its queue is among `queues` until it is over, or nobody has the reader."""

    def __init__(self, queues: list[FrameQueue]) -> None:
        self._queue = FrameQueue()
        queues.append(self._queue)
        weakref.finalize(self, _remove, queues, self._queue).atexit = False

    def __aiter__(self) -> CallFrames:
        return self

    async def __anext__(self) -> Clip:
        return await self._queue.get()


def _remove(queues: list[FrameQueue], queue: FrameQueue) -> None:
    with suppress(ValueError):
        queues.remove(queue)


def end_all(queues: list[FrameQueue]) -> None:
    """No more comes to any of them."""
    for queue in queues:
        queue.end()
    queues.clear()

"""The caller's audio as it comes, for an agent that asked for it."""

from __future__ import annotations

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.clip import Clip
from voice_agent.runtime.engine.live_queue import LiveQueue

MAX_WAITING_BYTES = 512 * 1024
"""Of audio that an agent has not read: ten seconds of PCM. What is older is dropped, for the next frames are wanted."""

MAX_WAITING_FRAMES = 4096
"""Stops a client that sends frames of one sample, which take far more in memory than their bytes."""


FrameQueue = LiveQueue[Clip]
"""What waits for one reader."""


def frame_queue() -> FrameQueue:
    """An empty one."""
    return FrameQueue(max_items=MAX_WAITING_FRAMES, max_size=MAX_WAITING_BYTES)


def put_frame(queue: FrameQueue, audio: bytes, audio_format: AudioFormat) -> None:
    """A frame came. One that is empty, or no whole number of samples, is none."""
    if audio and len(audio) % audio_format.sample_bytes == 0:
        queue.put(Clip(audio, audio_format), len(audio))

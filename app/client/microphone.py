"""The machine's own microphone and loudspeaker, where the optional `sounddevice` package is installed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from app.call.audio import PCM
from app.client.pacing import FRAME_MS
from app.client.refusals import CallFailed


def _sounddevice() -> Any:
    try:
        import sounddevice  # type: ignore[import-untyped]  # it has no types
    except (ImportError, OSError) as error:
        raise CallFailed(
            f"no microphone here ({error}); install with: pip install 'voice-agent[microphone]', or use --wav"
        ) from None
    return sounddevice


async def microphone() -> AsyncIterator[bytes]:
    """20 ms of PCM16 24 000 Hz at a time, for as long as it is iterated. Raises `CallFailed` without a device."""
    sounddevice = _sounddevice()
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[bytes] = asyncio.Queue(maxsize=100)

    def keep(frame: bytes) -> None:
        if not frames.full():
            frames.put_nowait(frame)

    def heard(data: Any, *_: object) -> None:
        loop.call_soon_threadsafe(keep, bytes(data))

    size = PCM.rate_hz * FRAME_MS // 1000
    try:
        stream = sounddevice.RawInputStream(PCM.rate_hz, size, channels=1, dtype="int16", callback=heard)
    except Exception as error:  # noqa: BLE001
        # PortAudio's errors have no common base; whatever it is, there is no microphone.
        raise CallFailed(f"no microphone here: {error}") from None
    with stream:
        while True:
            yield await frames.get()


def loudspeaker() -> Any:
    """An open output stream with `write(pcm)`; raises `CallFailed` without a device."""
    sounddevice = _sounddevice()
    try:
        stream = sounddevice.RawOutputStream(PCM.rate_hz, channels=1, dtype="int16")
    except Exception as error:  # noqa: BLE001
        # See `microphone`.
        raise CallFailed(f"no loudspeaker here: {error}") from None
    stream.start()
    return stream

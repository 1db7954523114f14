"""The machine's own microphone and loudspeaker, where PortAudio is installed, on which `sounddevice` builds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

from voice_agent.call.audio import PCM, AudioFormat, from_linear
from voice_agent.client.pacing import FRAME_MS
from voice_agent.client.refusals import CallFailed
from voice_agent.extras import install

KEPT_FRAMES = 30_000 // FRAME_MS
"""While the connection is congested, as much is kept as could be sent again after a resume."""


def _sounddevice() -> Any:
    try:
        import sounddevice  # type: ignore[import-untyped]  # it has no types
    except ImportError:
        raise CallFailed(
            f"no microphone here: the package sounddevice is missing; install it with: {install('microphone')}, "
            "or use --wav"
        ) from None
    except OSError as error:
        raise CallFailed(
            f"no microphone here: {error}; it is a library of the system, on Debian and Ubuntu: "
            "apt-get install libportaudio2, or use --wav"
        ) from None
    return sounddevice


async def microphone(audio_format: AudioFormat) -> AsyncGenerator[bytes, None]:
    """20 ms in the call's format at a time, for as long as it is iterated. Raises `CallFailed` without a device."""
    sounddevice = _sounddevice()
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[bytes] = asyncio.Queue(maxsize=KEPT_FRAMES)

    def keep(frame: bytes) -> None:
        if frames.full():
            frames.get_nowait()
        frames.put_nowait(frame)

    def heard(data: Any, *_: object) -> None:
        loop.call_soon_threadsafe(keep, bytes(data))

    try:
        stream = sounddevice.RawInputStream(
            samplerate=audio_format.rate_hz,
            blocksize=audio_format.rate_hz * FRAME_MS // 1000,
            channels=1,
            dtype="int16",
            callback=heard,
        )
    except Exception as error:  # noqa: BLE001
        # PortAudio's errors have no common base; whatever it is, there is no microphone.
        raise CallFailed(f"no microphone here: {error}") from None
    with stream:
        while True:
            yield from_linear(await frames.get(), audio_format)


class Loudspeaker:
    """Plays PCM16 24 000 Hz while the call goes on. Raises `CallFailed` without a device."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._lock = threading.Lock()
        sounddevice = _sounddevice()
        try:
            self._stream = sounddevice.RawOutputStream(
                samplerate=PCM.rate_hz, channels=1, dtype="int16", callback=self._fill
            )
            self._stream.start()
        except Exception as error:  # noqa: BLE001
            # See `microphone`.
            raise CallFailed(f"no loudspeaker here: {error}") from None

    def write(self, pcm: bytes) -> None:
        """Play this after what is waiting. Never blocks: the device's own thread takes what it needs."""
        with self._lock:
            self._waiting += pcm

    def interrupt(self) -> None:
        """The caller speaks: drop what is waiting."""
        with self._lock:
            self._waiting.clear()

    def close(self) -> None:
        """Stop at once."""
        self._stream.close()

    def _fill(self, out: Any, *_: object) -> None:
        size = len(out)
        with self._lock:
            piece = bytes(self._waiting[:size])
            del self._waiting[:size]
        out[:] = piece.ljust(size, b"\0")

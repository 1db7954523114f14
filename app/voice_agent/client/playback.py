"""The agent's voice as the caller hears it: at the pace of speech, until the caller speaks into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from voice_agent.call.audio import PCM, AudioFormat, Converter
from voice_agent.client.exchanges import AudioSink


class AudioPlayback:
    """Hands audio on to the sinks, and knows when the caller has heard it."""

    def __init__(self, audio_format: AudioFormat, sinks: Sequence[AudioSink]) -> None:
        """`audio_format`: of what `play` gets."""
        self.total_ms = 0
        """Audio that came so far."""
        self._from_wire = Converter(audio_format, PCM)
        self._sinks = sinks
        self._heard_until_s = 0.0

    def play(self, audio: bytes) -> None:
        """Play this after what is waiting."""
        pcm = self._from_wire.convert(audio)
        duration_ms = PCM.ms(len(pcm))
        self.total_ms += duration_ms
        self._heard_until_s = max(self._heard_until_s, time.monotonic()) + duration_ms / 1000
        for sink in self._sinks:
            sink.write(pcm)

    def interrupt(self) -> None:
        """The caller speaks: what is waiting is not heard any more."""
        self._heard_until_s = 0.0
        for sink in self._sinks:
            sink.interrupt()

    async def hear_out(self) -> None:
        """Wait until all is heard."""
        await asyncio.sleep(max(0.0, self._heard_until_s - time.monotonic()))

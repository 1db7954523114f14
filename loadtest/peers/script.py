"""What a caller of a conversation says: three seconds of speech, then silence in which the answer comes, and again.

All callers say the same, each from another place on, so that at any time as many speak, wait and listen as at any
other: a run of any length shows the same mix.
"""

from __future__ import annotations

import audioop
import random
from array import array
from base64 import b64encode
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from loadtest.peers.dialects import BINARY, FRAME_BYTES, TEXT, masked, protobuf
from voice_agent.call.audio import PCM

SPEECH_FROM_MS = 940
"""Where the voice begins in the sample: what is ahead of it is silence."""
SPEECH_MS = 3000
PERIOD_MS = 8000
"""Speech, half a second until its end is certain, the answer (speech and that half second, and what was ahead of it),
and time to spare: a caller who speaks again too soon interrupts."""
FRAME_MS = 20
FRAMES = PERIOD_MS // FRAME_MS
NOISE = 6
"""Silence on a line is not nothing: samples of up to so much, −75 dBFS."""
PIPECAT_HZ = 16_000
"""What pipecat's voice detection takes; its callers send that, so that nothing is resampled."""


@dataclass(frozen=True)
class Script:
    """A period of a call; it is said over and over."""

    audio: bytes
    """PCM16 little-endian mono."""
    frames: tuple[bytes, ...]
    """The same as whole WebSocket frames, masked; frame n is of `FRAME_MS` from n × `FRAME_MS` on."""
    bytes_per_ms: int

    def said(self, start: int, size: int) -> bytes:
        """So many bytes, at most a period, of what a caller says who goes on for ever."""
        start %= len(self.audio)
        end = start + size
        if end <= len(self.audio):
            return self.audio[start:end]
        return self.audio[start:] + self.audio[: end - len(self.audio)]


@cache
def script(dialect: Literal["realtime", "pipecat"]) -> Script:
    """24 000 Hz in JSON for `realtime`, 16 000 Hz in protobuf for `pipecat`."""
    pcm = _period()
    if dialect == "pipecat":
        pcm = audioop.ratecv(pcm, 2, 1, PCM.rate_hz, PIPECAT_HZ, None)[0].ljust(PERIOD_MS * 32, b"\0")
    size = len(pcm) // FRAMES
    cut = [pcm[at : at + size] for at in range(0, len(pcm), size)]
    if dialect == "pipecat":
        frames = tuple(masked(BINARY, protobuf(one, PIPECAT_HZ)) for one in cut)
    else:
        begin = b'{"type":"input_audio_buffer.append","audio":"'
        frames = tuple(masked(TEXT, begin + b64encode(one) + b'"}') for one in cut)
    return Script(pcm, frames, len(pcm) // PERIOD_MS)


def _period() -> bytes:
    """Speech, and a silence with a little noise in it, the same in every run."""
    wav = files("voice_agent.client").joinpath("samples", "caller-books.wav").read_bytes()
    start = wav.index(b"data") + 8 + PCM.size(SPEECH_FROM_MS)
    speech = wav[start : start + PCM.size(SPEECH_MS)]
    chance = random.Random(5)  # noqa: S311 - noise
    left = FRAMES * FRAME_BYTES - len(speech)
    return speech + array("h", [chance.randint(-NOISE, NOISE) for _ in range(left // 2)]).tobytes()

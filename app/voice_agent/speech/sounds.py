"""What can be told of a clip before it is understood: whether there is speech in it, and how much noise."""

from __future__ import annotations

import numpy as np

from voice_agent.call.audio import AudioFormat
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.log_mel import RATE_HZ, Floats

_FRAME = RATE_HZ // 50
QUIET_SHARE, LOUD_SHARE = 10, 90
"""Percentiles of the frames' levels that stand for the noise and for the speech."""


def has_speech(audio: bytes, audio_format: AudioFormat) -> bool:
    """Whether voice activity detection finds any."""
    listener = Endpointer(audio_format, threshold=0.3, prefix_padding_ms=0, silence_duration_ms=500)
    return bool(listener.feed(audio))


def signal_to_noise_db(samples: Floats) -> float:
    """How far what is loud is above what is quiet, in frames of 20 ms at `RATE_HZ`.

    Those that are all zero do not count. Of speech with the pauses around it.
    Steady noise alone has about 0, silence and a clean line have much.
    """
    count = len(samples) // _FRAME
    levels = np.sqrt(np.mean(samples[: count * _FRAME].reshape(count, _FRAME) ** 2, axis=1)) if count else np.zeros(0)
    levels = levels[levels > 0]
    if not len(levels):
        return 0.0
    quiet, loud = np.percentile(levels, [QUIET_SHARE, LOUD_SHARE])
    return float(20 * np.log10(loud / quiet))

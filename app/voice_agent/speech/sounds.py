"""What can be told of a clip before it is understood: whether there is speech in it, and how much noise."""

from __future__ import annotations

import numpy as np

from voice_agent.call.audio import AudioFormat
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.log_mel import RATE_HZ, Floats

_FRAME = RATE_HZ // 50
QUIET_SHARE, LOUD_SHARE = 10, 90
"""Percentiles of the frames' levels that stand for the noise and for the speech."""


ABOVE_NOISE = 1.4
"""As for `SemanticEndpointer`. Who asks has taken it for speech: with 1.8, four of 539 sentences in white noise were
silence; with 1.4 none is, and of 200 clips of white and pink noise alone none is speech."""


def has_speech(audio: bytes, audio_format: AudioFormat) -> bool:
    """Whether voice activity detection finds any."""
    listener = Endpointer(
        audio_format, threshold=0.3, prefix_padding_ms=0, silence_duration_ms=500, above_noise=ABOVE_NOISE
    )
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


_WINDOW = RATE_HZ * 32 // 1000
_STEP = _WINDOW // 2
_SMOOTHED_FRAMES = 5
_NOISE_SHARE = 10
"""Percentile of a band's levels over the clip that stands for the noise in it."""
_NOISE_FACTOR = 1.95
"""The noise is on average so much above that."""
_LEAST_GAIN = 0.2
"""Noise stays, 14 dB below: where it is taken away altogether, ears hear less."""
_MEMORY = 0.92
_LEAST_RATIO = 1e-3


def without_noise(samples: Floats) -> Floats:
    """What was said, with less of the steady noise below it; at `RATE_HZ`, as long as before.

    Each band of each frame is weakened as far as it is noise (Wiener's filter, with the ratio of speech to noise
    followed from frame to frame, as Ephraim and Malah have it).
    """
    count = max(1, -(-(len(samples) - _WINDOW) // _STEP) + 1)
    padded = np.zeros(_WINDOW + (count - 1) * _STEP, np.float32)
    padded[: len(samples)] = samples
    window = np.sqrt(np.hanning(_WINDOW + 1)[:-1]).astype(np.float32)
    frames = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_STEP] * window, axis=1)
    power = np.abs(frames) ** 2
    above_noise = power / np.maximum(_noise(power), np.finfo(np.float32).tiny)
    gains = np.empty_like(power)
    speech = np.zeros(power.shape[1])
    for number, level in enumerate(above_noise):
        ratio = np.maximum(_MEMORY * speech + (1 - _MEMORY) * np.maximum(level - 1, 0), _LEAST_RATIO)
        gain = ratio / (1 + ratio)
        gains[number] = np.maximum(gain, _LEAST_GAIN)
        speech = gain**2 * level
    parts = np.fft.irfft(frames * gains, _WINDOW, axis=1) * window
    made = np.zeros(len(padded), np.float32)
    for half in (0, 1):  # Every other frame overlaps none of its kind.
        chosen = parts[half::2].ravel()
        made[half * _STEP : half * _STEP + len(chosen)] += chosen.astype(np.float32)
    return made[: len(samples)]


def _noise(power: Floats) -> Floats:
    """Of each band."""
    if len(power) > _SMOOTHED_FRAMES:
        summed = np.cumsum(np.vstack([np.zeros((1, power.shape[1])), power]), axis=0)
        power = (summed[_SMOOTHED_FRAMES:] - summed[:-_SMOOTHED_FRAMES]) / _SMOOTHED_FRAMES
    return np.asarray(np.percentile(power, _NOISE_SHARE, axis=0) * _NOISE_FACTOR)

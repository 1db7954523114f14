"""What Whisper sees of a sound: how strong each of 80 bands is, every 10 ms, in powers of ten.

As OpenAI's `whisper/audio.py` and librosa's `filters.mel` (Slaney's scale and norm) have it: windows of 25 ms, bands up
to 8 kHz, all that is 80 dB below the strongest taken for silence.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

RATE_HZ = 16_000
WINDOW = 400
HOP = 160
BANDS = 80
_DYNAMIC_RANGE = 8.0

Floats = npt.NDArray[np.float32]


def log_mel(samples: Floats) -> Floats:
    """Of samples between -1 and 1, at `RATE_HZ`: bands by frames, one frame for each `HOP` samples."""
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][: len(samples) // HOP]
    power = np.abs(np.fft.rfft(windows * _hann(), axis=1)) ** 2
    levels = np.log10(np.maximum(filters() @ power.T, 1e-10))
    levels = np.maximum(levels, levels.max() - _DYNAMIC_RANGE)
    return np.asarray((levels + 4) / 4, np.float32)


@cache
def filters() -> Floats:
    """How much of each frequency (`WINDOW` // 2 + 1 of them) belongs to each band."""
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    edges = _hz(np.linspace(0, _mel(RATE_HZ / 2), BANDS + 2))
    widths = np.diff(edges)
    away = edges[:, None] - frequencies[None]
    rising, falling = -away[:-2] / widths[:-1, None], away[2:] / widths[1:, None]
    shares = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(shares * (2 / (edges[2:] - edges[:-2]))[:, None], np.float32)


_LINEAR_TO_HZ, _LINEAR_TO_MEL, _STEP = 1000.0, 15.0, np.log(6.4) / 27
"""Slaney's scale: 200/3 Hz a step up to 1 kHz, from there on 27 steps for a factor of 6.4."""


def _mel(hz: float) -> float:
    return float(_LINEAR_TO_MEL + np.log(hz / _LINEAR_TO_HZ) / _STEP)


def _hz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mels < _LINEAR_TO_MEL, mels * (200 / 3), _LINEAR_TO_HZ * np.exp(_STEP * (mels - _LINEAR_TO_MEL)))


@cache
def _hann() -> Floats:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)

"""What becomes of speech on its way: clean, over a telephone, in noise, and sent at a wrong rate."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import soxr

from tests.eval_speech import people
from tests.eval_speech.callers import RATE_HZ, Recordings, Samples, levelled, read
from voice_agent.call.audio import PCM, PCMU, AudioFormat, from_linear
from voice_agent.kit.clip import Clip

BEFORE_S, AFTER_S = 0.3, 0.4
"""Silence around what is said, as the endpointer leaves it."""
FLOOR = 10 ** (-60 / 20)
"""No line is digitally silent: faint noise all over."""
SNR_DB = 10.0
TELEPHONE_HZ = (300.0, 3_400.0)
SENT_HZ = 16_000
"""The true rate of what a caller of the wrong rate sends as `RATE_HZ`: half as fast again, and as high."""
_BABBLE_VOICES = 6
_FRAME = RATE_HZ // 100
_QUIET = 0.05


class Conditions:
    """Makes clips. The same speech in the same condition is the same clip, byte for byte."""

    def __init__(self, recordings: Recordings) -> None:
        self._babble = _babble(recordings)

    def clip(self, name: str, speech: Samples, seed: str) -> Clip:
        """`speech` in a condition; `seed` tells one recording from another, so that no two have the same noise."""
        chance = np.random.default_rng(zlib.crc32(seed.encode()))
        if name == "rate":
            speech = soxr.resample(speech, RATE_HZ, SENT_HZ, quality="HQ")
        padded = np.concatenate([np.zeros(int(BEFORE_S * RATE_HZ)), speech, np.zeros(int(AFTER_S * RATE_HZ))])
        padded += chance.normal(0, FLOOR, len(padded))
        return _MADE[name](self, padded, chance)

    def _clean(self, samples: Samples, _: np.random.Generator) -> Clip:
        return encoded(samples, PCM)

    def _telephone(self, samples: Samples, _: np.random.Generator) -> Clip:
        spectrum = np.fft.rfft(samples)
        frequencies = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
        spectrum[(frequencies < TELEPHONE_HZ[0]) | (frequencies > TELEPHONE_HZ[1])] = 0
        return encoded(np.fft.irfft(spectrum, len(samples)), PCMU)

    def _white(self, samples: Samples, chance: np.random.Generator) -> Clip:
        return encoded(samples + at_snr(samples, chance.normal(0, 1, len(samples))), PCM)

    def _voices(self, samples: Samples, chance: np.random.Generator) -> Clip:
        start = int(chance.integers(len(self._babble)))
        around = np.take(self._babble, range(start, start + len(samples)), mode="wrap")
        return encoded(samples + at_snr(samples, around), PCM)


_MADE: dict[str, Callable[[Conditions, Samples, np.random.Generator], Clip]] = {
    "clean": Conditions._clean,
    "telephone": Conditions._telephone,
    "white": Conditions._white,
    "babble": Conditions._voices,
    "rate": Conditions._clean,
}
CONDITIONS = {
    "clean": "PCM of 24 kHz, faint noise at -60 dB",
    "telephone": "300 to 3 400 Hz, µ-law of 8 kHz",
    "white": "white noise, 10 dB below the speech",
    "babble": f"{_BABBLE_VOICES} other voices at once, 10 dB below the speech",
    "rate": "samples of 16 kHz sent as 24 kHz",
}
"""Each, and what it is."""
NOISY = frozenset({"white", "babble"})


def encoded(samples: Samples, audio_format: AudioFormat) -> Clip:
    """Samples of `RATE_HZ` in a call's format."""
    at_rate = soxr.resample(samples, RATE_HZ, audio_format.rate_hz, quality="HQ")
    pcm16 = (np.clip(at_rate, -1, 1) * 32_767).astype("<i2").tobytes()
    return Clip(from_linear(pcm16, audio_format), audio_format)


def at_snr(speech: Samples, noise: Samples) -> Samples:
    """`noise`, so loud that it is `SNR_DB` below what is said in `speech`."""
    wanted = np.sqrt(np.mean(_voiced(speech) ** 2)) / 10 ** (SNR_DB / 20)
    scaled: Samples = noise * (wanted / np.sqrt(np.mean(noise**2)))
    return scaled


def _voiced(speech: Samples) -> Samples:
    frames = speech[: len(speech) // _FRAME * _FRAME].reshape(-1, _FRAME)
    loudness = np.sqrt(np.mean(frames**2, axis=1))
    return frames[loudness > _QUIET * loudness.max()]


def _babble(recordings: Recordings) -> Samples:
    """People talking at once, or callers where there are no recordings of people: half a minute."""
    length = 30 * RATE_HZ
    prompts = people.prompts()
    if prompts:
        pieces = [levelled(*read(people.RECORDINGS / f"{people.named(each.text)}.wav")) for each in prompts[:90]]
    else:
        said = ("the weather is nice here", "we will see about that later", "have you seen the news this morning")
        pieces = [recordings.said(f"flite-{voice}", text) for voice in ("rms", "slt", "awb") for text in said]
    mixed = np.zeros(length, np.float32)
    for voice in range(_BABBLE_VOICES):
        own = pieces[voice::_BABBLE_VOICES]
        joined = np.concatenate([piece for _ in range(1 + length // sum(map(len, own))) for piece in own])
        mixed += joined[:length]
    return mixed

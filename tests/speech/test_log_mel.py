"""What Whisper sees of a sound."""

from __future__ import annotations

import numpy as np
import pytest

from voice_agent.speech.log_mel import BANDS, HOP, RATE_HZ, filters, log_mel


def test_the_bands_are_those_that_whisper_was_trained_with() -> None:
    """Two figures of `mel_filters.npz` of OpenAI's package, and what Slaney's norm makes of an area."""
    bands = filters()
    assert bands.shape == (80, 201)
    assert bands[0, 1] == pytest.approx(0.02486259, abs=1e-7)
    assert bands[0, 2] == 0
    assert (bands.sum(axis=1)[20:] * 40).tolist() == pytest.approx([1.0] * 60, rel=0.08)


@pytest.mark.parametrize("hz", [440, 1000, 3000])
def test_a_tone_is_in_its_band(hz: int) -> None:
    """A frame each 10 ms; the strongest band is the one that holds the tone, what is 80 dB below is the floor."""
    tone = np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ).astype(np.float32)
    seen = log_mel(tone)
    assert seen.shape == (BANDS, RATE_HZ // HOP)
    assert seen[:, 50].argmax() == filters()[:, round(hz / 40)].argmax()
    assert seen.max() - seen.min() == pytest.approx(2.0)

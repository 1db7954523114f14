from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from voice_agent.call.audio import PCM
from voice_agent.speech.synthesis import VOICES, speak, synthesize

SENTENCES = ("Which day would suit you?", "Done: Tuesday the first of December at three in the afternoon.")
ROOT = Path(__file__).parents[2]


def test_the_same_words_are_the_same_bytes_in_any_order() -> None:
    """A sentence sounds the same whatever was said before it: a reply can be made again after a crash."""
    jobs = [(text, voice, speed) for text in SENTENCES for voice in VOICES for speed in (1.0, 1.3)]
    first = {job: synthesize(*job) for job in jobs}
    random.Random(1).shuffle(jobs)
    assert all(synthesize(*job) == first[job] for job in jobs)


def test_another_process_says_the_same_bytes() -> None:
    """So that another pod can go on with a reply."""
    program = (
        "import hashlib; from voice_agent.speech.synthesis import synthesize\n"
        f"print(hashlib.sha256(synthesize({SENTENCES[1]!r}, 'coral')).hexdigest())"
    )
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert said.stdout.strip() == hashlib.sha256(synthesize(SENTENCES[1], "coral")).hexdigest()


def test_every_voice_is_a_voice_of_its_own() -> None:
    """No two names sound the same, and an unknown name speaks as the default."""
    assert len({synthesize("hello", voice) for voice in VOICES}) == len(VOICES)
    assert synthesize("hello", "nobody") == synthesize("hello", "alloy")


@pytest.mark.parametrize("voice", VOICES)
def test_speech_is_as_long_and_as_loud_as_speech(voice: str) -> None:
    """Two to seven seconds for eleven words, neither faint nor clipped."""
    samples = np.frombuffer(synthesize(SENTENCES[1], voice), "<i2").astype(float)
    assert 2 < len(samples) / PCM.rate_hz < 7
    assert 1000 < np.sqrt(np.mean(samples**2)) < 8000
    assert np.mean(np.abs(samples) > 32_700) < 0.001


def test_speed() -> None:
    """A higher speed takes less time."""
    assert len(synthesize(SENTENCES[1], speed=1.5)) < 0.8 * len(synthesize(SENTENCES[1]))
    assert len(synthesize(SENTENCES[1], speed=0.7)) > 1.2 * len(synthesize(SENTENCES[1]))


@pytest.mark.parametrize("text", ["", "  ", "\0", "ß 漢字 \ud800", "<b>&amp;", "a" * 5000])
def test_any_text_can_be_said(text: str) -> None:
    """Odd texts give whole samples and no error."""
    assert len(synthesize(text)) % 2 == 0


def test_a_sentence_is_made_much_faster_than_it_is_heard() -> None:
    """The first sentence of a reply is ready within a fiftieth of its length."""
    synthesize("ready")
    began = time.process_time()
    audio = synthesize(SENTENCES[1])
    assert time.process_time() - began < PCM.ms(len(audio)) / 1000 / 50


def test_words_are_said_where_the_voice_says_they_are() -> None:
    """What is left of a sentence from a word on takes as long to say alone as there is audio left from there on."""
    whole = speak(SENTENCES[1])
    lasts_ms = PCM.ms(len(whole.audio))
    assert len(whole.words) > 3
    for ms, chars in whole.words:
        assert SENTENCES[1][chars - 1].isspace()
        assert abs(lasts_ms - PCM.ms(len(synthesize(SENTENCES[1][chars:]))) - ms) < 150

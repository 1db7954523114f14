"""Speech to text; tests of `make_samples`, too."""

from __future__ import annotations

import re
import wave
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from voice_agent.call.audio import PCM, PCMA, PCMU, AudioFormat, Converter
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.make_samples import SENTENCES
from voice_agent.speech.make_samples import recording as made_again
from voice_agent.speech.recognition import GRAMMARS, Recognizer
from voice_agent.speech.synthesis import synthesize

SAMPLES = Path(__file__).parents[2] / "samples"
SAID = {
    "caller-books": "i'd like to book an appointment next tuesday at three in the afternoon",
    "caller-day": "next tuesday",
    "caller-time": "at three",
}
PADDING_MS = 300


@cache
def recognizer() -> Recognizer:
    return Recognizer()


def recording(name: str) -> bytes:
    with wave.open(str(SAMPLES / f"{name}.wav")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (24_000, 1, 2)
        return sound.readframes(sound.getnframes())


def utterance(audio: bytes, audio_format: AudioFormat) -> bytes:
    """The one utterance in a recording, cut as a call cuts it."""
    listener = Endpointer(audio_format, threshold=0.5, prefix_padding_ms=PADDING_MS, silence_duration_ms=500)
    started, ended = listener.feed(audio)
    return audio[max(0, started.at_bytes - audio_format.size(PADDING_MS)) : ended.at_bytes]


@pytest.mark.parametrize("audio_format", [PCM, PCMU, PCMA], ids=lambda it: it.name)
@pytest.mark.parametrize("name", SAID)
def test_the_sample_callers_are_understood_to_the_word(name: str, audio_format: AudioFormat) -> None:
    """Each sample through voice activity detection and recognition, in each format a caller may use."""
    audio = Converter(PCM, audio_format).convert(recording(name))
    assert recognizer().transcribe(utterance(audio, audio_format), audio_format) == SAID[name]


@pytest.mark.parametrize("name", SAID)
def test_samples_are_small_and_have_silence_around_them(name: str) -> None:
    """About a second before and a second and a half after, as a caller waits."""
    audio = recording(name)
    assert (SAMPLES / f"{name}.wav").stat().st_size < 300_000
    samples = np.abs(np.frombuffer(audio, "<i2"))
    assert samples[: PCM.rate_hz * 95 // 100].max() == 0
    assert samples[-PCM.rate_hz * 3 // 2 :].max() == 0


@pytest.mark.parametrize("name", SAID)
def test_the_samples_can_be_made_again(name: str) -> None:
    """What is in the folder is what the program makes."""
    assert made_again(SENTENCES[name]) == recording(name)


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog.",
        "Turn left at the traffic lights.",
        "I would like a large pizza with extra cheese.",
        "Congratulations.",
    ],
)
@pytest.mark.parametrize("audio_format", [PCM, PCMU], ids=lambda it: it.name)
def test_other_speech_is_not_understood(text: str, audio_format: AudioFormat) -> None:
    """What is not in the grammar is None, not the nearest sentence of the grammar."""
    audio = Converter(PCM, audio_format).convert(synthesize(text, "verse"))
    assert recognizer().transcribe(audio, audio_format) is None


@pytest.mark.parametrize("audio_format", [PCM, PCMU], ids=lambda it: it.name)
def test_no_speech_is_the_empty_text(audio_format: AudioFormat) -> None:
    """Silence, hiss, a click, and no sound at all."""
    hiss = np.random.default_rng(0).normal(0, 500, 48_000).astype("<i2").tobytes()
    click = bytes(48_000) + b"\xff\x7f" * 100 + bytes(48_000)
    for sound in (bytes(96_000), hiss, click, b""):
        assert recognizer().transcribe(Converter(PCM, audio_format).convert(sound), audio_format) == ""


def test_recognition_keeps_nothing_from_clip_to_clip() -> None:
    """The same clip gives the same words after any other."""
    audio = recording("caller-day")
    first = recognizer().transcribe(audio, PCM)
    recognizer().transcribe(recording("caller-books"), PCM)
    assert recognizer().transcribe(audio, PCM) == first == SAID["caller-day"]


def test_words_that_it_lacks_are_counted() -> None:
    """However they are written; figures are none that it lacks."""
    assert recognizer().unknown("At 2 o'clock on the 4th, please: order 4711.") == 0
    assert recognizer().unknown("Any idea where my PARCEL is? The number's 4711.") == 4


def test_every_word_of_the_grammar_can_be_pronounced() -> None:
    """And the dictionary, which the other grammars have too, holds no other."""
    used: set[str] = set()
    for name in ("frontdesk", "yes", "no", "rhymes"):
        grammar = re.sub(r"//.*", "", (GRAMMARS / f"{name}.jsgf").read_text())
        used |= set(re.findall(r"[a-z][a-z']*", re.sub(r"<[^>]*>", " ", grammar.partition("public")[2])))
    lines = (GRAMMARS / "frontdesk.dict").read_text().splitlines()
    assert {line.split()[0].partition("(")[0] for line in lines if line.strip()} == used

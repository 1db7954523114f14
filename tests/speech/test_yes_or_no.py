"""What is believed to be a yes or a no; and with the engines, one session's."""

from __future__ import annotations

import math
import re
import wave

import numpy as np
import pytest

from tests.speech.bench_yes_or_no import SOUNDS, sound
from tests.speech.test_second_opinion import SAMPLES
from voice_agent.call.audio import PCM, AudioFormat
from voice_agent.kit.ear import Transcript
from voice_agent.speech import second_opinion, worker
from voice_agent.speech.recognition import GRAMMARS, wide
from voice_agent.speech.same_words import same_words
from voice_agent.speech.second_opinion import NaturalEngine
from voice_agent.speech.whisper import Decoded
from voice_agent.speech.yes_or_no import RHYMING, Likelihoods, believed, class_of, is_rhyme

SURELY = Likelihoods(0.9, 0.001)
AGREES = {"yes": -20.0, "no": -30.0, "rhymes": -21.0}


@pytest.fixture(scope="session")
def engine() -> NaturalEngine:
    """Loaded once."""
    return NaturalEngine()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Yes.", "yes"),
        ("Yes, please...", "yes"),
        ("Yeah, that’s right.", "yes"),
        ("No. No.", "no"),
        ("no, thank you", "no"),
        ("Yes, no.", ""),
        ("not right", ""),
        ("Yes, at four", ""),
        ("yes 4", ""),
        ("Thank you.", ""),
        ("", ""),
    ],
)
def test_a_bare_yes_or_no_is_one_class_and_nothing_else(text: str, named: str) -> None:
    """Politeness beside it does not matter; a time, an order or the other class does."""
    assert class_of(text, "en") == named


def test_german_has_its_own() -> None:
    """And a language without a file has none."""
    assert class_of("Ja, bitte.", "de") == "yes"
    assert class_of("Nein, danke!", "de") == "no"
    assert class_of("yes", "xx") == ""


def test_two_judges_that_agree_are_believed() -> None:
    """The grammar may lack a clear opinion where the word is likely, and not where it is only possible."""
    assert believed("Yes.", "en", SURELY, AGREES)
    assert believed("No.", "en", Likelihoods(0.001, 0.9), {"yes": -40.0, "no": -30.0})
    assert believed("Yes.", "en", SURELY, {"yes": -25.0, "no": -24.0})
    assert believed("Yes.", "en", Likelihoods(0.1, 0.0), AGREES)
    assert not believed("Yes.", "en", Likelihoods(0.1, 0.0), {"yes": -25.0, "no": -24.0})
    assert not believed("Yes.", "en", Likelihoods(0.01, 0.0), AGREES)


def test_a_contradiction_is_not_believed() -> None:
    """Neither of the two classes in Whisper's mind, nor of the grammar with Whisper."""
    assert not believed("Yes.", "en", Likelihoods(0.5, 0.1), AGREES)
    assert not believed("Yes.", "en", SURELY, {"yes": -30.0, "no": -20.0})
    assert not believed("Yes.", "en", SURELY, {"yes": -math.inf, "no": -20.0})
    assert not believed("No.", "en", SURELY, AGREES)


def test_a_rhyme_is_no_answer() -> None:
    """Where either judge rather has that; a yes in noise may be a little behind."""
    assert not is_rhyme("Yes.", "en", SURELY, AGREES)
    assert not is_rhyme("Yes.", "en", SURELY, AGREES | {"rhymes": -17.0})
    assert is_rhyme("Yes.", "en", SURELY, AGREES | {"rhymes": -16.0})
    assert is_rhyme("Yes.", "en", Likelihoods(0.5, 0.0, 0.3), AGREES)
    assert is_rhyme("No.", "en", Likelihoods(0.0, 0.3, 0.2), {"yes": -40.0, "no": -20.0, "rhymes": -30.0})


def test_words_that_are_no_yes_are_none_however_likely() -> None:
    """Nothing is made of what Whisper did not hear."""
    assert not believed("Nice", "en", SURELY, AGREES)
    assert not believed("Yes, on Tuesday", "en", SURELY, AGREES)


def test_a_yes_that_was_asked_for_is_certain_where_it_would_be_doubted(
    engine: NaturalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judges' opinion stands in for the mean probability; without the question it is doubted as ever."""
    with wave.open(str(SAMPLES / "caller-day.wav")) as recording:
        audio = recording.readframes(recording.getnframes())[: PCM.size(2000)]
    monkeypatch.setattr(second_opinion, "judged", lambda *_, **__: Transcript(None, certain=False))
    for decode in ("decode", "decode_answer"):
        monkeypatch.setattr(engine._whisper, decode, lambda *_, **__: Decoded("Yes.", -0.5, 0.1, loops=False))
    monkeypatch.setattr(engine._whisper, "begins_with", lambda *_: [0.8, 0.001, 0.001])
    monkeypatch.setattr(engine._grammar, "scores", lambda *_: AGREES)
    assert engine.transcribe(audio, PCM, "en") == Transcript(None, certain=False)
    assert engine.transcribe_answer(audio, PCM, "en") == Transcript("Yes.")
    monkeypatch.setattr(engine._grammar, "scores", lambda *_: AGREES | {"rhymes": -10.0})
    assert engine.transcribe_answer(audio, PCM, "en") == Transcript("Yes.", certain=False)
    monkeypatch.setattr(engine._grammar, "scores", lambda *_: {"yes": -60.0, "no": -20.0, "rhymes": -60.0})
    assert engine.transcribe_answer(audio, PCM, "en") == Transcript(None, certain=False)


def test_what_answers_with_a_day_is_understood_as_ever(engine: NaturalEngine) -> None:
    """With a yes/no question asked, too; and the grammar is the whole one again afterwards."""
    with wave.open(str(SAMPLES / "caller-day.wav")) as recording:
        audio = recording.readframes(recording.getnframes())
    before = engine.transcribe(audio, PCM, "en")
    scores = engine._grammar.scores(wide(audio, PCM), ("yes", "no"))
    silence = engine._whisper.decode(np.zeros(16_000, np.float32), "en")
    first = engine._whisper.begins_with(silence, frozenset({"yes"}), frozenset({"no"}))
    assert set(scores) == {"yes", "no"}
    assert all(0 <= chance < 0.3 for chance in first)
    found = engine.transcribe_answer(audio, PCM, "en")
    assert same_words(found.text or "", before.text or "")
    assert found.certain is before.certain


@pytest.mark.parametrize("kind", SOUNDS)
def test_what_nobody_said_is_no_yes(engine: NaturalEngine, kind: str) -> None:
    """Noise, a cough, breath: ``python -m tests.speech.bench_yes_or_no`` has many more."""
    clip = (sound(kind, np.random.default_rng(1)) * 32_000).astype("<i2").tobytes()
    found = engine.transcribe_answer(clip, PCM, "en")
    assert not (found.certain and class_of(found.text or "", "en"))


def test_a_worker_asks_for_an_answer_where_the_clip_says_so() -> None:
    """And an engine that knows no difference hears as ever."""

    class Plain:
        def transcribe(self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str = "") -> str:
            return "anything"

    class Answering(Plain):
        def transcribe_answer(self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str = "") -> str:
            return "yes"

    work = worker._Work()
    work._engines = {"plain": Plain(), "answering": Answering()}
    for engine, asked, text in (
        ("plain", True, "anything"),
        ("answering", False, "anything"),
        ("answering", True, "yes"),
    ):
        job = {"engine": engine, "settings": {}, "format": PCM.name, "language": "en", "yes_or_no": asked}
        assert work._transcribe(job, b"")[0]["text"] == text


def test_whisper_and_the_grammar_know_the_same_rhymes() -> None:
    """And none of them is an answer."""
    listed = re.sub(r"//.*|<\w+>|turn|grammar|public|rhymes|sil", " ", (GRAMMARS / "rhymes.jsgf").read_text())
    assert set(re.findall(r"[a-z]+", listed)) == RHYMING
    assert not any(class_of(word, "en") for word in RHYMING)

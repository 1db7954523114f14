"""Whisper. The model is loaded once for all of these."""

from __future__ import annotations

import re
from functools import cache
from unittest.mock import Mock

import numpy as np
import pytest

from voice_agent.call.audio import PCM, PCMU
from voice_agent.kit.ear import Transcript
from voice_agent.speech import whisper
from voice_agent.speech.hibari_engine import HibariEngine
from voice_agent.speech.sounds import without_noise
from voice_agent.speech.whisper import (
    KEPT_PROMPTS,
    MAX_PROMPT_TOKENS,
    NO_SPEECH,
    SURE_OF_EACH,
    Decoded,
    WhisperEngine,
    is_echo,
    samples_of,
    text_of,
    without_loops,
)

SENTENCE = "I'd like to book an appointment next Tuesday at 3 in the afternoon."


@pytest.fixture(scope="module")
def engine() -> WhisperEngine:
    return WhisperEngine()


@cache
def sample() -> bytes:
    """A caller's sentence."""
    return HibariEngine().speak(SENTENCE, "", 1.0, "a caller", "en").audio


def test_a_sentence_that_is_in_no_grammar_is_understood(engine: WhisperEngine) -> None:
    """What a caller says becomes its text, with capitals and a full stop; what else was followed beside it."""
    found = engine.transcribe(sample(), PCM, "en")
    assert (found.text, found.certain) == (SENTENCE, True)
    assert found.alternatives == engine._model.decode(without_noise(samples_of(sample(), PCM)), "en").others
    assert all(understood(other) != understood(SENTENCE) for other in found.alternatives)


def understood(text: str) -> list[str]:
    """Its words, however they are written."""
    return re.findall(r"\w+", text.lower().replace("'", ""))


def test_other_texts_are_other_words_that_came_to_an_end() -> None:
    """Capitals and full stops make no other text; one that runs in a circle is none."""
    model = Mock(sequences=[list("Now."), list("now"), list("Know."), list("\u0120go" * 9), list("know")])
    model.scores, model.no_speech_prob = [-0.2], 0.0
    found = whisper._decoded(model, list("Now."), [0.9] * 4, 20, "")
    assert found.others == ("Know.",)
    assert found.transcript() == Transcript("Now.", alternatives=("Know.",))
    assert found._replace(log_probability=-0.8, least=0.1).transcript() == Transcript("Now.", certain=False)


def test_on_a_quiet_line_a_text_that_says_the_sentence_again_is_not_followed(engine: WhisperEngine) -> None:
    """The two that end first are other texts, one word in figures; of all three, two go on in circles."""
    pause = bytes(PCM.size(300))
    audio = HibariEngine().speak("Is there a slot left tomorrow at eleven?", "", 1.0, "a caller", "en").audio
    samples = without_noise(samples_of(pause + audio + pause, PCM))
    quiet, noisy = engine._model.decode(samples, "en"), engine._model.decode(samples, "en", noisy=True)
    assert quiet.text == noisy.text == "Is there a slot left tomorrow at 11?"
    assert (quiet.others, noisy.others) == (("Is there a slot left tomorrow at eleven?",), ())


def test_silence_and_other_languages_cost_nothing(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is "", and what the model does not know is not understood: it is not asked for either."""
    monkeypatch.setattr(whisper.WhisperModel, "_decode", None)
    assert engine.transcribe(bytes(PCM.size(2000)), PCM, "en") == Transcript("")
    assert engine.transcribe(sample(), PCM, "de") == Transcript(None)


PROMPT = "Could I come in on Wednesday? Where is my order?"


def test_a_prompt_is_spelt_in_the_models_own_tokens(engine: WhisperEngine) -> None:
    """All of it, words first; of a long one the end, and whatever it is written in."""
    model = engine._model
    before = model._before(PROMPT)
    assert before[0] == "<|startofprev|>"
    assert text_of(before) == PROMPT
    assert len(before) == 1 + len("Could I come in on Wednesday ? Where is my order ?".split())
    assert text_of(model._before("Grüße, 你好! \N{DROMEDARY CAMEL}")) == "Grüße, 你好! \N{DROMEDARY CAMEL}"
    assert len(model._before(PROMPT * 100)) == 1 + MAX_PROMPT_TOKENS
    assert model._before("") == []
    marked = "so<|endoftext|>on<|startoftranscript|>"
    assert text_of(model._before(marked)) == marked
    for number in range(2 * KEPT_PROMPTS):
        model._before(str(number))
    assert len(model._prompts) <= KEPT_PROMPTS


def test_a_model_that_does_not_list_its_tokens_hears_as_well_and_is_never_sure(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is told nothing, for nothing can be spelt."""
    monkeypatch.setattr(whisper, "_numbers", lambda _: {})
    found = engine._model.decode(samples_of(sample(), PCM), "en", "May I see Dr. Kaye, please?")
    assert (found.text, found.is_sure) == (SENTENCE, False)


def test_a_name_that_was_told_is_heard(engine: WhisperEngine) -> None:
    """And written as it was told; unknown it is some words that sound like it."""
    said = HibariEngine().speak("Is Doctor Kaye in today?", "", 1.0, "a caller", "en").audio
    assert "Kaye" not in (engine.transcribe(said, PCM, "en").text or "")
    assert "Kaye" in (engine.transcribe(said, PCM, "en", "May I see Dr. Kaye?").text or "")


def test_noise_is_not_taken_for_what_was_told(engine: WhisperEngine) -> None:
    """Whether there is speech is asked without the prompt; and a doubtful text that stands in it is none."""
    for seed in range(1, 4):
        noise = np.random.default_rng(seed).normal(0, 0.03, 24_000).astype(np.float32)
        found = engine._model.decode(noise, "en", PROMPT)
        # By a processor's rounding it is no speech at all, or some that was not understood.
        assert not found.transcript().text
        assert found.no_speech == pytest.approx(engine._model.decode(noise, "en").no_speech)
        assert found.no_speech >= NO_SPEECH
    assert is_echo("where is my order", PROMPT)
    assert not is_echo("Where is?", PROMPT)
    assert not is_echo("Where is my orders", PROMPT)
    echo = Decoded("Where is my order?", -0.5, 0.1, loops=False, least=0.3, is_echo=True)
    assert echo.transcript() == Transcript(None, certain=False)
    assert echo._replace(least=SURE_OF_EACH).transcript() == Transcript("Where is my order?")


def test_a_clip_longer_than_the_model_takes_is_cut() -> None:
    """30 s at 16 kHz, at whatever rate it comes."""
    assert len(samples_of(bytes(PCM.size(40_000)), PCM)) == 30 * 16_000
    assert len(samples_of(bytes(PCMU.size(1_000)), PCMU)) == 16_000


@pytest.mark.parametrize(
    ("text", "cut", "loops"),
    [
        ("No. No. No. No. No. No.", "No.", True),
        (
            "Yes, that's right. Yes, that's right. Yes, that's right. Yes, that's right. Yes,",
            "Yes, that's right.",
            True,
        ),
        (
            "Where is my parcel, number 4711. Where is my parcel, number 4711. Where",
            "Where is my parcel, number 4711.",
            True,
        ),
        ("Four seven one one, four seven one one.", "Four seven one one, four seven one one.", False),
        ("It is for me, it is for me and her.", "It is for me, it is for me and her.", False),
        ("No, no, no.", "No, no, no.", False),
        ("It is five five five five.", "It is five five five five.", False),
        ("order 7 7 7 7", "order 7 7 7 7", False),
        ("", "", False),
    ],
)
def test_what_runs_in_a_circle_is_cut(text: str, cut: str, *, loops: bool) -> None:
    """More than three times the same words are once; numbers may have the same digit as often as they like."""
    assert without_loops(text) == (cut, loops)


@pytest.mark.parametrize(
    ("text", "cut", "loops"),
    [
        ("Where is my parcel, number 4711? Where is", "Where is my parcel, number 4711?", True),
        ("Hello. Where is my parcel, number 4711? Where is my", "Hello. Where is my parcel, number 4711?", True),
        ("Where is my parcel, number 4711? Where", "Where is my parcel, number 4711? Where", False),
        ("It is for me, and it is", "It is for me, and it is", False),
    ],
)
def test_a_sentence_that_begins_again_is_a_circle_where_the_text_was_cut_off(
    text: str, cut: str, *, loops: bool
) -> None:
    """It was longer than anybody talks: what comes again is the model's. Whole, it may be what was said."""
    assert without_loops(text, is_whole=False) == (cut, loops)
    assert without_loops(text) == (text, False)


def test_tokens_become_text_whatever_bytes_they_hold() -> None:
    """Bytes of one character may be in two tokens; what is no UTF-8 is replaced, what is no word left out."""
    assert text_of(["<|startoftranscript|>", "ĠM", "Ã", "¼", "nchen", ",", "Ġ4", "<|endoftext|>"]) == "München, 4"
    assert text_of(["Ã"]) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (Decoded("Hello.", -0.2, 0.1, loops=False), Transcript("Hello.")),
        (Decoded("Hello.", -0.8, 0.1, loops=False), Transcript("Hello.", certain=False)),
        (Decoded("Hello.", -0.1, 0.1, loops=True), Transcript("Hello.", certain=False)),
        (Decoded("you", -1.2, 0.1, loops=False), Transcript(None, certain=False)),
        (Decoded("you", -1.2, 0.7, loops=False), Transcript("")),
    ],
)
def test_what_is_unlikely_is_not_believed(found: Decoded, expected: Transcript) -> None:
    """Doubted, not known, or no speech at all."""
    assert found.transcript() == expected


def test_the_least_likely_word_tells_whether_the_text_is_sure(engine: WhisperEngine) -> None:
    """Of a clear sentence each is likely, and the first one; of noise hardly any is."""
    model = engine._model
    found, again = (decode(samples_of(sample(), PCM), "en") for decode in (model.decode_answer, model.decode))
    assert found.text == again.text == SENTENCE
    assert 0.05 < found.least < 1
    assert found.least == pytest.approx(again.least, rel=0.1)
    assert found.is_sure == (found.least >= SURE_OF_EACH)
    i, no = model.begins_with(found, frozenset({"i"}), frozenset({"no"}))
    assert i > 0.5
    assert no < 0.05
    noise = np.random.default_rng(1).normal(0, 0.1, 32_000).astype(np.float32)
    assert not model.decode(noise, "en").is_sure


def test_a_text_in_a_circle_is_as_sure_as_its_first_time() -> None:
    """It is cut there, and need not be heard again; one that is not sure is."""
    assert not Decoded("When is my appointment?", -0.4, 0.1, loops=True, least=0.6).is_unsure
    assert Decoded("When is my appointment?", -0.4, 0.1, loops=True, least=0.4).is_unsure
    assert not Decoded("When is my appointment?", -0.4, 0.7, loops=False, least=0.6).is_sure


@pytest.mark.parametrize(("limit", "is_whole"), [(5, False), (60, True)])
def test_a_text_that_its_limit_cut_off_is_known_as_cut(
    engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch, limit: int, *, is_whole: bool
) -> None:
    """The model gives as many tokens as it may, and no more; one that comes to its end was not cut."""
    told: list[tuple[str, bool]] = []

    def note(text: str, *, is_whole: bool) -> tuple[str, bool]:
        told.append((text, is_whole))
        return text, False

    monkeypatch.setattr(whisper, "TOKENS_A_SECOND", 0)
    monkeypatch.setattr(whisper, "LEAST_TOKENS", limit)
    monkeypatch.setattr(whisper, "without_loops", note)
    engine._model.decode(samples_of(sample(), PCM), "en")
    (text, known_as), *_ = told
    assert known_as is is_whole
    assert text.endswith("afternoon.") is is_whole

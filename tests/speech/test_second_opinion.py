"""What becomes of two ears' words."""

from __future__ import annotations

import audioop
import wave
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from voice_agent.call.audio import PCM, PCMU, AudioFormat
from voice_agent.kit.ear import Transcript
from voice_agent.speech.hibari_engine import HibariEngine
from voice_agent.speech.second_opinion import (
    AGREED,
    NOTHING,
    PERHAPS,
    UNLIKELY,
    UNLIKELY_BY_TELEPHONE,
    UNLIKELY_NAME,
    NaturalEngine,
    heard_twice,
    judged,
)
from voice_agent.speech.whisper import SILENCE_IN_QUIET_S, Decoded

SAMPLES = Path(__file__).parents[2] / "samples"


def heard(text: str, log_probability: float = -0.2) -> Decoded:
    """What Whisper made of it."""
    return Decoded(text, log_probability, 0.05, loops=False)


@pytest.mark.parametrize("noisy", [False, True])
def test_what_both_understood_is_certain(*, noisy: bool) -> None:
    """In noise too; where they differ by words that sound alike, the grammar knows which are meant."""
    assert judged(heard("Order 4711.", -0.9), "order four seven one one", noisy=noisy) == Transcript("Order 4711.")
    assert judged(heard("No, make it for."), "no make it four", noisy=noisy) == Transcript("no make it four")


def test_where_they_differ_nothing_is_certain() -> None:
    """Both are told; the first is Whisper's where it is sure of words that sound otherwise, else the grammar's."""
    assert judged(heard("I am busy then"), "on thursday", noisy=False) == Transcript(
        "I am busy then", certain=False, alternatives=("on thursday",)
    )
    assert judged(heard("on Tuesday"), "on thursday", noisy=False) == Transcript(
        "on thursday", certain=False, alternatives=("on Tuesday",)
    )
    assert judged(heard("I'll go there", -0.9), "half past two", noisy=False) == Transcript(
        "half past two", certain=False, alternatives=("I'll go there",)
    )


def test_what_whisper_heard_badly_the_grammar_puts_right() -> None:
    """Where words sound nearly so the grammar's come first, and are doubted all the same, however unsure Whisper is."""
    for badly, rightly in (("at free", "at three"), ("have passed two", "half past two")):
        expected = Transcript(rightly, certain=False, alternatives=(badly,))
        assert judged(heard(badly, -1.8), rightly, noisy=False) == expected
    assert not judged(heard("have passed two", -0.9), "half past two", noisy=True).certain
    assert not judged(heard("order 4771", -0.9), "order four seven one one", noisy=False).certain


def test_whisper_alone_is_believed_where_it_is_sure_and_nothing_disturbs() -> None:
    """In noise it is not, however sure it is."""
    free = "Could you squeeze me in?"
    assert judged(heard(free), None, noisy=False) == Transcript(free)
    assert judged(heard(free, -0.6), None, noisy=False) == Transcript(free, certain=False)
    assert judged(heard(free), None, noisy=True) == Transcript(free, certain=False)
    named = "Are you open on Thursday?"
    for text, enough in ((free, UNLIKELY_BY_TELEPHONE), (named, UNLIKELY_NAME), ("Order 1011.", UNLIKELY_NAME)):
        for is_telephone, least in ((True, enough), (False, UNLIKELY)):
            barely, hardly = heard(text)._replace(least=least), heard(text)._replace(least=least - 0.01)
            assert judged(barely, None, noisy=False, is_telephone=is_telephone) == Transcript(text)
            doubted = judged(hardly, None, noisy=False, is_telephone=is_telephone)
            assert doubted == Transcript(text, certain=False)
    more = heard(free)._replace(others=("Good you squeeze me in?",))
    assert judged(more, None, noisy=False) == Transcript(free, alternatives=more.others)
    # Of one hearing, and so no second opinion, which agents go by.
    assert judged(more, None, noisy=True) == Transcript(free, certain=False, alternatives=(*more.others, NOTHING))
    assert judged(heard(free, -1.6), None, noisy=False) == Transcript(None, certain=False)


def test_several_words_that_are_not_believed_may_be_asked_about() -> None:
    """In noise too; not those of noise alone, a word or two, nor what Whisper takes for no speech."""
    said = "Tuesday at four."
    assert judged(heard(said, -1.1), None, noisy=True) == Transcript(said, certain=False)
    assert judged(heard("Thank you.", -1.1), None, noisy=True) == Transcript(None, certain=False)
    assert judged(heard(said, -1.1)._replace(no_speech=0.7), None, noisy=True) == Transcript("", certain=False)
    assert judged(heard(said, -1.1)._replace(loops=True), None, noisy=True) == Transcript(None, certain=False)


@pytest.mark.parametrize("noisy", [False, True])
def test_where_each_word_is_likely_nobody_else_is_asked(monkeypatch: pytest.MonkeyPatch, *, noisy: bool) -> None:
    """In noise too; of a few words the grammar's opinion is wanted all the same."""
    engine = NaturalEngine()
    grammar = Mock(return_value=None)
    monkeypatch.setattr(engine._grammar, "sentence", grammar)
    said = in_noise(sample()) if noisy else sample()
    sure = heard("Order 4711 for Tuesday.", -0.6)._replace(least=0.6)
    monkeypatch.setattr(engine._whisper, "decode", lambda *_, **__: sure)
    assert engine.transcribe(said, PCM, "en") == Transcript(sure.text)
    grammar.assert_not_called()
    monkeypatch.setattr(engine._whisper, "decode", lambda *_, **__: sure._replace(text="Order 4711."))
    engine.transcribe(said, PCM, "en")
    grammar.assert_called_once()


@pytest.mark.parametrize(
    ("text", "is_asked"),
    [
        ("Any idea where my parcel is, number 4711?", False),
        ("Can I reach schedule on my appointment to Thursday at 1130?", True),
        ("Gone parcel idea.", True),
    ],
)
def test_the_grammar_is_not_asked_about_what_it_cannot_know(
    monkeypatch: pytest.MonkeyPatch, text: str, *, is_asked: bool
) -> None:
    """A sentence with several words that it lacks; of a short one Whisper may have every word wrong."""
    engine = NaturalEngine()
    grammar = Mock(return_value=None)
    monkeypatch.setattr(engine._grammar, "sentence", grammar)
    monkeypatch.setattr(engine._whisper, "decode", lambda *_, **__: heard(text, -0.6))
    engine.transcribe(sample(), PCM, "en")
    assert grammar.called is is_asked


def test_nothing_is_asked_about_what_is_hopeless_in_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the grammar finds in it would not be believed."""
    engine = NaturalEngine()
    grammar = Mock(return_value="on monday")
    monkeypatch.setattr(engine._grammar, "sentence", grammar)
    monkeypatch.setattr(engine._whisper, "decode", lambda *_, **__: heard("you", -1.3))
    assert engine.transcribe(in_noise(sample()), PCM, "en") == Transcript(None, certain=False)
    grammar.assert_not_called()


@pytest.mark.parametrize(
    ("least", "other", "certain", "alternatives"),
    [
        (AGREED, "where is order 4711", True, ()),
        (AGREED - 0.01, "Where is order 4711?", False, ()),
        (AGREED, "Where is order 4771?", False, ("Where is order 4771?",)),
        (PERHAPS - 0.01, "Where is order 4771?", False, ()),
        (AGREED, "", False, ()),
    ],
    ids=["the same", "the same, unlikely", "another", "another, unlikely", "nothing"],
)
def test_what_was_heard_the_same_twice_in_noise_is_certain(
    least: float, other: str, certain: bool, alternatives: tuple[str, ...]
) -> None:
    """Where it is likely enough; the likelier one is told, and the other where it may be what was said."""
    first, second = heard("Where is order 4711?", -0.3)._replace(least=0.5), heard(other, -0.4)._replace(least=least)
    wanted = Transcript("Where is order 4711?", certain=certain, alternatives=alternatives)
    assert heard_twice(first, second) == heard_twice(second, first) == wanted


def test_of_two_hearings_one_that_is_sure_is_enough_and_two_that_are_hopeless_are_none() -> None:
    """What runs in a circle is the worse one."""
    sure, doubtful = heard("Where is order 4711?")._replace(least=0.7), heard("Where is all the 11?", -0.9)
    assert heard_twice(doubtful, sure) == Transcript(sure.text)
    assert heard_twice(sure._replace(loops=True), doubtful).text == doubtful.text
    hopeless = heard("a b", -1.3)
    assert heard_twice(hopeless, hopeless) == Transcript(None, certain=False)


@pytest.mark.parametrize(("audio_format", "certain"), [(PCM, True), (PCMU, False)])
def test_a_telephone_makes_days_doubtful(
    monkeypatch: pytest.MonkeyPatch, audio_format: AudioFormat, *, certain: bool
) -> None:
    """Half of what tells them apart is lost there."""
    engine = NaturalEngine()
    monkeypatch.setattr(engine._grammar, "sentence", Mock(return_value=None))
    barely = heard("Are you open on Thursday?")._replace(least=UNLIKELY_NAME - 0.1)
    monkeypatch.setattr(engine._whisper, "decode", Mock(return_value=barely))
    audio = (
        sample() if audio_format is PCM else audioop.lin2ulaw(audioop.ratecv(sample(), 2, 1, 24_000, 8_000, None)[0], 2)
    )
    assert engine.transcribe(audio, audio_format, "en").certain is certain


def test_other_texts_of_one_hearing_are_told_and_agree_about_nothing() -> None:
    """They come behind another hearing's; alone they stand beside "nothing was said", so that nothing is certain."""
    first = heard("at four")._replace(least=0.3, others=("add for", "at for"))
    second = heard("a door", -0.4)._replace(least=PERHAPS)
    assert heard_twice(first, second).alternatives == ("a door", *first.others)
    unlikely = second._replace(least=0.1)
    assert heard_twice(first, unlikely) == Transcript("at four", certain=False, alternatives=(*first.others, NOTHING))
    sure = first._replace(least=0.7)
    assert heard_twice(sure, second) == Transcript("at four", alternatives=first.others)


def test_doubtful_words_of_the_prompt_are_told_of_no_hearing() -> None:
    """However often they are heard: noise is heard so."""
    echo = heard("I'd like to cancel it.", -0.5)._replace(least=AGREED, is_echo=True)
    assert heard_twice(echo, echo) == Transcript(None, certain=False)
    assert judged(echo, None, noisy=True) == Transcript(None, certain=False)
    sure = echo._replace(least=0.7)
    assert heard_twice(sure, sure) == Transcript(sure.text)


def test_a_sentence_in_noise_is_heard_twice_and_a_short_one_has_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, and with less of the noise; each with what the caller is likely to say."""
    engine = NaturalEngine()
    grammar = Mock(return_value=None)
    decode = Mock(return_value=heard("Where is order 4711?", -0.6)._replace(least=AGREED))
    monkeypatch.setattr(engine._grammar, "sentence", grammar)
    monkeypatch.setattr(engine._whisper, "decode", decode)
    assert engine.transcribe(in_noise(sample()), PCM, "en", "Where is it?") == Transcript("Where is order 4711?")
    assert [call.args[1:] for call in decode.call_args_list] == [("en", "Where is it?")] * 2
    assert [call.kwargs.get("noisy") for call in decode.call_args_list] == [True] * 2
    first, second = (call.args[0] for call in decode.call_args_list)
    assert np.mean(second**2) < np.mean(first**2)
    grammar.assert_not_called()
    decode.return_value = heard("on Tuesday", -0.6)
    engine.transcribe(in_noise(sample()), PCM, "en", "Where is it?")
    grammar.assert_called_once()
    assert decode.call_count == 3
    engine.transcribe(sample(), PCM, "en", "Where is it?")
    assert decode.call_args.kwargs == {"noisy": False, "silence_s": SILENCE_IN_QUIET_S}


def test_an_answer_is_not_looked_for_among_what_callers_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A "yes" in noise sounds like any short words that are expected; a sentence in place of it is looked for there."""
    engine = NaturalEngine()
    decode = Mock(return_value=heard("No, where is it then?", -0.8))
    decode_answer = Mock(return_value=heard("Nice", -0.8))
    monkeypatch.setattr(engine._grammar, "sentence", Mock(return_value=None))
    monkeypatch.setattr(engine._whisper, "decode", decode)
    monkeypatch.setattr(engine._whisper, "decode_answer", decode_answer)
    monkeypatch.setattr(engine._whisper, "decode_again", lambda _, __, found, ___: found)
    engine.transcribe_answer(sample()[: PCM.size(1500)], PCM, "en", "Where is it?")
    decode.assert_not_called()
    decode_answer.return_value = decode.return_value
    engine.transcribe_answer(sample()[: PCM.size(1500)], PCM, "en", "Where is it?")
    assert decode.call_args.args[1:] == ("en", "Where is it?")


def test_a_doubtful_answer_is_heard_again_with_what_its_first_word_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """By which it is told from what rhymes: a text without that is no answer."""
    engine = NaturalEngine()
    monkeypatch.setattr(engine._grammar, "sentence", Mock(return_value=None))
    monkeypatch.setattr(engine._grammar, "scores", lambda *_: {"yes": -20.0, "no": -60.0, "rhymes": -60.0})
    monkeypatch.setattr(engine._whisper, "begins_with", lambda found, *_: [0.9 if found.first is not None else 0, 0, 0])
    likely = np.zeros(1, np.float32)
    decode_answer = Mock(return_value=heard("Yes.", -0.8)._replace(first=likely))
    monkeypatch.setattr(engine._whisper, "decode_answer", decode_answer)
    monkeypatch.setattr(engine._whisper, "decode_again", lambda *_: heard("Yes.", -0.8))
    assert engine.transcribe_answer(sample()[: PCM.size(1500)], PCM, "en") == Transcript("Yes.")
    assert decode_answer.call_args_list[1].args[2] is decode_answer.return_value


def test_a_grammar_alone_decides_nothing() -> None:
    """It finds a sentence in anything: doubted on a quiet line, not known in noise."""
    assert judged(heard("you", -1.3), "on monday", noisy=False) == Transcript("on monday", certain=False)
    assert judged(heard("you", -1.3), "on monday", noisy=True) == Transcript(None, certain=False)


def sample() -> bytes:
    """A caller's sentence."""
    with wave.open(str(SAMPLES / "caller-books.wav")) as recording:
        return recording.readframes(recording.getnframes())


def in_noise(audio: bytes) -> bytes:
    """The same with noise 5 dB below it."""
    samples = np.frombuffer(audio, "<i2").astype(np.float64)
    loud = np.sqrt(np.mean(samples[np.abs(samples) > 300] ** 2))
    noise = np.random.default_rng(1).normal(0, loud * 10 ** (-5 / 20), len(samples))
    return np.clip(samples + noise, -32768, 32767).astype("<i2").tobytes()


def test_whisper_is_asked_again_on_a_quiet_line_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """In noise what it says then is as uncertain, and each noisy turn would cost twice as much as one that is not."""
    engine = NaturalEngine()
    again = Mock(return_value=heard("would you look", -0.8))
    monkeypatch.setattr(engine._whisper, "decode", lambda *_, **__: heard("would you", -0.9))
    monkeypatch.setattr(engine._whisper, "decode_again", again)
    assert engine.transcribe(in_noise(sample()), PCM, "en").certain is False
    again.assert_not_called()
    engine.transcribe(sample(), PCM, "en")
    again.assert_called_once()


def test_real_engines_agree_on_a_quiet_line_and_nothing_wrong_is_certain_in_noise() -> None:
    """A caller's sentence as it is, and with noise below it."""
    engine = NaturalEngine()
    wanted = "I'd like to book an appointment next Tuesday at 3 in the afternoon."
    said = HibariEngine().speak(wanted, "", 1.0, "a caller", "en").audio
    found = engine.transcribe(said, PCM, "en")
    assert (found.text, found.certain) == (wanted, True)
    found = engine.transcribe(in_noise(said), PCM, "en")
    assert found.text == wanted or not found.certain

"""Simulated speech carries its words, and sounds like speech."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.kit.voice import Utterance
from voice_agent.speech.endpointing import Endpointer
from voice_agent.testing.spoken_words import CHAR_MS, WordEar, WordVoice, speech_of, word_starts, words_in

SAID = st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable())


@pytest.mark.parametrize("text", ["yes", "hello there, how are you", "a long one, " * 25, "ä€ñ 1"])
def test_voice_activity_detection_takes_it_for_one_utterance(text: str) -> None:
    """However short, and however long."""
    endpointer = Endpointer(PCM, threshold=0.5, prefix_padding_ms=300, silence_duration_ms=500)
    speech = speech_of(text)
    boundaries = endpointer.feed(bytes(PCM.size(400)) + speech + bytes(PCM.size(900)))
    assert [boundary.started for boundary in boundaries] == [True, False]
    assert 300 <= PCM.ms(boundaries[0].at_bytes) <= 500
    assert PCM.ms(boundaries[1].at_bytes) >= 400 + PCM.ms(len(speech))


@given(st.lists(SAID, min_size=1, max_size=3), st.integers(24, 2000))
def test_words_are_found_wherever_they_stand(texts: list[str], silence: int) -> None:
    """Each is found once, behind a silence of a millisecond as well."""
    audio = bytes(2 * silence).join(map(speech_of, texts))
    assert words_in(bytes(2 * silence) + audio) == " ".join(texts)


@given(SAID, st.data())
def test_what_is_cut_off_says_nothing_else(text: str, data: st.DataObject) -> None:
    """The whole text, or nothing: never a part of it."""
    speech = speech_of(text)
    cut = speech[: 2 * data.draw(st.integers(0, len(speech) // 2))]
    assert words_in(cut + bytes(1000)) in ("", text)


async def test_the_ear_understands_what_the_voice_says() -> None:
    """To the letter, and the voice tells where its words are."""
    pieces = [piece async for piece in WordVoice().say(Utterance("one two", "alloy"))]
    audio = b"".join(piece.audio for piece in pieces)
    assert await WordEar(thinks_s=0).transcribe(Clip(audio, PCM)) == "one two"
    places, before_ms = [], 0
    for piece in pieces:
        places += [(before_ms + ms, chars) for ms, chars in piece.words]
        before_ms += PCM.ms(len(piece.audio))
    assert places == [(CHAR_MS * at, at) for at in word_starts("one two")] == [(0, 0), (240, 4)]

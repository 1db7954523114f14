"""What is read from the sound of a voice that varies is what it said."""

from __future__ import annotations

from tests.e2e.varying import CLICK, Readable, heard_words, sentence, written_words
from voice_agent.call.audio import PCM
from voice_agent.kit.voice import Utterance


async def sound(text: str) -> bytes:
    """What the voice makes of a sentence."""
    return b"".join([piece.audio async for piece in Readable().say(Utterance(text, "alloy"))])


async def test_a_sentence_is_heard_as_it_is_written_and_sounds_otherwise_each_time() -> None:
    """Word by word, whatever their lengths."""
    text = sentence(3)
    first, second = await sound(text), await sound(text)
    assert heard_words(first) == heard_words(second) == written_words(text)
    assert first != second
    assert sentence(3) != text


async def test_what_is_missing_or_said_twice_is_found() -> None:
    """A word without its end, and one that comes again; one that was broken off and is said again is whole."""
    text = "abc400 def401. "
    audio = await sound(text)
    click = audio.index(CLICK.to_bytes(2, "little"))
    assert heard_words(audio + audio) == written_words(text) * 2
    cut = heard_words(audio[: PCM.size(20)] + audio[click + 2 :])
    assert not cut[0].is_whole
    assert heard_words(audio[: PCM.size(20)] + audio) == written_words(text)

"""Where words end in audio whose voice does not tell."""

from __future__ import annotations

import random
from time import process_time

from tests.doubles.tones import sound_of, words_in
from voice_agent.speech.word_boundaries import MS_PER_UNIT, levels, locate, pace_of

TEXTS = (
    "Yes, of course. I will look at it, and then I am going to call you back on Monday. Thanks for waiting.",
    "Extraordinarily complicated terminology, nevertheless it is a cat. I am. We do so.",
    "One two three four five six seven eight nine ten.",
)


def spoken(text: str) -> bytes:
    """With silence behind each word, and more of it where people pause."""
    parts = []
    for word in text.split():
        parts += [sound_of(word).lstrip(b"\0"), bytes(48 * (160 if word[-1] in ",.;" else 40))]
    return b"".join(part + bytes(len(part) % 2) for part in parts)


def test_where_there_is_silence_between_words_each_of_them_is_found() -> None:
    """Cut anywhere: what is before the last boundary are the words before it in the text, whole."""
    chance = random.Random(1)
    for text in TEXTS:
        audio = spoken(text)
        for _ in range(15):
            cut = chance.randrange(48_000, len(audio)) & ~1
            located = locate(text, levels(audio[:cut]))
            last = located.boundaries[-1]
            assert words_in(audio[: last.from_ms * 48 + 480]) == words_in(spoken(text[: last.chars]))
            assert located.position(cut // 48) >= last.chars


def test_without_silence_it_is_the_pace_that_tells() -> None:
    """At the word that is being said, which is to be said again."""
    loud = [1000] * 100
    located = locate("abcd abcd abcd abcd", loud, ms_per_unit=50.0)
    assert located.boundaries == []
    assert [located.position(ms) for ms in (0, 200, 251, 470, 900, 2000)] == [0, 0, 5, 5, 15, 19]


def test_nothing_is_no_error() -> None:
    """No text, no audio, only silence."""
    for text in ("", "…", "word"):
        for loudness in ([], [0] * 50, [1000]):
            located = locate(text, loudness)
            assert located.boundaries == []
            assert 0 <= located.position(100) <= len(text)


def test_a_pace_is_learnt_from_what_was_said_to_its_end() -> None:
    """And not from a word, or from what nobody could say."""
    pace = pace_of(TEXTS[0], levels(spoken(TEXTS[0])))
    assert pace is not None
    assert 0.5 < pace / MS_PER_UNIT < 1.5
    assert pace_of("yes", levels(sound_of("yes"))) is None
    assert pace_of(TEXTS[0], levels(sound_of("yes"))) is None


def test_time_grows_with_the_audio_and_no_faster() -> None:
    """Of many short words and many gaps, each of which may be any of them."""

    def cost(seconds: int) -> float:
        began = process_time()
        locate("a " * 1_000, ([3000, 3000, 0, 0] * 25) * seconds, ms_per_unit=50.0)
        return process_time() - began

    assert cost(20) < 10 * cost(4)

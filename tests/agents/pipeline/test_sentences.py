"""Text that is cut while it comes."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.pipeline.texts import CUTS, cut
from voice_agent.agents.pipeline.sentences import LONGEST_CHARS, SentenceCutter

TEXTS = st.text(st.sampled_from('ab. ,!?\n"Dr1。:;é—'), max_size=2_000)


def pieces(*comes: str, is_first: bool = True) -> list[str]:
    cutter = SentenceCutter(is_first=is_first)
    return [*(piece for text in comes for piece in cutter.feed(text)), *cutter.end()]


@given(TEXTS, CUTS)
def test_no_letter_is_lost_and_none_comes_twice(text: str, cuts: list[int]) -> None:
    """The pieces joined are the text, wherever it is cut as it comes; no piece is blank or too long."""
    found = pieces(*cut(text, cuts))
    assert "".join(found).strip() == text.strip()
    assert all(piece.strip() for piece in found)
    assert all(len(piece.strip()) <= LONGEST_CHARS for piece in found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Yes. We are open today.", ["Yes. ", "We are open today."]),
        ("We are open today. Yes. Do come by.", ["We are open today. ", "Yes. Do come by."]),
        ("Dr. Miller is in. He waits!", ["Dr. Miller is in. ", "He waits!"]),
        ("It costs 3.50 in all. Is that fine?", ["It costs 3.50 in all. ", "Is that fine?"]),
        ("We open at 9 a.m. on Mondays. Come by.", ["We open at 9 a.m. on Mondays. ", "Come by."]),
        ("We open at 9 a.m. Come by early.", ["We open at 9 a.m. ", "Come by early."]),
        ("Am 3. Mai ist zu. Sonst nicht immer.", ["Am 3. Mai ist zu. ", "Sonst nicht immer."]),
        ('He said "stop." Then he went.', ['He said "stop." ', "Then he went."]),
        ("Ask J. R. Smith about it. He knows it all.", ["Ask J. R. Smith about it. ", "He knows it all."]),
        ("First line\nsecond line of it", ["First line\n", "second line of it"]),
        ("今天开门。欢迎您来到我们的商店看看。", ["今天开门。", "欢迎您来到我们的商店看看。"]),
        ("Really?! Yes, it is so.", ["Really?! ", "Yes, it is so."]),
        ("Wait... what is that?", ["Wait... ", "what is that?"]),
    ],
)
def test_a_piece_ends_where_a_sentence_does(text: str, found: list[str]) -> None:
    """Not behind an abbreviation, an initial, a number."""
    assert pieces(text) == found
    assert pieces(*text) == found


def test_a_long_first_sentence_ends_behind_a_comma() -> None:
    """If it is still coming, so that the caller hears something soon; a later one may be longer."""
    text = "We are open from nine in the morning, and on Sundays from eleven, until it gets dark. "
    assert pieces(*text)[0] == "We are open from nine in the morning, "
    assert pieces(*text, is_first=False) == [text]


def test_a_sentence_is_known_as_soon_as_its_blank_comes() -> None:
    """What follows is not waited for."""
    cutter = SentenceCutter()
    assert cutter.feed("We are open.") == []
    assert cutter.feed(" ") == ["We are open. "]


def test_text_without_an_end_is_cut_behind_a_word_or_anywhere() -> None:
    """A voice is never given all of it."""
    assert pieces("word " * 200)[0] == "word " * (LONGEST_CHARS // 5)
    assert pieces("x" * 1_000)[0] == "x" * LONGEST_CHARS


@pytest.mark.parametrize("text", [".", "...a", '."', "Dr. ", "1. "])
def test_no_text_that_comes_letter_by_letter_takes_much_longer_than_another(text: str) -> None:
    """A model that writes full stops for ever holds up no other call."""

    def cost(text: str) -> float:
        cutter, began = SentenceCutter(), process_time()
        for letter in text:
            cutter.feed(letter)
        return process_time() - began

    assert cost(text * (6_000 // len(text))) < 15 * cost("a" * 6_000)

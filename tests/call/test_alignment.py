"""Which character of a text is said at which moment of its audio."""

from __future__ import annotations

import pytest

from voice_agent.call.alignment import (
    Alignment,
    Piece,
    alignment_of,
    cut,
    ends_after_ms,
    entries_of,
    heard_text,
    said_at_ms,
    said_to,
)

WORDS = [[0, 0], [250, 4], [500, 8], [800, 13]]
"""Of "one two three"."""


def test_a_piece_counts_from_its_own_beginning() -> None:
    """One that has just begun has nothing in it; its words stand where it begins in the item."""
    assert Piece() == Piece(0, 0, 0, [])
    assert entries_of(Piece(words=[[100, 4], [250, 9]]), [1000, 20]) == [[1000, 20], [1100, 24], [1250, 29]]


@pytest.mark.parametrize(
    ("chars", "made_ms", "lasts_ms"),
    [(30, 1000, 1000), (31, 1000, 2066), (31, 1033, 2066), (31, 1034, 1034), (1, 0, 66), (0, 0, 0), (0, 500, 500)],
)
def test_audio_that_is_too_short_for_its_text_is_not_all_of_it(chars: int, made_ms: int, lasts_ms: int) -> None:
    """Up to thirty characters a second it is; else the text is said at the usual fifteen."""
    assert ends_after_ms(chars, made_ms) == lasts_ms


@pytest.mark.parametrize(("sent_ms", "at", "heard"), [(400, 4, "one"), (501, 8, "one two"), (1900, 8, "one two")])
@pytest.mark.parametrize("speed", [0.25, 1.0, 1.5])
def test_a_word_is_being_said_until_its_voice_tells_of_the_next(
    sent_ms: int, at: int, heard: str, speed: float
) -> None:
    """However slowly it says it, and be all of it sent that was made."""
    text, piece = "one two three four", Piece(words=[[0, 0], [250, 4], [500, 8]], is_partial=True)
    alignment = alignment_of(piece, text, 1900, speed=speed)
    assert (said_to(text, alignment, sent_ms), heard_text(text, alignment, sent_ms)) == (at, heard)


@pytest.mark.parametrize(
    ("text", "words_at", "at"), [("one two", 4, 4), ("one two", 3, 4), ("本日晴天", 1, 1), ("", 9, 0)]
)
def test_a_word_that_is_being_said_ends_where_it_does_in_its_script(text: str, words_at: int, at: int) -> None:
    """It may be told of with the blank before it; a record's may count beyond its text."""
    alignment = alignment_of(Piece(words=[[100, words_at]], is_partial=True), text, 400)
    assert said_to(text, alignment, 390) == at
    assert said_to(text, alignment, 10_000) == len(text)


def test_a_piece_of_which_more_is_being_made_is_longer_than_what_there_is() -> None:
    """By a millisecond at least, however short its text."""
    assert alignment_of(Piece(is_partial=True), "a", 1050)[-1] == [1051, 1]


@pytest.mark.parametrize(("speed", "at"), [(0.25, 0), (1.0, 14), (1.5, 19)])
def test_a_voice_that_tells_of_no_words_says_as_many_as_its_speed_lets_it(speed: float, at: int) -> None:
    """Fifteen characters a second at the usual speed, as long as more is being made."""
    text = "one two three four five six"
    alignment = alignment_of(Piece(is_partial=True), text, 1050, speed=speed)
    assert said_to(text, alignment, 1000) == at


@pytest.mark.parametrize(
    ("text", "alignment", "heard_ms", "heard"),
    [
        pytest.param("one two", [[0, 0], [1000, 7]], 999, "one", id="a word half said is left out"),
        pytest.param("one two", [[0, 0], [1000, 7]], 430, "one", id="up to the end of a word"),
        pytest.param("one two", [[0, 0], [1000, 7]], 580, "one", id="up to the beginning of a word"),
        pytest.param("a b c d", [[0, 0], [2, 7]], 0, "", id="nothing yet"),
        pytest.param("abcdef", [[0, 0], [100, 3], [200, 6]], 100, "abc", id="an entry within a word"),
        pytest.param("abcdef", [[0, 0], [100, 3], [200, 6]], 134, "abc", id="just behind an entry within a word"),
        pytest.param("本日abc", [[0, 0], [500, 5]], 200, "本日", id="between scripts"),
        pytest.param("本日abc", [[0, 0], [500, 5]], 300, "本日", id="in a word behind another script"),
        pytest.param("abc本日", [[0, 0], [500, 5]], 300, "abc", id="in front of another script"),
        pytest.param("ab\u2e80c", [[0, 0], [400, 4]], 200, "ab", id="the first character of scripts without blanks"),
        pytest.param("one two", [[0, 0], [500, 70], [1000, 80]], 300, "one two", id="words beyond the text"),
        pytest.param("one two", [[0, 0], [1000, 70]], 100, "one two", id="words beyond the text, at its end"),
        pytest.param("abc def ghi", [[500, 4], [1000, 11]], 200, "abc", id="in front of the first entry"),
    ],
)
def test_what_was_heard_are_whole_words(text: str, alignment: Alignment, heard_ms: int, heard: str) -> None:
    """Never less than an entry vouches for, and no error whatever a record holds."""
    assert heard_text(text, alignment, heard_ms) == heard


@pytest.mark.parametrize(
    ("heard_ms", "at"), [(0, 0), (249, 0), (250, 4), (400, 4), (499, 4), (500, 8), (600, 8), (799, 8), (800, 13)]
)
def test_a_word_that_was_being_said_is_said_anew(heard_ms: int, at: int) -> None:
    """From its first character on, be it a millisecond short of its end; one that was said is not."""
    assert said_to("one two three", WORDS, heard_ms) == at


@pytest.mark.parametrize(("text", "heard_ms", "at"), [("one", 700, 0), ("本日abc", 850, 2), ("本日晴天", 600, 2)])
def test_text_is_said_anew_from_the_beginning_of_a_word_in_any_script(text: str, heard_ms: int, at: int) -> None:
    """A script without blanks goes on at a character, and behind it a word of another one at its own beginning."""
    assert said_to(text, [[0, 0], [1000, len(text)]], heard_ms) == at


@pytest.mark.parametrize(
    ("alignment", "chars", "at_ms"),
    [
        *([[[0, 0], [1000, 10], [3000, 20]], chars, at_ms] for chars, at_ms in [(0, 0), (5, 500), (10, 1000)]),
        *([[[0, 0], [1000, 10], [3000, 20]], chars, at_ms] for chars, at_ms in [(15, 2000), (20, 3000), (25, 3000)]),
        pytest.param([[0, 0], [100, 0], [300, 4]], 0, 100, id="silence in front"),
        pytest.param([[0, 0], [100, 5], [200, 5], [300, 9]], 5, 200, id="a pause"),
    ],
)
def test_between_entries_text_passes_at_an_even_pace(alignment: Alignment, chars: int, at_ms: int) -> None:
    """What comes after a pause begins behind it."""
    assert said_at_ms(alignment, chars) == at_ms


@pytest.mark.parametrize(
    ("at_ms", "at_chars", "left"),
    [
        (1000, 15, [[0, 0], [500, 7], [1000, 15]]),
        (900, 7, [[0, 0], [500, 7], [900, 7]]),
        (1900, 9, [[0, 0], [500, 7], [625, 9], [1900, 9]]),
        (0, 0, [[0, 0]]),
    ],
)
def test_an_alignment_that_is_cut_ends_where_it_was_cut(at_ms: int, at_chars: int, left: Alignment) -> None:
    """No entry is left that stands there or behind it, nor one of a word that was left out."""
    assert cut([[0, 0], [500, 7], [1000, 15], [2000, 29]], at_ms, at_chars) == left


@pytest.mark.parametrize("first_ms", range(0, 1001, 20))
def test_what_was_cut_once_is_cut_again_as_if_it_had_not_been(first_ms: int) -> None:
    """The server cuts what it had not sent, then the client what was not heard: in which order makes no difference."""
    text, words = "answer 1 ok part", [[0, 0], [420, 7], [540, 9], [720, 12], [1000, 16]]
    said = heard_text(text, words, first_ms)
    cut_once = cut(words, first_ms, len(said))
    for heard_ms in range(0, first_ms + 1, 10):
        assert heard_text(said, cut_once, heard_ms) == heard_text(text, words, heard_ms)

"""Words with numbers, and what is told of those that were heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles.counting import Count, count, number, sentences, word
from tests.doubles.tones import sound_of, words_in


@given(st.integers(0, 10**6))
def test_each_number_has_a_word_of_its_own(value: int) -> None:
    """And it can be said."""
    assert number(word(value)) == value
    assert words_in(sound_of(word(value))) == [word(value)]


@pytest.mark.parametrize("said", ["", "ba", "bab", "bababa", "xaxa", "bako…", "Baba"])
def test_what_is_no_word_has_no_number(said: str) -> None:
    """Also one that is longer than it need be."""
    assert number(said) is None


def test_sentences_are_counted_word_by_word() -> None:
    """What is missing, comes again, stands elsewhere, is cut or is none of them is told, each by itself."""
    text = sentences(range(10, 15), 3)
    assert text == "Bafa bafe bafi. Bafo bafu."
    assert count(text, range(10, 15)).is_exact
    assert count(words_in(sound_of(text)), range(10, 15)).is_exact
    heard = ["bafa", "bafi", "bafe", "bafa", "zuzu", "ba…", "…fo", "ba…"]
    found = Count(missing=[13, 14], repeated=[10], disordered=[11], cut=["ba…", "…fo", "ba…"], other=["zuzu"])
    assert count(heard, range(10, 15)) == found


def test_a_word_that_is_broken_off_and_said_again_is_said_once() -> None:
    """If that is the next thing that is said, and all of it."""
    heard = ["bafa", "baf…", "bafe", "bafi"]
    assert count(heard, range(10, 13)) == Count(resaid=["baf…"])
    assert count(heard, range(10, 13)).is_complete
    assert not count(heard, range(10, 13)).is_exact
    assert not count(["bafa", "baf…", "bafi"], range(10, 13)).is_complete


def test_a_word_that_is_broken_off_twice_is_said_once() -> None:
    """As where the pod that says it again dies as well; another word in between is none of its beginnings."""
    assert count(["bafa", "baf…", "ba…", "bafe", "bafi"], range(10, 13)) == Count(resaid=["baf…", "ba…"])
    assert count(["bafa", "bafe…", "ba…", "bafi"], range(10, 13)).cut == ["bafe…"]
    assert count(["bafa", "ba…", "…fe", "bafe", "bafi"], range(10, 13)).cut == ["ba…", "…fe"]
    assert count(["bafa", "bafe", "bafi", "ba…", "ba…"], range(10, 13)).cut == ["ba…", "ba…"]

"""Whether two ears wrote the same words."""

from __future__ import annotations

import pytest

from voice_agent.speech.same_words import has_number, names_day_or_number, same_sound, same_words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my order 4711?", "where is my order four seven one one"),
        ("I'd like another appointment on Monday at 9.15.", "i'd like another appointment on monday at nine fifteen"),
        ("at 1125", "at eleven twenty five"),
        ("It's number 5, 0, 2, 9.", "it's number five oh two nine"),
        ("on 5 December", "on the fifth of december"),
        ("on the 21st", "on the twenty first"),
        ("half past 10, please", "half past ten"),
    ],
)
def test_spelling_makes_no_difference(one: str, other: str) -> None:
    """Digits, punctuation, capitals and words that one may leave out are the writer's."""
    assert same_words(one, other)
    assert same_sound(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("on Tuesday", "on thursday"),
        ("Where is my order 7111?", "where is my order four seven one one"),
        ("no", "now"),
        ("", "good"),
        ("at fifty", "at fifteen"),
    ],
)
def test_other_words_are_others(one: str, other: str) -> None:
    """Whether they are near or not."""
    assert not same_words(one, other)
    assert not same_sound(one, other)


def test_what_sounds_alike_is_told_apart_from_what_is_the_same() -> None:
    """A number that was taken for a word."""
    assert not same_words("No, make it for.", "no make it four")
    assert same_sound("No, make it for.", "no make it four")
    assert same_sound("Where is my order for 711?", "where is my order four seven one one")


def test_what_may_be_a_number_is_one() -> None:
    """Digits, words for them, and words that sound so."""
    assert all(map(has_number, ("order 4711", "At five", "make it for")))
    assert not has_number("When are you open?")


def test_what_names_a_day_or_a_number() -> None:
    """Written or spelt, in English and German; not what only sounds so."""
    for text in (
        "Order 4711.",
        "at half past two",
        "on the fourth",
        "On Sunday?",
        "am Mittwoch",
        "Samstag um drei Uhr 15",
    ):
        assert names_day_or_number(text), text
    for text in ("I'd like to book it for you, oh!", "today", "someday", "Have a nice day, sonntags", ""):
        assert not names_day_or_number(text), text

"""Whether a turn so far is a finished sentence, in both languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.speech.sentence_end import (
    FINISHED,
    UNFINISHED,
    UNSURE,
    is_backchannel,
    is_finished,
    turn_words,
)

ENGLISH = {
    FINISHED: (
        "I would like to book an appointment.",
        "Where is my order?",
        "yes",
        "Tuesday at three",
        "what is it for",
        "Where is it?",
        "no thank you",
        "Make it for Wednesday at 10.",
        "I think so",
        "on Monday at 915",
        "December 3 at 2 30.",
        "at 9.15",
        "around 23:59",
        "until 1030",
    ),
    UNFINISHED: (
        "I would like to",
        "I would like to book an appointment for the",
        "My order number is",
        "where is my order and",
        "I'd like to come on Tuesday at",
        "um",
        "My name is, uh",
        "I want...",
        "Tuesday,",
        "can you",
        "I’d",
    ),
    UNSURE: (
        "",
        "?!",
        "four seven",
        "order 471",
        "M I",
        "7-1-1",
        "double L",
        "at 4711",
        "by 9 1",
        "at 1 2 30",
        "at 960",
        "monday 915",
    ),
}
GERMAN = {
    FINISHED: (
        "Ich möchte einen Termin buchen.",
        "Wo ist meine Bestellung?",
        "ja",
        "am Dienstag um drei",
        "Rufen Sie mich an",
        "am Dienstag um 9 15",
    ),
    UNFINISHED: (
        "Ich möchte einen",
        "Meine Nummer ist",
        "am Dienstag um",
        "Ich hätte gern",
        "Termin am Montag und",
        "ähm",
    ),
    UNSURE: ("", "vier sieben", "47 11"),
}


def _of(table: dict[float, tuple[str, ...]]) -> list[tuple[str, float]]:
    return [(text, grade) for grade, texts in table.items() for text in texts]


@pytest.mark.parametrize(("text", "grade"), _of(ENGLISH))
def test_english_sentences_end_where_they_can(text: str, grade: float) -> None:
    """By the last words, whatever an ear makes of capitals and full stops."""
    assert is_finished(text) == grade
    if grade is not UNFINISHED or text[-1:] not in ".,":
        assert is_finished(text.rstrip(".?!").upper(), "en-GB") == grade


@pytest.mark.parametrize(("text", "grade"), _of(GERMAN))
def test_german_sentences_end_where_they_can(text: str, grade: float) -> None:
    """Another language is another file."""
    assert is_finished(text, "de-DE") == grade


def test_a_question_mark_ends_a_sentence() -> None:
    """Whatever word stands before it, in both languages."""
    assert is_finished("Which day are you looking for?") == FINISHED
    assert is_finished("Was ist das für eine?", "de") == FINISHED


def test_a_language_without_a_file_is_unsure_of_all_but_what_breaks_off() -> None:
    """Also where its tag is no name of a file."""
    assert [is_finished("et puis le", tag) for tag in ("fr", "", "../en", "tlh")] == [UNSURE] * 4
    assert is_finished("et puis,", "fr") == UNFINISHED


@pytest.mark.parametrize("text", ["mhm", "Mm-hmm.", "Uh-huh, uh-huh.", "Okay, right.", "I see.", "all right"])
def test_a_listener_says_backchannels(text: str) -> None:
    """Alone or some in a row."""
    assert is_backchannel(text)


@pytest.mark.parametrize("text", ["", "no", "stop", "okay but", "right now", "wait", "mm " * 100])
def test_what_says_something_is_no_backchannel(text: str) -> None:
    """Nor is nothing, nor a flood of them."""
    assert not is_backchannel(text)


@given(st.text(), st.sampled_from(["en", "de", "fr"]))
def test_any_text_has_a_grade(text: str, language: str) -> None:
    """Nothing raises, and how long the text is makes no difference."""
    assert is_finished(text, language) in (FINISHED, UNSURE, UNFINISHED)
    assert is_finished("tomorrow " * 10_000 + text, language) in (FINISHED, UNSURE, UNFINISHED)
    assert isinstance(is_backchannel(text, language), bool)


@pytest.mark.parametrize("language", ["en", "de"])
def test_a_language_contradicts_itself_nowhere(language: str) -> None:
    """Its phrases are of small letters and parted by single blanks, as they are looked for."""
    known = turn_words(language)
    assert known is not None
    for phrase in known.open_phrases | known.closed_phrases | known.backchannels:
        assert phrase == " ".join(phrase.lower().split())
        assert len(phrase.split()) <= 5
    assert not known.open_phrases & known.closed_phrases

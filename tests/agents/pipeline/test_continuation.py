"""What is new in an answer that goes on: no word is said twice, none is lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.pipeline.texts import CUTS, cut, numbered
from voice_agent.agents.pipeline.continuation import END_MARK, MAX_WORDS, NewPart, whole_words


def new_part(said: str, *comes: str) -> str:
    part = NewPart(said)
    return "".join([*map(part.feed, comes), part.end()])


@given(st.integers(1, 40), st.integers(0, 40), st.integers(0, 40), st.sampled_from(["", " "]), CUTS)
def test_whatever_is_repeated_no_word_is_said_twice_and_none_is_lost(
    said_count: int, repeated: int, more: int, end: str, cuts: list[int]
) -> None:
    """However many of the words said it begins with, wherever what comes is cut."""
    words = numbered(said_count + more)
    said = " ".join(words[:said_count]) + end
    comes = " ".join(words[max(0, said_count - repeated) :])
    assert (said + new_part(said, *cut(comes, cuts))).split() == words


@given(st.integers(1, 20), st.integers(1, 20), CUTS)
def test_a_repetition_may_have_other_marks_and_another_case(said_count: int, more: int, cuts: list[int]) -> None:
    """It is the same words, if there are three of them."""
    words = numbered(said_count + more + 2)
    said = " ".join(words[: said_count + 2]) + " "
    comes = " ".join([*(word.rstrip(".,").upper() for word in words[: said_count + 2]), *words[said_count + 2 :]])
    assert (said + new_part(said, *cut(comes, cuts))).split() == words


@pytest.mark.parametrize(
    ("said", "comes", "new"),
    [
        ("We are open. Come by, ", "Come by, or call.", "or call."),
        ("We are open. Come by, ", "or call.", "or call."),
        ("We are open. Come by, ", "We are open. Come by, or call.", "or call."),
        ("We are open", "from nine.", " from nine."),
        ("We are open", ", from nine.", ", from nine."),
        ("We are open", "(from nine).", " (from nine)."),
        ("No, no, ", "no, I mean it.", "no, I mean it."),
        ("Dial 5 ", "5 3 1.", "5 3 1."),
        ("It is very ", "Very good.", "Very good."),
        ("Thank you for calling. Bye ", "Thank you.", "Thank you."),
        ("我们九点开门，", "我们九点开门，欢迎光临。", "欢迎光临。"),
        ("我们九点", "开门。", "开门。"),
        ("All is said. ", END_MARK, ""),
        ("All is said. ", f" {END_MARK}\n", ""),
        ("All is said. ", "All is said.", ""),
        ("All is ", f"said. {END_MARK}", "said. "),
        ("", "Hello.", "Hello."),
        ("One. ", "<b>Two.", "<b>Two."),
    ],
)
def test_what_is_new(said: str, comes: str, new: str) -> None:
    """Whole and letter by letter."""
    assert new_part(said, comes).rstrip("\n") == new
    assert new_part(said, *comes).rstrip("\n") == new


def test_what_is_new_is_given_at_once() -> None:
    """The first word that was not said before is not waited behind."""
    part = NewPart("We are open from nine. ")
    assert part.feed("Come ") == "Come "
    assert part.feed("by") == "by"


def test_a_model_that_repeats_for_ever_takes_no_time() -> None:
    """The cost of a word does not grow with what came before."""
    part = NewPart("a " * 2 * MAX_WORDS)
    began_s = time.process_time()
    for _ in range(3 * MAX_WORDS):
        part.feed("a ")
    assert time.process_time() - began_s < 2


@pytest.mark.parametrize(
    ("text", "whole"),
    [("We are op", "We are "), ("We are ", "We are "), ("We", ""), ("", ""), (" ", " "), ("九点开", "九点")],
)
def test_a_text_that_was_cut_anywhere_ends_behind_a_whole_word(text: str, whole: str) -> None:
    """The last word may not be whole."""
    assert whole_words(text) == whole


@pytest.mark.parametrize("letter", [" ", ".", "x", "<", "九"])
def test_a_model_that_writes_one_letter_without_end_takes_no_time(letter: str) -> None:
    """Blanks, marks, half a word."""
    part = NewPart("We are open from nine. ")
    began_s = time.process_time()
    for _ in range(20_000):
        part.feed(letter)
    part.end()
    assert time.process_time() - began_s < 4

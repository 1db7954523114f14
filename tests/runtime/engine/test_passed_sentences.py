"""Sentences end where they end, however the text comes, and each is looked for once."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.runtime.engine import passed_sentences
from voice_agent.runtime.engine.passed_sentences import LONGEST_SENTENCE, PassedSentences

PIECES = st.sampled_from(["one two", ".", " ", "\n", "!", "?\u201d ", "\u3002", ". ", '."', "\u0964", "a", "  "])


def rest(begun: str, deltas: Iterable[str]) -> str:
    """What of another text is new, blanks around it left out."""
    sentences, new_from = PassedSentences(begun, ""), None
    new = ""
    for delta in deltas:
        if new_from is not None:
            new += delta
        elif (new_from := sentences.add(delta)) is not None:
            new = sentences.text[new_from:]
    return new.strip()


@given(st.lists(PIECES, max_size=40), st.data())
def test_sentences_end_where_they_end_however_the_text_is_cut(pieces: list[str], data: st.DataObject) -> None:
    """As many are passed over as were begun, whether another text comes at once or in any pieces."""
    begun = "".join(data.draw(st.lists(PIECES, min_size=1, max_size=12)))
    other = "Other: " + "".join(pieces)
    cuts = sorted({0, len(other), *data.draw(st.lists(st.integers(0, len(other)), max_size=8))})
    assert rest(begun, (other[at:to] for at, to in pairwise(cuts))) == rest(begun, [other])


@pytest.mark.parametrize("begun", range(1, 6))
def test_blanks_behind_a_sentence_are_no_sentence(begun: int) -> None:
    """Wherever among them the text is cut."""
    other = "Other: a. \n b!  \n\nc\u3002 \n d. e"
    for at in range(1, len(other)):
        assert rest("x. " * begun, [other[:at], other[at:]]) == rest("x. " * begun, [other])


@pytest.mark.parametrize("again", ["A. ", "A", ""])
def test_what_was_the_same_before_counts(again: str) -> None:
    """Sentences that had come again when the text began to differ are among those that are passed over."""
    sentences = PassedSentences("A. B", again)
    at = sentences.add("A. Else. C. ".removeprefix(again))
    assert at is not None
    assert sentences.text[at:] == "C. "


def test_a_text_without_ends_goes_on_with_a_word() -> None:
    """The first one that begins so much behind what had been said."""
    sentences = PassedSentences("begun", "")
    assert sentences.add("x" * (LONGEST_SENTENCE + 6)) is None
    assert sentences.add("xy ") == LONGEST_SENTENCE + 9


def test_the_end_of_a_long_text_costs_what_its_beginning_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of its sentences is looked for once."""
    sentences, looked = PassedSentences("Said. " * 5000, ""), []
    sentence_end = passed_sentences._SENTENCE_END

    class Counting:
        def search(self, text: str, at: int) -> Any:
            looked.append(len(text) - at)
            return sentence_end.search(text, at)

    monkeypatch.setattr(passed_sentences, "_SENTENCE_END", Counting())
    for _ in range(4000):
        assert sentences.add("Else. ") is None
    assert max(looked) < 100

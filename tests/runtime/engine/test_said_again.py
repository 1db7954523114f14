"""Text that is given again: what is durable of it is passed over, however it is cut, and other text is never joined."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.runtime.engine.said_again import SaidAgain

DURABLE = "Hello. We are open from nine. "


def pieces(text: str, cuts: list[int]) -> list[str]:
    """`text`, cut at these places."""
    at = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(at)]


@given(st.lists(st.integers(0, 200)))
def test_the_same_text_is_new_behind_what_is_durable(cuts: list[int]) -> None:
    """Wherever it is cut."""
    again = SaidAgain(DURABLE)
    assert "".join(map(again.new_part, pieces(DURABLE + "Come by.", cuts))) == "Come by."
    assert not again.differs
    assert again.is_complete


@given(st.lists(st.integers(0, 200)))
def test_of_other_text_as_many_sentences_are_passed_over(cuts: list[int]) -> None:
    """It goes on with the third, whatever the first two are, and that it differs is known."""
    again = SaidAgain(DURABLE)
    other = "Good day to you! We open at nine o'clock. Do come by. We are glad."
    assert "".join(map(again.new_part, pieces(other, cuts))) == "Do come by. We are glad."
    assert again.differs
    assert again.is_complete


def test_a_text_that_ends_sooner_is_not_complete() -> None:
    """Nothing of it is new."""
    again = SaidAgain(DURABLE)
    assert again.new_part("Hello. ") == ""
    assert not again.is_complete
    assert not again.differs


@pytest.mark.parametrize("text", ["Hello.", ""])
def test_where_nothing_is_durable_all_is_new(text: str) -> None:
    """As on the pod that says it first."""
    again = SaidAgain("")
    assert again.new_part(text) == text
    assert again.is_complete

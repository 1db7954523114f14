"""A reply that goes on may say again what it has said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voice_agent.agents.relay.said_before import SURE_WORDS, WithoutSaid


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.lists(st.integers(1, 30), max_size=40))
def test_the_end_of_what_was_said_is_not_said_again(said: int, again: int, new: int, cuts: list[int]) -> None:
    """However much of it comes, cut anywhere; words that are new all come."""
    words = [f"w{number} " for number in range(said + new)]
    again = 0 if min(again, said) < SURE_WORDS else min(again, said)
    text, found, part = "".join(words[said - again :]), "", WithoutSaid("".join(words[:said]))
    for size in cuts:
        found += part.feed(text[:size])
        text = text[size:]
    found += part.feed(text) + part.end()
    assert found.split() == [word.strip() for word in words[said:]]

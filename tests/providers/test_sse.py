"""Server-sent events out of any pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.providers.sse import EventParser, EventTooLong, ServerSentEvent

STREAM = (
    '\ufeff: a comment\r\ndata: {"a": 1}\r\n\r\nevent: speech\ndata:  two\ndata: lines\u2028\u0085x\n\n'
    "id: 7\rdata\r\rretry: 3\n\nevent: nothing\n\ndata: [DONE]\n\ndata: cut"
).encode()
EVENTS = [
    ServerSentEvent('{"a": 1}'),
    ServerSentEvent(" two\nlines\u2028\u0085x", "speech"),
    ServerSentEvent("", id="7"),
    ServerSentEvent("[DONE]", id="7"),
]


def parsed(*pieces: bytes, most: int = 1000) -> list[ServerSentEvent]:
    """All events of them."""
    parser = EventParser(most)
    return [event for piece in pieces for event in parser.feed(piece)]


@given(st.sets(st.integers(0, len(STREAM))))
def test_bytes_cut_anywhere_give_the_same_events(cuts: set[int]) -> None:
    """In the middle of a line end, of a letter of several bytes, of the mark at the start."""
    at = [0, *sorted(cuts), len(STREAM)]
    assert parsed(*(STREAM[a:b] for a, b in pairwise(at))) == EVENTS


@given(st.lists(st.binary()))
def test_any_bytes_are_events_or_nothing(pieces: list[bytes]) -> None:
    """And cut otherwise they are the same."""
    assert parsed(*pieces, most=10**6) == parsed(b"".join(pieces), most=10**6)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: " + b"x" * 2000],
        [b"x"] * 2000,
        [b"data: x\n"] * 2000,
        [b": x\n"] * 2000,
        [b"data: " + b"x" * 999 + b"\n\n"],
    ],
)
def test_an_event_without_an_end_is_refused(pieces: list[bytes]) -> None:
    """As one line, as many, in comments."""
    with pytest.raises(EventTooLong):
        parsed(*pieces)


def test_many_events_are_not_one() -> None:
    """The bound is of each."""
    assert len(parsed(*[b"data: " + b"x" * 900 + b"\n\n"] * 5)) == 5
    assert len(parsed(b"data: x\n\n" * 1000)) == 1000

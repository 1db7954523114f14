"""What a round trip carries, how long it may take, and what a failure says of a store."""

from __future__ import annotations

import pytest

from tests.runtime.writers import NotedCall
from voice_agent.call.changes import CallWrite
from voice_agent.errors import StoreDeclined, StoreFull, StoreRefused, StoreUnavailable
from voice_agent.runtime.durability.writing import MAX_ROUND_BYTES, TRY_S, Batch, portion, state_of, try_s
from voice_agent.runtime.ports import StoreState


@pytest.mark.parametrize(
    ("sizes", "most_bytes", "count"),
    [
        ([], 10, 0),
        ([11], 10, 1),
        ([11, 0], 10, 1),
        ([4, 6, 0], 10, 3),
        ([4, 7, 0], 10, 1),
        ([4, 5, 2, 0], 10, 2),
        ([0, 0, 11], 10, 2),
    ],
)
def test_a_round_trip_carries_what_it_may_and_one_call_at_least(sizes: list[int], most_bytes: int, count: int) -> None:
    """In order, up to the first that would make it too heavy."""
    batch: Batch = [(NotedCall("a"), CallWrite("a", 1, fields={"said": bytes(size_bytes)}), []) for size_bytes in sizes]
    assert portion(batch, most_bytes) == batch[:count]


@pytest.mark.parametrize(("rounds", "times"), [(0, 1), (0.5, 1), (1, 1), (1.5, 1.5), (4, 4)])
def test_an_answer_may_take_as_long_as_what_was_sent_is_heavy(rounds: float, times: float) -> None:
    """Where one call alone has more than a round should carry; nothing is hurried for being light."""
    assert try_s(int(rounds * MAX_ROUND_BYTES)) == times * TRY_S


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StoreFull("x"), StoreState.FULL),
        (StoreRefused("x"), StoreState.REFUSED),
        (StoreDeclined("x"), StoreState.REFUSED),
        (StoreUnavailable("x"), StoreState.UNREACHABLE),
        (TimeoutError(), StoreState.UNREACHABLE),
        (RuntimeError("x"), StoreState.UNREACHABLE),
    ],
)
def test_a_store_that_answers_is_not_called_unreachable(error: Exception, state: StoreState) -> None:
    """Whatever else went wrong is no answer."""
    assert state_of(error) is state

"""When a store is asked whether it is fit, and what is told of it. What it finds is tested with the stores."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import StoppedClock
from voice_agent.errors import StoreError, StoreUnavailable, StoreUnfit
from voice_agent.runtime.durability.store_fitness import LOOK_AGAIN_S, StoreFitness
from voice_agent.stores.memory import MemoryStore

EVICTS, SMALL = "it evicts", "it is small"
UNFIT = StoreUnfit("it lacks GETEX")


class OddStore(MemoryStore):
    """Has what shortcomings the test says, or fails."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60)
        self.found: list[str] | StoreError = []
        self.asked: list[int] = []

    async def shortcomings(self, calls: int) -> list[str]:
        self.asked.append(calls)
        if isinstance(self.found, StoreError):
            raise self.found
        return self.found


async def test_only_a_store_that_cannot_keep_calls_keeps_a_pod_from_starting() -> None:
    """One that does not answer may come back; each is asked about as many calls as the pod takes."""
    store = OddStore()
    fitness = StoreFitness(store, StoppedClock(), 7)
    for found in ([], [EVICTS], StoreUnavailable("away")):
        store.found = found
        await fitness.begin()
    store.found = UNFIT
    with pytest.raises(StoreUnfit):
        await fitness.begin()
    assert store.asked == [7] * 4


async def test_what_speaks_against_a_store_is_told_when_it_changes() -> None:
    """And once when nothing does any more; a store that became unfit ends nothing."""
    store, clock = OddStore(), StoppedClock()
    fitness = StoreFitness(store, clock, 7)
    steps: list[tuple[list[str] | StoreError, list[str | None]]] = [
        ([], []),
        ([EVICTS], [EVICTS]),
        ([EVICTS], []),
        ([EVICTS, SMALL], [f"{EVICTS}; {SMALL}"]),
        (UNFIT, [str(UNFIT)]),
        (UNFIT, []),
        ([], [None]),
        ([], []),
        ([SMALL], [SMALL]),
    ]
    for found, told in steps:
        store.found = found
        clock.now_s += LOOK_AGAIN_S
        with capture_logs() as lines:
            await fitness.look_again()
        assert [line.get("why") for line in lines] == told
        assert all((line["log_level"] == "info") == (found == []) for line in lines)


async def test_a_store_is_asked_once_a_minute_or_when_it_may_be_another() -> None:
    """After an outage there may be another server."""
    store, clock = OddStore(), StoppedClock()
    fitness = StoreFitness(store, clock, 7)
    for later_s, asked in ((0.0, 1), (LOOK_AGAIN_S - 1.0, 1), (1.0, 2), (0.0, 2)):
        clock.now_s += later_s
        await fitness.look_again()
        assert len(store.asked) == asked
    fitness.is_another()
    await fitness.look_again()
    assert len(store.asked) == 3

"""What is known of a cutover when its tool dies, and who may go on with it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from tests.operate.simulated import VirtualClock
from tests.operate.test_plan import PROGRESS
from voice_agent.errors import StoreRefused, StoreUnavailable
from voice_agent.operate.journal import LEASE, RECORD, Journal, LeaseLost
from voice_agent.operate.losses import PodCount
from voice_agent.operate.plan import Step, as_json
from voice_agent.operate.ports import CutoverError
from voice_agent.stores.memory import MemoryStore


class AwayStore(MemoryStore):
    """Carries a swap out, and loses the answer as often as told."""

    lost = 0
    failure: Exception = StoreUnavailable("no answer")

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        swapped = await super().compare_and_set(name, old, new, ttl_s=ttl_s)
        if self.lost:
            self.lost -= 1
            raise self.failure
        return swapped


def rig() -> tuple[AwayStore, VirtualClock]:
    clock = VirtualClock()
    return AwayStore(ttl_s=60, now_s=clock.monotonic_s), clock


async def test_a_record_whose_answer_was_lost_is_replaced_by_the_next() -> None:
    """Though the store has it by now, and not the one before it."""
    store, clock = rig()
    journal = Journal(store, clock)
    await journal.read()
    await journal.save(PROGRESS)
    store.lost = 1
    with pytest.raises(StoreUnavailable):
        await journal.save(replace(PROGRESS, step=Step.SMOKE))
    await journal.save(replace(PROGRESS, step=Step.SHIFT))
    assert await journal.read() == replace(PROGRESS, step=Step.SHIFT)


async def test_the_lease_of_a_dead_tool_is_waited_for() -> None:
    """It runs out by itself; then the next tool has it."""
    store, clock = rig()
    await Journal(store, clock).acquire()
    began_s = clock.now_s
    await Journal(store, clock).acquire()
    assert 14 <= clock.now_s - began_s <= 16


async def test_the_lease_of_a_living_tool_is_respected() -> None:
    """As soon as it is seen to be renewed; the lease stays with the first."""
    store, clock = rig()
    first = Journal(store, clock)
    await first.acquire()
    second = asyncio.create_task(Journal(store, clock).acquire())
    await clock.sleep(4)
    await first.renew()
    with pytest.raises(CutoverError, match="another cutover is at work"):
        await second
    await first.renew()


async def test_a_lost_answer_loses_no_lease() -> None:
    """Neither of a renewal nor of a record: both are asked for again."""
    store, clock = rig()
    journal = Journal(store, clock)
    await journal.acquire()
    store.lost = 1
    with pytest.raises(StoreUnavailable):
        await journal.renew()
    await journal.renew()
    store.lost = 1
    with pytest.raises(StoreUnavailable):
        await journal.save(PROGRESS)
    await journal.save(PROGRESS)
    await journal.save(replace(PROGRESS, step=Step.SMOKE))
    assert await Journal(store, clock).read() == replace(PROGRESS, step=Step.SMOKE)


async def test_a_lease_that_ran_out_unseen_is_taken_again_and_a_taken_one_is_not() -> None:
    """The store was away for longer than the lease lasts: whoever is first has it."""
    store, clock = rig()
    journal = Journal(store, clock)
    await journal.acquire()
    await clock.sleep(20)
    await journal.renew()
    await clock.sleep(20)
    await Journal(store, clock).acquire()
    with pytest.raises(LeaseLost):
        await journal.renew()


async def test_only_who_knows_the_record_replaces_it() -> None:
    """A tool that slept while another went on does not put it back."""
    store, clock = rig()
    first, second = Journal(store, clock), Journal(store, clock)
    await first.save(PROGRESS)
    assert await second.read() == PROGRESS
    await second.save(replace(PROGRESS, step=Step.DRAIN))
    with pytest.raises(LeaseLost):
        await first.save(replace(PROGRESS, step=Step.HOLD))
    assert await Journal(store, clock).read() == replace(PROGRESS, step=Step.DRAIN)


async def test_an_emptied_store_is_told_again() -> None:
    """Both notes are gone; the tool that is at work writes them anew."""
    store, clock = rig()
    journal = Journal(store, clock)
    await journal.acquire()
    await journal.save(PROGRESS)
    store._values.clear()
    await journal.renew()
    await journal.save(replace(PROGRESS, step=Step.DRAIN))
    assert set(store._values) == {LEASE, RECORD}


async def test_what_a_newer_version_added_to_a_cutover_stays() -> None:
    """In its record, its options and the counts of a pod; the next cutover has nothing of it."""
    store, clock = rig()
    pod = PodCount("blue-1", "blue")
    said = as_json(replace(PROGRESS, counts={"blue-1 5": pod}))
    said |= {"mood": {"is": "good"}, "terms": {**said["terms"], "pace": 3}}
    said["counts"]["blue-1 5"]["seen_at_ms"] = 7
    await store.compare_and_set(RECORD, None, orjson.dumps(said), ttl_s=60)
    journal = Journal(store, clock)
    progress = await journal.read()
    assert progress is not None
    grown = {"blue-1 5": replace(pod, calls=2), "green-1 6": PodCount("green-1", "green")}
    for step in (Step.SMOKE, Step.SHIFT):
        await journal.save(replace(progress, step=step, counts=grown))
    kept = orjson.loads(await store.get(RECORD) or b"")
    assert (kept["step"], kept["mood"], kept["terms"]["pace"]) == (Step.SHIFT, {"is": "good"}, 3)
    assert (kept["terms"]["percents"], kept["counts"]["blue-1 5"]["calls"]) == ([5, 25, 100], 2)
    assert kept["counts"]["blue-1 5"]["seen_at_ms"] == 7
    assert "seen_at_ms" not in kept["counts"]["green-1 6"]
    await journal.save(replace(PROGRESS, cutover_id="cut_2"))
    assert orjson.loads(await store.get(RECORD) or b"") == orjson.loads(
        orjson.dumps(as_json(replace(PROGRESS, cutover_id="cut_2")))
    )


@pytest.mark.parametrize("record", [b"", b"{}", b"[]", b"null", b'{"terms": 1}'])
async def test_a_record_of_another_version_is_not_guessed_at(record: bytes) -> None:
    """It says which version has to finish it."""
    store, clock = rig()
    await store.compare_and_set(RECORD, None, record, ttl_s=60)
    with pytest.raises(CutoverError, match="finish it with the version that began it"):
        await Journal(store, clock).read()


async def test_a_store_that_refuses_the_end_of_the_lease_spoils_no_result() -> None:
    """The lease runs out by itself; a cutover that is done is not told as one that failed."""
    store, clock = rig()
    journal = Journal(store, clock)
    await journal.acquire()
    store.lost, store.failure = 1, StoreRefused("NOPERM")
    await journal.release()


async def test_pods_are_not_removed_while_a_cutover_is_unfinished() -> None:
    """Those that are idle wait for its callers."""
    store, clock = rig()
    journal = Journal(store, clock)
    await journal.check_none_unfinished()
    await journal.save(PROGRESS)
    with pytest.raises(CutoverError, match="a cutover to green is unfinished"):
        await Journal(store, clock).check_none_unfinished()
    await journal.save(replace(PROGRESS, step=Step.DONE))
    await Journal(store, clock).check_none_unfinished()

"""What a pod tells of its store, and what follows for new calls."""

from __future__ import annotations

import pytest

from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import TYPED, rig
from voice_agent.errors import StoreRefused
from voice_agent.runtime.ports import StoreState


@pytest.mark.parametrize(
    ("given_up", "heartbeat", "told_as"),
    [
        (None, StoreState.OK, "ok"),
        (None, StoreState.UNREACHABLE, "unreachable"),
        (None, StoreState.REFUSED, "refused (no heartbeat)"),
        (StoreState.FULL, StoreState.OK, "full"),
        (StoreState.FULL, StoreState.UNREACHABLE, "full"),
        (StoreState.REFUSED, StoreState.OK, "refused (no write)"),
        (StoreState.REFUSED, StoreState.REFUSED, "refused (no write)"),
        (StoreState.UNREACHABLE, StoreState.REFUSED, "unreachable"),
    ],
)
async def test_the_store_is_as_writes_find_it_or_else_heartbeats(
    given_up: StoreState | None, heartbeat: StoreState, told_as: str
) -> None:
    """With the reason of whichever is told, where the store refuses. Only a store that is well makes a pod well."""
    async with rig() as its:
        pod = its.unopened_pod("a")
        pod.committer.write_back.given_up = given_up
        pod.committer.write_back.failure = StoreRefused("no write")
        pod.store_health.heartbeat_state, pod.store_health.heartbeat_failure = heartbeat, StoreRefused("no heartbeat")
        status = pod.status()
        assert status.store == f"memory:{told_as}"
        assert status.status == ("ok" if told_as == "ok" else "degraded")


async def test_a_pod_is_degraded_until_every_call_is_written() -> None:
    """Though heartbeats go well again."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        store.rejects.add(caller.call_id)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert (pod.status().store, pod.view.state) == ("memory:degraded", "degraded")


@pytest.mark.parametrize(
    ("is_nearly_full", "heartbeat", "code"),
    [
        (False, StoreState.OK, None),
        (False, StoreState.UNREACHABLE, None),
        (True, StoreState.OK, "store_nearly_full"),
        (True, StoreState.REFUSED, "store_nearly_full"),
        (True, StoreState.UNREACHABLE, None),
    ],
)
async def test_a_store_that_is_nearly_full_takes_no_new_calls_while_it_can_be_reached(
    is_nearly_full: bool, heartbeat: StoreState, code: str | None
) -> None:
    """In an outage they go on from memory."""
    async with rig() as its:
        pod = its.unopened_pod("a")
        pod.committer.memory.is_nearly_full = is_nearly_full
        pod.store_health.heartbeat_state = heartbeat
        refusal = pod.refusal_of_new_calls()
        assert (None if refusal is None else refusal.code) == code

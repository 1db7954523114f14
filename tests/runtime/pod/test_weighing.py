"""Calls and the pod's budget of bytes."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import orjson

from tests.runtime.calls.test_long_messages import append, driven_call, item, update
from tests.runtime.rig import CountingObserver, ScriptedAgent, rig
from voice_agent.runtime.budget import FLOOR_BYTES, Budget

MIB = 1024 * 1024
TYPED = {
    "type": "conversation.item.create",
    "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 10_000}]},
}


async def test_a_message_that_does_not_fit_is_not_taken() -> None:
    """The error names the limit; what was held before stays, and a caller of another key is served."""
    async with rig() as its:
        pod = await its.pod()
        pod.owned.budget.key_bytes = 4 * MIB
        greedy, other = await driven_call(pod), await driven_call(pod, api_key_hash="other")
        await greedy.say(update(detects=False), append(bytes(3 * MIB)), append(bytes(3 * MIB)))
        assert greedy.errors == ["server_memory_budget"]
        assert str(4 * MIB) in greedy.events[-1]["error"]["message"]
        assert greedy.live.call.input_audio.position == 3 * MIB
        await other.say(update(detects=False), append(bytes(3 * MIB)))
        assert other.errors == []
        assert isinstance(pod.observer, CountingObserver)
        assert pod.observer.counts["limit_reached", "caller_bytes"] == 1


async def test_small_messages_cannot_go_round_the_budget() -> None:
    """Once a call is found to hold more than there is, it takes nothing that grows, until there is room again."""
    async with rig() as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        await caller.say(update(detects=False), *[append(bytes(20_000))] * 60)
        pod.owned.budget.key_bytes = FLOOR_BYTES
        await pod.upkeep.look_after_calls()
        await caller.say(append(bytes(960), event_id="refused"))
        assert caller.errors == ["server_memory_budget"]
        assert caller.events[-1]["error"]["event_id"] == "refused"
        await caller.say({"type": "input_audio_buffer.clear"})
        await pod.committer.flush(caller.live.writer)
        await pod.upkeep.look_after_calls()
        position = caller.live.call.input_audio.position
        await caller.say(append(bytes(960)))
        assert caller.live.call.input_audio.position == position + 960


async def test_a_modest_call_never_suffers() -> None:
    """Others hold all there is, and more."""
    async with rig() as its:
        pod = await its.pod()
        pod.owned.budget.holder("key").force(pod.owned.budget.limit_bytes + MIB)
        caller = await driven_call(pod)
        await caller.say(update(detects=False))
        for _ in range(3):
            await caller.say(append(bytes(300_000)), *[append(bytes(960))] * 20, TYPED)
            await pod.committer.flush(caller.live.writer)
            await pod.upkeep.look_after_calls()
            assert caller.live.memory.holder.size_bytes > FLOOR_BYTES
            await caller.say({"type": "input_audio_buffer.commit"})
            await caller.say({"type": "conversation.item.delete", "item_id": caller.live.call.conversation.last_id})
        assert "server_memory_budget" not in caller.errors


async def test_everything_a_call_holds_is_weighed() -> None:
    """Audio, items, the session, and what waits for the store or for the caller."""
    gate = asyncio.Event()
    agent = ScriptedAgent()

    async def transcribe(clip: Any) -> None:
        await gate.wait()

    agent.transcribe = transcribe  # type: ignore[method-assign]
    async with rig(None, agent) as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        held = [caller.live.memory.held_bytes]
        large = update(detects=False)
        large["session"]["instructions"] = "x" * 50_000
        for event in (large, append(bytes(MIB)), {"type": "input_audio_buffer.commit"}, item(bytes(MIB)), TYPED):
            await caller.say(event)
            await pod.committer.flush(caller.live.writer)
            held.append(caller.live.memory.held_bytes)
        grown = [after - before for before, after in pairwise(held)]
        assert grown[0] >= 50_000
        assert grown[1] >= MIB
        assert grown[2] >= 0
        assert grown[3] >= MIB
        assert grown[4] >= 10_000
        await pod.upkeep.look_after_calls()
        assert caller.live.memory.holder.size_bytes == caller.live.memory.held_bytes


async def test_what_is_gone_weighs_nothing() -> None:
    """A call that ended, was fenced or was unloaded gives its bytes back, and takes none again."""
    async with rig() as its:
        pod, other = await its.pod(), await its.pod("pod-b", "green")
        over, fenced, parked = [await driven_call(pod, resumable=True) for _ in range(3)]
        for caller in (over, fenced, parked):
            await caller.say(update(detects=False), append(bytes(MIB)))
        assert pod.owned.budget.used_by("key") >= 3 * MIB
        over.live.finish("admin")
        await its.resume(other, fenced.attachment.call_id, 0)
        fenced.live.call.record.mark("counts")
        await pod.committer.flush(fenced.live.writer)
        await parked.attachment.abandon()
        await pod.owned.unload(parked.live)
        for caller in (over, fenced, parked):
            caller.live.memory.update()
            assert caller.live.memory.reserve(MIB) is None
        assert pod.owned.budget.used_by("key") == 0


def test_a_holder_may_grow_while_it_is_small_or_there_is_room() -> None:
    """Forced beyond the bound it may not, until others let go."""
    budget = Budget(4 * MIB, 4 * MIB)
    large, small = budget.holder("a"), budget.holder("a")
    large.force(5 * MIB)
    small.force(FLOOR_BYTES)
    assert not large.may_grow
    assert small.may_grow
    large.force(3 * MIB)
    assert large.may_grow


async def test_room_for_a_message_is_kept_while_it_is_taken() -> None:
    """Looked at in between, the call counts what it will hold; then, turns being detected, only the padding."""
    async with rig() as its:
        pod = await its.pod()
        caller = await driven_call(pod)
        message = orjson.dumps(append(bytes(3 * MIB))).decode()
        assert not caller.attachment.take(message)
        await pod.upkeep.look_after_calls()
        assert caller.live.memory.holder.size_bytes >= 3 * MIB
        while not caller.attachment.take(message):
            await caller.attachment.ready()
        await pod.upkeep.look_after_calls()
        assert caller.live.memory.holder.size_bytes < MIB

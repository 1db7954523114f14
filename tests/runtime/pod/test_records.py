"""What an operator reads of a call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.call.calls import feed, new_call
from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import TYPED, rig
from tests.waiting import until
from voice_agent.call.inputs import UsageBegun, UsageKnown, UsageUnknown
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.durability.write_back import PROBE_S
from voice_agent.runtime.pod.records import describe
from voice_agent.runtime.ports import ResumeCall
from voice_agent.stores.memory import MemoryStore


async def test_a_record_says_what_has_been_and_none_of_what_has_not() -> None:
    """The same whether it is read from memory or from the store."""
    store = MemoryStore(ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod("blue-1")
        caller = await its.start(pod, resumable=True)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        live = pod.owned.by_id[caller.call_id]

        async def read() -> dict[str, Any]:
            await pod.committer.flush(live.writer)
            snapshot = await store.load(caller.call_id)
            assert snapshot is not None
            from_store, from_memory = describe(snapshot), describe(live.call)
            assert from_store == from_memory
            return from_memory

        record = await read()
        assert record["session"] == live.call.session.fields
        assert record == record | {
            "id": caller.call_id,
            "model": "scripted",
            "status": "attached",
            "outcome": None,
            "owner": "blue-1",
            "color": "blue",
            "epoch": 1,
            "events": len(caller.transport.ids),
            "turns": live.call.dialogue.turns,
            "resumable": True,
            "started_at_ms": live.call.identity.created_at_ms,
            "left_at_ms": None,
            "ended_at_ms": None,
            "usage": None,
            "agent_state": {},
        }
        assert [(line["role"], line["text"]) for line in record["transcript"]] == [("user", "hi")]
        await caller.gone()
        record = await read()
        assert (record["status"], record["left_at_ms"]) == ("parked", live.call.lifecycle.left_at_ms)
        live.finish("admin")
        await pod.committer.flush(live.writer)
        snapshot = await store.load(caller.call_id)
        assert snapshot is not None
        record = describe(snapshot)
        assert (record["status"], record["outcome"]) == ("ended", "admin")
        assert record["ended_at_ms"] == live.call.lifecycle.ended_at_ms > 0
        assert record["session"] == live.call.session.fields
        assert record["agent_state"] == {}
        await store.erase(caller.call_id, 1)
        snapshot = await store.load(caller.call_id)
        assert snapshot is not None
        record = describe(snapshot)
        assert (record["session"], record["agent_state"], record["transcript"]) == (None, None, [])


def test_what_requests_to_providers_used_is_told_and_what_is_not_known_is_null() -> None:
    """Never 0, which would be believed."""
    call = new_call()
    for request_id in ("req_1", "req_2", "req_3"):
        feed(call, UsageBegun(request_id, "openai", "gpt"))
    feed(call, UsageKnown("req_1", {"input_tokens": 12, "output_tokens": 0}), UsageUnknown("req_2"))
    assert describe(call)["usage"] == {
        "models": {
            "openai/gpt": {
                "requests": 2,
                "unknown": 1,
                "input_tokens": 12,
                "output_tokens": 0,
                "cached_input_tokens": None,
                "input_audio_tokens": None,
                "output_audio_tokens": None,
                "characters": None,
                "audio_ms": None,
            }
        },
        "open_requests": ["req_3"],
        "unknown_requests": ["req_2"],
    }


def test_a_transcript_is_what_was_said_and_what_was_called() -> None:
    """Words whichever way they came, parts of a message joined, one that was not understood left out; no audio."""
    call = new_call()
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": "Hello?"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "One"}, {"type": "input_text", "text": "two."}],
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Three."}]},
        {"type": "function_call", "name": "book", "call_id": "fc_1", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "fc_1", "output": "done"},
    ]
    for number, item in enumerate(items):
        call.conversation.add({"id": f"item_{number}", "status": "completed", **item})
    lines = describe(call)["transcript"]
    assert [line["id"] for line in lines] == [f"item_{number}" for number in range(6)]
    assert {line["status"] for line in lines} == {"completed"}
    assert [(line["role"], line["text"]) for line in lines[:4]] == [
        ("user", "Hello?"),
        ("user", ""),
        ("user", "One two."),
        ("assistant", "Three."),
    ]
    assert [set(line) - {"id", "type", "status"} for line in lines[4:]] == [
        {"name", "call_id", "arguments"},
        {"call_id", "output"},
    ]


async def test_a_call_is_read_wherever_it_is() -> None:
    """From the pod's memory or from the store, with whose it is now; there is nothing to read of an unknown one."""
    async with rig() as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        await blue.committer.flush(blue.owned.by_id[caller.call_id].writer)
        for pod in (blue, green):
            record = await pod.call_record(caller.call_id)
            assert record is not None
            assert (record["owner"], record["color"]) == ("blue-1", "blue")
        assert await blue.call_record("call_" + "b" * 26) is None
        await its.resume(green, caller.call_id, 0)
        record = await green.call_record(caller.call_id)
        assert record is not None
        assert (record["owner"], record["color"]) == ("green-1", "green")


async def test_there_is_nothing_to_erase_of_an_unknown_call() -> None:
    """And that is said, and not logged as done."""
    async with rig() as its:
        pod = await its.pod()
        with capture_logs() as logs:
            assert await pod.erase("call_" + "b" * 26) is False
        assert logs == []


@pytest.mark.parametrize("is_being_written", [False, True])
async def test_a_call_that_the_store_has_not_got_yet_is_erased_there_too(is_being_written: bool) -> None:
    """It is written first, and a write under way is waited for: later, it would bring the call back."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod, other = await its.pod(clock=clock), await its.pod("pod-b")
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        await pod.committer.flush(live.writer)
        if is_being_written:
            store.is_away = True
            caller.transport.say(TYPED)
            await until(lambda: ("store_failed", "commit") in pod.observer.counts)  # type: ignore[attr-defined]
            clock.leap(10)
            await until(lambda: pod.committer.degraded)
            store.gate.clear()
            store.is_away = False
            clock.leap(PROBE_S)
            await until(lambda: pod.committer.under_way)
        store._calls.clear()
        erasing = asyncio.create_task(pod.erase(caller.call_id))
        if is_being_written:
            for _ in range(20):
                await asyncio.sleep(0)
            assert not erasing.done()
            store.gate.set()
        assert await erasing is True
        assert pod.view.calls() == []
        await caller.task
        held = await store.load(caller.call_id)
        assert held is not None
        assert (held.fields["status"], held.fields["outcome"], held.items) == (b"ended", b"admin", {})
        with pytest.raises(ConnectionRefused) as refusal:
            await other.resume(ResumeCall(caller.call_id, 0))
        assert refusal.value.status == 410

"""What an operator reads of a call."""

from __future__ import annotations

from typing import Any

from tests.call.calls import new_call
from tests.runtime.rig import TYPED, rig
from voice_agent.runtime.pod.records import describe
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
            await pod.committer.flush(live)
            snapshot = await store.load(caller.call_id)
            assert snapshot is not None
            from_store, from_memory = describe(snapshot), describe(live.call)
            assert from_store == from_memory
            return from_memory

        record = await read()
        assert record["session"] == live.call.session
        assert record == record | {
            "id": caller.call_id,
            "model": "scripted",
            "status": "attached",
            "outcome": None,
            "owner": "blue-1",
            "color": "blue",
            "epoch": 1,
            "events": len(caller.transport.ids),
            "turns": live.call.turns,
            "resumable": True,
            "started_at_ms": live.call.created_at_ms,
            "left_at_ms": None,
            "ended_at_ms": None,
            "agent_state": {},
        }
        assert [(line["role"], line["text"]) for line in record["transcript"]] == [("user", "hi")]
        await caller.gone()
        record = await read()
        assert (record["status"], record["left_at_ms"]) == ("parked", live.call.left_at_ms)
        live.finish("admin")
        await pod.committer.flush(live)
        snapshot = await store.load(caller.call_id)
        assert snapshot is not None
        record = describe(snapshot)
        assert (record["status"], record["outcome"]) == ("ended", "admin")
        assert record["ended_at_ms"] == live.call.ended_at_ms > 0
        assert record["session"] == live.call.session
        assert record["agent_state"] == {}
        await store.erase(caller.call_id, 1)
        snapshot = await store.load(caller.call_id)
        assert snapshot is not None
        record = describe(snapshot)
        assert (record["session"], record["agent_state"], record["transcript"]) == (None, None, [])


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

"""What a call is counted to hold, and when it may hold more."""

from __future__ import annotations

from tests.call.calls import feed
from tests.runtime.alone import alone
from voice_agent.call.bounds import kept_audio_bytes
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.events import pack
from voice_agent.call.inputs import CreateItem
from voice_agent.runtime.calls.call_memory import GRANTED_BYTES

HEAD = pack({"type": "x"})


def typed(item_id: str) -> CreateItem:
    """A typed item."""
    content = [{"type": "input_text", "text": "hi"}]
    return CreateItem({"id": item_id, "type": "message", "role": "user", "content": content})


async def test_a_call_holds_the_sum_of_its_parts() -> None:
    """To the byte: audio, what waits for the store and for the caller, items, the session, a message being taken."""
    async with alone() as its:
        assert its.live.memory.held_bytes == its.call.session.size_bytes
        connection = its.attach()
        feed(its.call, typed("mine"))
        its.call.input_audio.audio += bytes(3)
        its.call.speech.add("item", bytes(50))
        its.live.memory.incoming_bytes = 700
        connection.push([OutboxEntry(1, HEAD, bytes(9000))])
        parts = [
            kept_audio_bytes(its.call),
            50,
            700,
            its.call.conversation.held_bytes,
            its.call.unsaved_bytes,
            its.call.session.size_bytes,
            connection.unsent_bytes,
        ]
        assert all(parts)
        assert its.live.memory.held_bytes == sum(parts)


async def test_a_call_may_hold_a_modest_amount_whatever_others_hold() -> None:
    """To the byte; what is granted counts from then on, what is refused does not."""
    async with alone() as its:
        its.budget.holder("key").force(its.budget.limit_bytes)
        room = GRANTED_BYTES - its.live.memory.held_bytes
        assert its.live.memory.reserve(room) is None
        assert its.live.memory.holder.size_bytes == GRANTED_BYTES
        refusal = its.live.memory.reserve(room + 1)
        assert refusal is not None
        assert refusal.code == "server_memory_budget"
        assert its.live.memory.holder.size_bytes == GRANTED_BYTES


async def test_a_call_takes_nothing_more_while_it_holds_more_than_there_is() -> None:
    """Unless that is a modest amount, or there is room again; of a call that has ended nothing is counted."""
    async with alone() as its:
        assert not its.live.memory.is_over_budget
        others = its.budget.holder("key")
        others.force(its.budget.limit_bytes)
        its.live.memory.incoming_bytes = GRANTED_BYTES - its.live.memory.held_bytes
        its.live.memory.update()
        assert its.live.memory.holder.size_bytes == GRANTED_BYTES
        assert not its.live.memory.is_over_budget
        its.live.memory.incoming_bytes += 1
        its.live.memory.update()
        assert its.live.memory.is_over_budget
        others.release()
        its.live.memory.update()
        assert not its.live.memory.is_over_budget
        its.live.finish("admin")
        its.live.memory.update()
        assert its.budget.used_bytes == 0

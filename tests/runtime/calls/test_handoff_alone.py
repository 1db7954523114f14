"""A handoff of a call, step by step."""

from __future__ import annotations

import asyncio

import pytest

from tests.call.calls import FRAME, manual_call
from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.calls.test_listening import BEFORE, hear, old_call
from tests.waiting import PATIENCE_S, until
from voice_agent.call.audio import PCM
from voice_agent.call.inputs import AppendAudio, CreateItem, FromCaller
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.runtime.calls import handoff as handoffs
from voice_agent.runtime.durability import writing


@pytest.fixture(autouse=True)
def _patient_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the test holds back is not given up."""
    monkeypatch.setattr(writing, "TRY_S", PATIENCE_S)


def typed(item_id: str) -> CreateItem:
    """A typed item."""
    content = [{"type": "input_text", "text": "hi"}]
    return CreateItem({"id": item_id, "type": "message", "role": "user", "content": content})


async def stored(its: Alone) -> CallRecord:
    """The call as another pod would find it."""
    held = await its.store.load(its.call.call_id)
    assert held is not None
    return restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=0)


LATE: list[FromCaller] = [AppendAudio(FRAME), typed("late")]


@pytest.mark.parametrize("late", LATE, ids=["audio that no write has taken", "a change"])
async def test_what_is_said_while_a_handoff_is_written_goes_with_it(late: FromCaller) -> None:
    """It is written before the connection is closed, and nothing more is taken meanwhile."""
    async with alone(manual_call()) as its:
        connection = its.attach()
        await its.live.writer.wait_durable()
        its.store.gate.clear()
        its.store.after_round = its.store.gate.clear
        handoff = asyncio.create_task(its.live.hand_off())
        await until(lambda: its.committer.under_way)
        its.live.receive_event(late)
        assert (connection.reading_paused, connection.closing) == (False, None)
        its.store.gate.set()
        await until(lambda: handoff.done() or connection.reading_paused)
        await turns_pass()
        assert (connection.reading_paused, connection.closing) == (True, None)
        its.store.gate.set()
        await handoff
        assert connection.closing is not None
        assert connection.closing[0] == 1012
        assert not connection.reading_paused
        kept = await stored(its)
        assert kept.lifecycle.handed_off
        assert kept.heard_bytes == its.call.input_audio.position
        assert len(kept.conversation) == len(its.call.conversation)


async def test_what_is_held_of_speech_while_a_handoff_is_written_goes_with_it() -> None:
    """Also what the rules have not had yet (`HeldAudio`)."""
    async with alone(old_call()) as its:
        connection = its.attach()
        hear(its, 0, 1500)
        await its.live.writer.wait_durable()
        its.store.gate.clear()
        its.store.after_round = its.store.gate.clear
        handoff = asyncio.create_task(its.live.hand_off())
        await until(lambda: its.committer.under_way)
        hear(its, 1500, 1560)
        assert its.live.listening.held.audio
        its.store.gate.set()
        await until(lambda: handoff.done() or connection.reading_paused)
        its.store.gate.set()
        await handoff
        assert connection.closing is not None
        assert (await stored(its)).heard_bytes == BEFORE + PCM.size(1560)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_caller_who_leaves_while_a_handoff_is_written_was_not_handed_off(*, comes_back: bool) -> None:
    """Nothing was closed: parked, the call would be counted as dropped by a deploy if nobody fetched it."""
    async with alone(manual_call()) as its:
        connection = its.attach()
        await its.live.writer.wait_durable()
        its.store.gate.clear()
        handoff = asyncio.create_task(its.live.hand_off())
        await until(lambda: its.committer.under_way)
        its.live.receive_event(typed("late"))
        newer = its.attach() if comes_back else None
        its.live.detach(connection, hung_up=False, planned=False)
        its.store.gate.set()
        await handoff
        await its.live.writer.wait_durable()
        assert not (await stored(its)).lifecycle.handed_off
        assert its.live.connection is newer
        assert newer is None or newer.closing is None


async def test_a_handoff_of_a_call_at_rest_is_one_write() -> None:
    """And closes the connection only then, however long that takes."""
    async with alone(manual_call()) as its:
        connection = its.attach()
        its.live.receive_event(AppendAudio(FRAME))
        await its.live.writer.wait_durable()
        rounds = len(its.store.rounds)
        its.store.gate.clear()
        handoff = asyncio.create_task(its.live.hand_off())
        await until(lambda: its.committer.under_way)
        await turns_pass()
        assert (connection.closing, connection.reading_paused) == (None, False)
        its.store.gate.set()
        await handoff
        assert connection.closing is not None
        assert len(its.store.rounds) == rounds + 1
        kept = await stored(its)
        assert kept.lifecycle.handed_off
        assert kept.heard_bytes == len(FRAME)


@pytest.mark.parametrize("is_late", [True, False])
async def test_only_at_its_deadline_a_handoff_does_not_wait_for_the_store(
    monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    """Then it closes the connection whether the store answers or not."""
    monkeypatch.setattr(handoffs, "LAST_FLUSH_S", 0.0)
    async with alone() as its:
        connection = its.attach()
        await its.live.writer.wait_durable()
        its.store.gate.clear()
        handoff = asyncio.create_task(its.live.hand_off(force=is_late))
        await until(lambda: its.committer.under_way or handoff.done())
        await turns_pass()
        assert handoff.done() is is_late
        assert (connection.closing is not None) is is_late
        its.store.gate.set()
        await handoff
        assert connection.closing is not None


async def test_a_call_that_the_store_lacks_is_handed_off_only_at_the_deadline() -> None:
    """Until then the connection stays open, and what its caller sends is taken again."""
    async with alone() as its:
        connection = its.attach()
        await its.live.writer.wait_durable()
        its.committer.write_back.unsaved[its.live.writer] = None
        its.store.rejects.add(its.call.call_id)
        await its.live.hand_off()
        assert (connection.closing, connection.reading_paused) == (None, False)
        await its.live.hand_off(force=True)
        assert connection.closing is not None

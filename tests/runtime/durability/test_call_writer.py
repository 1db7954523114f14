"""What of a call is written when, and what waits for that."""

from __future__ import annotations

import asyncio

import pytest

from tests.runtime.alone import Alone, alone, turns_pass
from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.events import pack
from voice_agent.call.inputs import CreateItem
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.runtime.durability import writing
from voice_agent.runtime.durability.call_writer import MAX_UNSAVED_BYTES, MAX_UNSAVED_EVENTS
from voice_agent.runtime.durability.writing import Writer
from voice_agent.runtime.ports import StoreState

HEAD = pack({"type": "x"})


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


async def stored_items(its: Alone) -> list[str]:
    """Ids of the items that the store has."""
    return [item["id"] for item in (await stored(its)).conversation.items()]


@pytest.mark.parametrize(
    ("unsaved_bytes", "events", "is_much"),
    [
        (MAX_UNSAVED_BYTES, MAX_UNSAVED_EVENTS, False),
        (MAX_UNSAVED_BYTES + 1, 0, True),
        (0, MAX_UNSAVED_EVENTS + 1, True),
    ],
)
async def test_how_much_may_wait_for_the_store(unsaved_bytes: int, events: int, *, is_much: bool) -> None:
    """In bytes, of items too, and in events; of a call that another pod has nothing is waited for."""
    async with alone() as its:
        its.live.feed(typed("mine"))
        in_items = its.call.conversation.unsaved_bytes
        assert in_items
        its.call.outbox.unsaved = [OutboxEntry(1, HEAD, b"")] * events
        its.call.outbox.unsaved_bytes = unsaved_bytes - in_items
        assert its.live.writer.is_backlogged is is_much
        its.live.writer.superseded()
        assert not its.live.writer.is_backlogged


async def test_who_waits_for_the_store_has_the_call_written() -> None:
    """And is counted; who need not wait is not."""
    async with alone() as its:
        await its.live.writer.wait_durable()
        await its.live.writer.wait_for_capacity()
        assert ("limit_reached", "unsaved_bytes") not in its.observer.counts
        its.call.outbox.emit({"type": "x"}, bytes(MAX_UNSAVED_BYTES))
        async with asyncio.timeout(PATIENCE_S):
            await its.live.writer.wait_for_capacity()
        assert its.observer.counts["limit_reached", "unsaved_bytes"] == 1
        assert its.store.rounds == [1, 1]


async def test_a_held_call_is_written_before_and_after_and_not_meanwhile() -> None:
    """Not given up, not asked about, and not tried again and again for whoever waits for it."""
    async with alone() as its:
        its.live.feed(typed("before"))
        await its.live.writer.pause_writes()
        assert await stored_items(its) == ["before"]
        its.live.feed(typed("meanwhile"))
        its.live.writer.release_unsaved()
        assert its.call.outbox.unsaved
        assert its.live.writer.take_write() is None is its.live.writer.ownership_check()
        flush, flushes = its.committer.flush, []

        async def counted(call: Writer) -> None:
            flushes.append(call)
            await flush(call)

        its.committer.flush = counted  # type: ignore[method-assign]  # what `wait_durable` asks for
        waiting = asyncio.create_task(its.live.writer.wait_durable())
        await turns_pass(50)
        assert (len(flushes), waiting.done()) == (1, False)
        assert await stored_items(its) == ["before"]
        its.live.writer.resume_writes()
        await waiting
        assert await stored_items(its) == ["before", "meanwhile"]


async def test_a_call_that_is_let_go_is_written_though_nobody_waits() -> None:
    """What changed while it was held waits for no other change."""
    async with alone() as its:
        await its.live.writer.pause_writes()
        its.live.feed(typed("meanwhile"))
        await its.committer.flush(its.live.writer)
        assert not its.committer.has_pending(its.live.writer)
        its.live.writer.resume_writes()
        await until(lambda: not its.committer.has_pending(its.live.writer))
        assert await stored_items(its) == ["meanwhile"]


async def test_who_waits_for_a_held_call_that_is_lost_waits_no_longer() -> None:
    """Another pod has it: it will never be durable here."""
    async with alone() as its:
        await its.live.writer.pause_writes()
        waiting = asyncio.create_task(its.live.writer.wait_durable())
        await turns_pass()
        assert not waiting.done()
        its.live.writer.superseded()
        async with asyncio.timeout(PATIENCE_S):
            await waiting
        assert its.live.writer.take_write() is None is its.live.writer.ownership_check()
        its.live.writer.release_unsaved()


async def test_holding_waits_for_a_round_that_has_begun() -> None:
    """The store was slow, so the next round begins at once, in front of whoever waited for the first."""
    async with alone() as its:

        def slow_round() -> None:
            its.store.gate.clear()
            its.clock.now_s += 1
            its.live.feed(typed("late"))
            its.store.after_round = lambda: None

        await its.live.writer.wait_durable()
        its.store.after_round = slow_round
        holding = asyncio.create_task(its.live.writer.pause_writes())
        its.live.feed(typed("before"))
        await until(lambda: not its.store.gate.is_set())
        await turns_pass()
        assert its.live.writer.writes_paused
        assert not holding.done()
        its.store.gate.set()
        await holding
        assert await stored_items(its) == ["before", "late"]


@pytest.mark.parametrize(
    ("loss", "in_doubt", "code"),
    [("superseded", False, 4409), ("superseded", True, 1012), ("erased", False, 4410), ("unwritable", False, 1011)],
)
async def test_a_lost_call_lets_its_caller_go_at_once(loss: str, code: int, *, in_doubt: bool) -> None:
    """Before anything else is sent, with a code that says where to go; it is over for this pod."""
    async with alone() as its:
        assert not its.live.writer.in_doubt
        connection = its.attach()
        connection.push([OutboxEntry(1, HEAD, b"")])
        its.live.memory.reserve(1000)
        its.live.writer.in_doubt = in_doubt
        getattr(its.live.writer, loss)()
        assert connection.closing is not None
        assert connection.closing[0] == code
        assert connection.unsent_bytes == 0
        assert its.budget.used_bytes == 0
        assert its.gone == [its.live]
        assert its.observer.counts.get(("call_dropped", "error"), 0) == (loss == "unwritable")
        its.live.writer.superseded()
        assert its.gone == [its.live]
        its.call.outbox.emit({"type": "x"})
        its.live.writer.release_unsaved()
        assert its.live.writer.take_write() is None is its.live.writer.ownership_check()
        assert its.call.outbox.unsaved


@pytest.mark.parametrize("in_doubt", [True, False])
@pytest.mark.parametrize("given_up", [None, StoreState.FULL])
async def test_a_write_removes_the_doubt_unless_the_store_is_given_up(
    given_up: StoreState | None, *, in_doubt: bool
) -> None:
    """From memory alone nothing is learnt of another owner; and it makes none."""
    async with alone() as its:
        its.clock.now_s += 5
        its.committer.write_back.given_up = given_up
        its.live.writer.in_doubt = in_doubt
        its.live.writer.committed([])
        assert its.live.writer.in_doubt is (in_doubt and given_up is not None)
        assert its.live.writer.committed_at_s == its.clock.now_s


async def test_what_a_store_that_is_given_up_did_not_take_goes_out_and_is_written_later() -> None:
    """With all of the call."""
    async with alone() as its:
        connection = its.attach()
        await its.live.writer.wait_durable()
        its.live.feed(typed("mine"))
        its.live.writer.release_unsaved()
        assert "conversation.item.done" in connection.pushed
        taken = its.live.writer.take_write()
        assert taken is not None
        assert (taken[0].whole, taken[1]) == (True, [])


async def test_what_waited_for_a_write_that_was_lost_waits_for_the_next_in_front_of_what_came_since() -> None:
    """That carries all of the call."""
    async with alone() as its:
        await its.live.writer.wait_durable()
        its.live.feed(typed("first"))
        taken = its.live.writer.take_write()
        assert taken is not None
        assert not taken[0].whole
        its.live.feed(typed("second"))
        its.live.writer.requeue_whole(taken[1])
        again = its.live.writer.take_write()
        assert again is not None
        assert again[0].whole
        assert again[1][: len(taken[1])] == taken[1]
        assert len(again[1]) == 2 * len(taken[1])


@pytest.mark.parametrize(("is_scarce", "is_nearly_full"), [(False, False), (True, False), (True, True)])
async def test_a_call_keeps_less_in_a_store_that_is_short_of_memory(*, is_scarce: bool, is_nearly_full: bool) -> None:
    """From its next write on, and as before once there is memory again."""
    async with alone() as its:
        for scarce, full in ((is_scarce, is_nearly_full), (False, False)):
            its.committer.memory.is_scarce, its.committer.memory.is_nearly_full = scarce, full
            its.live.writer.take_write()
            assert (its.call.speech.under_memory_pressure, its.call.speech.keeps_turns) == (scarce, not full)

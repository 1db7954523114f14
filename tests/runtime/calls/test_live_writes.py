"""What of a live call is written when, and what waits for that.

Tests of `call_memory` and `durability.call_writer`, too.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.call.calls import FRAME, feed, manual_call
from tests.runtime.alone import Alone, QuietConnection, alone, turns_pass
from tests.waiting import PATIENCE_S, until
from voice_agent.call.bounds import kept_audio_bytes
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.codec import restore
from voice_agent.call.effects import CloseConnection
from voice_agent.call.events import pack
from voice_agent.call.inputs import AppendAudio, CreateItem, CreateResponse, FromCaller, InvalidEvent
from voice_agent.call.record import Call
from voice_agent.errors import ProtocolError
from voice_agent.runtime.calls import handoff as handoffs
from voice_agent.runtime.calls.call_memory import GRANTED_BYTES
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


async def stored(its: Alone) -> Call:
    """The call as another pod would find it."""
    held = await its.store.load(its.call.call_id)
    assert held is not None
    return restore(held, epoch=2, outbox_bytes=1 << 20, checkpoint_ms=0)


async def stored_items(its: Alone) -> list[str]:
    """Ids of the items that the store has."""
    return [item["id"] for item in (await stored(its)).conversation.items()]


# --- a backlog ------------------------------------------------------------------


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
        its.call.unsaved_events = [OutboxEntry(1, HEAD, b"")] * events
        its.call.unsaved_bytes = unsaved_bytes - in_items
        assert its.live.writer.is_backlogged is is_much
        its.live.writer.superseded()
        assert not its.live.writer.is_backlogged


async def test_who_waits_for_the_store_has_the_call_written() -> None:
    """And is counted; who need not wait is not."""
    async with alone() as its:
        await its.live.writer.wait_durable()
        await its.live.writer.wait_for_capacity()
        assert ("limit_reached", "unsaved_bytes") not in its.observer.counts
        its.call.emit({"type": "x"}, bytes(MAX_UNSAVED_BYTES))
        async with asyncio.timeout(PATIENCE_S):
            await its.live.writer.wait_for_capacity()
        assert its.observer.counts["limit_reached", "unsaved_bytes"] == 1
        assert its.store.rounds == [1, 1]


# --- while the call is about to move -------------------------------------------------


async def test_a_held_call_is_written_before_and_after_and_not_meanwhile() -> None:
    """Not given up, not asked about, and not tried again and again for whoever waits for it."""
    async with alone() as its:
        its.live.feed(typed("before"))
        await its.live.writer.pause_writes()
        assert await stored_items(its) == ["before"]
        its.live.feed(typed("meanwhile"))
        its.live.writer.release_unsaved()
        assert its.call.unsaved_events
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
        await until(lambda: its.committer._in_flight)
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
        assert kept.handed_off
        assert kept.heard_bytes == its.call.input_audio.position
        assert len(kept.conversation) == len(its.call.conversation)


@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_caller_who_leaves_while_a_handoff_is_written_was_not_handed_off(*, comes_back: bool) -> None:
    """Nothing was closed: parked, the call would be counted as dropped by a deploy if nobody fetched it."""
    async with alone(manual_call()) as its:
        connection = its.attach()
        await its.live.writer.wait_durable()
        its.store.gate.clear()
        handoff = asyncio.create_task(its.live.hand_off())
        await until(lambda: its.committer._in_flight)
        its.live.receive_event(typed("late"))
        newer = its.attach() if comes_back else None
        its.live.detach(connection, hung_up=False, planned=False)
        its.store.gate.set()
        await handoff
        await its.live.writer.wait_durable()
        assert not (await stored(its)).handed_off
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
        await until(lambda: its.committer._in_flight)
        await turns_pass()
        assert (connection.closing, connection.reading_paused) == (None, False)
        its.store.gate.set()
        await handoff
        assert connection.closing is not None
        assert len(its.store.rounds) == rounds + 1
        kept = await stored(its)
        assert kept.handed_off
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
        await until(lambda: its.committer._in_flight or handoff.done())
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


# --- the end ------------------------------------------------------------------------


@pytest.mark.parametrize(("outcome", "code"), [("admin", 4410), ("timeout", 4408)])
async def test_a_call_that_is_ended_is_closed_once_its_last_events_are_written(outcome: str, code: int) -> None:
    """They are sent first; a time that is over has a code of its own."""
    async with alone() as its:
        connection = its.attach()
        its.live.feed(typed("last"))
        its.store.gate.clear()
        its.live.finish(outcome, 4410, "why")
        await until(lambda: its.committer._in_flight)
        await turns_pass()
        assert connection.closing is None
        its.store.gate.set()
        await until(lambda: connection.closing)
        assert connection.closing == (code, "why")
        assert "conversation.item.done" in connection.pushed
        assert its.gone == [its.live]
        assert its.live.writer.has_ended


async def test_an_agent_that_hangs_up_ends_the_call() -> None:
    """With the code and the reason that the rules give."""
    async with alone() as its:
        connection = its.attach()
        assert not its.live.writer.has_ended
        its.live._carry_out(CloseConnection(4000, "goodbye"))
        await until(lambda: connection.closing)
        assert connection.closing == (4000, "goodbye")
        assert its.call.outcome == "agent"
        assert its.observer.counts["call_ended", "agent"] == 1


async def test_a_call_ends_once() -> None:
    """Whatever ends it afterwards, it is counted under the first, and gives back what it held once."""
    async with alone() as its:
        its.live.writer.erased()
        its.live.writer.erased()
        its.live.finish("hangup")
        assert {key: n for key, n in its.observer.counts.items() if key[0] == "call_ended"} == {
            ("call_ended", "admin"): 1
        }
        assert its.gone == [its.live]
    async with alone() as its:
        its.live.finish("timeout")
        its.live.writer.erased()
        assert {key: n for key, n in its.observer.counts.items() if key[0] == "call_ended"} == {
            ("call_ended", "timeout"): 1
        }


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
        its.call.emit({"type": "x"})
        its.live.writer.release_unsaved()
        assert its.live.writer.take_write() is None is its.live.writer.ownership_check()
        assert its.call.unsaved_events


# --- what a write brings --------------------------------------------------------------


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
            assert (its.call.under_memory_pressure, its.call.keeps_turns) == (scarce, not full)


async def test_the_first_audio_of_a_reply_is_timed() -> None:
    """From the end of the caller's speech to the write that lets it out; once, and not if nobody is there."""
    async with alone() as its:
        its.attach()
        text, audio = OutboxEntry(1, HEAD, b""), OutboxEntry(2, HEAD, b"xx")
        its.live.writer.committed([audio])
        its.live.receive_event(CreateResponse({}))
        its.clock.now_s += 0.5
        its.live.writer.committed([text])
        assert its.observer.stages == []
        its.clock.now_s += 0.25
        its.live.writer.committed([text, audio])
        its.clock.now_s += 0.25
        its.live.writer.committed([audio])
        assert its.observer.stages == [("first_audio", 0.75)]
        its.live.connection = None
        its.live.writer.committed([audio])


async def test_a_limit_of_the_rules_is_counted() -> None:
    """By its name."""
    async with alone() as its:
        its.live.receive_event(InvalidEvent(ProtocolError("Too much.", code="x", limit="a_limit")))
        assert its.observer.counts["limit_reached", "a_limit"] == 1


# --- connections ------------------------------------------------------------------------


async def test_a_new_connection_takes_the_place_of_an_older_one() -> None:
    """That is closed in front of what waits for it; silence counts afresh, and the store learns who is there."""
    async with alone() as its:
        assert its.live.activity.has_sent_nothing
        older = its.attach()
        await its.live.writer.wait_durable()
        older.push([OutboxEntry(1, HEAD, b"")])
        its.clock.now_s += 5
        newer = its.attach()
        assert older.closing is not None
        assert (older.closing[0], older.unsent_bytes, newer.closing) == (4409, 0, None)
        assert its.live.activity._attached_at_s == its.live.activity.heard_at_s == its.clock.now_s
        assert its.committer.has_pending(its.live.writer)
        its.live.detach(older, hung_up=True, planned=False)
        assert its.live.connection is newer


async def test_a_new_connection_gets_what_its_client_has_missed() -> None:
    """As far as that is durable."""
    async with alone() as its:
        its.live.feed(typed("mine"))
        await its.live.writer.wait_durable()
        its.live.feed(typed("later"))
        connection = QuietConnection()
        its.live.attach(connection, 1)
        assert connection.pushed == ["conversation.item.done"]


async def test_who_has_said_nothing() -> None:
    """Since the upgrade, whether somebody has looked meanwhile or not."""
    async with alone() as its:
        its.attach()
        assert its.live.activity.has_sent_nothing
        its.live.activity.has_sent = True
        assert not its.live.activity.has_sent_nothing
        its.live.activity.has_sent = False
        its.live.activity.heard_at_s += 1
        assert not its.live.activity.has_sent_nothing


@pytest.mark.parametrize("is_closing", [True, False])
@pytest.mark.parametrize("asked", [True, False])
async def test_who_is_warned_of_a_drain(*, asked: bool, is_closing: bool) -> None:
    """Who asked for that and is connected."""
    async with alone() as its:
        connection = its.attach(going_away=asked)
        if is_closing:
            connection.close(1012)
        its.live.warn_of_drain(1000)
        assert bool(its.call.unsaved_events) is (asked and not is_closing)
        its.live.connection = None
        its.live.warn_of_drain(1000)


# --- what it holds ------------------------------------------------------------------------


async def test_a_call_holds_the_sum_of_its_parts() -> None:
    """To the byte: audio, what waits for the store and for the caller, items, the session, a message being taken."""
    async with alone() as its:
        assert its.live.memory.held_bytes == its.call.session_bytes
        connection = its.attach()
        feed(its.call, typed("mine"))
        its.call.input_audio.audio += bytes(3)
        its.call.add_speech("item", bytes(50))
        its.live.memory.incoming_bytes = 700
        connection.push([OutboxEntry(1, HEAD, bytes(9000))])
        parts = [
            kept_audio_bytes(its.call),
            50,
            700,
            its.call.conversation.held_bytes,
            its.call.unsaved_bytes,
            its.call.session_bytes,
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

"""How a call begins on a connection and how it ends."""

from __future__ import annotations

import pytest

from tests.runtime.alone import QuietConnection, alone, turns_pass
from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import OutboxEntry
from voice_agent.call.effects import CloseConnection
from voice_agent.call.events import pack
from voice_agent.call.inputs import CreateItem, InvalidEvent
from voice_agent.errors import ProtocolError
from voice_agent.runtime.durability import writing

HEAD = pack({"type": "x"})


@pytest.fixture(autouse=True)
def _patient_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that the test holds back is not given up."""
    monkeypatch.setattr(writing, "TRY_S", PATIENCE_S)


def typed(item_id: str) -> CreateItem:
    """A typed item."""
    content = [{"type": "input_text", "text": "hi"}]
    return CreateItem({"id": item_id, "type": "message", "role": "user", "content": content})


@pytest.mark.parametrize(("outcome", "code"), [("admin", 4410), ("timeout", 4408)])
async def test_a_call_that_is_ended_is_closed_once_its_last_events_are_written(outcome: str, code: int) -> None:
    """They are sent first; a time that is over has a code of its own."""
    async with alone() as its:
        connection = its.attach()
        its.live.feed(typed("last"))
        its.store.gate.clear()
        its.live.finish(outcome, 4410, "why")
        await until(lambda: its.committer.under_way)
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
        assert its.call.lifecycle.outcome == "agent"
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


async def test_a_limit_of_the_rules_is_counted() -> None:
    """By its name."""
    async with alone() as its:
        its.live.receive_event(InvalidEvent(ProtocolError("Too much.", code="x", limit="a_limit")))
        assert its.observer.counts["limit_reached", "a_limit"] == 1


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


@pytest.mark.parametrize("is_closing", [True, False])
@pytest.mark.parametrize("asked", [True, False])
async def test_who_is_warned_of_a_drain(*, asked: bool, is_closing: bool) -> None:
    """Who asked for that and is connected."""
    async with alone() as its:
        connection = its.attach(going_away=asked)
        if is_closing:
            connection.close(1012)
        its.live.warn_of_drain(1000)
        assert bool(its.call.outbox.unsaved) is (asked and not is_closing)
        its.live.connection = None
        its.live.warn_of_drain(1000)

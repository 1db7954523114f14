"""A caller who knows nothing of resuming notices whatever such a client would, and is content with a good server."""

from __future__ import annotations

import pytest

from tests.rehearse.scripted import Change, Event, QuickClock, ScriptedClient, scripted_server
from tests.rehearse.test_caller import NOT_SO_SOON, TURNS, only
from tests.servers import free_port
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.rehearse.caller import RehearsedCaller
from voice_agent.rehearse.plain_call import HABITS, Habits, PlainCall
from voice_agent.rehearse.timeline import CallLine


async def talked(
    change: Change = lambda event: [event], habits: Habits = HABITS[0], closes_with: int | None = None
) -> RehearsedCaller[PlainCall]:
    """A caller after some turns with a server that may do wrong."""
    clock, server = QuickClock(), ScriptedClient(change)

    async def record(call_id: str) -> dict[str, object]:
        assert call_id == "call_a"
        return server.record

    async with scripted_server(server, closes_with=closes_with) as url:
        call = PlainCall(url, CallLine("plain-0", "plain"), clock.monotonic_s, habits)
        caller = RehearsedCaller("plain-0", call, record, clock, seed=3)
        await caller.run(lambda: caller.talk.turns >= TURNS)
    return caller


@pytest.mark.parametrize("habits", HABITS)
async def test_nothing_is_found_where_nothing_is_wrong(habits: Habits) -> None:
    """Whatever pieces it sends, with ids or without."""
    assert habits.piece_bytes % PCM.sample_bytes == 0
    caller = await talked(habits=habits)
    assert caller.found.is_clean, caller.found
    assert caller.talk.turns == TURNS
    assert [(leg.pod, leg.ended_with) for leg in caller.call.line.legs] == [("blue-1", None)]


async def test_an_event_that_never_comes_is_found() -> None:
    """By the numbers."""
    assert (await talked(only(NOT_SO_SOON, lambda event: []))).found.lost == 1


async def test_an_event_that_comes_twice_is_found() -> None:
    """By the numbers."""
    assert (await talked(only(NOT_SO_SOON, lambda event: [event, event]))).found.repeated == 1


async def test_a_second_greeting_is_found() -> None:
    """A resume is none of its business: it is greeted once."""

    def greet_again(event: Event) -> list[Event]:
        return [event, {"type": "session.created", "event_id": event["event_id"], "session": {}}]

    assert (await talked(only(NOT_SO_SOON, greet_again))).found.repeated == 1


@pytest.mark.parametrize("code", [1000, 1012, 1013])
async def test_any_close_is_a_dropped_call(code: int) -> None:
    """Also one with which others would come back, and one that says that all is well."""
    caller = await talked(closes_with=code)
    assert f"closed with {code}" in caller.found.dropped
    assert caller.call.line.legs[0].ended_with == code


async def test_a_close_after_the_last_word_is_found() -> None:
    """It is the caller who hangs up."""
    clock, server = QuickClock(), ScriptedClient()

    line = CallLine("plain-0", "plain")

    async def record(call_id: str) -> dict[str, object]:
        await until(lambda: line.legs[0].to_s is not None)
        return server.record

    async with scripted_server(server, closes_with=1012) as url:
        call = PlainCall(url, line, clock.monotonic_s)
        caller = RehearsedCaller("plain-0", call, record, clock, seed=3)
        await caller.run(lambda: caller.talk.turns >= 1)
    assert "closed with 1012" in caller.found.dropped


async def test_a_server_that_is_not_there_is_a_dropped_call() -> None:
    """And one that refuses."""
    clock = QuickClock()

    async def record(call_id: str) -> dict[str, object]:
        return {}

    nobody = PlainCall(f"ws://127.0.0.1:{free_port()}", CallLine("plain-0", "plain"), clock.monotonic_s)
    caller = RehearsedCaller("plain-0", nobody, record, clock, seed=3)
    await caller.run(lambda: True)
    assert "no connection" in caller.found.dropped

"""A rehearsal's caller finds every fault it is there for, and none where there is none.

Tests of `rehearsed_call`, too.
"""

from __future__ import annotations

from typing import Any

import pybase64
import pytest

from tests.rehearse.scripted import Change, Event, QuickClock, ScriptedClient
from voice_agent.rehearse.caller import Manners, RehearsedCaller
from voice_agent.rehearse.figures import faults
from voice_agent.rehearse.rehearsed_call import RehearsedCall
from voice_agent.rehearse.timeline import CallLine

TURNS = 6
NOT_SO_SOON = 12
"""An event in the middle of the first turns."""


async def talked(
    client: ScriptedClient, record: dict[str, Any] | None = None, manners: Manners | None = None
) -> RehearsedCaller[RehearsedCall]:
    """A caller after some turns."""
    clock = QuickClock()

    async def read(call_id: str) -> dict[str, Any]:
        assert call_id == "call_a"
        return client.record if record is None else record

    call = RehearsedCall(client, CallLine("caller", "sdk"), clock.monotonic_s)
    caller = RehearsedCaller("caller", call, read, clock, seed=3, manners=manners)
    await caller.run(lambda: caller.talk.turns >= TURNS)
    return caller


def only(number: int, change: Change) -> Change:
    """Change one event alone."""
    return lambda event: change(event) if event["event_id"] == f"evt_{number}" else [event]


async def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """The checks are not so strict that a good call fails them."""
    caller = await talked(ScriptedClient())
    assert caller.found.is_clean, caller.found
    assert caller.talk.turns == TURNS
    assert [(leg.color, leg.pod) for leg in caller.call.line.legs] == [("blue", "blue-1")]


async def test_a_caller_hangs_up_after_so_many_turns() -> None:
    """Its call is checked as that of one who is told that it is enough."""
    client = ScriptedClient()
    caller = await talked(client, manners=Manners(turns=(2, 3)))
    assert caller.talk.turns == 2
    assert caller.found.is_clean, caller.found
    caller = await talked(ScriptedClient(), record={"transcript": []}, manners=Manners(turns=(2, 3)))
    assert caller.found.lost_words


async def test_an_event_that_never_comes_is_found() -> None:
    """By the numbers, and by what is missing of the reply."""
    caller = await talked(ScriptedClient(only(NOT_SO_SOON, lambda event: [])))
    assert caller.found.lost == 1
    assert "1 events lost" in faults(caller.found)


async def test_an_event_that_comes_twice_is_found() -> None:
    """By the numbers; it does not spoil the reply."""
    caller = await talked(ScriptedClient(only(NOT_SO_SOON, lambda event: [event, event])))
    assert caller.found.repeated == 1
    assert not caller.found.wrong_audio


async def test_a_changed_sample_is_found() -> None:
    """By the hash of the reply."""

    def garble(event: Event) -> list[Event]:
        if event["type"] == "response.output_audio.delta":
            audio = bytearray(pybase64.b64decode(event["delta"]))
            audio[0] ^= 1
            return [{**event, "delta": pybase64.b64encode_as_string(bytes(audio))}]
        return [event]

    caller = await talked(ScriptedClient(garble))
    assert caller.found.wrong_audio
    assert not caller.found.lost


async def test_an_error_of_the_server_is_found() -> None:
    """A caller who does nothing wrong gets none."""
    caller = await talked(ScriptedClient(only(NOT_SO_SOON, lambda event: [{**event, "type": "error", "error": "why"}])))
    assert any("why" in one for one in caller.found.wrong_audio)


@pytest.mark.parametrize("lose_after", range(2, 14))
async def test_a_lost_connection_costs_nothing(lose_after: int) -> None:
    """Wherever it breaks: what the server did not get is sent again, once, and the line has two legs."""
    client = ScriptedClient()
    client.lose_after = lose_after
    caller = await talked(client)
    assert caller.found.is_clean, caller.found
    assert [leg.pod for leg in caller.call.line.legs] == ["blue-1", "blue-2"]
    assert caller.call.line.legs[0].ended_with == 1006
    assert not client.swallowed
    assert caller.call.tally.resumes == 1


async def test_a_call_that_cannot_go_on_is_dropped() -> None:
    """With the reason, and with what was waited for."""
    client = ScriptedClient()
    client.fail_after = NOT_SO_SOON
    caller = await talked(client)
    assert "broken for good" in caller.found.dropped
    assert "the answer to turn" in caller.found.dropped


async def test_a_turn_that_nobody_recorded_is_found() -> None:
    """And one that was recorded twice."""
    caller = await talked(ScriptedClient(), record={"transcript": [{"role": "user", "text": ""}]})
    assert caller.found.lost_words == TURNS - 1
    doubled = ScriptedClient()
    caller = await talked(doubled, record={"transcript": doubled.record["transcript"], "more": 1})
    assert caller.found.is_clean
    twice = ScriptedClient()
    transcript = twice.record["transcript"]

    class Doubling(list[Any]):
        def append(self, line: Any) -> None:
            super().append(line)
            if len(self) == 1:
                super().append(line)

    twice.record["transcript"] = Doubling(transcript)
    caller = await talked(twice)
    assert caller.found.extra_words == 1


async def test_coming_back_to_another_call_is_a_dropped_call() -> None:
    """A key whose call was forgotten starts a new one: for the caller that is a loss."""

    class Forgetful(ScriptedClient):
        def _greeting(self, *, resumed: bool) -> Event:
            greeting = super()._greeting(resumed=resumed)
            if resumed:
                greeting["session"]["call"]["id"] = "call_b"
            return greeting

    client = Forgetful()
    client.lose_after = NOT_SO_SOON
    caller = await talked(client)
    assert "another call" in caller.found.dropped

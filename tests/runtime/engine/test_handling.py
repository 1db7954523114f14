"""What is done under which key, where another pod has handled some of an event."""

from __future__ import annotations

import asyncio

import pytest

from voice_agent.call.agent_ledger import ActKind, ActStatus, AgentAct, AgentEvent, AgentLedger, EventKind
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.runtime.engine.handling import Handling


def handling(*acts: AgentAct) -> tuple[Handling, AgentLedger]:
    """Of an event whose handler was interrupted on the pod before, which has done these."""
    event = AgentEvent(1, EventKind.ASKED, 0, "", {"response_id": "resp_1"}, is_interrupted=True)
    ledger = AgentLedger(made=1, waiting=[event], acts={act.key: act for act in acts})
    return Handling(ledger, event, {}), ledger


def test_an_interruption_that_the_record_cannot_place_is_raised_once_at_the_first_new_act() -> None:
    """What the pod before has begun is done again without it."""
    its, _ = handling(AgentAct("note", 0, ActKind.ONCE, ActStatus.DONE))
    _, known = its.begin("note", ActKind.ONCE)
    assert known is not None
    with pytest.raises(SpeechInterrupted):
        its.begin("next", ActKind.ONCE)
    assert its.begin("next", ActKind.ONCE) == ("next", None)


def test_an_interruption_of_a_speech_is_raised_there_and_not_at_a_new_act_too() -> None:
    """The record says where it was."""
    its, _ = handling(AgentAct("reply", 0, ActKind.SPEAK, ActStatus.INTERRUPTED))
    assert its.begin("sorry", ActKind.SPEAK) == ("sorry", None)


def test_an_act_of_an_event_that_is_over_ends_its_handler() -> None:
    """Another is first by now, or none."""
    its, ledger = handling(AgentAct("note", 0, ActKind.ONCE, ActStatus.DONE))
    assert its.act("note").status is ActStatus.DONE
    ledger.waiting = []
    with pytest.raises(asyncio.CancelledError):
        its.act("note")

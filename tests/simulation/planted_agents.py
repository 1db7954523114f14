"""Bugs of the agents' engine that the simulator must find, each planted where the code that prevents it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from tests.simulation.agent import CUT_SHORT, WordAgent
from tests.simulation.caller import Utterance
from tests.simulation.planted import Planted
from tests.simulation.schedule import Schedule
from voice_agent.call import agent_events, metering, restoring
from voice_agent.call.agent_ledger import AgentEvent, AgentLedger, EventKind
from voice_agent.call.inputs import UsageBegun
from voice_agent.call.record import CallRecord
from voice_agent.call.usage import Sums
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Heard, Timer
from voice_agent.runtime.durability.usage_counting import UsageCounter
from voice_agent.runtime.engine.metering import CallMeter
from voice_agent.runtime.engine.said_again import SaidAgain
from voice_agent.runtime.engine.speaking import SpeechRun
from voice_agent.runtime.engine.work import AgentWork
from voice_agent.testing.virtual_loop import PROCESS


@contextmanager
def goes_on_before_durable() -> Iterator[None]:
    """What an agent has said need not be durable for it to go on, and to acknowledge its event."""

    async def hasty(self: AgentWork) -> None:
        await asyncio.sleep(0)

    with patch.object(AgentWork, "wait_durable", hasty):
        yield


@contextmanager
def act_done_twice() -> Iterator[None]:
    """The idempotency key of an act is another one on each pod."""

    def forgetful(self: AgentEvent) -> str:
        return f"{self.number}_{PROCESS.get().name}"

    with patch.object(AgentEvent, "key_id", property(forgetful)):
        yield


@contextmanager
def acts_forgotten() -> Iterator[None]:
    """Who takes a call over knows what its agent was told, and nothing of what it had done by then."""
    restore_ledger = vars(restoring)["restore_ledger"]

    def forgetful(record: Mapping[str, bytes]) -> AgentLedger | None:
        ledger: AgentLedger | None = restore_ledger(record)
        if ledger is not None:
            ledger.drop_acts()
        return ledger

    with patch.object(restoring, "restore_ledger", forgetful):
        yield


@contextmanager
def acts_of_the_interrupted_forgotten() -> Iterator[None]:
    """Of an event whose handler was interrupted nothing that it did is known to who takes the call over."""
    restore_ledger = vars(restoring)["restore_ledger"]

    def forgetful(record: Mapping[str, bytes]) -> AgentLedger | None:
        ledger: AgentLedger | None = restore_ledger(record)
        if ledger is not None and ledger.first is not None and ledger.first.is_interrupted:
            ledger.drop_acts()
        return ledger

    with patch.object(restoring, "restore_ledger", forgetful):
        yield


@contextmanager
def keys_lost() -> Iterator[None]:
    """Who takes a call over looks only at what was said."""
    take_over = agent_events.take_over

    def forgetful(call: CallRecord, at_ms: int) -> None:
        assert call.agent is not None
        call.agent.waiting = [event for event in call.agent.waiting if event.kind is not EventKind.DTMF]
        take_over(call, at_ms)

    with patch.object(agent_events, "take_over", forgetful):
        yield


@contextmanager
def overdue_timer_lost() -> Iterator[None]:
    """Who takes a call over looks only at timers that are still to come."""
    take_over = agent_events.take_over

    def forgetful(call: CallRecord, at_ms: int) -> None:
        take_over(call, at_ms)
        assert call.agent is not None
        call.agent.timers = {name: when_ms for name, when_ms in call.agent.timers.items() if when_ms > at_ms}

    with patch.object(agent_events, "take_over", forgetful):
        yield


@contextmanager
def heard_and_asked_answered() -> Iterator[None]:
    """An agent replies to what it hears, and once more when it is asked to."""

    async def eager(self: WordAgent, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Asked):
                await self.answer(call, event)
            elif isinstance(event, Timer | Heard):
                await self._say(call, await self._word(call), 1)

    with patch.object(WordAgent, "run", eager):
        yield


@contextmanager
def other_reply_spliced() -> Iterator[None]:
    """Of a reply that is made again in other words, as many characters are passed over as had been said."""

    def careless(self: SaidAgain, text: str) -> str:
        passed = min(len(text), len(self._durable) - self._at)
        self._at += passed
        return text[passed:]

    with patch.object(SaidAgain, "new_part", careless):
        yield


@contextmanager
def state_kept_too_soon() -> Iterator[None]:
    """What an agent remembers is stored with what it says, and not with the end of its event."""
    leave = SpeechRun.__aexit__

    async def hasty(self: SpeechRun, *raised: Any) -> None:
        call, state = self._work.call, self._handling.changed_state()
        if state is not None:
            call.dialogue.agent_state = state
            call.record.mark("agent")
        await leave(self, *raised)

    with patch.object(SpeechRun, "__aexit__", hasty):
        yield


@contextmanager
def usage_counted_before_durable() -> Iterator[None]:
    """What requests used is counted when it is handed to the writer: also by a pod that has lost the call."""
    taken = UsageCounter.taken

    def hasty(self: UsageCounter, sums: Sums | None) -> None:
        taken(self, sums)
        self.stored()

    with patch.object(UsageCounter, "taken", hasty):
        yield


@contextmanager
def usage_counted_twice() -> Iterator[None]:
    """Who takes a call over counts what others have counted before."""
    take_over = metering.take_over

    def forgetful(call: CallRecord) -> None:
        take_over(call)
        if call.usage is not None:
            call.usage.stored = {}

    with patch.object(metering, "take_over", forgetful):
        yield


@contextmanager
def open_requests_forgotten() -> Iterator[None]:
    """Who takes a call over leaves out what others were asking for."""

    def forgetful(call: CallRecord) -> None:
        if call.usage is not None:
            call.usage.stored = call.usage.settled()
            call.usage.open = {}
            call.record.mark("usage")

    with patch.object(metering, "take_over", forgetful):
        yield


@contextmanager
def sent_before_known() -> Iterator[None]:
    """A request is sent at once; that it begins is written meanwhile."""

    async def hasty(self: CallMeter, request_id: str, provider: str, model: str) -> None:
        self._feed(UsageBegun(request_id, provider, model))

    with patch.object(CallMeter, "begin", hasty):
        yield


def _has(command: str) -> Any:
    return lambda schedule: any(line.command == command for lines in schedule.lines for line in lines)


def _speaks_to_words(schedule: Schedule) -> bool:
    pairs = zip(schedule.models, schedule.lines, strict=True)
    return any(model != "echo" and line.command == "speak" for model, lines in pairs for line in lines)


def _interrupts(schedule: Schedule) -> bool:
    return any(_is_cut_short(line) for lines in schedule.lines for line in lines)


def _is_cut_short(line: Utterance) -> bool:
    return line.command in CUT_SHORT and (line.command == "stop" or line.barge > 0)


def _presses(schedule: Schedule) -> bool:
    return any(line.keys for lines in schedule.lines for line in lines)


def _asks(schedule: Schedule) -> bool:
    return schedule.asks


def _varies(schedule: Schedule) -> bool:
    return "varies" in schedule.models


AGENTS_PLANTED = {
    "goes on before durable": Planted(goes_on_before_durable, "durable before it goes on"),
    "act done twice": Planted(act_done_twice, "tools run once", _has("effect")),
    "acts forgotten": Planted(acts_forgotten, "tools run once"),
    "acts of the interrupted forgotten": Planted(acts_of_the_interrupted_forgotten, "tools run once", _interrupts),
    "keys lost": Planted(keys_lost, "what waits comes", _presses),
    "overdue timer lost": Planted(overdue_timer_lost, "what waits comes", _has("remind")),
    "heard and asked answered": Planted(heard_and_asked_answered, "a reply goes on", _speaks_to_words),
    "other reply spliced": Planted(other_reply_spliced, "a reply goes on", _varies),
    "usage counted before durable": Planted(usage_counted_before_durable, "usage", _asks),
    "usage counted twice": Planted(usage_counted_twice, "usage", _asks),
    "open requests forgotten": Planted(open_requests_forgotten, "usage", _asks),
    "request sent before it is known": Planted(sent_before_known, "usage", _asks),
    "state kept too soon": Planted(state_kept_too_soon, "state with the acknowledgement"),
}

"""An agent that handles events, on pods that die between any two writes: `agent_events`, `agent_acts` at random.

What must be so after each step is said by a model, which forgets what a pod forgets that dies.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.call.calls import FRAME, attach, feed
from tests.call.engine import MADE, ledger_of
from voice_agent.call import inputs, machine
from voice_agent.call.agent_ledger import ActStatus, AgentAct, AgentEvent, EventKind, LaterResponse
from voice_agent.call.apology import Apology
from voice_agent.call.beginnings import CallClaimed, begin
from voice_agent.call.changes import Snapshot
from voice_agent.stores.base import Claim, Claimed
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

WORLD = "speak stop heard typed outside output dtmf cancel drop cut due".split()
AGENT = "begin begin_firmly text audio end once result tool send timer done done broken".split()
POD = "write write crash".split()
STEPS = st.lists(st.sampled_from([*WORLD, *AGENT, *POD]), min_size=30, max_size=90)
"""What names of the record begin with that the release before does not know."""


@dataclass
class Known:
    """What a call must hold of its agent, or had."""

    waiting: list[AgentEvent] = field(default_factory=list)
    acts: dict[str, AgentAct] = field(default_factory=dict)
    timers: dict[str, int] = field(default_factory=dict)
    later: list[LaterResponse] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    """With a state: the numbers stand in it."""
    told: dict[int, AgentEvent] = field(default_factory=dict)
    """Every event that there was, by number."""
    sent: list[str] = field(default_factory=list)
    """Labels of the agent's own events, each made of an event and a key."""


class Schedule:
    """One call, the pods that have it, and a store."""

    def __init__(self) -> None:
        self.store = MemoryStore(ttl_s=60)
        self.now_ms = 1000
        self.call = begin(MADE)
        self.epoch = 1
        attach(self.call, 0, 0, resumable=True)
        self.known = Known(waiting=list(ledger_of(self.call).waiting), told={1: ledger_of(self.call).waiting[0]})
        self.saved = Known()
        self.write()

    def take(self, step: str) -> None:
        """One step, and what must be so after it."""
        self.now_ms += 10
        if step == "write":
            self.write()
        elif step == "crash":
            self.crash()
        else:
            before = self.call.outbox.seq
            feed(self.call, *self.given(step), now_ms=self.now_ms)
            self.compare(step)
            new = [entry.head for entry in self.call.outbox.unsaved if entry.n > before]
            self.known.sent += [orjson.loads(head)["label"] for head in new if b'"agent.x"' in head]
            assert len(set(self.known.sent)) == len(self.known.sent), "an act was done twice"

    def given(self, step: str) -> list[inputs.Input]:
        """The inputs of a step; keys are few, so that they come again."""
        call, at = self.call, self.call.input_audio.position
        first = call.agent.first if call.agent is not None else None
        number = first.number if first is not None else 0
        reply = call.response.response_id if call.response is not None else "none"
        speech = call.agent.speech if call.agent is not None else None
        begun = [act.key for act in (call.agent.acts if call.agent is not None else {}).values() if act.key[:2] == "do"]
        key, label = f"k{self.now_ms // 10 % 3}", first.key_id if first is not None else ""
        state = {"acknowledged": [*self.known.acknowledged, number]}
        choices: dict[str, list[inputs.Input]] = {
            "speak": [inputs.AppendAudio(FRAME * 12, None, (inputs.VoiceBoundary(True, at),))],
            "stop": [inputs.AppendAudio(FRAME * 3, None, (inputs.VoiceBoundary(False, at + 960),))],
            "heard": [*(inputs.Transcribed(one, "said") for one in list(call.clips.untranscribed)[:1])],
            "typed": [inputs.CreateResponse({})],
            "outside": [inputs.CreateResponse({"conversation": "none"})],
            "output": [inputs.CreateItem({"type": "function_call_output", "call_id": "fc_1", "output": "4"})],
            "dtmf": [inputs.DtmfPressed("1")],
            "cancel": [inputs.CancelResponse()],
            "drop": [inputs.DeleteItem(call.conversation.last_id or "none")],
            "cut": [inputs.TruncateItem(call.conversation.last_id or "none", 0, 0)],
            "due": [inputs.TimersDue()],
            "begin": [inputs.SpeechBegun(number, f"say {key}")],
            "begin_firmly": [inputs.SpeechBegun(number, f"say {key}", interruptible=False)],
            "text": [inputs.ResponseText(reply, f"word {self.now_ms} ", voiced=True)],
            "audio": [inputs.ResponseAudio(reply, FRAME)],
            "end": [inputs.SpeechEnded(number, speech.key if speech is not None else "none")],
            "once": [inputs.OnceBegun(number, f"do {key}")],
            "result": [inputs.OnceDone(number, one, {"at": self.now_ms}) for one in begun],
            "tool": [inputs.ToolAsked(number, f"ask {key}", "look", f'"{label}/{key}"')],
            "send": [inputs.AgentEventSent(number, f"send {key}", {"type": "agent.x", "label": f"{label}/{key}"})],
            "timer": [inputs.TimerSet(number, f"set {key}", key, self.now_ms + 40)],
            "done": [inputs.EventDone(number, state)],
            "broken": [inputs.EventFailed(number, "broke", Apology("Sorry.", FRAME))],
        }
        return choices[step]

    def compare(self, step: str) -> None:
        """What changed may change at this step."""
        ledger, was, now = ledger_of(self.call), self.known.waiting, ledger_of(self.call).waiting
        numbers = [event.number for event in now]
        newest = max(self.known.told)
        assert numbers == sorted(set(numbers))
        new = [event for event in now if event.number > newest]
        assert [event.number for event in new] == list(range(newest + 1, newest + 1 + len(new)))
        gone = [event for event in was if event.number not in numbers]
        for event in gone:
            if step in ("done", "broken") and event is was[0]:
                self.known.acknowledged += [event.number] if step == "done" else []
            else:
                assert event.kind is EventKind.ASKED, f"{event} was lost"
                assert event is not was[0], "the agent may be at it"
        asked_now = any(event.kind is EventKind.ASKED for event in new)
        assert not (asked_now and self.call.clips.untranscribed), "it is not understood yet"
        due = {event.data["name"] for event in new if event.kind is EventKind.TIMER}
        set_now = {name for name in ledger.timers if ledger.timers[name] != self.known.timers.get(name)}
        assert set(self.known.timers) | set_now == set(ledger.timers) | due, "a timer was lost"
        self.check_responses()
        self.check_acts(step)
        self.known.told |= {event.number: event for event in new}
        self.known.waiting, self.known.timers = list(now), dict(ledger.timers)
        self.known.acts, self.known.later = deepcopy(ledger.acts), list(ledger.later)
        assert self.call.dialogue.agent_state.get("acknowledged", []) == self.known.acknowledged

    def check_acts(self, step: str) -> None:
        """An act goes only with its event, and one that is over does not change."""
        acts = ledger_of(self.call).acts
        for key, act in self.known.acts.items():
            if step not in ("done", "broken"):
                assert key in acts
                if act.status is not ActStatus.BEGUN:
                    assert (acts[key].status, acts[key].result) == (act.status, act.result)

    def check_responses(self) -> None:
        """Each open response has an event that closes it, or waits for what the caller said to be understood."""
        call, ledger = self.call, ledger_of(self.call)
        response = call.response
        if response is not None:
            numbers = {event.number for event in ledger.waiting}
            assert (response.event_number in numbers) != (not response.event_number)
            assert response.event_number or call.clips.untranscribed
        for event in ledger.waiting:
            if event.kind is EventKind.ASKED and not event.is_interrupted:
                assert response is not None
                assert event.data["response_id"] == response.response_id
        if ledger.speech is not None and ledger.speech.span is not None:
            assert response is not None
            assert ledger.speech.span.response_id == response.response_id
        assert not (ledger.later and response is None and not ledger.waiting and not call.clips.untranscribed)
        if call.conversation.is_full:
            raise AssertionError("the schedule is too long")

    def write(self) -> None:
        """All that changed is durable."""
        effects = machine.step(self.call, inputs.TakeWrite(), self.now_ms)
        run_now(self.store.commit([effects[0].write]))  # type: ignore[union-attr]
        self.saved = deepcopy(self.known)

    def snapshot(self) -> Snapshot:
        """The store's, claimed for the next pod."""
        claim = Claim(self.call.call_id, "pod-b", "green", self.now_ms, name=f"claim-{self.now_ms}")
        claimed = run_now(self.store.claim(claim))
        assert isinstance(claimed, Claimed)
        self.epoch = claimed.epoch
        return claimed.snapshot

    def crash(self) -> None:
        """The pod dies; another one has what is durable, and nothing else."""
        snapshot = self.snapshot()
        self.call = begin(CallClaimed(snapshot=snapshot, epoch=self.epoch, outbox_bytes=1 << 20, checkpoint_ms=200))
        self.known = deepcopy(self.saved)
        waiting = ledger_of(self.call).waiting
        known = len(self.known.waiting)
        assert waiting[:known] == self.known.waiting
        started = [(event.kind, event.data) for event in waiting[known:]]
        resumed = any(event.data == {"resumed": True} for event in self.known.waiting)
        assert started == ([] if resumed else [(EventKind.STARTED, {"resumed": True})])
        assert ledger_of(self.call).acts == self.known.acts
        assert ledger_of(self.call).timers == self.known.timers
        assert ledger_of(self.call).later == self.known.later
        self.known.told |= {event.number: event for event in waiting[known:]}
        self.known.waiting = list(waiting)
        assert self.call.dialogue.agent_state.get("acknowledged", []) == self.known.acknowledged
        self.check_responses()

    def finish(self) -> None:
        """Everything comes to an end, once the agent acknowledges what there is."""
        for _ in range(200):
            if self.call.input_audio.speaking:
                self.take("stop")
            elif self.call.clips.untranscribed:
                self.take("heard")
            elif ledger_of(self.call).waiting:
                self.take("done")
            else:
                break
        assert (self.call.response, ledger_of(self.call).later) == (None, [])
        assert machine.is_quiet(self.call)
        labels = [item["arguments"] for item in self.call.conversation.items() if item["type"] == "function_call"]
        assert len(set(labels)) == len(labels), "a function was asked for twice"


def run(steps: list[str]) -> None:
    """All of them, to the end."""
    schedule = Schedule()
    for step in steps:
        schedule.take(step)
    schedule.finish()


@settings(max_examples=120)
@given(STEPS)
@example("done speak stop write heard begin text audio crash done write crash done".split())
@example("send crash send write crash send done".split())
@example("typed done begin text speak write crash begin text done".split())
def test_no_event_is_lost_and_no_act_done_twice_wherever_pods_die(steps: list[str]) -> None:
    """Events are numbered once and acknowledged once; `state` comes with the acknowledgement, and with no other write.

    An act under a key is done once; a timer comes once; every response is closed by the event that it belongs to.
    """
    run(steps)


def test_a_schedule_notices_an_event_that_is_lost() -> None:
    """It would be worth nothing if it did not look."""
    schedule = Schedule()
    schedule.take("dtmf")
    ledger_of(schedule.call).waiting.pop()
    with pytest.raises(AssertionError, match="was lost"):
        schedule.take("audio")

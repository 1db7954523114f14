"""A reply at the pace of speech, without a pod: what the agent yields, and when the call is told of it.

Tests of `agents.base` and `responder`, too.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.call.calls import CALL_ID, emitted, feed, item_id, new_call, response_id, spoken_turn, types
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from voice_agent.agents.base import Audio, FunctionCall, HangUp, Plan, Progress, ResponsePart, Text, Turn
from voice_agent.call import inputs, machine
from voice_agent.call.audio import PCM
from voice_agent.call.record import CallRecord
from voice_agent.kit.clip import Clip
from voice_agent.runtime.calls.responding import SILENT_S, ResponseRun, turn_of
from voice_agent.runtime.engine.audio_pacer import CHUNK_MS


class RecordingHost:
    """Feeds the call, and notes when."""

    def __init__(self, call: CallRecord, clock: StoppedClock, *, finishes: bool = True) -> None:
        self.call = call
        self.clock = clock
        self.finishes = finishes
        """Whether it lives until the reply is over."""
        self.fed: list[tuple[inputs.Input, float]] = []
        self.waited_for: list[int] = []
        """How many chunks had come whenever the agent was to wait for the store."""
        self.made_durable: list[int] = []
        """How many things had happened whenever all of them were to be durable."""

    def feed(self, event: inputs.Input) -> None:
        if isinstance(event, inputs.ResponseFinished) and not self.finishes:
            return
        self.fed.append((event, self.clock.now_s))
        machine.step(self.call, event, self.clock.wall_ms())

    async def wait_for_capacity(self) -> None:
        """Everything is durable at once."""
        self.waited_for.append(len(self.times(inputs.ResponseAudio)))

    async def wait_durable(self) -> None:
        """Everything is durable at once."""
        self.made_durable.append(len(self.fed))

    def times(self, kind: type[inputs.Input]) -> list[float]:
        """When inputs of a kind came."""
        return [at_s for event, at_s in self.fed if isinstance(event, kind)]


class TurnTaker:
    """What all agents of turns have."""

    name = "turns"
    lead_ms = 60_000
    replays = True
    mirrors = False

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, clip: Clip) -> str | None:
        return None


class Leaving(TurnTaker):
    """Says so many chunks far ahead of their time, and may hang up then."""

    def __init__(self, *, hangs_up: bool, lead_ms: int) -> None:
        self.chunks = 30
        self.hangs_up = hangs_up
        self.lead_ms = lead_ms

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        yield Text("goodbye")
        yield Audio(bytes(self.chunks * PCM.size(CHUNK_MS)), PCM)
        if self.hangs_up:
            yield HangUp()


async def spoken(*, hangs_up: bool, lead_ms: int, finishes: bool = True) -> RecordingHost:
    """A reply of three seconds, from its start to its end."""
    clock = StoppedClock()
    call = new_call()
    feed(call, inputs.CreateResponse({}), now_ms=clock.wall_ms())
    host = RecordingHost(call, clock, finishes=finishes)
    await ResponseRun(host, Leaving(hangs_up=hangs_up, lead_ms=lead_ms), clock, CountingObserver()).run()
    return host


async def test_an_agents_hang_up_waits_until_what_was_said_has_been_heard() -> None:
    """Sent ahead of its time, the goodbye would be cut off by the close of the connection."""
    host = await spoken(hangs_up=True, lead_ms=60_000)
    first_s, *_, last_s = host.times(inputs.ResponseAudio)
    (finished_s,) = host.times(inputs.ResponseFinished)
    assert last_s == first_s
    assert finished_s - first_s == 3.0
    finished = host.fed[-1][0]
    assert isinstance(finished, inputs.ResponseFinished)
    assert finished.hang_up


@pytest.mark.parametrize("heard_s", [1.0, 2.999])
async def test_a_hang_up_waits_though_another_pod_has_said_all(heard_s: float) -> None:
    """It died when all was made and not all heard; its caller, who has come back meanwhile, hears the rest."""
    before = await spoken(hangs_up=False, lead_ms=60_000, finishes=False)
    clock, call = before.clock, before.call
    clock.now_s += heard_s
    host = RecordingHost(call, clock)
    await ResponseRun(host, Leaving(hangs_up=True, lead_ms=60_000), clock, CountingObserver()).run()
    assert host.times(inputs.ResponseAudio) == []
    (finished_s,) = host.times(inputs.ResponseFinished)
    assert round(finished_s - before.times(inputs.ResponseAudio)[0], 6) == 3.0


async def test_a_reply_without_a_hang_up_is_over_when_it_is_made() -> None:
    """The caller's next turn need not wait until it has been heard."""
    host = await spoken(hangs_up=False, lead_ms=60_000)
    assert host.times(inputs.ResponseFinished) == host.times(inputs.ResponseAudio)[:1]


async def test_audio_is_let_out_as_far_ahead_as_the_agent_wants() -> None:
    """Each chunk so long before its time, and none later."""
    host = await spoken(hangs_up=False, lead_ms=400)
    times = host.times(inputs.ResponseAudio)
    due = [max(0.0, n * CHUNK_MS / 1000 - 0.4) for n in range(30)]
    assert [round(at_s - times[0], 6) for at_s in times] == [round(at_s, 6) for at_s in due]
    assert set(host.waited_for) >= set(range(1, 31)), "no chunk comes before the store can bear it"


class Told:
    """Notes what an observer is told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float]] = []
        self.faults: list[str] = []

    def turn_stage(self, stage: str, seconds: float) -> None:
        self.stages.append((stage, seconds))

    def agent_fault(self, kind: str) -> None:
        self.faults.append(kind)


class Acting(TurnTaker):
    """Does what a test wants it to do."""

    def __init__(self, act: Callable[[Turn], AsyncIterator[Any]]) -> None:
        self.act = act

    def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        return self.act(turn)


def response_run(
    act: Callable[[Turn], AsyncIterator[Any]], call: CallRecord | None = None
) -> tuple[ResponseRun, Any, Any]:
    """An agent's reply, its stage, and what is told of it."""
    clock, told = StoppedClock(), Told()
    call = call or new_call()
    if call.response is None:
        feed(call, inputs.CreateResponse({}))
    host = RecordingHost(call, clock)
    observer: Any = told
    return ResponseRun(host, Acting(act), clock, observer), host, told


async def no_side_effect(name: str, run: Any) -> Any:
    raise AssertionError


def test_an_agent_is_told_all_it_may_know() -> None:
    """By the session; the items are those up to the response."""
    call = new_call(instructions="Be brief.", tools=[{"type": "function", "name": "look_up"}])
    spoken_turn(call, now_ms=7000)
    feed(call, inputs.CreateItem({"type": "function_call_output", "call_id": "c", "output": "later"}))
    assert call.response is not None
    feed(call, inputs.ResponsePlanned(response_id(1), {"say": "this"}, {"turn": 1}))
    feed(call, inputs.ResponseText(response_id(1), "Hi."), inputs.ResponseAudio(response_id(1), bytes(960)))
    call.dialogue.failed_up_to = "item_before"
    clip = Clip(b"", PCM)
    turn = turn_of(call, clip, no_side_effect)
    assert turn == Turn(
        call_id=CALL_ID,
        response_id=response_id(1),
        instructions="Be brief.",
        voice="alloy",
        speed=1.0,
        wants_audio=True,
        tools=call.session.fields["tools"],
        items=turn.items,
        clip=clip,
        now_ms=7000,
        state={"turn": 1},
        tool_choice="auto",
        parallel_tool_calls=True,
        max_output_tokens=None,
        truncation="auto",
        metadata={},
        failed_to="item_before",
        was_cut=False,
        progress=Progress({"say": "this"}, "Hi.", 960, 0),
        once=no_side_effect,
    )
    assert [item["id"] for item in turn.items] == [item_id(1)]


def test_what_a_response_was_asked_with_counts_more_than_the_session() -> None:
    """Its limits, its notes, and the items it is to see instead of the conversation."""
    call = new_call()
    typed = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    params = {"max_output_tokens": 100, "metadata": {"a": "b"}, "input": [typed], "output_modalities": ["text"]}
    feed(call, inputs.CreateItem(typed), inputs.CreateResponse(params))
    turn = turn_of(call, None, no_side_effect)
    assert (turn.max_output_tokens, turn.metadata, turn.wants_audio) == (100, {"a": "b"}, False)
    assert [item["content"] for item in turn.items] == [typed["content"]]
    assert [item.get("id") for item in turn.items] == [None]


@pytest.mark.parametrize("answers_speech", [False, True])
async def test_an_agent_hears_what_it_answers(answers_speech: bool) -> None:
    """The audio of the turn; None where nothing was said."""
    heard: list[Clip | None] = []

    async def act(turn: Turn) -> AsyncIterator[Any]:
        heard.append(turn.clip)
        yield Text("Hi.")

    call = new_call()
    if answers_speech:
        spoken_turn(call)
        feed(call, inputs.CancelResponse())
    its, _, _ = response_run(act, call)
    await its.run()
    assert call.clips.latest is None or len(call.clips.latest.audio) == PCM.size(500)
    assert heard == [Clip(call.clips.latest.audio, PCM) if call.clips.latest else None]
    assert (call.clips.latest is not None) == answers_speech


async def test_stages_of_a_reply_are_measured_once_each() -> None:
    """Until it is decided, and from there to the first audio."""

    async def act(_: Turn) -> AsyncIterator[Any]:
        host.clock.now_s += 2
        yield Plan({"say": "Hi."}, {"turn": 1})
        yield Text("Hi.")
        host.clock.now_s += 1
        yield Audio(bytes(4800), PCM)
        host.clock.now_s += 5
        yield Audio(bytes(4800), PCM)

    its, host, told = response_run(act)
    await its.run()
    assert told.stages == [("think", 2.0), ("tts", 1.0)]
    assert host.fed[0] == (inputs.ResponsePlanned(response_id(1), {"say": "Hi."}, {"turn": 1}), 1002.0)


async def test_text_joins_what_is_said_already_if_one_audio_says_both() -> None:
    """Be it the last character that is durable; text behind other audio does not."""

    async def act(_: Turn) -> AsyncIterator[Any]:
        for text in ("One. ", "Two. ", "Three. "):
            yield Text(text)
            yield Audio(bytes(4800), PCM)

    call = new_call()
    feed(call, inputs.CreateResponse({}), inputs.ResponseText(response_id(1), "One. "))
    feed(call, inputs.ResponseAudio(response_id(1), bytes(4800)), inputs.ResponseText(response_id(1), "T"))
    feed(call, inputs.ResponseAudio(response_id(1), bytes(960)))
    its, host, _ = response_run(act, call)
    await its.run()
    said = [event for event, _ in host.fed if isinstance(event, inputs.ResponseText)]
    assert said == [
        inputs.ResponseText(response_id(1), "wo. ", joins=True),
        inputs.ResponseText(response_id(1), "Three. "),
    ]


async def test_every_part_waits_for_the_store_and_leaves_others_their_turn() -> None:
    """An agent that never waits keeps neither from anything."""
    turns = 0

    async def act(_: Turn) -> AsyncIterator[Any]:
        for _number in range(5):
            yield Text("One. ")

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    its, host, _ = response_run(act)
    watching = asyncio.create_task(others())
    await its.run()
    assert turns == 5
    watching.cancel()
    assert host.waited_for == [0] * 5


async def test_what_is_left_of_the_audio_comes_before_what_follows_it() -> None:
    """Before a tool is called, and before the end."""

    async def act(_: Turn) -> AsyncIterator[Any]:
        yield Text("One. ")
        yield Audio(bytes(PCM.size(150)), PCM)
        yield FunctionCall("look_up", "{}")
        yield Audio(bytes(PCM.size(50)), PCM)

    its, host, _ = response_run(act)
    await its.run()
    kinds = [type(event) for event, _ in host.fed]
    audio = inputs.ResponseAudio
    assert kinds == [inputs.ResponseText, audio, audio, inputs.ResponseFunctionCall, audio, inputs.ResponseFinished]


async def test_an_agent_is_silent_once_a_part_is_due_for_so_long() -> None:
    """Not before it is asked, and no more once it has answered."""
    may_go_on = asyncio.Event()

    async def act(_: Turn) -> AsyncIterator[Any]:
        await may_go_on.wait()
        yield Text("At last.")

    its, host, told = response_run(act)
    host.clock.now_s += SILENT_S
    assert not its.is_silent
    running = asyncio.create_task(its.run())
    await asyncio.sleep(0)
    host.clock.now_s += SILENT_S - 0.5
    assert not its.is_silent
    host.clock.now_s += 0.5
    assert its.is_silent
    may_go_on.set()
    await running
    assert not its.is_silent
    host.clock.now_s += SILENT_S
    assert not its.is_silent
    assert told.faults == []


async def test_an_agent_has_tidied_up_when_its_reply_is_over() -> None:
    """Whatever ended it; what it raises then is logged, and changes nothing."""
    tidied: list[str] = []

    async def act(_: Turn) -> AsyncIterator[Any]:
        try:
            yield "no part of a reply"
        finally:
            tidied.append("yes")
            raise RuntimeError("while tidying up")

    its, host, told = response_run(act)
    with capture_logs() as logs:
        await its.run()
        assert tidied == ["yes"]
    assert [line["event"] for line in logs] == ["agent failed to reply", "agent raised at the end of a reply"]
    assert told.faults == ["no_part"]
    assert emitted(host.call)[-1]["response"]["status"] == "failed"


async def test_what_cannot_be_tidied_up_is_left_alone() -> None:
    """A list is no generator: that it is no reply is all there is to tell."""
    wrong: Any = lambda _: ["Hello."]  # noqa: E731 an agent of one line
    its, _, told = response_run(wrong)
    with capture_logs() as logs:
        await its.run()
    assert [line["event"] for line in logs] == ["agent failed to reply"]
    assert told.faults == ["raised"]


async def test_an_agent_that_is_no_generator_is_closed_like_one() -> None:
    """A coroutine yields nothing, and is never waited for."""

    async def act() -> list[str]:
        return ["Hello."]

    made: Any = act()
    its, _, told = response_run(lambda _: made)
    await its.run()
    assert inspect.getcoroutinestate(made) == inspect.CORO_CLOSED
    assert told.faults == ["raised"]


@pytest.mark.parametrize("is_followed", [False, True])
async def test_an_agent_that_fails_when_its_reply_is_over_is_not_heard_of(is_followed: bool) -> None:
    """The client cancelled it; the response that follows is none of its business."""

    async def act(_: Turn) -> AsyncIterator[Any]:
        feed(host.call, inputs.CancelResponse(), *([inputs.CreateResponse({})] if is_followed else []))
        yield Text("too late")
        raise RuntimeError("later still")

    its, host, told = response_run(act)
    with capture_logs() as logs:
        await its.run()
    assert (logs, told.faults) == ([], [])
    assert types(host.call) == ["response.created", "response.done", *(["response.created"] if is_followed else [])]
    assert (host.call.response is not None) == is_followed


async def test_a_side_effect_is_done_once_its_key_is_durable_and_its_result_is_kept() -> None:
    """In the order in which side effects were begun."""
    keys: list[tuple[str, int]] = []

    async def book(key: str) -> str:
        keys.append((key, host.made_durable[-1]))
        return f"table {len(keys)}"

    async def act(turn: Turn) -> AsyncIterator[Any]:
        yield Text(await turn.once("book", book))
        yield Text(await turn.once("book", book))

    its, host, _ = response_run(act)
    await its.run()
    event = [one for one, _ in host.fed]
    steps = [one for one in event if isinstance(one, inputs.SideEffectBegun | inputs.SideEffectDone)]
    assert steps == [
        inputs.SideEffectBegun(response_id(1), "book"),
        inputs.SideEffectDone(response_id(1), 0, "table 1"),
        inputs.SideEffectBegun(response_id(1), "book"),
        inputs.SideEffectDone(response_id(1), 1, "table 2"),
    ]
    assert [wait_durable for _, wait_durable in keys] == [event.index(steps[0]) + 1, event.index(steps[1]) + 3]
    assert len({key for key, _ in keys}) == 2


@pytest.mark.parametrize("is_followed", [False, True])
async def test_nothing_is_done_any_more_when_the_reply_is_over(is_followed: bool) -> None:
    """Nor is it noted for the response that follows. To the agent it is a cancellation."""
    done: list[str] = []
    raised: list[type[BaseException]] = []

    async def run(key: str) -> None:
        done.append(key)

    async def act(turn: Turn) -> AsyncIterator[Any]:
        feed(host.call, inputs.CancelResponse(), *([inputs.CreateResponse({})] if is_followed else []))
        try:
            yield Text(str(await turn.once("effect", run)))
        except BaseException as error:
            raised.append(type(error))
            raise

    its, host, told = response_run(act)
    await its.run()
    assert (done, host.fed, told.faults) == ([], [], [])
    assert raised == [asyncio.CancelledError]
    assert host.call.response is None or host.call.response.side_effects == []

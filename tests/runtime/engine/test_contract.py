"""What the engine promises to authors of agents, a test a sentence.

Those of its sentences that are not here are held by tests of `call`: `test_agent_acts`, `test_agent_events` and
`test_later_responses`; and beside this file by `test_agent_run` and `test_speaking`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.engine.agents import Acting
from tests.runtime.engine.crashes import again, engine_call, settled, taken_over, whole
from tests.runtime.engine.test_agent_run import begun, said, when
from tests.waiting import until
from voice_agent.call import machine
from voice_agent.call.changes import Snapshot
from voice_agent.call.inputs import (
    AppendAudio,
    CancelResponse,
    CreateResponse,
    TruncateItem,
    UpdateSession,
    VoiceBoundary,
)
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Event, Heard, Started, Timer
from voice_agent.kit.speech import SpeechInterrupted


async def stored(its: Alone) -> Snapshot:
    """The call as the next pod finds it, all of it written."""
    await its.committer.flush(its.live.writer)
    snapshot = await its.store.load(its.call.call_id)
    assert snapshot is not None
    return snapshot


async def goes_on(its: Alone) -> None:
    """The call is taken over."""
    its.attach()
    its.live.resume_work()
    await settled(its)


async def forever(call: Call) -> None:
    """Is not done with the event."""
    await asyncio.Event().wait()


async def ask(its: Alone) -> None:
    """The client asks for a reply, if it has not asked yet."""
    if not its.call.ids.responses_made:
        its.live.feed(CreateResponse({}))


async def hear(its: Alone) -> None:
    """The caller says something, half a second long."""
    audio, start = bytes(960), its.call.input_audio.position
    end = start + 25 * len(audio)
    its.live.feed(AppendAudio(audio * 25, None, (VoiceBoundary(True, start), VoiceBoundary(False, end))))
    await turns_pass()


async def test_a_run_is_started_for_each_owner_with_what_is_not_acknowledged() -> None:
    """And behind that with the news of the take-over."""
    agent = Acting(when(Asked, forever))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: agent.kinds == ["Started", "Asked"])
        snapshot = await stored(its)
    other = Acting()
    async with alone(taken_over(snapshot), other) as its:
        await goes_on(its)
    before, after = agent.events[1], other.events[0]
    assert isinstance(before, Asked)
    assert isinstance(after, Asked)
    assert (before.number, before.at_ms, before.response_id) == (after.number, after.at_ms, after.response_id)
    assert other.runs == 1
    [started] = other.events[1:]
    assert isinstance(started, Started)
    assert started.resumed


async def test_a_key_belongs_to_the_event_being_handled() -> None:
    """In the next event the same key is another act."""
    keys: list[str] = []

    async def note(key: str) -> int:
        keys.append(key)
        return len(keys)

    results: list[int] = []

    async def act(call: Call) -> None:
        results.append(await call.once("note", note))

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        for _ in range(2):
            its.live.feed(CreateResponse({}))
            await settled(its)
    assert results == [1, 2]
    assert len(set(keys)) == 2


async def test_an_act_under_the_same_key_is_done_once_on_whichever_pod() -> None:
    """Of every kind, after each write."""

    async def act(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            await call.send({"type": "agent.note", "n": 1})
            await call.at("remind", 1_000_000)
            await call.call_tool("tool", "look", {})
            async with call.speak() as speech:
                await speech.text("Hi.")
            await call.send({"type": "agent.note", "n": 2})

    tape = await whole(Acting(act), ask)
    for snapshot in tape.snapshots:
        agent = Acting(act)
        got = await again(agent, snapshot, ask)
        assert got.types.count("agent.note") == 2
        assert got.types.count("response.function_call_arguments.done") == 1
        assert (got.text, got.audio) == ("Hi.", tape.got.audio)
        assert sum(isinstance(event, Timer) for event in agent.events) <= 1


@pytest.mark.parametrize("answers", [True, False])
async def test_a_reply_is_due_after_what_was_heard_only_where_turn_detection_answers(answers: bool) -> None:
    """Else once the client asks for it."""
    agent = Acting()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        detection = {"type": "server_vad", "create_response": answers}
        its.live.feed(UpdateSession({"type": "realtime", "audio": {"input": {"turn_detection": detection}}}))
        await hear(its)
        await settled(its)
        assert agent.kinds == ["Started", "Heard", *(["Asked"] if answers else [])]
        if not answers:
            its.live.feed(CreateResponse({}))
            await settled(its)
            assert agent.kinds[-1] == "Asked"


async def test_a_response_is_open_until_its_event_is_done() -> None:
    """Also behind what was said in it."""
    may_end = asyncio.Event()

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hi.")
        await may_end.wait()

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        connection = its.attach()
        await settled(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: "response.output_item.done" in connection.pushed)
        await turns_pass()
        assert its.call.response is not None
        assert "response.done" not in connection.pushed
        may_end.set()
        await settled(its)
        assert its.call.response is None


async def test_a_speech_returns_when_all_of_it_is_durable() -> None:
    """The store has its item, complete."""
    held: list[Snapshot | None] = []

    async with alone(engine_call(), Acting()) as its:

        async def act(call: Call) -> None:
            async with call.speak() as speech:
                await speech.text("Hello.")
            held.append(await its.store.load(its.call.call_id))

        agent = its.live.responder.agent
        assert isinstance(agent, Acting)
        agent.act = when(Asked, act)
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
    assert held[0] is not None
    [packed] = [item for item in held[0].items.values() if b"assistant" in item]
    assert b"Hello." in packed
    assert b"completed" in packed


async def barge_in(its: Alone) -> None:
    """The caller speaks."""
    its.live.feed(AppendAudio(bytes(960), None, (VoiceBoundary(True, its.call.input_audio.position),)))


async def cancel(its: Alone) -> None:
    """The client cancels."""
    its.live.feed(CancelResponse())


async def truncate(its: Alone) -> None:
    """The client says how much was heard."""
    assert its.call.response is not None
    item_id = its.call.response.open_item.item_id
    assert item_id is not None
    its.live.feed(TruncateItem(item_id, 0, 60))


async def within(call: Call) -> None:
    """Waits for something of its own."""
    async with call.speak() as speech:
        await speech.text("Hello there.")
        await asyncio.Event().wait()


async def in_once(call: Call) -> None:
    """Waits for the world."""
    async with call.speak() as speech:
        await speech.text("Hello there.")
        await call.once("world", lambda key: asyncio.Event().wait())


@pytest.mark.parametrize("cut", [barge_in, cancel, truncate])
@pytest.mark.parametrize("act", [within, in_once])
async def test_whatever_cuts_a_speech_short_is_raised_at_once_and_ends_the_event(
    cut: Callable[[Alone], Awaitable[None]], act: Callable[[Call], Awaitable[None]]
) -> None:
    """Wherever the handler waits."""
    raised: list[BaseException] = []

    async def noted(call: Call) -> None:
        try:
            await act(call)
        except BaseException as error:
            raised.append(error)
            raise

    agent = Acting(when(Asked, noted))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.text)
        await turns_pass(200)
        await cut(its)
        await turns_pass(2)
        assert [isinstance(error, SpeechInterrupted) for error in raised] == [True]
        await settled(its)
        assert agent.kinds[-1] == "Interrupted"
        assert ("agent_fault", "raised") not in its.observer.counts


async def test_an_event_that_comes_again_finds_its_state_as_it_was_and_what_is_durable_as_said() -> None:
    """What the lost pod had changed of it is gone with that pod."""
    seen: list[tuple[dict[str, Any], list[str]]] = []

    async def act(call: Call) -> None:
        state = dict(call.state)
        call.state["count"] = call.state.get("count", 0) + 1
        async with call.speak() as speech:
            seen.append((state, [piece.text for piece in speech.said]))
            await speech.text("Hello there. ")
            if len(seen) == 2:
                await asyncio.Event().wait()

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.text)
        await turns_pass(200)
        snapshot = await stored(its)
    async with alone(taken_over(snapshot), Acting(when(Asked, act))) as its:
        await goes_on(its)
        assert its.call.dialogue.agent_state == {"count": 2}
    assert seen == [({}, []), ({"count": 1}, []), ({"count": 1}, ["Hello there. "])]


async def test_a_call_is_quiet_when_no_event_is_being_handled() -> None:
    """Whether or not a response is open for it."""
    may_end = asyncio.Event()

    async def act(call: Call, event: Event) -> None:
        if isinstance(event, Heard):
            await may_end.wait()

    agent = Acting(act)
    async with alone(engine_call(), agent) as its:
        await begun(its)
        assert machine.is_quiet(its.call)
        detection = {"type": "server_vad", "create_response": False}
        its.live.feed(UpdateSession({"type": "realtime", "audio": {"input": {"turn_detection": detection}}}))
        await hear(its)
        await until(lambda: agent.kinds[-1] == "Heard")
        assert its.call.response is None
        assert not machine.is_quiet(its.call)
        may_end.set()
        await settled(its)
        assert machine.is_quiet(its.call)


async def test_on_handoff_a_run_is_cancelled_and_an_act_under_way_comes_again_under_its_key() -> None:
    """What is done in the world is asked for again, under the same idempotency key."""
    keys: list[str] = []
    ended: list[type[BaseException]] = []

    async def charge(key: str) -> str:
        keys.append(key)
        if len(keys) == 1:
            try:
                await asyncio.Event().wait()
            except BaseException as error:
                ended.append(type(error))
                raise
        return "charged"

    results: list[str] = []

    async def act(call: Call) -> None:
        results.append(await call.once("charge", charge))

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: keys)
        await its.live.stop_work()
        assert ended == [asyncio.CancelledError]
        snapshot = await stored(its)
    async with alone(taken_over(snapshot), Acting(when(Asked, act))) as its:
        await goes_on(its)
    assert results == ["charged"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_other_code_leaves_what_was_done_and_does_what_is_new() -> None:
    """Both are counted as divergence."""

    async def blue(call: Call) -> None:
        await call.call_tool("old", "look", {})
        async with call.speak("blue") as speech:
            await speech.text("Hello.")
        await asyncio.Event().wait()

    async def green(call: Call) -> None:
        async with call.speak("green") as speech:
            await speech.text("Good day.")

    async with alone(engine_call(), Acting(when(Asked, blue))) as its:
        connection = its.attach()
        await settled(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: "response.output_audio.done" in connection.pushed)
        snapshot = await stored(its)
    async with alone(taken_over(snapshot), Acting(when(Asked, green))) as its:
        await goes_on(its)
        assert said(its) == ["Hello.", "Good day."]
        assert [item["type"] for item in its.call.conversation.items()] == ["function_call", "message", "message"]
        assert its.observer.counts["agent_fault", "other_acts"] == 3
        assert its.call.agent is not None
        assert not its.call.agent.acts

"""Agents that do odd things: none of it makes the call mute, unreadable or larger without bound."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.engine.agents import Acting, SpellingVoice
from tests.runtime.engine.crashes import engine_call, settled, stored, taken_over
from tests.runtime.engine.test_agent_run import begun, said, when
from tests.waiting import until
from voice_agent.call.agent_acts import MAX_ACTS
from voice_agent.call.audio import PCM
from voice_agent.call.inputs import (
    AppendAudio,
    CancelResponse,
    CreateItem,
    CreateResponse,
    DeleteItem,
    Transcribed,
    TruncateItem,
    VoiceBoundary,
)
from voice_agent.call.status import Status
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked, Ended, Event, Heard, Started, Timer
from voice_agent.kit.speech import Played, Speech, SpeechInterrupted, Spoken
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.runtime.durability.call_writer import FENCED
from voice_agent.runtime.engine.agent_call import (
    LATEST_MS,
    MAX_ARGUMENTS_CHARS,
    MAX_NAME_CHARS,
    MAX_RESULT_BYTES,
    MAX_TARGET_CHARS,
    MAX_TRANSCRIPT_CHARS,
)
from voice_agent.runtime.engine.agent_run import SILENT_S
from voice_agent.runtime.engine.apology import WORDS
from voice_agent.runtime.engine.handling import MAX_KEY_CHARS, ActRefused


async def answer(call: Call) -> None:
    """Says one word."""
    async with call.speak() as speech:
        await speech.text("Fine.")


async def is_answered(its: Alone) -> None:
    """The call is not mute: the agent answers when it is asked."""
    its.live.feed(CreateResponse({}))
    await settled(its)
    assert said(its)[-1:] == ["Fine."]


class OddAtFirst:
    """Does something odd the first time that it is asked, and answers the next time."""

    def __init__(self, odd: Callable[[Call], Awaitable[Any]]) -> None:
        self.odd = odd
        self.asked = 0

    async def __call__(self, call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            self.asked += 1
            await (self.odd(call) if self.asked == 1 else answer(call))


async def cancelled_in_hand(its: Alone, act: OddAtFirst) -> None:
    """The client cancels the first reply while the agent is at it."""
    await begun(its)
    its.live.feed(CreateResponse({}))
    await until(lambda: act.asked == 1)
    await turns_pass()
    its.live.feed(CancelResponse())
    await settled(its)


# --- tasks of an agent's own ---------------------------------------------------


async def test_an_interruption_ends_the_tasks_of_a_group_that_is_waited_for() -> None:
    """Its handler waits at the group's end, where a cancellation would end them, too."""
    ended: list[str] = []
    seen: list[type[BaseException]] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("work")

    async def in_a_group(call: Call) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
        except BaseException as error:
            seen.append(type(error))
            raise

    act = OddAtFirst(in_a_group)
    async with alone(engine_call(), Acting(act)) as its:
        await cancelled_in_hand(its, act)
        assert ended == ["work"]
        assert [issubclass(kind, SpeechInterrupted) for kind in seen] == [True]
        await is_answered(its)


async def test_a_group_whose_task_speaks_may_be_interrupted() -> None:
    """The task fails as its speech does, and neither takes the agent down."""

    async def talk(call: Call) -> None:
        async with call.speak() as speech:
            while True:
                await speech.text("On and on. ")

    async def in_a_group(call: Call) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(talk(call))

    act = OddAtFirst(in_a_group)
    async with alone(engine_call(), Acting(act)) as its:
        await cancelled_in_hand(its, act)
        await is_answered(its)


async def test_a_cancellation_that_an_agent_keeps_to_itself_does_not_end_it() -> None:
    """It asked for one, and has never taken it back; later it is interrupted."""

    async def keep(call: Call) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)

    act = OddAtFirst(lambda call: asyncio.Event().wait())

    async def first_keep(call: Call, event: Event) -> None:
        if isinstance(event, Started):
            await keep(call)
        await act(call, event)

    async with alone(engine_call(), Acting(first_keep)) as its:
        await cancelled_in_hand(its, act)
        await is_answered(its)


class Panic(BaseException):
    """As extensions in other languages raise."""


@pytest.mark.parametrize("error", [Panic(), BaseExceptionGroup("", [Panic()]), SystemExit(1)])
async def test_whatever_an_agent_raises_the_next_event_is_handled(error: BaseException) -> None:
    """An extension's panic is no `Exception`."""

    async def fail(call: Call) -> None:
        raise error

    async with alone(engine_call(), Acting(OddAtFirst(fail))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        await is_answered(its)


async def test_an_agent_that_swallows_its_cancellation_does_not_spin() -> None:
    """A bare `except` around its loop: the other calls of the pod have their turns."""
    rounds = [0]

    class Stubborn(Acting):
        async def run(self, call: Call) -> None:
            while rounds[0] < 1000:
                rounds[0] += 1
                with suppress(BaseException):
                    async for _ in call.events():
                        pass

    async with alone(engine_call(), Stubborn()) as its:
        await begun(its)
        [task] = its.live.responder.cancel()
        await turns_pass()
        assert rounds[0] < 10
        rounds[0] = 1000
        await asyncio.wait([task])


async def test_a_speech_that_was_left_by_a_swallowed_cancellation_is_not_complete() -> None:
    """The next pod says the rest of it."""
    is_first = [True]

    async def swallow(call: Call) -> None:
        async with call.speak() as speech:
            try:
                await speech.text("Hello there. ")
                if is_first.pop() if is_first else False:
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                return
            await speech.text("Bye.")

    async with alone(engine_call(), Acting(when(Asked, swallow))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.text == "Hello there. ")
        await turns_pass(200)
        await its.live.stop_work()
        snapshot = await stored(its)
    async with alone(taken_over(snapshot), Acting(when(Asked, swallow))) as its:
        its.attach()
        its.live.resume_work()
        await settled(its)
        assert said(its) == ["Hello there. Bye."]


# --- what cannot be kept -------------------------------------------------------

ODD_KEYS: list[Any] = ["\ud800", "k" * 100_000, None, 7, ("a",), b"key"]


async def _one(key: str) -> int:
    return 1


@pytest.mark.parametrize("key", ODD_KEYS, ids=lambda key: repr(key)[:12])
@pytest.mark.parametrize(
    "act",
    [
        lambda call, key: call.once(key, _one),
        lambda call, key: call.speak(key).__aenter__(),
        lambda call, key: call.call_tool(key, "look", {}),
        lambda call, key: call.at(key, 1_000_500),
    ],
    ids=["once", "speak", "call_tool", "at"],
)
async def test_a_key_that_cannot_be_kept_is_refused_at_once(
    act: Callable[[Call, Any], Awaitable[Any]], key: Any
) -> None:
    """Its record could not be written, or not be read again."""
    raised: list[BaseException] = []

    async def use(call: Call) -> None:
        try:
            await act(call, key)
        except (TypeError, ValueError) as error:
            raised.append(error)

    async with alone(engine_call(), Acting(when(Started, use))) as its:
        await begun(its)
        await its.committer.flush(its.live.writer)
        assert its.live.writer.state is not FENCED
        assert len(raised) == 1
        snapshot = await its.store.load(its.call.call_id)
        assert snapshot is not None
        assert taken_over(snapshot).agent is not None


@pytest.mark.parametrize(
    ("act", "most"),
    [
        (lambda call, n: call.call_tool("look", "n" * n, {}), MAX_NAME_CHARS),
        (lambda call, n: call.call_tool("look", "look", "x" * n), MAX_ARGUMENTS_CHARS),
        (lambda call, n: call.at("n" * n, 1_000_500), MAX_NAME_CHARS),
        (lambda call, n: call.once("k" * n, _one), MAX_KEY_CHARS),
        (lambda call, n: call.transfer("t" * n), MAX_TARGET_CHARS),
        (lambda call, n: call.transcribed("item_none", "t" * n), MAX_TRANSCRIPT_CHARS),
    ],
    ids=["function", "arguments", "timer", "key", "target", "transcript"],
)
async def test_a_text_may_be_so_long_and_no_longer(act: Callable[[Call, int], Awaitable[Any]], most: int) -> None:
    """The author is told at once, and nothing of it is done."""
    raised: list[str] = []

    async def use(call: Call) -> None:
        with pytest.raises(ValueError, match=f"{most}"):
            await act(call, most + 1)
        raised.append("longer")
        await act(call, most)

    async with alone(engine_call(), Acting(when(Started, use))) as its:
        await begun(its)
        assert raised == ["longer"]
        assert ("agent_fault", "raised") not in its.observer.counts


@pytest.mark.parametrize(
    "act",
    [lambda call: call.send({"type": "response.created"}), lambda call: call.hang_up("\ud800")],
    ids=["the server's event", "no Unicode"],
)
async def test_what_no_client_may_get_is_refused_at_once(act: Callable[[Call], Awaitable[Any]]) -> None:
    """The call goes on."""
    raised: list[Exception] = []

    async def use(call: Call) -> None:
        try:
            await act(call)
        except ValueError as error:
            raised.append(error)

    async with alone(engine_call(), Acting(when(Started, use))) as its:
        await begun(its)
        assert len(raised) == 1
        assert its.call.lifecycle.status is Status.ATTACHED


@pytest.mark.parametrize("when_ms", [10**30, -(10**30), math.nan, math.inf, "soon", None])
async def test_a_time_that_is_none_is_refused_at_once(when_ms: Any) -> None:
    """Whoever sets such a timer is told, and the call goes on."""
    raised: list[BaseException] = []

    async def remind(call: Call) -> None:
        try:
            await call.at("remind", when_ms)
        except (TypeError, ValueError) as error:
            raised.append(error)

    async with alone(engine_call(), Acting(when(Started, remind))) as its:
        await begun(its)
        await its.committer.flush(its.live.writer)
        assert its.live.writer.state is not FENCED
        [error] = raised
        assert "A time is a number" in str(error) or "is no time" in str(error)


@pytest.mark.parametrize("spare", [0, -1])
async def test_so_much_is_kept_of_what_is_done_once_and_no_more(spare: int) -> None:
    """Who is told that it is too much is told how much it may be."""
    raised: list[str] = []

    async def give(key: str) -> str:
        return "x" * (MAX_RESULT_BYTES - len('""') - spare)

    async def act(call: Call) -> None:
        try:
            await call.once("note", give)
        except ValueError as error:
            raised.append(str(error))

    async with alone(engine_call(), Acting(when(Started, act))) as its:
        await begun(its)
    assert [str(MAX_RESULT_BYTES) in told for told in raised] == [True] * -spare


async def test_the_latest_time_is_one_and_who_sets_it_waits_for_no_store() -> None:
    """Nor does who sends an event, as long as the store is not behind."""
    done: list[str] = []

    async def act(call: Call) -> None:
        await call.at("remind", LATEST_MS)
        await call.send({"type": "agent.note"})
        done.append("both")

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        await its.live.writer.pause_writes()
        its.live.feed(CreateResponse({}))
        await until(lambda: done)
        its.live.writer.resume_writes()
        await settled(its)


# --- reading events and frames ---------------------------------------------------


async def test_who_waits_for_the_next_event_for_a_while_only_may_wait_again() -> None:
    """Nothing of the stream is lost with a wait that was given up."""
    waits = [0]

    class Patient(Acting):
        async def run(self, call: Call) -> None:
            self.runs += 1
            events = call.events()
            while True:
                try:
                    async with asyncio.timeout(0.01):
                        event = await anext(events)
                except TimeoutError:
                    waits[0] += 1
                    continue
                except StopAsyncIteration:
                    return
                self.events.append(event)

    agent = Patient()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await until(lambda: waits[0] > 2)
        its.live.feed(CreateResponse({}))
        await settled(its)
        its.live.finish("timeout")
        await until(lambda: agent.kinds[-1:] == ["Ended"])
        assert (agent.runs, agent.kinds) == (1, ["Started", "Asked", "Ended"])


async def test_readers_of_frames_go_with_who_reads_them() -> None:
    """One that was left, and those of a run that is over."""
    agent = Acting()
    kept: list[Any] = []

    async def listen(call: Call) -> None:
        call.frames()
        kept.append(call.frames())

    agent.act = when(Started, listen)
    async with alone(engine_call(), agent) as its:
        await begun(its)
        assert len(its.live.listening.taps) == 1
        await its.live.stop_work()
        assert len(its.live.listening.taps) == 0
        assert [frame async for frame in kept[0]] == []


async def test_at_the_end_of_a_call_its_state_and_conversation_can_be_read() -> None:
    """To note elsewhere what became of it."""
    seen: list[Any] = []

    async def act(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            call.state["answered"] = True
            await answer(call)
        if isinstance(event, Ended):
            seen.append(
                (dict(call.state), [item["role"] for item in call.items], [frame async for frame in call.frames()])
            )

    async with alone(engine_call(), Acting(act)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        its.live.finish("timeout")
        await until(lambda: seen)
        assert seen == [({"answered": True}, ["assistant"], [])]


# --- acts that cannot be done, or were others --------------------------------------


async def test_an_agent_that_has_done_too_much_in_an_event_may_still_hang_up() -> None:
    """Else it could not end the call at all."""

    async def much(call: Call) -> None:
        for number in range(MAX_ACTS):
            await call.at(f"{number % 8}", 10**12 + number)
        await call.hang_up()

    agent = Acting(when(Started, much))
    async with alone(engine_call(), agent) as its:
        its.attach()
        await until(lambda: its.call.lifecycle.outcome == "agent")


async def test_keys_with_the_same_checksum_are_two_acts_to_others() -> None:
    """Those to whom the idempotency key is given."""
    keys: list[str] = []

    async def note(key: str) -> None:
        keys.append(key)

    async def act(call: Call) -> None:
        await call.once("plumless", note)
        await call.once("buckeroo", note)

    async with alone(engine_call(), Acting(when(Started, act))) as its:
        await begun(its)
    assert len(set(keys)) == 2


@pytest.mark.parametrize("name", ["egg\r\nX-Injected: 1", "Frühstück", "x" * 200])
async def test_an_idempotency_key_is_fit_for_a_header(name: str) -> None:
    """Whatever the author, or a client, calls things: it is handed on to others."""
    keys: list[str] = []

    async def note(key: str) -> None:
        keys.append(key)

    async def act(call: Call, event: Event) -> None:
        if isinstance(event, Started):
            await call.at(name, 0)
        if isinstance(event, Timer):
            await call.once("note", note)

    async with alone(engine_call(), Acting(act)) as its:
        await begun(its)
        await until(lambda: keys)
    assert re.fullmatch(r"[A-Za-z0-9_:.-]{1,100}", keys[0])


# --- silence -------------------------------------------------------------------


async def test_an_agent_that_falls_silent_before_it_takes_a_request_is_given_up() -> None:
    """It hangs in an earlier event, and the caller waits for a reply."""
    is_first = [True]

    async def hang(call: Call, event: Event) -> None:
        if isinstance(event, Started) and (is_first.pop() if is_first else False):
            await asyncio.Event().wait()
        if isinstance(event, Asked):
            await answer(call)

    async with alone(engine_call(), Acting(hang)) as its:
        its.attach()
        await turns_pass()
        its.clock.now_s += 3600
        its.live.responder.stop_silent()
        its.live.feed(CreateResponse({}))
        its.clock.now_s += 29
        its.live.responder.stop_silent()
        await turns_pass()
        assert said(its) == []
        its.clock.now_s += 1
        its.live.responder.stop_silent()
        await settled(its)
        assert said(its) == ["Fine."]


async def test_an_agent_that_asks_for_no_event_is_given_up() -> None:
    """It waits for something else, for ever; it is run again, and the next one is tried anew."""

    class Waiting(Acting):
        async def run(self, call: Call) -> None:
            self.runs += 1
            if self.runs <= 2:
                await asyncio.Event().wait()
            await super().run(call)

    async def act(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            await answer(call)

    agent = Waiting(act)
    async with alone(engine_call(), agent) as its:
        its.attach()
        its.live.feed(CreateResponse({}))
        for runs in (1, 2):
            await until(lambda least=runs: agent.runs == least)
            its.clock.now_s += SILENT_S - 1
            its.live.responder.stop_silent()
            await turns_pass()
            assert (agent.runs, its.observer.counts.get(("agent_fault", "silent"), 0)) == (runs, runs - 1)
            its.clock.now_s += 1
            its.live.responder.stop_silent()
        assert said(its) == [WORDS]
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert said(its) == [WORDS, "Fine."]


async def test_a_reply_that_waits_for_what_was_said_is_not_due_yet() -> None:
    """An agent that is busy in an event before it keeps nobody waiting, as long as the ear does."""
    heard = asyncio.Event()

    class SlowEar(Ear):
        name = "slow"

        async def transcribe(self, clip: Clip) -> str | None:
            await heard.wait()
            return "hello"

    async def hang(call: Call, event: Event) -> None:
        await asyncio.Event().wait()

    agent = Acting(hang)
    agent.ear = SlowEar()
    async with alone(engine_call(), agent) as its:
        its.attach()
        its.live.feed(AppendAudio(bytes(48 * 500), None, (VoiceBoundary(True, 0), VoiceBoundary(False, 48 * 500))))
        await until(lambda: agent.kinds == ["Started"])
        its.clock.now_s += 2 * SILENT_S
        its.live.responder.stop_silent()
        assert its.call.response is not None
        assert not its.call.response.event_number
        assert ("agent_fault", "silent") not in its.observer.counts
        heard.set()


async def test_a_reply_over_the_engine_is_timed() -> None:
    """Each of its stages once."""
    async with alone(engine_call(), Acting(when(Asked, answer))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert [stage for stage, _ in its.observer.stages] == ["think", "tts", "first_audio"]


async def test_what_was_heard_is_told_whatever_stands_there_now() -> None:
    """The client has put another kind of item in its place."""
    agent = Acting()
    audio = {"id": "said", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    output = {"id": "said", "type": "function_call_output", "call_id": "call_x", "output": "42"}
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.listening.transcribe = lambda *args: None  # type: ignore[method-assign]
        its.live.feed(CreateItem(audio, bytes(4800)))
        its.live.feed(Transcribed("said", "Hello."))
        its.live.feed(DeleteItem("said"))
        its.live.feed(CreateItem(output))
        await settled(its)
        assert [event.text for event in agent.events if isinstance(event, Heard)] == [None]
        assert ("agent_fault", "raised") not in its.observer.counts


# --- another pod, another release ---------------------------------------------------


async def test_an_interrupted_request_is_told_again_on_the_next_pod() -> None:
    """Its handler may have to clean up, though its response is over and another one is open."""
    seen: list[tuple[str, str]] = []

    async def speak(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            try:
                async with call.speak() as speech:
                    await speech.text("Hello. ")
                    await asyncio.Event().wait()
            except SpeechInterrupted:
                seen.append((event.response_id, event.text))
                if len(seen) == 1:
                    await asyncio.Event().wait()

    async with alone(engine_call(), Acting(speak)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.text == "Hello. ")
        assert its.call.response is not None
        response_id = its.call.response.response_id
        await turns_pass()
        its.live.feed(CancelResponse())
        await until(lambda: seen)
        its.live.feed(
            CreateItem({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hm?"}]})
        )
        its.live.feed(CreateResponse({}))
        snapshot = await stored(its)
    agent = Acting(speak)
    async with alone(taken_over(snapshot), agent) as its:
        its.attach()
        its.live.resume_work()
        await until(lambda: len(agent.events) >= 2)
        assert seen == [(response_id, ""), (response_id, "")]
        assert ("agent_fault", "raised") not in its.observer.counts
        [_, asked] = [event for event in agent.events if isinstance(event, Asked)]
        assert asked.text == "Hm?"


async def test_a_key_that_was_of_another_act_is_a_new_one() -> None:
    """Of other code on the other color: nothing that it asks for is taken for done."""
    done: list[str] = []

    async def speak_first(call: Call) -> None:
        async with call.speak("confirm") as speech:
            await speech.text("Hello. ")
        await call.once("say", _one)
        await asyncio.Event().wait()

    async def charge_first(call: Call) -> None:
        async def charge(key: str) -> str:
            done.append(key)
            return "charged"

        done.append(await call.once("confirm", charge))
        async with call.speak("say") as speech:
            await speech.text("Charged.")

    async with alone(engine_call(), Acting(when(Asked, speak_first))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.agent is not None and "say" in its.call.agent.acts)
        await turns_pass(200)
        snapshot = await stored(its)
    async with alone(taken_over(snapshot), Acting(when(Asked, charge_first))) as its:
        its.attach()
        its.live.resume_work()
        await settled(its)
        assert done[1:] == ["charged"]
        assert said(its) == ["Hello. ", "Charged."]
        assert its.observer.counts["agent_fault", "other_acts"] == 2


async def test_an_act_that_was_refused_is_refused_again_on_the_next_pod() -> None:
    """It does not pass for done there."""
    raised: list[BaseException] = []

    async def send(call: Call) -> None:
        try:
            await call.send({"type": "agent.much", "much": "x" * 100_000})
        except ActRefused as error:
            raised.append(error)
        await asyncio.Event().wait()

    snapshot = None
    for _ in range(2):
        async with alone(
            engine_call() if snapshot is None else taken_over(snapshot), Acting(when(Started, send))
        ) as its:
            its.attach()
            its.live.resume_work()
            await turns_pass()
            await its.committer.flush(its.live.writer)
            snapshot = await its.store.load(its.call.call_id)
    assert len(raised) == 2


# --- what was heard -------------------------------------------------------------------


async def test_how_much_was_heard_is_counted_in_the_format_of_the_response() -> None:
    """The client may have asked for another than the session's."""
    heard: list[Played] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hello.")
        heard.append(await speech.heard())

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({"audio": {"output": {"format": {"type": "audio/pcmu"}}}}))
        await settled(its)
        assert heard == [Played("Hello.", 6 * 60, cut_off=False)]


async def test_what_the_client_truncated_was_cut_off() -> None:
    """Though the agent had said all of it."""
    heard: list[Played] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hello there.")
        try:
            heard.append(await speech.heard())
            await asyncio.Event().wait()
        except SpeechInterrupted:
            heard.append(await speech.heard())

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: heard)
        item_id = its.call.conversation.last_id
        assert item_id is not None
        its.live.feed(TruncateItem(item_id, 0, 6 * 60))
        its.live.feed(CancelResponse())
        await settled(its)
        assert heard == [Played("Hello there.", 12 * 60, cut_off=False), Played("Hello", 6 * 60, cut_off=True)]


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_was_interrupted_was_cut_off_though_all_that_was_sent_of_it_was_heard(*, deleted: bool) -> None:
    """There was more to say. Of an item that is gone nothing is known to have been heard."""
    heard: list[Played] = []

    async def act(call: Call) -> None:
        said: list[Speech] = []
        try:
            async with call.speak() as speech:
                said.append(speech)
                await speech.text("Hello.")
                await asyncio.Event().wait()
        except SpeechInterrupted:
            heard.append(await said[0].heard())

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.audio_bytes == PCM.size(6 * 60))
        its.clock.now_s += 1
        item_id = its.call.conversation.last_id
        assert item_id is not None
        its.live.feed(CancelResponse())
        if deleted:
            its.live.feed(DeleteItem(item_id))
        await settled(its)
    assert heard == [Played("", 0, cut_off=True) if deleted else Played("Hello.", 6 * 60, cut_off=True)]


@pytest.mark.parametrize(
    ("is_over", "heard_ms", "left"),
    [
        (False, 6 * 60, [Spoken("Hello", 6 * 60 * 24, is_complete=False)]),
        (False, 0, []),
        (True, None, [Spoken("Hello there.", 12 * 60 * 24, is_complete=True)]),
    ],
    ids=["cut", "not heard", "all"],
)
async def test_what_was_said_is_what_was_heard_of_it_once_its_response_is_over(
    *, is_over: bool, heard_ms: int | None, left: list[Spoken]
) -> None:
    """Whether or not another one is open by then."""
    seen: list[list[Spoken]] = []

    async def act(call: Call) -> None:
        speech = None
        try:
            async with call.speak() as speech:
                await speech.text("Hello there.")
                if not is_over:
                    await asyncio.Event().wait()
            await asyncio.Event().wait()
        except SpeechInterrupted:
            assert speech is not None
            seen.append(list(speech.said))
            async with call.speak("sorry") as other:
                await other.text("Sorry.")
                seen.append(list(speech.said))

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.audio_bytes == PCM.size(12 * 60))
        await turns_pass()
        its.clock.now_s += 10
        item_id = its.call.conversation.last_id
        assert item_id is not None
        if heard_ms is not None:
            its.live.feed(TruncateItem(item_id, 0, heard_ms))
        its.live.feed(CancelResponse())
        await settled(its)
    assert seen == [left, left]


@pytest.mark.parametrize(
    ("params", "give", "left"),
    [
        ({"output_modalities": ["text"]}, lambda speech: speech.text("Hello."), Spoken("Hello.", 0, is_complete=False)),
        ({}, lambda speech: speech.audio(bytes(PCM.size(200)), PCM), Spoken("", 200 * 24, is_complete=False)),
    ],
    ids=["only written", "only heard"],
)
async def test_what_was_said_need_not_be_both_written_and_heard(
    params: dict[str, Any], give: Callable[[Speech], Awaitable[None]], left: Spoken
) -> None:
    """Of text nobody hears, and of audio nobody has the words."""
    seen: list[Sequence[Spoken]] = []
    given: list[Speech] = []

    async def act(call: Call) -> None:
        try:
            async with call.speak() as speech:
                await give(speech)
                given.append(speech)
                await asyncio.Event().wait()
        finally:
            seen.append(given[0].said)

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse(params))
        await until(lambda: given)
        its.clock.now_s += 10
        its.live.feed(CancelResponse())
        await settled(its)
    assert seen == [(left,)]


async def test_nothing_to_say_says_nothing_and_no_unicode_is_refused_at_once() -> None:
    """No item is opened for it."""
    done: list[str] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("")
            with pytest.raises(ValueError):
                await speech.text("\ud800")
            with pytest.raises(ValueError):
                speech.prepare("\ud800")
            with pytest.raises(ValueError):
                await speech.audio(bytes(48), PCM, text="\ud800")
            done.append("all")

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert done == ["all"]
        assert said(its) == []


async def test_a_piece_is_complete_once_all_of_it_is_sent_or_written_or_its_speech_is_over() -> None:
    """Whatever else is being said by then."""
    seen: list[bool] = []

    async def act(call: Call) -> None:
        async with call.speak("first") as first:
            await first.text("Hello there. ")
            seen.append(first.said[-1].is_complete)
        async with call.speak("second") as second:
            await second.audio(bytes(PCM.size(250)), PCM, text="More.", is_partial=True)
            seen.extend((first.said[-1].is_complete, second.said[-1].is_complete))

    for params, complete in (({}, [True, True, False]), ({"output_modalities": ["text"]}, [True])):
        seen.clear()
        async with alone(engine_call(), Acting(when(Asked, act))) as its:
            await begun(its)
            its.live.feed(CreateResponse(params))
            await settled(its)
        assert seen[: len(complete)] == complete


@pytest.mark.parametrize("words", [[[math.nan, 1]], [[10**30, 1]], [[5000, 1]], [["a", 1]], [[-5, 1]]])
async def test_words_that_are_none_are_refused(words: Any) -> None:
    """What they say could not be written, or not be read again."""
    raised: list[BaseException] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            try:
                await speech.audio(bytes(4800), PCM, text="Hello.", words=words)
            except (TypeError, ValueError) as error:
                raised.append(error)

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert its.live.writer.state is not FENCED
        assert len(raised) == 1


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), (1, 2), {"a": {1: 2}}, math.nan, UUID(int=1), {1}])
async def test_what_would_come_back_as_something_else_is_no_state(value: Any) -> None:
    """The next event would find it changed."""
    raised: list[str] = []

    async def act(call: Call) -> None:
        try:
            call.state["value"] = value
        except TypeError as error:
            raised.append(str(error))

    async with alone(engine_call(), Acting(when(Started, act))) as its:
        await begun(its)
        assert len(raised) == 1
        assert its.call.dialogue.agent_state == {}


@pytest.mark.parametrize("breaks", ["the end", "its state"])
async def test_an_agent_that_asks_for_events_for_ever_does_not_spin(breaks: str) -> None:
    """Behind the end of the call, or though it cannot have another: the other calls of the pod have their turns."""
    rounds = [0]

    class Endless(Acting):
        async def run(self, call: Call) -> None:
            while rounds[0] < 10_000:
                rounds[0] += 1
                with suppress(StopAsyncIteration, TypeError):
                    await anext(call.events())
                    if breaks == "its state":
                        call.state["list"] = []
                        call.state["list"].append(object())

    async with alone(engine_call(), Endless()) as its:
        its.attach()
        await turns_pass()
        if breaks == "the end":
            its.live.finish("timeout")
        await turns_pass()
        assert rounds[0] < 200
        rounds[0] = 10_000


async def test_what_was_to_be_said_is_in_no_log() -> None:
    """A voice that gives what it was to say is told of by what kind of thing that is."""

    class Echoing(SpellingVoice):
        async def say(self, utterance: Utterance) -> AsyncIterator[Any]:
            yield utterance.text

    async with alone(engine_call(), Acting(when(Asked, answer), Echoing())) as its:
        await begun(its)
        with capture_logs() as logs:
            its.live.feed(CreateResponse({}))
            await settled(its)
        assert [entry["event"] for entry in logs if "reason" in entry] == ["agent failed"]
        assert "Fine." not in str([entry["reason"] for entry in logs if "reason" in entry])


async def test_an_interruption_while_a_voice_is_closed_is_raised() -> None:
    """It does not pass for a fault of the voice's."""
    seen: list[str] = []

    class Closing:
        """Pieces of a voice that takes its time to close."""

        def __init__(self, pieces: AsyncIterator[Any]) -> None:
            self._pieces = pieces

        def __aiter__(self) -> Closing:
            return self

        async def __anext__(self) -> Any:
            return await anext(self._pieces)

        async def aclose(self) -> None:
            seen.append("closing")
            await asyncio.Event().wait()

    class Slow(SpellingVoice):
        def say(self, utterance: Utterance) -> Any:
            return Closing(super().say(utterance))

    async def speak(call: Call) -> None:
        try:
            async with call.speak() as speech:
                await speech.text("Hello.")
                seen.append("went on")
        except SpeechInterrupted:
            seen.append("interrupted")

    async with alone(engine_call(), Acting(when(Asked, speak), Slow())) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: "closing" in seen)
        its.live.feed(CancelResponse())
        await settled(its)
        assert seen == ["closing", "interrupted"]


async def test_a_call_that_could_not_be_let_go_of_tells_its_agent_of_the_end() -> None:
    """Its work was stopped and goes on, and no event waits."""
    agent = Acting()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await its.live.stop_work()
        its.live.resume_work()
        its.live.finish("timeout")
        await until(lambda: agent.kinds == ["Started", "Ended"])


class GroupVoice(Voice):
    """Waits in a group of tasks of which one raises when it is cancelled."""

    name = "group"

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fail_when_cancelled())
            await asyncio.Event().wait()
        yield VoicedAudio(b"", PCM)

    async def _fail_when_cancelled(self) -> None:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ConnectionError("given up")


@pytest.mark.parametrize("cancels", [1, 2])
async def test_a_run_that_goes_elsewhere_ends_though_its_voice_fails_over_that(cancels: int) -> None:
    """What fails because it is cancelled is no failure, and keeps no run of an agent that nobody wants."""
    voice = GroupVoice()

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hello.")

    agent = Acting(when(Asked, act))
    agent.voice = voice
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await voice.asked.wait()
        [task] = its.live.responder.cancel()
        for _ in range(cancels - 1):
            await asyncio.sleep(0)
            task.cancel()
        await until(task.done)
        assert task.cancelled()
        assert not [each for each in its.observer.counts if "agent_fault" in each]

"""What the engine promises to authors of agents, a test a sentence.

Those of its sentences that are not here are held by tests of `call`: `test_agent_acts`, `test_agent_events` and
`test_later_responses`; and beside this file by `test_agent_run` and `test_speaking`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count, groupby
from typing import Any

import pytest

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.calls.test_streamed_transcription import FrameEar, part
from tests.runtime.engine.agents import Acting, HelloEar, SpellingVoice
from tests.runtime.engine.crashes import again, engine_call, settled, stored, taken_over, whole
from tests.runtime.engine.test_agent_run import begun, said, when
from tests.waiting import PATIENCE_S, until
from voice_agent.call import machine
from voice_agent.call.audio import PCM
from voice_agent.call.changes import Snapshot
from voice_agent.call.inputs import (
    AppendAudio,
    CancelResponse,
    ClearAudio,
    CommitAudio,
    CreateResponse,
    HandoffPlanned,
    TruncateItem,
    UpdateSession,
    VoiceBoundary,
)
from voice_agent.kit.call import Call, IdempotencyKey
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.ear import AgentEar, Ear
from voice_agent.kit.events import Asked, Event, Heard, Started, Timer
from voice_agent.kit.speech import Speech, SpeechInterrupted
from voice_agent.kit.voice import Utterance, Voice, VoiceFailed
from voice_agent.runtime.calls.early_transcription import EARLY_PAUSE_MS
from voice_agent.runtime.engine.agent_call import MAX_TRANSCRIPT_CHARS


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


async def test_a_side_effect_learns_whether_another_pod_has_begun_it() -> None:
    """The key is the same; where it is a repeat, it may have been done."""
    keys: list[IdempotencyKey] = []

    async def hold(key: IdempotencyKey) -> None:
        keys.append(key)
        await asyncio.Event().wait()

    async def act(call: Call) -> None:
        await call.once("book", hold)

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: bool(keys))
        snapshot = await stored(its)
    async with alone(taken_over(snapshot), Acting(when(Asked, act))) as its:
        its.attach()
        its.live.resume_work()
        await until(lambda: len(keys) > 1)
    assert keys[0] == keys[1]
    assert [key.is_repeat for key in keys] == [False, True]


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


async def test_a_response_ends_incomplete_where_its_event_says_so() -> None:
    """With the reason that it gives; not with one that the protocol does not know."""

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hi.")
        with pytest.raises(ValueError, match="'tired' is none of max_output_tokens, content_filter"):
            call.end_incomplete("tired")  # type: ignore[arg-type]  # what an author may write
        call.end_incomplete("content_filter")

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        connection = its.attach()
        await settled(its)
        for _ in range(2):
            its.live.feed(CreateResponse({}))
            await settled(its)
    ended = [event["response"] for event in connection.events if event["type"] == "response.done"]
    assert [each["status_details"] for each in ended] == [{"type": "incomplete", "reason": "content_filter"}] * 2


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


# --- what is heard while it is said --------------------------------------------


SPEECH, PAUSE, SILENCE = part(1000, 2000), bytes(PCM.size(EARLY_PAUSE_MS + 60)), bytes(PCM.size(1000))


class Listener(Acting):
    """Notes what it hears, as it is told."""

    def __init__(self, ear: Ear | None = None) -> None:
        super().__init__()
        self.ear = ear or HelloEar()
        self.told: list[tuple[str, str | None, str | None]] = []
        self.has_ended = False

    async def run(self, call: Call) -> None:
        reading = asyncio.create_task(self._read(call))
        try:
            await super().run(call)
        finally:
            await asyncio.wait([reading], timeout=PATIENCE_S)

    async def _read(self, call: Call) -> None:
        async for heard in call.hearing():
            self.told.append((heard.kind.value, heard.text, heard.item_id))
        self.has_ended = True


async def say(its: Alone, *audio: bytes) -> None:
    """The caller sends it in frames, and all that listen have their turn."""
    for frame in frames_of(part(0, 1000), *audio):
        its.live.receive_event(AppendAudio(frame))
        await turns_pass(8)


async def go_on(its: Alone, *audio: bytes) -> None:
    """More of it."""
    for frame in frames_of(*audio):
        its.live.receive_event(AppendAudio(frame))
        await turns_pass(8)


def frames_of(*audio: bytes) -> list[bytes]:
    """As a client sends it."""
    whole = b"".join(audio)
    return [whole[at : at + 960] for at in range(0, len(whole), 960)]


async def manual(its: Alone) -> None:
    """The client commits its turns itself."""
    turns = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    its.live.feed(UpdateSession(turns))


async def test_what_is_being_heard_is_told_from_its_start_to_its_end() -> None:
    """Of an ear that takes utterances whole: what it makes of what was said before a pause that may end the turn."""
    agent = Listener()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await say(its, SPEECH, PAUSE, SPEECH, SILENCE)
        item_id = its.call.conversation.last_id
        assert agent.told == [
            ("started", None, item_id),
            ("paused", "hello", item_id),
            ("resumed", "hello", item_id),
            ("paused", "hello", item_id),
            ("stopped", "hello", item_id),
        ]


async def test_an_ear_that_streams_tells_more_and_more() -> None:
    """In a pause what it understood by then, and again what it understands in it; nothing twice."""
    agent = Listener(FrameEar())
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await say(its, SPEECH, PAUSE, SPEECH, SILENCE)
        kinds = [kind for kind, _, _ in agent.told]
        assert [kind for kind, _ in groupby(kinds)] == [
            "started",
            "partial",
            "paused",
            "resumed",
            "partial",
            "paused",
            "stopped",
        ]
        texts = [int(text) for kind, text, _ in agent.told if text is not None and kind not in ("resumed", "stopped")]
        assert len(texts) > 10
        assert texts == sorted(texts)
        assert {item_id for _, _, item_id in agent.told} == {its.call.conversation.last_id}


async def test_without_an_ear_that_understands_it_is_told_that_and_not_what() -> None:
    """For an agent that has the audio understood elsewhere."""
    agent = Listener(AgentEar())
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await say(its, SPEECH, PAUSE, SPEECH, SILENCE)
        assert [(kind, text) for kind, text, _ in agent.told] == [
            ("started", None),
            ("paused", None),
            ("resumed", None),
            ("paused", None),
            ("stopped", None),
        ]


async def test_a_turn_that_the_client_commits_is_told_from_its_first_audio_on() -> None:
    """There are no pauses; of one that is cleared no turn comes."""
    agent = Listener()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await manual(its)
        await go_on(its, SPEECH, PAUSE)
        its.live.receive_event(CommitAudio())
        item_id = its.call.conversation.last_id
        await go_on(its, SPEECH)
        its.live.receive_event(ClearAudio())
        await turns_pass()
        assert [(kind, item) for kind, _, item in agent.told if kind == "stopped"] == [
            ("stopped", item_id),
            ("stopped", None),
        ]
        assert [kind for kind, _, _ in agent.told] == ["started", "stopped", "started", "stopped"]


@pytest.mark.parametrize("ear", [HelloEar, FrameEar])
async def test_an_utterance_that_another_pod_began_to_hear_is_told_from_its_start(ear: Callable[[], Ear]) -> None:
    """To the run that goes on with it, and of the same item."""
    async with alone(engine_call(), Listener(ear())) as its:
        await begun(its)
        await say(its, SPEECH)
        its.live.feed(HandoffPlanned())
        snapshot, item_id = await stored(its), its.call.input_audio.item_id
    agent = Listener(ear())
    async with alone(taken_over(snapshot), agent) as its:
        await goes_on(its)
        assert agent.told[0] == ("started", None, item_id)
        await go_on(its, SPEECH, SILENCE)
        assert [kind for kind, _, _ in agent.told if kind in ("started", "stopped")] == ["started", "stopped"]
        assert {item for _, _, item in agent.told} == {item_id} == {its.call.conversation.last_id}


async def test_who_hears_nothing_any_more_is_told_so() -> None:
    """With the end of the call."""
    agent = Listener()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.finish("admin")
        await until(lambda: agent.has_ended)


# --- transcripts of the agent's own ----------------------------------------------


async def test_what_an_agent_understood_is_durable_when_that_returns_and_told_as_of_an_ear() -> None:
    """Between events, too."""
    agent = Acting()
    agent.ear = AgentEar()
    calls: list[Call] = []

    async def keep(call: Call) -> None:
        calls.append(call)

    agent.act = when(Started, keep)
    async with alone(engine_call(), agent) as its:
        connection = its.attach()
        await settled(its)
        its.live.feed(
            UpdateSession({"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}})
        )
        await hear(its)
        await settled(its)
        assert not [kind for kind in connection.pushed if "transcription" in kind]
        item_id = next(event.item_id for event in agent.events if isinstance(event, Heard))
        await calls[0].transcribed(item_id, "hello", certain=False)
        held = await its.store.load(its.call.call_id)
        assert held is not None
        assert b"hello" in held.items[item_id]
        assert b"uncertain" in held.items[item_id]
        assert [kind.rpartition(".")[2] for kind in connection.pushed if "transcription" in kind] == [
            "delta",
            "completed",
        ]
        assert [item["content"][0].get("transcript") for item in calls[0].items if item["role"] == "user"] == ["hello"]


async def test_what_is_no_audio_of_the_callers_has_no_transcript() -> None:
    """Nor is too much kept of one, or what is no text; of an item that is gone nothing is."""
    raised: list[type[Exception]] = []

    async with alone(engine_call(), Acting()) as its:

        async def act(call: Call) -> None:
            async with call.speak() as speech:
                await speech.text("Hi.")
            await call.transcribed("item_gone", "hello")
            for name, text in (
                (its.call.conversation.last_id or "", "hello"),
                ("item_gone", "a" * (MAX_TRANSCRIPT_CHARS + 1)),
                ("item_gone", "\ud800"),
            ):
                try:
                    await call.transcribed(name, text)
                except ValueError as error:
                    raised.append(type(error))

        agent = its.live.responder.agent
        assert isinstance(agent, Acting)
        agent.act = when(Asked, act)
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
    assert raised == [ValueError, ValueError, UnicodeEncodeError]


async def test_a_run_that_is_over_gives_no_transcripts() -> None:
    """Another pod's agent does, or the next run."""
    calls: list[Call] = []

    async def keep(call: Call) -> None:
        calls.append(call)

    async with alone(engine_call(), Acting(when(Started, keep))) as its:
        await begun(its)
        await its.live.stop_work()
        with pytest.raises(asyncio.CancelledError):
            await calls[0].transcribed("item_gone", "hello")


async def test_rate_limits_of_a_model_are_sent_as_the_protocol_has_them() -> None:
    """Any other event is the agent's own, or refused."""
    limits = {"type": "rate_limits.updated", "rate_limits": [{"name": "tokens", "remaining": 10}]}
    wrong: list[dict[str, Any]] = [
        {"type": "rate_limits.updated"},
        {"type": "rate_limits.updated", "rate_limits": [1]},
        {"type": "response.done"},
    ]

    async def act(call: Call) -> None:
        await call.send(limits)
        for event in wrong:
            with pytest.raises(ValueError, match="protocol|agent's own"):
                await call.send(event)

    tape = await whole(Acting(when(Asked, act)), ask)
    assert tape.got.types.count("rate_limits.updated") == 1
    assert "response.failed" not in tape.got.types
    for snapshot in tape.snapshots:
        got = await again(Acting(when(Asked, act)), snapshot, ask)
        assert got.types.count("rate_limits.updated") == 1


# --- sentences that are prepared ---------------------------------------------------

SENTENCES = ("Hello there. ", "We are open from nine. ", "Come by. ", "Any day.")


async def say_prepared(call: Call) -> None:
    """Each sentence is told before the one in front of it is said."""
    async with call.speak() as speech:
        speech.prepare(SENTENCES[0])
        for sentence, then in zip(SENTENCES, (*SENTENCES[1:], ""), strict=True):
            if then:
                speech.prepare(then)
            await speech.text(sentence)


@pytest.mark.parametrize("deterministic", [True, False])
async def test_what_is_prepared_is_said_as_what_is_not(*, deterministic: bool) -> None:
    """The voice is asked for the same, with the same seeds, and all that comes of it is the same to the byte."""

    async def say_plainly(call: Call) -> None:
        async with call.speak() as speech:
            for sentence in SENTENCES:
                await speech.text(sentence)

    plain, prepared = SpellingVoice(), SpellingVoice()
    plain.deterministic = prepared.deterministic = deterministic
    without = await whole(Acting(when(Asked, say_plainly), plain), ask)
    tape = await whole(Acting(when(Asked, say_prepared), prepared), ask)
    assert (tape.got.text, tape.got.audio) == (without.got.text, without.got.audio)
    assert sorted(prepared.said, key=str) == sorted(plain.said, key=str)
    for snapshot in tape.snapshots:
        voices = SpellingVoice(), SpellingVoice()
        for voice in voices:
            voice.deterministic = deterministic
        got = await again(Acting(when(Asked, say_prepared), voices[0]), snapshot, ask)
        got_without = await again(Acting(when(Asked, say_plainly), voices[1]), snapshot, ask)
        assert (got.text, got.audio) == (got_without.text, got_without.audio)
        assert got.text == tape.got.text
        assert sorted(voices[0].said, key=str) == sorted(voices[1].said, key=str), "nothing is made that is not said"


async def test_each_speech_of_an_event_prepares_its_own() -> None:
    """Under its own key."""

    async def two(call: Call) -> None:
        for key in ("first", "second"):
            async with call.speak(key) as speech:
                for sentence in SENTENCES[:2]:
                    speech.prepare(sentence)
                for sentence in SENTENCES[:2]:
                    await speech.text(sentence)

    voice = SpellingVoice()
    tape = await whole(Acting(when(Asked, two), voice), ask)
    assert [one.text for one in voice.said] == [*SENTENCES[:2], *SENTENCES[:2]]
    assert len({one.seed for one in voice.said}) == 4
    assert tape.got.text == "".join(SENTENCES[:2] * 2)


@pytest.mark.parametrize("cut", [barge_in, cancel, truncate])
async def test_an_interruption_drops_what_is_prepared_at_once(cut: Callable[[Alone], Awaitable[None]]) -> None:
    """Also while the handler goes on with something else within its speech."""
    voice = EndlessVoice()
    may_end = asyncio.Event()

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hello there.")
            speech.prepare("Second.")
            try:
                await asyncio.Event().wait()
            except SpeechInterrupted:
                speech.prepare("Third.")
                await may_end.wait()

    async with alone(engine_call(), Acting(when(Asked, act), voice)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: voice.speaking == {"Second."} and voice.ended == ["Hello there."])
        assert its.live.responder.prepared_bytes > 0
        await cut(its)
        await until(lambda: not voice.speaking)
        assert its.live.responder.prepared_bytes == 0
        may_end.set()
        await settled(its)
        assert "Third." not in voice.asked


class EndlessVoice(Voice):
    """Says two tenths of a second of what is first; of anything else more and more, until it is closed."""

    name = "endless"
    lead_ms = 60_000

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.speaking: set[str] = set()
        self.ended: list[str] = []

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        self.asked.append(utterance.text)
        self.speaking.add(utterance.text)
        try:
            for number in count():
                if number == 2 and utterance.text == "Hello there.":
                    return
                yield VoicedAudio(bytes(PCM.size(100)), PCM)
        finally:
            self.speaking.remove(utterance.text)
            self.ended.append(utterance.text)


@pytest.mark.parametrize("end", ["leaves", "says other text", "says audio", "fails", "never leaves", "moves"])
async def test_what_is_prepared_and_not_said_is_closed(end: str) -> None:
    """However its speech goes on or ends: nothing is left at the voice."""
    voice = EndlessVoice()

    async def act(call: Call) -> None:
        speaking = call.speak()
        speech = await speaking.__aenter__()
        speech.prepare("Hello there.")
        speech.prepare("Second.")
        await speech.text("Hello there.")
        speech.prepare("Third.")
        await until(lambda: voice.speaking == {"Second.", "Third."})
        if end == "says other text":
            await speech.text("Hello there.")
        elif end == "says audio":
            await speech.audio(bytes(PCM.size(100)), PCM, text="Beep.")
        elif end == "fails":
            error = RuntimeError("no")
            await speaking.__aexit__(RuntimeError, error, None)
            raise error
        elif end == "moves":
            await asyncio.Event().wait()
        if end in ("says other text", "says audio"):
            await until(lambda: not voice.speaking)
        if end != "never leaves":
            await speaking.__aexit__(None, None, None)

    async with alone(engine_call(), Acting(when(Asked, act), voice)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: {"Second.", "Third."} <= set(voice.asked))  # The agent may be further then.
        if end == "moves":
            await its.live.stop_work()
        else:
            await settled(its)
        await until(lambda: not voice.speaking)


async def test_a_voice_that_fails_ahead_fails_the_sentence_when_it_is_said() -> None:
    """What was said in front of it stands."""
    raised: list[VoiceFailed] = []

    class Failing(SpellingVoice):
        async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
            if utterance.text == SENTENCES[1]:
                raise RuntimeError("no")
            async for piece in super().say(utterance):
                yield piece

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text(SENTENCES[0])
            speech.prepare(SENTENCES[1])
            await turns_pass(50)
            try:
                await speech.text(SENTENCES[1])
            except VoiceFailed as error:
                raised.append(error)

    async with alone(engine_call(), Acting(when(Asked, act), Failing())) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert [error.kind for error in raised] == ["raised"]
        assert said(its)[0].startswith(SENTENCES[0])


async def test_of_a_reply_that_is_only_written_nothing_is_prepared() -> None:
    """Nor is it kept if the voice is to speak otherwise by the time it is said."""
    voice = SpellingVoice()

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            speech.prepare(SENTENCES[0])
            await turns_pass()
            if call.session.wants_audio:
                its.live.feed(UpdateSession({"type": "realtime", "audio": {"output": {"speed": 1.2}}}))
            await speech.text(SENTENCES[0])

    async with alone(engine_call(), Acting(when(Asked, act), voice)) as its:
        await begun(its)
        its.live.feed(UpdateSession({"type": "realtime", "output_modalities": ["text"]}))
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert voice.said == []
        its.live.feed(UpdateSession({"type": "realtime", "output_modalities": ["audio"]}))
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert [one.speed for one in voice.said] == [1.0, 1.2]
        assert said(its) == [SENTENCES[0], SENTENCES[0]]


async def test_a_hint_that_comes_too_late_or_is_empty_means_nothing() -> None:
    """Of a speech that is over, from a task that does not know; text that is no Unicode is refused as by `text`."""
    voice = SpellingVoice()
    speeches: list[Speech] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            speeches.append(speech)
            speech.prepare("")
            with pytest.raises(UnicodeEncodeError):
                speech.prepare("\ud800")
            await speech.text("Hi.")

    async with alone(engine_call(), Acting(when(Asked, act), voice)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        speeches[0].prepare("More.")
        await turns_pass()
        await its.live.stop_work()
        speeches[0].prepare("More.")
        await turns_pass()
        assert [one.text for one in voice.said] == ["Hi."]

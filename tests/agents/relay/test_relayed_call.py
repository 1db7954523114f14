"""What a relay makes of the events of a call, and of what its upstream says. Tests of `relayed_call`.

And of `caller_audio`, `conversation` and `held_conversation`.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

import pytest

from tests.agents.relay.fake_upstream import Event, FakeSession, answer, count_words, fake_upstream, say
from tests.agents.relay.relayed import Relayed, relayed
from tests.doubles.tones import sound_of, words_in
from tests.waiting import until
from voice_agent.agents.relay.relayed_call import note_incomplete
from voice_agent.call.audio import PCM

MANUAL = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def spoken(seconds: float = 1.0) -> list[bytes]:
    """What a caller says, in frames of 20 ms that are all different."""
    frames = int(seconds * 50)
    return [(1 + number).to_bytes(2, "little") * (PCM.size(20) // 2) for number in range(frames)]


def append(call: Relayed, frame: bytes) -> None:
    """The caller says it."""
    call.say({"type": "input_audio_buffer.append", "audio": base64.b64encode(frame).decode()})


async def says_hello(session: FakeSession, event: Event) -> None:
    """Answer with two words."""
    await say(session, [("hello ", sound_of("hello")), ("there ", sound_of("there"))], event)


async def test_what_the_caller_says_goes_up_while_it_is_said_and_once() -> None:
    """The upstream has the very audio of the turn when it is asked to answer."""
    frames = spoken()
    async with fake_upstream(responding=says_hello) as upstream, relayed(upstream) as call:
        call.say(MANUAL)
        await call.event("session.updated")
        await call.is_ready(upstream)
        [session] = upstream.sessions
        append(call, frames[0])
        await until(lambda: bytes(session.appended) == frames[0])
        for frame in frames[1:]:
            append(call, frame)
        await until(lambda: bytes(session.appended) == b"".join(frames))
        call.say({"type": "input_audio_buffer.commit"})
        call.say({"type": "response.create"})
        done = await call.event("response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"].strip() == "hello there"
        assert words_in(call.audio()) == ["hello", "there"]
        assert session.items[0]["content"][0]["audio"] == b"".join(frames)
        sent = [base64.b64decode(event["audio"]) for event in session.of("input_audio_buffer.append")]
        assert b"".join(sent) == b"".join(frames)
        assert session.kinds().count("input_audio_buffer.commit") == 1


async def test_an_upstream_that_follows_another_gets_the_turn_whole() -> None:
    """What was said was sent to a session that is lost."""
    frames = spoken()
    async with fake_upstream(responding=says_hello) as upstream, relayed(upstream) as call:
        call.say(MANUAL)
        await call.event("session.updated")
        await call.is_ready(upstream)
        for frame in frames[:30]:
            append(call, frame)
        await until(lambda: upstream.sessions[0].appended)
        upstream.sessions[0].socket.transport.abort()
        await until(lambda: len(upstream.sessions) == 2)
        for frame in frames[30:]:
            append(call, frame)
        call.say({"type": "input_audio_buffer.commit"})
        call.say({"type": "response.create"})
        await call.event("response.done")
        assert upstream.sessions[1].items[0]["content"][0]["audio"] == b"".join(frames)


async def test_the_upstream_tells_what_the_caller_said() -> None:
    """The client is told as by an ear, once; the next upstream has it as text."""

    async def receiving(session: FakeSession, event: Event) -> None:
        await answer(session, event)
        if event["type"] == "input_audio_buffer.commit":
            for text in ("a table, please", "something else"):
                await session.send({"type": TRANSCRIBED, "item_id": session.items[-1]["id"], "transcript": text})

    async with fake_upstream(responding=says_hello, receiving=receiving) as upstream, relayed(upstream) as call:
        call.say(MANUAL)
        call.say({"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"transcription": {}}}}})
        await call.event("session.updated", 2)
        for frame in spoken():
            append(call, frame)
        call.say({"type": "input_audio_buffer.commit"})
        call.say({"type": "response.create"})
        assert (await call.event(TRANSCRIBED))["transcript"] == "a table, please"
        await call.event("response.done")
        upstream.sessions[0].socket.transport.abort()
        await until(lambda: len(upstream.sessions) == 2)
        call.say({"type": "response.create"})
        await call.event("response.done", 2)
        said = [(item["role"], item["content"][0]["text"]) for item in upstream.sessions[1].items[:2]]
        assert said == [("user", "a table, please"), ("assistant", "hello there")]
        assert len([e for e in call.caller.transport.events if e["type"] == TRANSCRIBED]) == 1


async def test_who_speaks_into_a_reply_stops_the_upstream_which_forgets_what_was_not_heard() -> None:
    """It is cancelled, and what it said is truncated to what the caller heard."""

    async def talks_on(session: FakeSession, event: Event) -> None:
        of = {"response_id": "r", "item_id": "i"}
        await session.send({"type": "response.created", "response": {"id": "r"}})
        item = {"id": "i", "type": "message"}
        await session.send({"type": "response.output_item.added", "response_id": "r", "item": item})
        for number in range(100, 140):
            text, audio = f"w{number} ", base64.b64encode(sound_of(f"w{number}")).decode()
            await session.send({"type": "response.output_audio_transcript.delta", "delta": text, **of})
            await session.send({"type": "response.output_audio.delta", "delta": audio, **of})

    async def receiving(session: FakeSession, event: Event) -> None:
        await answer(session, event)
        if event["type"] == "response.cancel":
            await session.send({"type": "response.done", "response": {"id": "r", "status": "cancelled"}})

    async with (
        fake_upstream(responding=talks_on, receiving=receiving) as upstream,
        relayed(upstream, lead_ms=200) as call,
    ):
        call.say({"type": "response.create"})
        await until(lambda: len(call.audio()) > PCM.size(1_000))
        [session] = upstream.sessions
        item = (await call.event("response.output_item.added"))["item"]
        call.say({"type": "conversation.item.truncate", "item_id": item["id"], "content_index": 0, "audio_end_ms": 700})
        await until(lambda: session.of("conversation.item.truncate"))
        [cut] = session.of("conversation.item.truncate")
        assert (cut["item_id"], cut["audio_end_ms"]) == ("i", 700)
        assert session.kinds().index("response.cancel") < session.kinds().index("conversation.item.truncate")
        await call.event("response.done")
        upstream.responding = says_hello
        call.say({"type": "response.create"})
        await call.event("response.done", 2)
        assert not session.of("conversation.item.delete")
        assert len(upstream.sessions) == 1


async def test_the_clients_functions_are_called_and_their_results_go_up_under_the_upstreams_own_names() -> None:
    """The conversation of the upstream is not made anew for that."""

    async def calls(session: FakeSession, event: Event) -> None:
        if session.items[-1]["type"] == "function_call_output":
            await says_hello(session, event)
            return
        call = {"id": "fc_1", "type": "function_call", "call_id": "theirs", "name": "look", "arguments": '{"n":1}'}
        session.items.append(call)
        await session.send({"type": "response.created", "response": {"id": "r"}})
        await session.send({"type": "response.output_item.added", "response_id": "r", "item": call})
        await session.send({"type": "response.output_item.done", "response_id": "r", "item": call})
        await session.send({"type": "response.done", "response": {"id": "r", "status": "completed"}})

    tools = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    async with fake_upstream(responding=calls) as upstream, relayed(upstream) as call:
        call.say(
            {"type": "session.update", "session": {"type": "realtime", "tools": tools, "instructions": "Be brief."}}
        )
        part = {"type": "input_text", "text": "look, please"}
        call.say({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [part]}})
        call.say({"type": "response.create"})
        [asked] = (await call.event("response.done"))["response"]["output"]
        assert (asked["name"], asked["arguments"]) == ("look", '{"n":1}')
        output = {"type": "function_call_output", "call_id": asked["call_id"], "output": "7"}
        call.say({"type": "conversation.item.create", "item": output})
        call.say({"type": "response.create"})
        done = await call.event("response.done", 2)
        assert done["response"]["output"][0]["content"][0]["transcript"].strip() == "hello there"
        [session] = upstream.sessions
        assert session.items[2]["call_id"] == "theirs"
        assert not session.of("conversation.item.delete")
        request = session.of("response.create")[0]["response"]
        assert request["instructions"] == "Be brief."
        assert [tool["name"] for tool in request["tools"]] == ["look"]


async def test_what_an_upstream_used_and_allows_is_passed_on() -> None:
    """Usage counts with the call, and the client is told the limits."""
    usage = {
        "total_tokens": 30,
        "input_tokens": 10,
        "output_tokens": 20,
        "input_token_details": {"cached_tokens": 4, "text_tokens": 3, "audio_tokens": 7},
        "output_token_details": {"text_tokens": 5, "audio_tokens": 15},
    }

    async def metered(session: FakeSession, event: Event) -> None:
        await session.send({"type": "rate_limits.updated", "rate_limits": [{"name": "requests", "remaining": 9}]})
        await say(session, [("hello ", sound_of("hello"))], event, usage=usage)

    async with fake_upstream(responding=metered) as upstream, relayed(upstream) as call:
        call.say({"type": "response.create"})
        limits = await call.event("rate_limits.updated")
        assert limits["rate_limits"] == [{"name": "requests", "remaining": 9}]
        done = await call.event("response.done")
        used = done["response"]["usage"]
        assert (used["input_tokens"], used["output_tokens"], used["total_tokens"]) == (10, 20, 30)
        assert used["input_token_details"]["audio_tokens"] == 7


@pytest.mark.parametrize(
    ("reason", "status"), [("max_output_tokens", "incomplete"), ("content_filter", "incomplete"), ("else", "completed")]
)
async def test_a_reply_that_an_upstream_did_not_end_is_incomplete_here_too(reason: str, status: str) -> None:
    """For the reasons that the protocol has; what was said of it stays."""

    async def stops(session: FakeSession, event: Event) -> None:
        details = {"type": "incomplete", "reason": reason}
        await say(session, [("hello ", sound_of("hello"))], event, status="incomplete", status_details=details)

    async with fake_upstream(responding=stops) as upstream, relayed(upstream) as call:
        call.say({"type": "response.create"})
        response = (await call.event("response.done"))["response"]
        assert response["status"] == status
        assert response["output"][0]["content"][0]["transcript"].strip() == "hello"
        if status == "incomplete":
            assert response["status_details"]["reason"] == reason


async def test_that_it_was_incomplete_is_known_to_the_pod_that_takes_over() -> None:
    """Which does not ask the upstream again for a reply that was heard to its end."""

    class Kept:
        """A call that another pod has brought so far."""

        def __init__(self) -> None:
            self.reasons: list[str] = []

        async def once(self, key: str, run: Any) -> Any:
            return {"incomplete 1": "content_filter"}.get(key) or await run(key)

        def end_incomplete(self, reason: str) -> None:
            self.reasons.append(reason)

    call = Kept()
    await note_incomplete(call, 1, None)  # type: ignore[arg-type]  # all that is asked of it
    await note_incomplete(call, 2, None)  # type: ignore[arg-type]
    assert call.reasons == ["content_filter"]


async def test_written_replies_are_written() -> None:
    """No audio is asked for."""

    async def writes(session: FakeSession, event: Event) -> None:
        assert event["response"]["output_modalities"] == ["text"]
        await session.send({"type": "response.created", "response": {"id": "r"}})
        for text in ("We are ", "open."):
            await session.send(
                {"type": "response.output_text.delta", "response_id": "r", "item_id": "i", "delta": text}
            )
        await session.send({"type": "response.done", "response": {"id": "r", "status": "completed"}})

    async with fake_upstream(responding=writes) as upstream, relayed(upstream) as call:
        call.say({"type": "response.create", "response": {"output_modalities": ["text"]}})
        done = await call.event("response.done")
        assert done["response"]["output"][0]["content"] == [{"type": "output_text", "text": "We are open."}]
    assert upstream.open_sessions == 0


async def test_a_reply_outside_of_the_conversation_is_asked_for_as_such() -> None:
    """With what is to be answered, and the conversation of the upstream does not change."""
    async with fake_upstream() as upstream, relayed(upstream) as call:
        await call.ask(100, 2)
        [session] = upstream.sessions
        before = list(session.items)
        part = {"type": "input_text", "text": "3 from 500"}
        message: dict[str, Any] = {"type": "message", "role": "user", "content": [part]}
        call.say({"type": "response.create", "response": {"conversation": "none", "input": [message]}})
        done = await call.event("response.done", 2)
        assert done["response"]["output"][0]["content"][0]["transcript"].split() == ["w500", "w501", "w502"]
        assert session.items == before
        call.answers += 1
        assert (await call.ask(200, 2)).faults == []


async def test_what_is_typed_deleted_and_typed_again_is_what_the_upstream_has() -> None:
    """Before each reply."""
    async with fake_upstream() as upstream, relayed(upstream) as call:
        for first in (100, 200, 300):
            assert (await call.ask(first, 2)).faults == []
        done = (await call.event("response.done", 2))["response"]
        call.say({"type": "conversation.item.delete", "item_id": done["output"][0]["id"]})
        assert (await call.ask(400, 2)).faults == []
        [session] = upstream.sessions
        texts = [(part.get("text") or part.get("transcript")).strip() for i in session.items for part in i["content"]]
        assert texts == ["2 from 100", "w100 w101", "2 from 200", "2 from 300", "w300 w301", "2 from 400", "w400 w401"]


async def test_a_caller_is_greeted_where_the_settings_say_so() -> None:
    """By the upstream, in its voice."""
    async with (
        fake_upstream(responding=says_hello) as upstream,
        relayed(upstream, greeting="Hello there.", instructions="You are a desk.", upstream_voice="marin") as call,
    ):
        done = await call.event("response.done")
        assert done["response"]["output"][0]["content"][0]["transcript"].strip() == "hello there"
        [session] = upstream.sessions
        assert "Hello there." in session.of("response.create")[0]["response"]["instructions"]
        assert session.of("session.update")[0]["session"]["audio"]["output"]["voice"] == "marin"


async def test_no_session_outlives_its_call() -> None:
    """Nor one that was being opened when it ended."""
    async with fake_upstream() as upstream:
        for sessions in (0, 1):
            async with relayed(upstream) as call:
                await until(partial(lambda least: len(upstream.sessions) >= least, sessions))
                await call.caller.greeting()
            await until(lambda: upstream.open_sessions == 0)
    assert count_words is upstream.responding

"""A relay between real pods: whatever becomes of its upstreams, or of itself, the caller hears each word once.

Tests of `agent`, `relayed_call`, `sessions`, `session`, `dialing`, `reply_source`, `upstream_reply`, `requests`,
`conversation`, `caller_audio`, `upstream_socket`, `held_conversation`, `appended_audio` and `whole_tasks`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from itertools import count

import pytest

from tests.agents.relay.counting_caller import CountingCaller, Heard
from tests.agents.relay.renewals import renew, sessions_of
from tests.agents.relay.upstream_agent import due, question_of
from tests.agents.relay.upstreams import COUNTING, connections, relay, upstreams
from tests.e2e.microphone import Microphone
from tests.e2e.pods import SAMPLES, PodProcess, pods
from tests.e2e.test_takeover import Switch
from tests.waiting import until
from voice_agent.agents.relay.caller_audio import BEFORE_MS
from voice_agent.call.audio import PCM
from voice_agent.client.connection import RealtimeCall

TRANSCRIBING = {"type": "realtime", "audio": {"input": {"transcription": {}}}}


async def test_sessions_are_renewed_in_the_middle_of_replies_and_no_word_is_lost() -> None:
    """A few calls, and an upstream that ends each session after some seconds. More of them: the next test."""
    made = await renew(calls=3, renewals=3, limit_s=4, most_words=14)
    assert made.faults == []
    assert made.left_here == made.left_there == 0


@pytest.mark.slow
async def test_hundred_renewals_and_no_word_is_lost() -> None:
    """At the limit of ten seconds; ``python -m tests.agents.relay.renewals`` does it a thousand times."""
    made = await renew(calls=12, renewals=100, limit_s=10)
    assert made.faults == []
    assert made.left_here == made.left_there == 0


@pytest.mark.parametrize(("turns", "kills"), [(3, 2), pytest.param(60, 5, marks=pytest.mark.slow)])
async def test_upstreams_are_killed_and_no_word_is_lost(turns: int, kills: int) -> None:
    """In the middle of a reply; what was cut off of a word is said again."""
    chance = random.Random(18)
    dying = set(chance.sample(range(turns), kills))
    async with pods("memory://") as theirs, pods("memory://") as its:
        upstream = await asyncio.gather(*(theirs.start("green", None, agent=COUNTING) for _ in range(2)))
        relaying = await relay(its, *upstream)
        serving = count()

        async def kill() -> None:
            """The upstream that speaks now, somewhere in its reply; another one takes its place."""
            cut_ms, asked = chance.randint(0, 1_500), caller.heard[-1]
            await until(lambda: PCM.ms(len(asked.audio)) >= cut_ms)
            for at, one in enumerate(upstream):
                if connections(relaying, one):
                    one.kill()
                    upstream[at] = await theirs.start("green", one.port, agent=COUNTING)
                    next(serving)
                    return

        async with RealtimeCall(relaying.url, model="relay") as call:
            caller = CountingCaller(call)
            for turn in range(turns):
                asking = asyncio.create_task(caller.ask(100 + 10 * turn, 6 if turn in dying else chance.randint(1, 3)))
                await until(lambda: len(caller.heard) > turn)  # noqa: B023 it is waited for here
                if turn in dying:
                    await kill()
                await asking
        assert [fault for reply in caller.heard for fault in reply.faults] == []
        assert next(serving) == kills
        await none_left(relaying, upstream)


async def none_left(relaying: PodProcess, upstream: list[PodProcess]) -> None:
    """Wait until no session is open, on either side."""

    async def is_closed() -> bool:
        return not any([connections(relaying, one) or (await sessions_of(one))[1] for one in upstream])

    await until(is_closed)


@pytest.mark.parametrize("moment", [5, *(pytest.param(at, marks=pytest.mark.slow) for at in range(10) if at != 5)])
async def test_the_relay_is_killed_in_the_middle_of_a_reply(redis_url: str, moment: int) -> None:
    """At any moment of it another pod goes on, with another session: nothing comes twice, nothing is skipped."""
    async with upstreams() as (upstream,), pods(redis_url) as its, contextlib.AsyncExitStack() as stack:
        blue, green = await relay(its, upstream), await relay(its, upstream, color="green")
        await its.route(blue=50, green=50)
        switch = Switch(blue.port)
        await switch.serve(stack)
        async with RealtimeCall(switch.url, model="relay") as call:
            caller = CountingCaller(call)
            await caller.ask(100, 2)
            asking = asyncio.create_task(caller.ask(200, 12))
            await until(lambda: caller.heard[-1].wanted[0] == "w200")
            reply = caller.heard[-1]
            await until(lambda: PCM.ms(len(reply.audio)) >= moment * 250)
            switch.target = green.port
            blue.kill()
            await asking
            await caller.ask(300, 2)
            assert call.color == "green"
        assert [fault for one in caller.heard for fault in one.faults] == []
        await none_left(green, [upstream])


async def test_a_spoken_turn_goes_up_while_it_is_said_and_is_answered() -> None:
    """By turn detection here: the upstream has the audio of the turn, and tells what it understood."""
    async with upstreams() as (upstream,), pods("memory://") as its, contextlib.AsyncExitStack() as stack:
        relaying = await relay(its, upstream)
        call = await stack.enter_async_context(RealtimeCall(relaying.url, model="relay"))
        await call.send({"type": "session.update", "session": TRANSCRIBING})
        microphone = Microphone(call.append_audio)
        talking = asyncio.create_task(microphone.run())
        stack.callback(talking.cancel)
        saying = asyncio.create_task(microphone.say(SAMPLES / "caller-time.wav"))
        stack.callback(saying.cancel)
        heard, between = Heard([]), [0, 0]
        async for event in call.events():
            match event["type"]:
                case "input_audio_buffer.speech_started":
                    between[0] = event["audio_start_ms"]
                case "input_audio_buffer.speech_stopped":
                    between[1] = event["audio_end_ms"]
                case "conversation.item.input_audio_transcription.completed":
                    heard.wanted = due([question_of(event["transcript"])])
                case "response.output_audio.delta":
                    heard.audio += base64.b64decode(event["delta"])
                case "response.output_audio_transcript.delta":
                    heard.deltas += event["delta"]
                case "response.done":
                    heard.status = event["response"]["status"]
                    heard.transcript = event["response"]["output"][0]["content"][0]["transcript"]
                    break
        said_ms = between[1] - between[0]
        heard_ms = int(heard.wanted[0][1:])
        assert heard.faults == []
        assert said_ms - 100 <= heard_ms <= said_ms + BEFORE_MS

"""What an agent says is said, though its pod is killed; and where it says nothing, that is told."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import orjson
import pybase64

from tests.e2e.house_agents import SENTENCES, install, sentence, sound
from tests.e2e.pods import pods
from tests.e2e.test_takeover import colors
from tests.waiting import PATIENCE_S, until
from voice_agent.client.connection import RealtimeCall
from voice_agent.runtime.engine.apology import WORDS

MOMENTS = 10
APART = 3
"""Sentences."""


class Listening:
    """A caller who types a line and hears the answer out."""

    def __init__(self, url: str, said: str) -> None:
        self.said = said
        self.call = RealtimeCall(url, model="parrot")
        self.heard: list[str] = []
        self.audio = b""
        self.response: dict[str, Any] = {}

    async def run(self) -> None:
        async with self.call:
            item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": self.said}]}
            await self.call.send({"type": "conversation.item.create", "item": item})
            await self.call.send({"type": "response.create"})
            async for event in self.call.events():
                if event["type"] == "response.output_audio_transcript.delta":
                    self.heard.append(event["delta"])
                elif event["type"] == "response.output_audio.delta":
                    self.audio += pybase64.b64decode(event["delta"])
                elif event["type"] == "response.done":
                    self.response = event["response"]
                    return


async def test_a_parrot_says_the_same_words_wherever_its_pod_is_killed(redis_url: str, tmp_path: Path) -> None:
    """kill -9 while ten of its calls are at ten moments of their replies: each caller hears his own words, once."""
    install(tmp_path)
    async with pods(redis_url) as its:
        its.packages.append(tmp_path)
        its.agents = "parrot,broken"
        async with colors(its) as (blue, green, switch):
            callers = [Listening(switch.url, f"line {number}") for number in range(MOMENTS)]
            async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
                for number, caller in enumerate(callers):
                    await until(lambda due=number * APART: len(callers[0].heard) >= due)
                    group.create_task(caller.run())
                await until(lambda: callers[-1].heard)
                moments = [len(caller.heard) for caller in callers]
                switch.target = green.port
                blue.kill()
            metrics = await green.metrics()
    assert len(set(moments)) > MOMENTS // 2
    assert max(moments) < SENTENCES
    for caller in callers:
        expected = [sentence(number, caller.said) for number in range(SENTENCES)]
        assert caller.heard == expected
        assert caller.audio == b"".join(map(sound, range(SENTENCES)))
        [item] = caller.response["output"]
        assert item["content"][0]["transcript"] == "".join(expected)
        assert (caller.call.color, caller.call.tally.gaps, caller.call.tally.repeats) == ("green", 0, 0)
    assert metrics['voice_resumes_total{kind="crash"}'] == MOMENTS
    assert sum(metrics[f'voice_agent_faults_total{{kind="other_{what}"}}'] for what in ("text", "audio")) == 0


async def test_a_reply_that_failed_is_apologised_for_and_fails_the_call(redis_url: str, tmp_path: Path) -> None:
    """The caller hears why there is no answer, the exit status says so, and the log names the agent."""
    install(tmp_path)
    async with pods(redis_url) as its:
        its.packages.append(tmp_path)
        its.agents = "parrot,broken"
        pod = await its.start()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "voice_agent", "call", "--url", pod.url),
            *("--model", "broken", "--text", "hi", "--json"),
            env={name: value for name, value in os.environ.items() if not name.startswith("VOICE_")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        metrics = await pod.metrics()
        [told] = [line for line in pod.log.read_text().splitlines() if "agent failed" in line]
    summary = orjson.loads(out.splitlines()[-1])
    assert process.returncode == 1
    assert err == b"voice-agent: a reply failed: The agent 'broken' failed to reply.\n"
    [turn] = summary["turns"]
    assert (turn["answered"], turn["failed"]) == (WORDS, "The agent 'broken' failed to reply.")
    assert summary["reply_ms"] > 1000
    assert metrics['voice_agent_faults_total{kind="no_part"}'] == 1
    assert "broken" in told

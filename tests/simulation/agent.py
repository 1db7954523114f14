"""The agent of a simulated call: what it must say can be worked out by whoever knows the question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import blake2b
from random import Random
from typing import Any

from tests.simulation.witness import Witness
from voice_agent.agents.base import Audio, FunctionCall, Plan, ResponsePart, Text, Turn, TurnAgent
from voice_agent.agents.echo import Echo
from voice_agent.call.audio import PCM
from voice_agent.errors import ConnectionRefused
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip

PIECE_BYTES = PCM.size(100)


def piece_text(word: str, number: int) -> str:
    """What the agent writes and says as the n-th piece of a reply."""
    return f"{word}-{number} "


def piece_audio(word: str, number: int) -> bytes:
    """100 ms of it, different for each piece of each reply."""
    seed = blake2b(f"{word} {number}".encode(), digest_size=16).digest()
    return (seed * (PIECE_BYTES // 16 + 1))[:PIECE_BYTES]


class WordAgent:
    """Answers ``say 3`` with three pieces of a word that it draws anew for each reply, and writes down in its plan.

    ``run 2`` has a side effect in the world before the first piece, ``call 2`` asks the client to
    run a function after the last. Drawing the word a second time would be seen by the caller.
    """

    lead_ms = 400
    mirrors = False

    def __init__(self, name: str, random: Random, witness: Witness, *, replays: bool) -> None:
        self.name = name
        self.replays = replays
        self._random = random
        self._witness = witness

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, clip: Clip) -> str | None:
        await asyncio.sleep(self._random.uniform(0.01, 0.4))
        return blake2b(clip.audio, digest_size=8).hexdigest()

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        command, pieces = _command(turn)
        await asyncio.sleep(self._random.uniform(0.001, 0.1))
        plan = turn.progress.plan
        if plan is None:
            plan = {"word": f"{self._random.getrandbits(40):x}"}
            yield Plan(plan, {"replies": turn.state.get("replies", 0) + 1})
        word = plan["word"]
        if command == "effect":
            word += await turn.once("effect", lambda key: self._do(f"{turn.call_id}/{turn.response_id}", key))
        said = 0 if self.replays else turn.progress.text.count(" ")
        spoken = 0 if self.replays else turn.progress.audio_bytes // PIECE_BYTES
        for number in range(pieces):
            if number >= said:
                yield Text(piece_text(word, number))
            if turn.wants_audio and number >= spoken:
                audio = piece_audio(word, number)
                rest = 0 if self.replays or number > spoken else turn.progress.audio_bytes % PIECE_BYTES
                yield Audio(audio[rest:], PCM)
            if self._random.random() < 0.3:
                await asyncio.sleep(self._random.uniform(0.0, 0.2))
        if command == "call" and (self.replays or not turn.progress.functions_called):
            yield FunctionCall("look_up", '{"word":"' + word + '"}')

    async def _do(self, reply: str, key: str) -> str:
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        self._witness.did(reply, key)
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        # As a well-made other side does: the same key is the same side effect, with the same result.
        return blake2b(key.encode(), digest_size=4).hexdigest()


def _command(turn: Turn) -> tuple[str, int]:
    last: Any = next(item for item in reversed(turn.items) if item.get("role") != "assistant")
    if last["type"] == "function_call_output":
        return "say", 1
    command, number = last["content"][0]["text"].split()[:2]
    return command, int(number)


class Cast:
    """`runtime.ownership.Agents` for simulated pods."""

    def __init__(self, random: Random, witness: Witness) -> None:
        agents: list[TurnAgent | Agent] = [
            WordAgent("replays", random, witness, replays=True),
            WordAgent("goes-on", random, witness, replays=False),
            Echo(),
        ]
        self._agents = {agent.name: agent for agent in agents}

    def agent(self, model: str) -> TurnAgent | Agent:
        if model not in self._agents:
            raise ConnectionRefused(400, "model_not_found", f"no agent {model!r}", param="model")
        return self._agents[model]

"""The agents of simulated calls: what one must say can be worked out by whoever knows the question."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from random import Random
from typing import Any

from tests.simulation.accounts import Accounts
from tests.simulation.witness import Witness
from voice_agent.agents.echo import Echo
from voice_agent.call.audio import PCM
from voice_agent.call.record import CallRecord
from voice_agent.errors import ConnectionRefused
from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip, VoicedAudio
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Asked, Dtmf, Ended, Timer
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.voice import Utterance, Voice

PIECE_MS = 100
PIECE_BYTES = PCM.size(PIECE_MS)
WORD_BITS = (24, 32, 40)
"""How long words are."""
REMIND_MS = 800
"""How long after its question a timer is due."""
KEY_TOLD = "agent.key"
"""The event by which the caller is told of a key of the telephone."""
CUT_SHORT = ("effect", "stop")
"""Replies of which it is noted, as a side effect, that they were cut short."""
SOMEBODY = "tel:+4930901820"
"""Who is to be called next."""


def piece_text(word: str, number: int) -> str:
    """What the agent writes and says as the n-th piece of a reply: a sentence."""
    return f"{word}-{number}. "


def piece_audio(word: str, number: int) -> bytes:
    """100 ms of it, different for each piece of each reply."""
    seed = blake2b(f"{word} {number}".encode(), digest_size=16).digest()
    return (seed * (PIECE_BYTES // 16 + 1))[:PIECE_BYTES]


def pieces_in(text: str) -> list[tuple[str, int]]:
    """Word and number of each piece that a text has; of a part of one nothing."""
    words = (piece.rpartition("-") for piece in text.split(". ") if piece)
    return [(word, int(number)) for word, dash, number in words if dash and number.isdigit()]


def runs(pieces: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """The pieces of each reply, of several in one text."""
    begins = [at for at, (_, number) in enumerate(pieces) if not number]
    return [pieces[at:to] for at, to in pairwise([*begins, len(pieces)])]


class PieceVoice(Voice):
    """Says pieces."""

    deterministic = True

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        for word, number in pieces_in(utterance.text):
            yield VoicedAudio(piece_audio(word, number), PCM)


class FrameEar(Ear):
    """Takes speech for a question of so many pieces as it has frames, but for the silence around them.

    It asks a provider.
    """

    def __init__(self, cast: Cast) -> None:
        self._cast = cast

    async def transcribe(self, clip: Clip) -> str | None:
        await self._cast.accounts.ask()
        await asyncio.sleep(self._cast.random.uniform(0.01, 0.4))
        return f"say {round(len(clip.audio.strip(bytes(1))) / PIECE_BYTES)}"


class WordAgent(Agent):
    """Answers ``say 3`` with three pieces of a word that it draws anew for each reply, once.

    ``effect 2`` has a side effect in the world before the first piece, ``call 2`` asks the client to run a function
    after the last, ``remind 2`` has another reply of one piece come by itself later, ``two 2`` says one more piece in a
    speech of its own, ``bye 2`` ends the call, and ``transfer 2`` does with somebody else to call. Drawing the word a
    second time would be seen by the caller. That some replies were cut short is a side effect, too. Of a key of the
    telephone the caller is told, once. For each drawing it asks a provider.

    There are three: one gives its audio itself and says all again (``replays``), one has the call's voice say it and
    goes on behind what was said (``goes-on``), and one draws another word on each pod (``varies``).
    """

    def __init__(self, name: str, cast: Cast) -> None:
        self.name = name
        self.ear = FrameEar(cast)
        self.voice = PieceVoice()
        self._cast = cast
        self._random = cast.random

    async def run(self, call: Call) -> None:
        async for event in call.events():
            if isinstance(event, Ended):
                break
            handled = call.state.get("handled", 0)
            self._cast.witness.found_state(call.caller.id, _record(call), (event.number, event.at_ms), handled)
            call.state["handled"] = handled + 1
            if isinstance(event, Asked):
                await self.answer(call, event)
            elif isinstance(event, Timer):
                await self._say(call, await self._word(call), 1)
            elif isinstance(event, Dtmf):
                await self._tell_key(call, event)

    async def answer(self, call: Call, asked: Asked) -> None:
        """Reply to a question."""
        command, pieces = _command(asked.items)
        await asyncio.sleep(self._random.uniform(0.001, 0.1))
        try:
            await self._reply(call, asked, command, pieces)
        except SpeechInterrupted:
            if command in CUT_SHORT:
                await self._effect(call, f"{asked.response_id}, cut short")
                await asyncio.sleep(self._random.uniform(0.0, 0.2))
            raise

    async def _reply(self, call: Call, asked: Asked, command: str, pieces: int) -> None:
        word = await self._word(call)
        if command == "effect":
            word += await self._effect(call, asked.response_id)
        if command == "remind":
            await call.at("remind", asked.at_ms + REMIND_MS)
        await self._say(call, word, pieces)
        if command == "two":
            await self._say(call, word, 1, key="more", after=pieces)
        if command == "call":
            await call.call_tool("look up", "look_up", {"word": word})
        if command == "bye":
            await call.hang_up()
        if command == "transfer":
            await call.transfer(SOMEBODY)

    async def _tell_key(self, call: Call, pressed: Dtmf) -> None:
        which: dict[str, Any] = {"number": pressed.number, "at_ms": pressed.at_ms}
        self._cast.witness.told_of_key(call.caller.id, pressed.number, pressed.at_ms)
        if pressed.digit == "#":
            which["effect"] = await self._effect(call, f"key {pressed.number} of {pressed.at_ms}")
        await call.send({"type": KEY_TOLD, "digit": pressed.digit, **which})

    async def _effect(self, call: Call, what: str) -> str:
        """Have a side effect; as what it is known is its key, too."""
        effect = f"{call.caller.id}/{what}"
        result = await call.once(f"effect of {what}", lambda key: self._do(effect, key, _record(call).owner.epoch))
        if self._cast.is_saved(call.caller.id):
            self._cast.witness.result_is_known(call.caller.id, effect)
        return str(result)

    async def _word(self, call: Call) -> str:
        async def draw(_: str) -> str:
            await self._cast.accounts.ask()
            return f"{self._random.getrandbits(self._random.choice(WORD_BITS)):x}"

        return await draw("") if self.name == "varies" else str(await call.once("word", draw))

    async def _say(self, call: Call, word: str, pieces: int, *, key: str = "reply", after: int = 0) -> None:
        """Say so many pieces of the reply, behind those `after` which it goes on."""
        async with call.speak(key) as speech:
            said = 0
            if self.name == "goes-on":
                said = len(pieces_in("".join(one.text for one in speech.said)))
                speech.continues()
            for number in range(after + said, after + pieces):
                if self.name == "replays":
                    await speech.audio(piece_audio(word, number), PCM, text=piece_text(word, number))
                else:
                    await speech.text(piece_text(word, number))
                if self._random.random() < 0.3:
                    await asyncio.sleep(self._random.uniform(0.0, 0.2))
        if self._cast.lacks_speech(call.caller.id):
            self._cast.witness.broken(f"durable before it goes on: {self.name} was told so of what the store lacks")

    async def _do(self, effect: str, key: str, epoch: int) -> str:
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        self._cast.witness.did(effect, key, epoch)
        await asyncio.sleep(self._random.uniform(0.0, 0.3))
        # As a well-made other side does: the same key is the same side effect, with the same result.
        return blake2b(key.encode(), digest_size=4).hexdigest()


def _record(call: Call) -> CallRecord:
    """The call as its pod has it in memory."""
    record: CallRecord = call._work.call  # type: ignore[attr-defined]  # the engine's
    return record


def _command(items: Sequence[Mapping[str, Any]]) -> tuple[str, int]:
    last: Any = next(item for item in reversed(items) if item.get("role") != "assistant")
    if last["type"] == "function_call_output":
        return "say", 1
    content = last["content"][0]
    command, number = (content.get("transcript") or content.get("text")).split()[:2]
    return command, int(number)


class Cast:
    """`runtime.ownership.Agents` for simulated pods."""

    def __init__(self, random: Random, witness: Witness, accounts: Accounts) -> None:
        self.random = random
        self.witness = witness
        self.accounts = accounts
        self.lacks_speech: Callable[[str], bool] = lambda call_id: False
        """Whether the store lacks something that the agent of the pod that asks has said."""
        self.is_saved: Callable[[str], bool] = lambda call_id: False
        """Whether the pod that asks has the call still, and all that was waited for is in the store."""
        agents: list[Agent] = [WordAgent(name, self) for name in ("replays", "goes-on", "varies")]
        self._agents = {agent.name: agent for agent in [*agents, Echo()]}

    def agent(self, model: str) -> Agent:
        if model not in self._agents:
            raise ConnectionRefused(400, "model_not_found", f"no agent {model!r}", param="model")
        return self._agents[model]

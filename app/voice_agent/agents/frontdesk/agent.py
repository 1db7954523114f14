"""The agent `frontdesk`: the talk of `dialog`, heard and spoken by the speech workers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from itertools import pairwise

from voice_agent.agents.base import Audio, HangUp, Plan, ResponsePart, Text, Turn
from voice_agent.agents.frontdesk import dialog
from voice_agent.agents.frontdesk.dialog import Answer
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.agents.turns import said_since_last_reply
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.speech.workers import SpeechWorkers

_SENTENCE_END = re.compile(r"(?<=[.?!:]) +")


class FrontDesk:
    """Answers a demonstration company's telephone. Uses no tools: it passes over what tools said."""

    name = "frontdesk"
    lead_ms = 400
    replays = True
    mirrors = False

    def __init__(self, workers: SpeechWorkers) -> None:
        """`workers` are opened and closed with this agent."""
        self._workers = workers

    async def open(self) -> None:
        """Start the speech workers; a call that comes before they are warm waits for them."""
        await self._workers.open()

    async def ready(self) -> None:
        """Wait until the speech workers are warm. Raises `SpeechFailed` if one cannot start."""
        await self._workers.ready()

    async def close(self) -> None:
        """Stop the speech workers."""
        await self._workers.close()

    async def transcribe(self, clip: Clip) -> str | None:
        """See `voice_agent.speech.recognition`. Raises `SpeechFailed`."""
        return await self._workers.transcribe(clip.audio, clip.format)

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        """The plan, then sentence by sentence the text and its audio, so that the first is heard early."""
        plan = turn.progress.plan
        if plan is None:
            answer = answer_to(turn)
            plan = {"text": answer.text, "hang_up": answer.hang_up}
            yield Plan(plan, answer.memory.as_json())
        for sentence in sentences(plan["text"]):
            yield Text(sentence)
            if turn.wants_audio:
                spoken = await self._workers.synthesize(sentence, turn.voice, turn.speed)
                yield Audio(spoken.audio, PCM, spoken.words)
        if plan["hang_up"]:
            yield HangUp()


def answer_to(turn: Turn) -> Answer:
    """What the front desk decides to say; the same turn gives the same answer."""
    memory = Memory.from_json(turn.state)
    said = said_since_last_reply(turn.items, failed_to=turn.failed_to)
    if not said.items:
        return dialog.greet(memory)
    return dialog.decide(None if said.unclear and not said.text else said.text, memory, turn.now_ms)


def sentences(text: str) -> list[str]:
    """`text` cut after its sentences, each with the blank that follows it, so that all joined are `text`."""
    starts = [0, *(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(starts) if start < end]

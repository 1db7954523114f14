"""One round of a reply: a model is asked, and its answer is said while it comes.

::

    once "answer 1"  |begun ── the model is read ── whole, and durable|
    speak "reply"        |We are open from nine. |Come by, |or call us.|
                                                            the last piece is said only then

On a pod that takes the call over both are begun again under their keys. An answer that is durable is said to its end,
and no model is asked; of one that is not, what was said is known, and a model is asked for the rest. As the last piece
waits for the answer to be durable, an answer that was said to its end is never asked for again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from voice_agent.agents.pipeline.answer import ModelAnswer, Sentences
from voice_agent.agents.pipeline.reading import AnswerReader
from voice_agent.agents.pipeline.sentences import SentenceCutter
from voice_agent.kit.call import Call
from voice_agent.kit.speech import Speech

Reads = Callable[[str], AnswerReader]
"""Has an answer read, of which so much was said."""


class Round:
    """One round. The answer is kept under `key`."""

    def __init__(self, call: Call, response_id: str, key: str, reads: Reads) -> None:
        self._call = call
        self._response_id = response_id
        self._key = key
        self._reads = reads
        self._sentences = Sentences()
        self._said = ""
        self._reader: AnswerReader | None = None

    async def say(self, speech: Speech) -> ModelAnswer:
        """Say what the model answers, and what that was. Raises `SpeechInterrupted`, `VoiceFailed` and the like."""
        self._said = "".join(piece.text for piece in speech.said)
        if self._said:
            speech.continues()
        self._sentences.announce = speech.prepare
        keeping = asyncio.create_task(self._keep(), name=f"keep {self._key}")
        try:
            while (piece := await self._sentences.get()) is not None:
                await speech.text(piece)
            return await keeping
        finally:
            keeping.cancel()
            reading = [self._reader.cancel()] if self._reader is not None else []
            await asyncio.wait([keeping, *reading])  # Whoever is cancelled here leaves nothing that runs on.

    async def _keep(self) -> ModelAnswer:
        """Have the answer kept; then give the rest of it to be said."""
        try:
            answer = ModelAnswer.unpacked(await self._call.once(self._key, self._read))
            given = len(self._said) + self._sentences.chars
            cutter = SentenceCutter(is_first=not given)
            self._sentences.put(*cutter.feed(answer.text[given:]), *cutter.end())
            return answer
        finally:
            self._sentences.close()

    async def _read(self, _idempotency_key: str) -> dict[str, Any]:
        self._reader = self._reads(self._said)
        self._reader.give_to(self._sentences, self._response_id)
        answer = await self._reader.answer()
        return answer.packed()

"""A call with a `Pipeline`, on one pod: what it does about each event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from voice_agent.agents.pipeline.answer import CUT_SHORT, FAILED, FILTERED
from voice_agent.agents.pipeline.asking import Asking, Question, question
from voice_agent.agents.pipeline.context import newest
from voice_agent.agents.pipeline.last_resort import LastResort
from voice_agent.agents.pipeline.memory import kept_rounds
from voice_agent.agents.pipeline.messages import Message
from voice_agent.agents.pipeline.reading import AnswerReader
from voice_agent.agents.pipeline.replying import Models, PipelineReply
from voice_agent.agents.pipeline.sentences import SentenceCutter
from voice_agent.agents.pipeline.speculation import Speculation
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Dtmf, Event, Started
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.voice import VoiceFailed
from voice_agent.providers.chat import ChatRequest

log = structlog.get_logger(__name__)


class PipelineCall:
    """One call's, as long as this pod has it."""

    def __init__(self, call: Call, models: Models, last_resort: LastResort, instructions: str) -> None:
        self._call = call
        self._models = models
        self._last_resort = last_resort
        self._instructions = instructions
        self._speculation = Speculation(self._expected, self._begun)
        self._is_busy = False
        """An event is being handled."""
        self._kept: Mapping[str, Sequence[Message]] = {}
        """Rounds of tools, as the state has them."""
        self._asked_last: Asked | None = None

    async def run(self) -> None:
        """Until it ends, or goes to another pod. No request to a model is left open."""
        watching = asyncio.create_task(self._watch(), name=f"{self._call.caller.id} speculation")
        try:
            async for event in self._call.events():
                self._is_busy = True
                with suppress(SpeechInterrupted):
                    await self._handle(event)
                self._kept = kept_rounds(self._call.state)
                self._is_busy = False
        finally:
            watching.cancel()
            self._speculation.drop()
            await asyncio.wait([watching])
            await self._speculation.close()

    async def _handle(self, event: Event) -> None:
        match event:
            case Started(resumed=False):
                await self._greet()
            case Asked():
                await self._answer(event)
            case Dtmf(digit=digit):
                await self._last_resort.taken_by_key(self._call, digit)
            case _:
                pass

    async def _greet(self) -> None:
        if not self._models.settings.greeting:
            return
        cutter = SentenceCutter()
        async with self._call.speak() as speech:
            for piece in [*cutter.feed(self._models.settings.greeting), *cutter.end()]:
                await speech.text(piece)

    async def _answer(self, asked: Asked) -> None:
        self._asked_last = asked
        if await self._last_resort.taken_by_word(self._call, asked.text):
            return
        wanted = self._question(asked, newest(asked.items), kept_rounds(self._call.state))
        try:
            answer = await PipelineReply(self._models, self._call, asked, wanted, self._speculation).run()
        except VoiceFailed as error:
            await self._last_resort.apologise(self._call, wants_audio=asked.wants_audio, voice_failed=error)
            return
        if answer.reason == CUT_SHORT:
            self._call.end_incomplete("max_output_tokens")
        elif answer.reason == FILTERED:
            self._call.end_incomplete("content_filter")
        if answer.reason == FAILED:
            await self._last_resort.apologise(self._call, wants_audio=asked.wants_audio)
        elif answer.reason == FILTERED and not answer.text.strip():
            async with self._call.speak("refusal") as speech:
                await speech.text(self._models.settings.refusal)

    # --- speculation ------------------------------------------------------------

    async def _watch(self) -> None:
        if not self._models.settings.speculate:
            return
        try:
            await self._speculation.watch(self._call.hearing())
        except Exception:
            # Without it every reply begins a little later; nothing else is lost.
            log.exception("speculation failed", call_id=self._call.caller.id)

    def _begun(self, request: ChatRequest) -> AnswerReader:
        return AnswerReader(self._models.failover, Asking(request, self._models.settings))

    def _expected(self, text: str) -> ChatRequest | None:
        """What a model is asked if the caller's turn ends with this text; None while something is being handled."""
        if self._is_busy:
            return None
        session, last = self._call.session, self._asked_last
        said = {"type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": text}]}
        expected = Asked(
            number=0,
            at_ms=0,
            response_id="",
            text=text,
            instructions=session.instructions,
            tools=session.tools,
            tool_choice=session.tool_choice,
            max_output_tokens=session.max_output_tokens,
            parallel_tool_calls=last.parallel_tool_calls if last is not None else True,
            truncation=last.truncation if last is not None else "auto",
        )
        with suppress(ValueError):  # The conversation is too long; the reply will tell.
            items = [*newest(self._call.items, more=1), said]
            return self._question(expected, items, self._kept).request(self._models.settings)
        return None

    def _question(
        self, asked: Asked, items: Sequence[Mapping[str, Any]], kept: Mapping[str, Sequence[Message]]
    ) -> Question:
        return question(asked, items, self._instructions, list(self._models.tools.values()), kept)

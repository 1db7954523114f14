"""`pipecat`: OpenAIRealtimeLLMService in a pipeline with its context aggregators."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import scenario
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    ErrorFrame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

logger.remove()
logger.add(sys.stderr, level="WARNING")
given = scenario.given()
seen = scenario.Seen()


class Tap(FrameProcessor):
    """Stands behind the service, or before it, where transcripts pass, and reads."""

    def __init__(self) -> None:
        super().__init__()
        self.said = ""
        self.replies: asyncio.Queue[str] = asyncio.Queue()
        self.has_enough_audio = asyncio.Event()

    async def process_frame(self, frame: Any, direction: Any) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TTSAudioRawFrame():
                seen.audio_bytes += len(frame.audio)
                if seen.audio_bytes >= scenario.INTERRUPT_AFTER_BYTES:
                    self.has_enough_audio.set()
            case TTSTextFrame():
                self.said += frame.text
            case TranscriptionFrame():
                seen.heard = frame.text
            case ErrorFrame():
                seen.errors.append(str(frame))
            case LLMFullResponseEndFrame():
                self.replies.put_nowait(self.said)
                self.said = ""
        await self.push_frame(frame, direction)

    async def reply(self) -> str:
        """The transcript of the next response with any; those that only call tools have none."""
        while not (said := await self.replies.get()):
            pass
        return said

    async def answer(self) -> str:
        """The reply after the story. Of that, what was on its way when it was cut short ends as a reply of its own."""
        while (said := await self.reply()).startswith("This is sentence"):
            pass
        return said


async def look_up(params: Any) -> None:
    seen.tool_arguments = dict(params.arguments)
    await params.result_callback("on its way")


async def converse(worker: Any, tap: Tap) -> None:
    async def speak() -> None:
        async for piece in given.as_spoken():
            await worker.queue_frame(InputAudioRawFrame(piece, 24_000, 1))

    if given.name == "spoken":
        await speak()
        seen.said = await tap.reply()
    elif given.name in {"typed", "tool"}:
        await worker.queue_frames([LLMRunFrame()])
        seen.said = await tap.reply()
    else:
        await worker.queue_frames([LLMRunFrame()])
        await tap.has_enough_audio.wait()
        if given.name == "interruption":
            await worker.queue_frame(InterruptionFrame())
        # Of what is typed the service sends only what stands in the context at its start: the second turn is spoken.
        await speak()
        seen.after = await tap.answer()


async def talk() -> None:
    transcribing = events.SessionProperties(
        audio=events.AudioConfiguration(input=events.AudioInput(transcription=events.InputAudioTranscription()))
    )
    service = OpenAIRealtimeLLMService(
        api_key="unused",
        base_url=f"{given.url}/realtime",
        settings=OpenAIRealtimeLLMService.Settings(session_properties=transcribing),
    )
    service.register_function("look_up", look_up)
    properties = {"order": {"type": "string"}}
    tool = FunctionSchema("look_up", "Looks an order up.", properties, required=["order"])
    typed = given.story if given.name in {"barge_in", "interruption"} else given.question
    messages: Any = [] if given.name == "spoken" else [{"role": "user", "content": typed}]
    context = LLMContext(messages, tools=ToolsSchema([tool])) if given.name == "tool" else LLMContext(messages)
    pair, tap, before = LLMContextAggregatorPair(context), Tap(), Tap()
    pipeline = Pipeline([pair.user(), before, service, tap, pair.assistant()])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=24_000, audio_out_sample_rate=24_000))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    conversing = asyncio.create_task(converse(worker, tap))
    try:
        await asyncio.wait([running, conversing], return_when=asyncio.FIRST_COMPLETED)
        await conversing
    finally:
        await worker.cancel()
    await running


scenario.run(talk(), seen)

"""A conversation as a pipecat pipeline: transport, Silero, a processor that says back what was said, transport.

As lean as pipecat's own options allow, see `pipecat_echo`; the turn ends after as long a silence as in this project's
server, and its audio leaves in chunks of 100 ms, at the pace of speech, which is the transport's. It keeps nothing.
Run: ``python pipecat_talk.py PORT``.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers.protobuf import ProtobufFrameSerializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner

RATE_HZ = 16_000
CHUNKS_OF_10_MS = 10
CHUNK_BYTES = RATE_HZ * 2 // 10
STOP_S = 0.5
PADDING_BYTES = RATE_HZ * 2 * 3 // 10
"""300 ms: what is kept of the time before the voice was detected."""

app = FastAPI()
logger.remove()


class Parrot(FrameProcessor):
    """Says a turn back once it is over."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = bytearray()
        self._speaking = False

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Keep audio while the caller speaks; pass everything else on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._heard += frame.audio
            if not self._speaking:
                del self._heard[:-PADDING_BYTES]
            return
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStartedSpeakingFrame):
            self._speaking = True
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._speaking = False
            # The transport keeps what is no whole chunk for the next answer to fill.
            self._heard += bytes(-len(self._heard) % CHUNK_BYTES)
            await self.push_frame(OutputAudioRawFrame(bytes(self._heard), RATE_HZ, 1))
            self._heard.clear()


@app.websocket("/v1/realtime")
async def realtime(socket: WebSocket) -> None:
    """One caller, one pipeline."""
    await socket.accept()
    params = FastAPIWebsocketParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        audio_out_10ms_chunks=CHUNKS_OF_10_MS,
        serializer=ProtobufFrameSerializer(),
    )
    transport = FastAPIWebsocketTransport(socket, params)
    detection = VADProcessor(vad_analyzer=SileroVADAnalyzer(params=VADParams(stop_secs=STOP_S)))
    worker = PipelineWorker(
        Pipeline([transport.input(), detection, Parrot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ),
        enable_rtvi=False,
        enable_turn_tracking=False,
        check_dangling_tasks=False,
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def hang_up(transport: FastAPIWebsocketTransport, client: WebSocket) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False, check_dangling_tasks=False)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        loop="uvloop",
        http="httptools",
        log_level="error",
    )

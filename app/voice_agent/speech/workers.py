"""A few warm processes that do the heavy work of hearing and speaking, away from the event loop.

Each worker (`voice_agent.speech.worker`) has its models loaded and does one job at a time. One
task here per worker takes jobs from a bounded queue, hands them over on a socket and
waits for the answer. ::

    transcribe, synthesize --> queue --> task 1 <--socket--> worker 1
                                   \\-> task 2 <--socket--> worker 2

A worker that crashes or hangs is killed and replaced, and its job is tried once more on
the new one. A caller that is cancelled loses interest only: the worker finishes the job,
and the answer is not read. Workers hold nothing but models, so they are always killed
and never asked to leave; they die with this process, even if it is killed (see `worker`).

It is no library's pool: one worker of `concurrent.futures.ProcessPoolExecutor` that dies breaks the pool and fails all
its jobs, and a job that hangs cannot be ended. pebble ends and replaces such workers, but those of a process that was
killed work on until their jobs are done (seen with 5.2.3).
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import subprocess
import sys
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import orjson
import structlog

import voice_agent
from voice_agent.call.audio import AudioFormat
from voice_agent.errors import VoiceAgentError
from voice_agent.retry import retry
from voice_agent.speech.framing import HEADER
from voice_agent.speech.spoken import SynthesizedSpeech

MAX_WAITING_JOBS = 256
"""Beyond this new jobs are refused: the answer would come too late for a talk."""
MAX_CLIP_MS = 30_000
"""A longer clip is no sentence that people say to a machine; it counts as not understood."""
JOB_LIMIT_S = 20.0
"""From handing a job to a worker to its answer."""
ANSWER_LIMIT_S = 45.0
"""From asking to the answer: two tries and some waiting. Ends a job also where no worker ever starts to do it."""
START_LIMIT_S = 30.0
RETRY_START_S = 1.0
JOBS_PER_WORKER = 5_000
"""espeak-ng leaks about 3 KiB with each loading, so a worker is replaced before that matters."""
TRIES = 2

log = structlog.get_logger(__name__)


class SpeechFailed(VoiceAgentError):
    """A job could not be done; `retry` tells whether a later try may succeed."""

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.retry = retry


class WorkerLost(Exception):
    """The worker's end of the socket is gone, or it does not answer."""


@dataclass(slots=True)
class _Job:
    head: dict[str, Any]
    payload: bytes
    answer: asyncio.Future[tuple[dict[str, Any], bytes]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class SpeechWorkers:
    """The pool. `open` before the first job, `close` after the last; both may come again after each other.

    Several may use one pool, as an ear and a voice do: the first of them opens it, the last closes it.
    The start does not wait for models to be loaded: jobs do, in the queue.
    """

    def __init__(self, count: int | None = None) -> None:
        """`count` processes; None for one or two, as the machine has processors."""
        self._count = count or min(2, os.cpu_count() or 1)
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue(MAX_WAITING_JOBS)
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: dict[int, _SpeechProcess] = {}
        self._started: list[asyncio.Future[None]] = []
        self._users: set[Hashable] = set()
        self._changing = asyncio.Lock()
        """Who opens a pool that is being closed waits for that."""

    async def open(self, user: Hashable = None) -> None:
        """Begin to start the workers, if `user` is the first; `ready` tells how that went."""
        async with self._changing:
            self._users.add(user)
            if self._tasks:
                return
            self._jobs = asyncio.Queue(MAX_WAITING_JOBS)
            self._started = [asyncio.get_running_loop().create_future() for _ in range(self._count)]
            self._tasks = [asyncio.create_task(self._run(slot), name=f"speech-{slot}") for slot in range(self._count)]

    async def ready(self) -> None:
        """Wait until the models of every worker are loaded. Raises `SpeechFailed` if a worker could not start."""
        await asyncio.gather(*map(asyncio.shield, self._started))

    async def close(self, user: Hashable = None) -> None:
        """If nobody but `user` has the pool open: kill the workers; jobs that wait or are under way fail.

        They raise `SpeechFailed`. Safe to call twice, and by who has not opened it.
        """
        async with self._changing:
            self._users.discard(user)
            if not self._users:
                await self._close()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for started in self._started:
            started.cancel()
        await asyncio.gather(*(worker.kill() for worker in self._workers.values()))
        self._workers = {}
        while not self._jobs.empty():
            self._jobs.get_nowait().fail(SpeechFailed("The speech workers are closed.", retry=False))

    async def transcribe(self, audio: bytes, audio_format: AudioFormat) -> str | None:
        """What was said: see `recognition.Recognizer.transcribe`. Raises `SpeechFailed`."""
        if audio_format.ms(len(audio)) > MAX_CLIP_MS:
            return None
        head, _ = await self._do({"do": "transcribe", "format": audio_format.name}, audio)
        text: str | None = head["text"]
        return text

    async def synthesize(self, text: str, voice: str, speed: float = 1.0) -> SynthesizedSpeech:
        """`text` spoken: see `synthesis.speak`. Raises `SpeechFailed`."""
        head, audio = await self._do({"do": "synthesize", "text": text, "voice": voice, "speed": speed}, b"")
        return SynthesizedSpeech(audio, head["words"])

    async def _do(self, head: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        if not self._tasks:
            raise SpeechFailed("The speech workers are closed.", retry=False)
        job = _Job(head, payload)
        try:
            self._jobs.put_nowait(job)
        except asyncio.QueueFull:
            raise SpeechFailed(f"{MAX_WAITING_JOBS} speech jobs are waiting already.", retry=True) from None
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                answer, audio = await job.answer
        except TimeoutError:
            raise SpeechFailed(f"No speech worker had an answer within {ANSWER_LIMIT_S:g} s.", retry=True) from None
        finally:
            job.payload = b""  # One that is not wanted any more may wait in the queue for long.
        if "error" in answer:
            raise SpeechFailed(answer["error"], retry=False)
        return answer, audio

    async def _run(self, slot: int) -> None:
        """Start the worker of a slot, and do jobs on it from then on."""
        try:
            self._workers[slot] = await _SpeechProcess.start()
        except (SpeechFailed, OSError) as error:
            self._started[slot].set_exception(SpeechFailed(str(error), retry=True))
            log.warning("speech worker does not start", reason=str(error))
            await asyncio.sleep(RETRY_START_S)
            await self._start_anew(slot)
        else:
            self._started[slot].set_result(None)
        await self._serve(slot)

    async def _serve(self, slot: int) -> None:
        """Do jobs on the worker of a slot, one after the other."""
        while True:
            job = await self._jobs.get()
            try:
                await self._try(slot, job)
            finally:
                # Only a job that this task was cancelled in has no answer by now.
                job.fail(SpeechFailed("The speech workers are closed.", retry=False))
            if self._workers[slot].jobs_done >= JOBS_PER_WORKER:
                await self._replace(slot)

    async def _try(self, slot: int, job: _Job) -> None:
        for _ in range(TRIES):
            if job.answer.done():  # cancelled while it waited
                return
            worker = self._workers[slot]
            try:
                answer = await worker.ask(job.head, job.payload, JOB_LIMIT_S)
            except WorkerLost as lost:
                log.warning("speech worker lost", pid=worker.pid, reason=str(lost), job=job.head["do"])
                await self._replace(slot)
            else:
                if not job.answer.done():
                    job.answer.set_result(answer)
                return
        job.fail(SpeechFailed(f"Two speech workers in a row were lost over a job to {job.head['do']}.", retry=False))

    async def _replace(self, slot: int) -> None:
        """Put a new worker in the place of the old, however many tries it takes."""
        await self._workers[slot].kill()
        await self._start_anew(slot)

    async def _start_anew(self, slot: int) -> None:
        self._workers[slot] = await retry(
            _SpeechProcess.start,
            repeat(RETRY_START_S),
            for_s=lambda error: math.inf if isinstance(error, SpeechFailed | OSError) else 0,
            now_s=asyncio.get_running_loop().time,
            sleep=asyncio.sleep,
            on_failure=lambda error: log.warning("speech worker does not start", reason=str(error)),
        )


class _SpeechProcess:
    """One process and the socket to it."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.jobs_done = 0
        self._process = process
        self._reader = reader
        self._writer = writer

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls) -> _SpeechProcess:
        """A worker whose models are loaded. Raises `SpeechFailed`."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                # Not in a thread: on Linux the worker dies with the thread that started it.
                process = subprocess.Popen(  # noqa: ASYNC220
                    [sys.executable, "-m", "voice_agent.speech.worker", str(theirs.fileno()), str(os.getpid())],
                    cwd=Path(voice_agent.__file__).parent.parent,
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                )
        except OSError:
            ours.close()
            raise
        worker = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            await worker.ask({"do": "begin"}, b"", START_LIMIT_S)
        except BaseException as error:
            await worker.kill()
            if isinstance(error, WorkerLost):
                raise SpeechFailed(f"A speech worker cannot start: {error}", retry=True) from error
            raise
        return worker

    async def ask(self, head: dict[str, Any], payload: bytes, limit_s: float) -> tuple[dict[str, Any], bytes]:
        """Give it a job and wait for the answer. Raises `WorkerLost`; the worker is of no use after that."""
        encoded = orjson.dumps(head)
        try:
            async with asyncio.timeout(limit_s):
                self._writer.write(HEADER.pack(len(encoded), len(payload)) + encoded + payload)
                await self._writer.drain()
                head_bytes, payload_bytes = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                answer = orjson.loads(await self._reader.readexactly(head_bytes))
                audio = await self._reader.readexactly(payload_bytes)
        except TimeoutError:
            raise WorkerLost(f"no answer in {limit_s:g} s") from None
        except (OSError, asyncio.IncompleteReadError):
            raise WorkerLost("it died") from None
        self.jobs_done += 1
        return answer, audio

    async def kill(self) -> None:
        """End the process at once; safe to call twice."""
        self._process.kill()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.to_thread(self._process.wait)

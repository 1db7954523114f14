"""A few warm processes that do the heavy work of hearing and speaking, away from the event loop.

Each worker (`voice_agent.speech.worker`) has its engines loaded (`engines`) and does one job at a time. One
task here per worker takes jobs from a bounded queue, hands them over on a socket and
waits for the answer. ::

    transcribe, synthesize --> queue --> task 1 <--socket--> worker 1
                                   \\-> task 2 <--socket--> worker 2

The queue is fair to calls (`fair_queue`): what a caller waits to hear goes before what was said, and that before what
may not be all that is being said. The last of these leaves a worker to the others, where there are several.

A worker that crashes or hangs is killed and replaced, and its job is tried once more on
the new one. Where a caller is cancelled the worker is told, and ends the job after the stage that it is at
(`dropped_jobs`). Workers die with this process, even if it is killed (see `worker`).

It is no library's pool: one worker of `concurrent.futures.ProcessPoolExecutor` that dies breaks the pool and fails all
its jobs, and a job that hangs cannot be ended. pebble ends and replaces such workers, but those of a process that was
killed work on until their jobs are done (seen with 5.2.3).
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import repeat
from typing import Any

import structlog

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.ear import Transcript
from voice_agent.retry import retry
from voice_agent.speech.fair_queue import FairQueue, QueueFull
from voice_agent.speech.speech_process import SpeechFailed, SpeechProcess, WorkerLost
from voice_agent.speech.speech_work import WORK, SpeechWork
from voice_agent.speech.spoken import SynthesizedSpeech

MAX_WAITING_JOBS = 256
"""Of a kind. Beyond this new jobs are refused: the answer would come too late for a talk."""
MAX_WAITING_OF_CALL = 16
"""Of a kind. More is no talk: one turn is understood, and a sentence or two are made, at a time."""
MAX_CLIP_MS = 30_000
"""A longer clip is no sentence that people say to a machine; it counts as not understood."""
JOB_LIMIT_S = 20.0
"""From handing a job to a worker to its answer."""
ANSWER_LIMIT_S = 45.0
"""From asking to the answer: two tries and some waiting. Ends a job also where no worker ever starts to do it."""
RETRY_START_S = 1.0
JOBS_PER_WORKER = 5_000
"""espeak-ng leaks about 3 KiB with each loading, so a worker is replaced before that matters."""
TRIES = 2

log = structlog.get_logger(__name__)


class _Lane(IntEnum):
    """Kinds of jobs, in the order in which they are done."""

    VOICE = 0
    EAR = 1
    EARLY_EAR = 2


@dataclass(slots=True, eq=False)
class _Job:
    head: dict[str, Any]
    payload: bytes
    lane: _Lane
    work: SpeechWork | None
    answer: asyncio.Future[tuple[dict[str, Any], bytes]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def owner(self) -> str | None:
        """The call that it is of."""
        return None if self.work is None else self.work.call_id

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
        self._jobs = _queue()
        self._early = 0
        """Workers that are at jobs of `_Lane.EARLY_EAR`."""
        self._engines: dict[str, dict[str, Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: dict[int, SpeechProcess] = {}
        self._started: list[asyncio.Future[None]] = []
        self._users: set[Hashable] = set()
        self._changing = asyncio.Lock()
        """Who opens a pool that is being closed waits for that."""

    def use(self, engine: str, **settings: Any) -> None:
        """Have workers load an engine, with these settings; called by an ear or a voice that is made.

        Workers that are up load it with its first job. Settings of one that is used already change nothing there.
        """
        self._engines.setdefault(engine, {}).update(settings)

    async def open(self, user: Hashable = None) -> None:
        """Begin to start the workers, if `user` is the first; `ready` tells how that went."""
        async with self._changing:
            self._users.add(user)
            if self._tasks:
                return
            self._jobs, self._early = _queue(), 0
            self._started = [asyncio.get_running_loop().create_future() for _ in range(self._count)]
            self._tasks = [asyncio.create_task(self._run(slot), name=f"speech-{slot}") for slot in range(self._count)]

    @property
    def is_loading(self) -> bool:
        """Whether no worker has its models loaded, and none has failed to: each has `START_LIMIT_S` for it."""
        return not any(started.done() for started in self._started)

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
        while (job := self._jobs.pop(len(_Lane))) is not None:
            job.fail(SpeechFailed("The speech workers are closed.", retry=False))

    async def transcribe(
        self,
        audio: bytes,
        audio_format: AudioFormat,
        engine: str,
        language: str = "en",
        *,
        yes_or_no: bool = False,
        prompt: str = "",
    ) -> Transcript:
        """What was said: see `EarEngine.transcribe`, or `AnswerEngine` if `yes_or_no`. Raises `SpeechFailed`."""
        if audio_format.ms(len(audio)) > MAX_CLIP_MS:
            return Transcript(None)
        head, _ = await self._do(
            {
                "do": "transcribe",
                "engine": engine,
                "format": audio_format.name,
                "language": language,
                "yes_or_no": yes_or_no,
                "prompt": prompt,
            },
            audio,
        )
        return Transcript(
            head["text"], certain=head.get("certain", True), alternatives=tuple(head.get("alternatives", ()))
        )

    async def synthesize(
        self,
        text: str,
        voice: str,
        speed: float = 1.0,
        *,
        engine: str = "espeak",
        seed: str = "",
        language: str = "en",
    ) -> SynthesizedSpeech:
        """`text` spoken: see `VoiceEngine.speak`. Raises `SpeechFailed`."""
        said = {"text": text, "voice": voice, "speed": speed, "seed": seed, "language": language}
        head, audio = await self._do({"do": "synthesize", "engine": engine, **said}, b"")
        return SynthesizedSpeech(audio, head["words"])

    async def _do(self, head: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        if not self._tasks:
            raise SpeechFailed("The speech workers are closed.", retry=False)
        work = WORK.get()
        job = _Job({**head, "settings": self._engines.get(head["engine"], {})}, payload, _lane(head, work), work)
        try:
            self._jobs.put(job, job.owner, job.lane)
        except QueueFull as full:
            whose = "of this call " if full.of_owner else ""
            raise SpeechFailed(f"{full.most} speech jobs {whose}are waiting already.", retry=True) from None
        if work is not None and job.lane is _Lane.EARLY_EAR:
            work.when_due = functools.partial(self._promote, job)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                answer, audio = await job.answer
        except TimeoutError:
            raise SpeechFailed(f"No speech worker had an answer within {ANSWER_LIMIT_S:g} s.", retry=True) from None
        finally:
            self._jobs.remove(job, job.owner, job.lane)
            job.payload = b""  # The turn that it is of may be known for long.
        if "error" in answer:
            raise SpeechFailed(answer["error"], retry=False)
        return answer, audio

    def _promote(self, job: _Job) -> None:
        """A caller waits for it now; where too many do, it stays where it is."""
        if self._jobs.remove(job, job.owner, job.lane):
            with suppress(QueueFull):
                self._jobs.put(job, job.owner, _Lane.EAR)
                job.lane = _Lane.EAR
                return
            self._jobs.put(job, job.owner, job.lane)

    async def _run(self, slot: int) -> None:
        """Start the worker of a slot, and do jobs on it from then on."""
        try:
            self._workers[slot] = await SpeechProcess.start(self._engines)
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
            job = await self._jobs.get(self._open_lanes)
            is_early = job.lane is _Lane.EARLY_EAR
            self._early += is_early
            try:
                await self._try(slot, job)
            finally:
                self._early -= is_early
                self._jobs.wake()
                # Only a job that this task was cancelled in has no answer by now.
                job.fail(SpeechFailed("The speech workers are closed.", retry=False))
            if self._workers[slot].jobs_done >= JOBS_PER_WORKER:
                await self._replace(slot)

    def _open_lanes(self) -> int:
        """From how many lanes the next worker may take: it is left to the others where it is the last."""
        return len(_Lane) if self._early < max(1, self._count - 1) else _Lane.EARLY_EAR

    async def _try(self, slot: int, job: _Job) -> None:
        for _ in range(TRIES):
            if job.answer.done():  # cancelled while it waited
                return
            worker = self._workers[slot]
            job.answer.add_done_callback(functools.partial(_drop_if_cancelled, worker, job.head))
            try:
                answer = await worker.ask(job.head, job.payload, JOB_LIMIT_S)
            except WorkerLost as lost:
                log.warning("speech worker lost", pid=worker.pid, reason=str(lost), job=job.head["do"])
                await self._replace(slot)
            else:
                if job.work is not None:
                    job.work.cpu_ms += answer[0].get("cpu_ms", 0.0)
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
            lambda: SpeechProcess.start(self._engines),
            repeat(RETRY_START_S),
            for_s=lambda error: math.inf if isinstance(error, SpeechFailed | OSError) else 0,
            now_s=asyncio.get_running_loop().time,
            sleep=asyncio.sleep,
            on_failure=lambda error: log.warning("speech worker does not start", reason=str(error)),
        )


class WorkersOpen:
    """What an ear and a voice that work in the speech workers have in common: each keeps the pool open for itself."""

    def __init__(self, workers: SpeechWorkers) -> None:
        self._workers = workers

    async def open(self) -> None:
        """Start the speech workers; a job that comes before they are warm waits for them."""
        await self._workers.open(self)

    async def ready(self) -> None:
        """Wait until the speech workers are warm. Raises `SpeechFailed` if one cannot start."""
        await self._workers.ready()

    async def close(self) -> None:
        """Stop the speech workers if nobody else has them open."""
        await self._workers.close(self)


def _queue() -> FairQueue[_Job]:
    return FairQueue(len(_Lane), most=MAX_WAITING_JOBS, most_of_owner=MAX_WAITING_OF_CALL)


def _drop_if_cancelled(worker: SpeechProcess, head: dict[str, Any], answer: asyncio.Future[Any]) -> None:
    if answer.cancelled():
        worker.drop(head)


def _lane(head: dict[str, Any], work: SpeechWork | None) -> _Lane:
    if head["do"] == "synthesize":
        return _Lane.VOICE
    return _Lane.EARLY_EAR if work is not None and work.is_early else _Lane.EAR

"""Processes of speech.

Tests of `dropped_jobs`, `engines`, `framing`, `speech_process`, `speech_work`, `spoken`, `worker`, too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import orjson
import pytest
import pytest_asyncio

from tests.waiting import PATIENCE_S, until
from voice_agent.call.audio import PCM
from voice_agent.kit.ear import Transcript
from voice_agent.speech import workers as pool
from voice_agent.speech.framing import DROP, HEADER
from voice_agent.speech.speech_process import Engines, SpeechFailed, SpeechProcess, WorkerLost, message
from voice_agent.speech.speech_work import WORK, SpeechWork
from voice_agent.speech.worker import NICENESS
from voice_agent.speech.worker_voice import WorkerVoice
from voice_agent.speech.workers import SpeechWorkers

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def workers() -> AsyncIterator[SpeechWorkers]:
    speech = SpeechWorkers(1)
    speech.use("espeak")
    speech.use("pocketsphinx")
    await speech.open()
    await speech.ready()
    yield speech
    await speech.close()


def pids_of(workers: SpeechWorkers) -> tuple[int, ...]:
    """Process ids of the workers that are up."""
    return tuple(worker.pid for worker in workers._workers.values())


def is_up(pid: int) -> bool:
    """Whether a process runs; one that is dead and not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_what_a_caller_says_is_heard(workers: SpeechWorkers) -> None:
    """A recording of a caller is transcribed by a worker."""
    with wave.open(str(ROOT / "samples" / "caller-day.wav")) as recording:
        said = recording.readframes(recording.getnframes())
    assert await workers.transcribe(said, PCM, "pocketsphinx") == Transcript("next tuesday")


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux tells them")
async def test_a_worker_has_one_thread(workers: SpeechWorkers) -> None:
    """Those of numpy's would wait for each other busily, at the cost of the other workers."""
    (pid,) = pids_of(workers)
    assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 1


async def test_no_speech_is_the_empty_text(workers: SpeechWorkers) -> None:
    """Silence is "" and not None."""
    assert await workers.transcribe(bytes(PCM.size(2000)), PCM, "pocketsphinx") == Transcript("")


async def test_a_clip_longer_than_any_sentence_costs_nothing(workers: SpeechWorkers) -> None:
    """Half an hour of sound is not understood, at once."""
    clip = bytes(PCM.size(30 * 60_000))
    began_s = time.process_time()
    assert await workers.transcribe(clip, PCM, "pocketsphinx") == Transcript(None)
    assert time.process_time() - began_s < 0.5


async def test_a_killed_worker_is_replaced(workers: SpeechWorkers) -> None:
    """After `kill -9` of its worker the pool does the next job all the same, on another worker."""
    (pid,) = pids_of(workers)
    before = await workers.synthesize("hello", "alloy")
    os.kill(pid, signal.SIGKILL)
    assert await workers.synthesize("hello", "alloy") == before
    assert pids_of(workers) != (pid,)


async def test_a_job_on_a_worker_that_dies_is_done_by_the_next(workers: SpeechWorkers) -> None:
    """A worker killed in the middle of a job: the job is tried again and succeeds."""
    (pid,) = pids_of(workers)
    os.kill(pid, signal.SIGSTOP)
    job = asyncio.create_task(workers.synthesize("hello", "alloy"))
    await asyncio.sleep(0)
    await until(lambda: not workers._jobs)
    os.kill(pid, signal.SIGKILL)
    assert await job
    assert pids_of(workers) != (pid,)


@pytest.mark.parametrize("goes", ["before the answer", "in the middle of a job's bytes", "between two jobs"])
def test_a_parent_that_goes_is_no_error(goes: str) -> None:
    """Wherever in a conversation the socket closes, the worker ends with status 0 and says nothing."""
    ours, theirs = socket.socketpair()
    with theirs:
        worker = subprocess.Popen(
            [sys.executable, "-m", "voice_agent.speech.worker", str(theirs.fileno()), str(os.getpid())],
            cwd=ROOT,
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
        )
    head = orjson.dumps(
        {"do": "synthesize", "engine": "espeak", "settings": {}, "text": "hello", "voice": "alloy", "speed": 1}
        | {"seed": "", "language": "en"}
    )
    job = HEADER.pack(len(head), 0) + head
    with ours:
        if goes == "between two jobs":
            ours.sendall(job)
            assert ours.recv(1)
        elif goes == "before the answer":
            ours.sendall(job)
        else:
            ours.sendall(job[:-3])
    _, said = worker.communicate()
    assert (worker.returncode, said) == (0, b"")


async def test_a_worker_that_hangs_is_killed(workers: SpeechWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer within the limit counts as a crash."""
    monkeypatch.setattr(pool, "JOB_LIMIT_S", 1.0)
    (pid,) = pids_of(workers)
    os.kill(pid, signal.SIGSTOP)
    assert await workers.synthesize("hello", "alloy")
    assert not is_up(pid)


async def test_a_job_that_kills_two_workers_fails(workers: SpeechWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job is tried twice and then given up; the pool goes on."""

    async def lost(*_: object) -> None:
        raise WorkerLost("for the test")

    with monkeypatch.context() as patch:
        (worker,) = workers._workers.values()
        started = SpeechProcess.start

        async def start(engines: Engines) -> SpeechProcess:
            fresh = await started(engines)
            patch.setattr(fresh, "ask", lost)
            return fresh

        patch.setattr(worker, "ask", lost)
        patch.setattr(SpeechProcess, "start", start)
        patch.setattr(pool, "RETRY_START_S", 0.0)
        with pytest.raises(SpeechFailed, match="Two speech workers"):
            await workers.synthesize("hello", "alloy")
    os.kill(pids_of(workers)[0], signal.SIGKILL)
    assert await workers.synthesize("hello", "alloy")


async def test_a_cancelled_job_leaves_the_pool_sound(workers: SpeechWorkers) -> None:
    """Whenever a job is cancelled, later jobs get their own answers and not its."""
    expected = await workers.synthesize("goodbye", "alloy")
    for turns in range(6):
        job = asyncio.create_task(workers.synthesize("a sentence that nobody waits for", "alloy"))
        for _ in range(turns):
            await asyncio.sleep(0)
        job.cancel()
        assert await workers.synthesize("goodbye", "alloy") == expected


async def test_a_job_that_nobody_wants_ends_between_its_stages() -> None:
    """It costs little more than its first stage, and the next one is done as ever."""
    speech = SpeechWorkers(1)
    speech.use("natural")
    await speech.open()
    await speech.ready()
    with wave.open(str(ROOT / "samples" / "caller-day.wav")) as recording:
        said = recording.readframes(recording.getnframes())

    async def cost_ms(*, dropped: bool) -> float:
        work = SpeechWork("call_a")
        WORK.set(work)
        (pid,) = pids_of(speech)
        os.kill(pid, signal.SIGSTOP)
        job = asyncio.create_task(speech.transcribe(said, PCM, "natural"))
        await until(lambda: len(speech._jobs) == 0 and speech._workers[0]._asked is not None)
        if dropped:
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)
        os.kill(pid, signal.SIGCONT)
        await until(lambda: work.cpu_ms > 0)
        assert dropped or await job == Transcript("Next Tuesday.")
        return work.cpu_ms

    try:
        whole_ms = min([await cost_ms(dropped=False) for _ in range(3)])
        assert min([await cost_ms(dropped=True) for _ in range(3)]) < 0.7 * whole_ms
        await cost_ms(dropped=False)
    finally:
        await speech.close()


async def test_word_of_a_job_that_is_over_drops_no_other() -> None:
    """It may have been on its way when the answer was; and later nobody sends it."""
    worker = await SpeechProcess.start({"espeak": {}})
    head = {"do": "synthesize", "engine": "espeak", "settings": {}, "text": "hello", "voice": "alloy", "speed": 1.0}
    job = {**head, "seed": "", "language": "en"}
    try:
        first, audio = await worker.ask(job, b"", PATIENCE_S)
        worker._writer.write(message({"do": DROP}, b""))
        assert (await worker.ask(job, b"", PATIENCE_S))[1] == audio
        sent: list[bytes] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker._writer, "write", sent.append)
            worker.drop(job)
        assert "words" in first
        assert sent == []
    finally:
        await worker.kill()


async def test_a_job_that_fails_says_why(workers: SpeechWorkers) -> None:
    """An error inside a job reaches the caller; the worker stays."""
    pids = pids_of(workers)
    with pytest.raises(SpeechFailed, match="TypeError"):
        await workers.synthesize("hello", "alloy", speed=None)  # type: ignore[arg-type]
    assert await workers.synthesize("hello", "alloy")
    assert pids_of(workers) == pids


async def test_a_job_that_comes_before_the_models_are_loaded_waits_for_them() -> None:
    """The pool opens at once, with no worker up yet; the first job is done all the same."""
    speech = SpeechWorkers(1)
    await speech.open()
    assert pids_of(speech) == ()
    assert WorkerVoice(speech, "espeak").is_loading
    assert await speech.synthesize("hello", "alloy")
    assert not WorkerVoice(speech, "espeak").is_loading
    await speech.ready()
    await speech.close()


async def test_a_pool_whose_workers_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ready` raises what is wrong, and the pool goes on trying: jobs are done once a worker starts."""
    started = SpeechProcess.start

    async def broken(engines: Engines) -> SpeechProcess:
        raise SpeechFailed("no library", retry=True)

    monkeypatch.setattr(pool, "RETRY_START_S", 0.01)
    monkeypatch.setattr(SpeechProcess, "start", broken)
    speech = SpeechWorkers(1)
    await speech.open()
    with pytest.raises(SpeechFailed, match="no library"):
        await speech.ready()
    assert not speech.is_loading
    monkeypatch.setattr(SpeechProcess, "start", started)
    assert await speech.synthesize("hello", "alloy")
    await speech.close()


async def test_a_full_queue_refuses(workers: SpeechWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs beyond the queue's bound are refused at once and may be tried again later."""
    os.kill(pids_of(workers)[0], signal.SIGSTOP)
    jobs = [asyncio.create_task(workers.synthesize("hello", "alloy")) for _ in range(pool.MAX_WAITING_JOBS)]
    await until(lambda: len(workers._jobs) >= pool.MAX_WAITING_JOBS - 1)
    while len(workers._jobs) < pool.MAX_WAITING_JOBS:
        jobs.append(asyncio.create_task(workers.synthesize("hello", "alloy")))
        await asyncio.sleep(0)
    with pytest.raises(SpeechFailed) as refused:
        await workers.synthesize("hello", "alloy")
    assert refused.value.retry
    for job in jobs:
        job.cancel()
    os.kill(pids_of(workers)[0], signal.SIGCONT)
    await asyncio.gather(*jobs, return_exceptions=True)


async def test_closing_ends_processes_and_jobs() -> None:
    """After `close` no worker runs, and waiting jobs have failed."""
    speech = SpeechWorkers(1)
    await speech.open()
    await speech.ready()
    (pid,) = pids_of(speech)
    os.kill(pid, signal.SIGSTOP)
    jobs = [asyncio.create_task(speech.synthesize("hello", "alloy")) for _ in range(3)]
    await asyncio.sleep(0)
    await speech.close()
    assert all(isinstance(it, SpeechFailed) for it in await asyncio.gather(*jobs, return_exceptions=True))
    assert not is_up(pid)
    with pytest.raises(SpeechFailed):
        await speech.synthesize("hello", "alloy")


async def test_an_engine_that_cannot_be_loaded_keeps_the_pool_from_being_ready() -> None:
    """It is told which, and nothing waits for a worker that will not come."""
    speech = SpeechWorkers(1)
    speech.use("no such engine")
    await speech.open()
    try:
        with pytest.raises(SpeechFailed, match="no such engine"):
            await speech.ready()
    finally:
        await speech.close()


async def test_a_worker_left_to_others_does_nothing_early() -> None:
    """Of two workers one at most is at what may not be all that is being said; a voice's job goes past it."""
    speech = SpeechWorkers(2)
    speech.use("espeak")
    await speech.open()
    await speech.ready()
    pids = pids_of(speech)
    clip = bytes(PCM.size(1000))

    async def early() -> Transcript:
        WORK.set(SpeechWork("call_a", is_early=True))
        return await speech.transcribe(clip, PCM, "pocketsphinx")

    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        jobs = [asyncio.create_task(early()) for _ in range(2)]
        await until(lambda: speech._early == 1 and len(speech._jobs) == 1)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert await speech.synthesize("hello", "alloy")
        assert await asyncio.gather(*jobs) == [Transcript("")] * 2
    finally:
        await speech.close()


async def test_what_was_early_goes_before_others_once_its_turn_is_over(workers: SpeechWorkers) -> None:
    """A caller whose turn has ended waits for what was asked in the pause, which is not left behind early work."""
    order: list[str] = []
    works = {name: SpeechWork(name, is_early=True) for name in ("call_a", "call_b", "call_c")}

    async def early(name: str) -> None:
        WORK.set(works[name])
        await workers.transcribe(bytes(PCM.size(1000)), PCM, "pocketsphinx")
        order.append(name)

    (pid,) = pids_of(workers)
    os.kill(pid, signal.SIGSTOP)
    jobs = [asyncio.create_task(early(name)) for name in works]
    await until(lambda: workers._early == 1 and len(workers._jobs) == 2)
    works["call_c"].due()
    os.kill(pid, signal.SIGCONT)
    await asyncio.gather(*jobs)
    assert order == ["call_a", "call_c", "call_b"]


async def test_what_a_job_costs_is_told_though_nobody_waits(workers: SpeechWorkers) -> None:
    """The CPU time of a worker is counted for the call, of a job too that was cancelled on it."""
    work = SpeechWork("call_a")
    WORK.set(work)
    (pid,) = pids_of(workers)
    os.kill(pid, signal.SIGSTOP)
    job = asyncio.create_task(workers.synthesize("a sentence that nobody waits for", "alloy"))
    await asyncio.sleep(0)
    await until(lambda: not workers._jobs)
    job.cancel()
    os.kill(pid, signal.SIGCONT)
    await until(lambda: work.cpu_ms > 0)


async def test_frames_go_before_the_work_of_workers(workers: SpeechWorkers) -> None:
    """Where processors are short the server is the one that goes on."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert all(os.getpriority(os.PRIO_PROCESS, pid) == min(19, own + NICENESS) for pid in pids_of(workers))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_workers_die_with_their_parent() -> None:
    """`kill -9` of the server leaves no worker behind, not even one that is stopped."""
    program = (
        "import asyncio\n"
        "from voice_agent.speech.workers import SpeechWorkers\n"
        "async def main():\n"
        "    workers = SpeechWorkers(2)\n"
        "    await workers.open()\n"
        "    await workers.ready()\n"
        "    print(*(one.pid for one in workers._workers.values()), flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout:
        pids = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGSTOP)
    parent.kill()
    parent.wait()
    await until(lambda: not any(is_up(pid) for pid in pids))


async def test_a_cancelled_job_leaves_the_queue(workers: SpeechWorkers) -> None:
    """It does not stand there until a worker is free, and nor does its audio."""
    (pid,) = pids_of(workers)
    os.kill(pid, signal.SIGSTOP)
    first, second = [
        asyncio.create_task(workers.transcribe(bytes(PCM.size(2000)), PCM, "pocketsphinx")) for _ in range(2)
    ]
    try:
        await until(lambda: len(workers._jobs) == 1)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert len(workers._jobs) == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await first == Transcript("")


async def test_a_job_ends_though_no_worker_ever_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time runs from the asking: that of a try begins only on a worker."""

    async def does_not_start(engines: Engines) -> NoReturn:
        raise SpeechFailed("no memory", retry=True)

    monkeypatch.setattr(SpeechProcess, "start", does_not_start)
    monkeypatch.setattr(pool, "ANSWER_LIMIT_S", 0.05)
    speech = SpeechWorkers(1)
    await speech.open()
    try:
        with pytest.raises(SpeechFailed, match="within 0.05 s") as failed:
            async with asyncio.timeout(PATIENCE_S):
                await speech.synthesize("hello", "alloy")
        assert failed.value.retry
    finally:
        await speech.close()
        with pytest.raises(SpeechFailed):
            await speech._started[0]

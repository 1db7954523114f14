"""Call mode: the same requests over a WebSocket to a real pod, several callers at once, each in a call of its own.

With kills, the pod dies (``kill -9``) while its callers are in the middle of what they say, and another takes over:
what is understood, and what comes of it, must not differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.e2e.pods import PodProcess, Pods, pods, session
from tests.e2e.test_takeover import Switch
from tests.eval_speech.beside import Beside, Echoes, echoes
from tests.eval_speech.callers import Recordings
from tests.eval_speech.conditions import AFTER_S, Conditions
from tests.eval_speech.desk import Desk
from tests.eval_speech.direct import Trial
from tests.eval_speech.scores import percentile
from tests.eval_speech.talking import goal
from tests.eval_speech.words import errors, words
from tests.servers import redis_server
from voice_agent.call.audio import PCM, to_linear
from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.exchanges import Exchange, Report, SpokenTurn
from voice_agent.client.refusals import CallFailed
from voice_agent.client.scripted import ScriptedConversation
from voice_agent.client.wav import end_of_speech_ms, resampled

AT_ONCE = 4
TURN_S = 8.0
"""Of a conversation, who is asked and what is answered: those who talk at once begin within it, not at one moment."""
OWN_VOICES = {"pocketsphinx": "espeak"}
"""What the server speaks with where it hears with an ear; with any other with hibari."""
BATCH_S = 240.0
"""A batch of calls that is not over by then is given up: its calls have failed."""

LOOK_S, IDLE_SHARE = 1.0, 0.1
"""A pod that used less of a core than that for so long has nothing to do."""


@dataclass(frozen=True, slots=True)
class Called:
    """What came of one request in a call."""

    trial: Trial
    exchange: Exchange
    as_typed: bool
    """Answered as the typed request is, at once."""
    acted_wrongly: bool
    resumes: int
    failure: str = ""
    seconds: float = 0.0
    """Of the call."""


@dataclass(frozen=True, slots=True)
class CallScore:
    """Of all calls of a run."""

    calls: int
    failed: int
    resumed: int
    word_errors: float
    as_typed: float
    acted_wrongly: float
    latency_p50_ms: float
    latency_p95_ms: float
    """From the last sample of speech to the first audio of the answer, at the caller."""
    cpu_of_core: float | None
    """Of the pod and its workers, a call; None where pods were killed."""
    call_s: float
    """How long a call was, on average."""

    @classmethod
    def of(cls, called: Sequence[Called], cpu_s: float | None) -> CallScore:
        """At least one call that was answered."""
        answered = [it for it in called if not it.failure]
        latencies = [it.exchange.latency_s * 1000 for it in answered if it.exchange.latency_s is not None] or [0.0]
        said = [words(it.trial.request.text) for it in answered]
        wrong = [errors(text, words(it.exchange.heard)) for text, it in zip(said, answered, strict=True)]
        return cls(
            len(called),
            len(called) - len(answered),
            sum(it.resumes > 0 for it in called),
            sum(wrong) / max(1, sum(map(len, said))),
            sum(it.as_typed for it in called) / len(called),
            sum(it.acted_wrongly for it in called) / len(called),
            percentile(latencies, 50),
            percentile(latencies, 95),
            None if cpu_s is None else cpu_s / max(1.0, sum(it.seconds for it in called)),
            sum(it.seconds for it in called) / len(called),
        )


@dataclass(slots=True)
class Halfway:
    """Told by calls how far they are; `reached` is set when each of so many is in the middle of what it says."""

    calls: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    _there: set[str] = field(default_factory=set)

    def speaking(self, name: str, done_ms: int, total_ms: int) -> None:
        """One call's progress."""
        if 2 * done_ms >= total_ms:
            self._there.add(name)
        if len(self._there) >= self.calls:
            self.reached.set()


class _Listener:
    """`CallListener`: passes on how far a call is, and ignores the rest."""

    def __init__(self, halfway: Halfway) -> None:
        self.speaking = halfway.speaking

    def connected(self, call: RealtimeCall) -> None: ...
    def heard(self, exchange: Exchange) -> None: ...
    def answered(self, exchange: Exchange) -> None: ...
    def waiting(self, code: int, reason: str) -> None: ...
    def resumed(self, resumed: ResumedConnection) -> None: ...
    def going_away(self, time_left_ms: int) -> None: ...
    def failed(self, message: str) -> None: ...


async def run(
    planned: Sequence[Trial],
    ear: str,
    cache: Path,
    *,
    kill: bool,
    advance: Callable[[], None],
    together: bool = False,
    beside: Beside | None = None,
) -> tuple[list[Called], float | None]:
    """All trials, `AT_ONCE` at a time, and the CPU seconds that the pod took for them, unless others called it as well.

    `together`: those at once begin at one moment, as they do where the pod is killed in the middle of what each says.
    """
    recordings = Recordings(cache)
    conditions = Conditions(recordings)
    called: list[Called] = []
    async with _pods(ear) as its, contextlib.AsyncExitStack() as stack:
        serving = await its.start("blue")
        switch = Switch(serving.port)
        await switch.serve(stack)
        listening: asyncio.Task[Echoes] | None = None
        await _idle(serving)
        if beside is not None:
            beside.alone = await echoes(serving.port, beside.calls)
            listening = asyncio.create_task(echoes(serving.port, beside.calls))
        began_s = _cpu_s(serving)
        for start in range(0, len(planned), AT_ONCE):
            batch = planned[start : start + AT_ONCE]
            spare = await its.start("green") if kill else None
            if spare is not None:
                await _idle(spare)
            halfway = Halfway(len(batch))
            apart_s = 0.0 if kill or together else TURN_S / AT_ONCE
            talks = [
                _call(trial, switch.url, recordings, conditions, halfway, number * apart_s)
                for number, trial in enumerate(batch)
            ]
            tasks = [asyncio.create_task(talk) for talk in talks]
            if spare is not None:
                await _killed(serving, spare, switch, halfway, tasks)
                serving = spare
            called += await asyncio.gather(*tasks)
            for _ in batch:
                advance()
        if beside is not None and listening is not None:
            beside.among_speech = await listening
        return called, None if kill or beside else _cpu_s(serving) - began_s


async def _killed(
    serving: PodProcess, spare: PodProcess, switch: Switch, halfway: Halfway, tasks: list[asyncio.Task[Called]]
) -> None:
    """Kill the pod in the middle of what its callers say, once the next one may have them."""
    waiting = asyncio.create_task(halfway.reached.wait())
    await asyncio.wait((waiting, *tasks), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    switch.target = spare.port
    await asyncio.to_thread(serving.kill)


@contextlib.asynccontextmanager
async def _pods(ear: str) -> AsyncIterator[Pods]:
    with redis_server() as server:
        async with pods(server.url) as its:
            its.agents = "frontdesk,loopback"
            its.from_nothing = True
            # As a server has it that is started, not the small engines of other tests.
            voice = OWN_VOICES.get(ear, "hibari")
            its.settings = {"agent_frontdesk_ear": ear, "agent_frontdesk_voice": voice, "speech_workers": 0}
            yield its


async def _call(
    trial: Trial, url: str, recordings: Recordings, conditions: Conditions, halfway: Halfway, after_s: float
) -> Called:
    await asyncio.sleep(after_s)  # Callers do not all begin at one moment.
    text = trial.request.text
    clip = conditions.clip(trial.condition, recordings.said(trial.caller, text), f"{trial.caller}|{text}")
    pcm = resampled(to_linear(clip.audio, clip.format), clip.format.rate_hz, PCM.rate_hz)
    report, began_s, resumes, failure = Report(), time.monotonic(), 0, ""
    try:
        async with asyncio.timeout(BATCH_S), RealtimeCall(url, model="frontdesk", audio_format=clip.format) as call:
            name = f"{trial.caller}|{trial.request.id}"
            talk = ScriptedConversation(call, _Listener(halfway), report, audio_format=clip.format)
            await talk.run([SpokenTurn(name, pcm)])
            resumes = call.tally.resumes
    except (CallFailed, TimeoutError) as error:
        failure = str(error) or "no end"
    exchange = report.exchanges[-1] if report.exchanges else Exchange()
    if exchange.latency_s is not None:
        # The client times from the last loud frame, which in noise is not the last of what was said.
        exchange.latency_s += end_of_speech_ms(pcm) / 1000 - (PCM.ms(len(pcm)) / 1000 - AFTER_S)
    now = datetime.now(UTC)
    wanted, heard = goal(trial.request, now), Desk(now).type(exchange.heard)
    as_typed = exchange.answered == wanted.replies[0].text and goal(trial.request).answers(trial.request)
    # What is not the answer to what was understood is a question about it: nothing was acted on.
    acted_wrongly = not as_typed and exchange.answered == heard.text and heard.told
    return Called(trial, exchange, as_typed, acted_wrongly, resumes, failure, time.monotonic() - began_s)


async def _idle(pod: PodProcess) -> None:
    """Until it has loaded its models: it takes calls before that."""
    before_s = _cpu_s(pod)
    async with asyncio.timeout(BATCH_S):
        while True:
            await asyncio.sleep(LOOK_S)  # CPU time is of a period.
            if (now_s := _cpu_s(pod)) - before_s < IDLE_SHARE * LOOK_S:
                return
            before_s = now_s


def _cpu_s(pod: PodProcess) -> float:
    ticks = 0
    for pid in session(pod.process.pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")

"""Transcribing what the client's user said, from before the turn is certainly over.

Endpointing waits for half a second of silence (or what the session asks for) before a
turn ends. Recognition need not wait as long: in a pause of `EARLY_PAUSE_MS` it starts on
what was said so far. If the caller goes on, the attempt is dropped; if the turn ends, its
result is there sooner. Nothing of an attempt is visible. An ear that stops soon is asked `AHEAD_MS` before the pause is
that long: most pauses inside a sentence are shorter, and it stops when they end.

Each attempt costs the work of the whole turn so far. One that pauses again and again has a budget for them, and is
recognised once it is over when that is spent.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.kit.usage import Meter
from voice_agent.runtime.calls.transcriber import NOT_KNOWN, Transcriber
from voice_agent.runtime.ports import Clock, Observer
from voice_agent.speech.speech_work import SpeechWork

EARLY_PAUSE_MS = 240
"""Longer than the pauses inside most sentences, shorter than the usual end of a turn."""
AHEAD_MS = 60
"""So much sooner an ear is asked that stops soon where the caller goes on."""

BUDGET_MS = 2_000
"""CPU time of speech workers for attempts of one turn: three or four at a usual sentence."""


class EarlyTranscription:
    """One call's transcriptions."""

    def __init__(self, ear: Ear, clock: Clock, observer: Observer, call_id: str, meter: Meter | None = None) -> None:
        self.ahead_ms = AHEAD_MS if ear.stops_soon else 0
        """So much sooner than in a pause that is heeded `begin` may be called, with `ahead`."""
        self._clock = clock
        self._observer = observer
        self._call_id = call_id
        self._transcriber = Transcriber(ear, call_id, clock, observer, meter)
        self._early: tuple[str, asyncio.Task[Transcript]] | None = None
        self._work: tuple[str, SpeechWork] = ("", SpeechWork(call_id, is_early=True))
        """The turn that attempts are made at, and what they have cost."""

    @property
    def is_begun(self) -> bool:
        """Whether an attempt is under way or done for the pause that lasts."""
        return self._early is not None

    def begin(self, item_id: str, clip: Clip, *, ahead: bool = False) -> None:
        """Start an attempt for a turn that may be over; an earlier one is cancelled.

        Does nothing where the turn's budget is spent; `ahead` of the pause, half of it.
        """
        self.cancel()
        if self._work[0] != item_id:
            self._work = (item_id, SpeechWork(self._call_id, is_early=True))
        work = self._work[1]
        if work.cpu_ms < (BUDGET_MS / 2 if ahead else BUDGET_MS):
            task = asyncio.create_task(self._transcriber.of_clip(clip, work), name=f"{self._call_id} early")
            self._early = (item_id, task)

    def when_known(self, tell: Callable[[str | None], None]) -> None:
        """Tell what the attempt comes to, unless it is cancelled or the turn is over before; None: there is none."""
        if self._early is None:
            tell(None)
        else:
            self._early[1].add_done_callback(functools.partial(self._done, tell))

    def _done(self, tell: Callable[[str | None], None], task: asyncio.Task[Transcript]) -> None:
        if self._early is not None and self._early[1] is task and not task.cancelled():
            tell(task.result().text)

    def cancel(self) -> None:
        """Cancel the attempt: the utterance goes on, or the call is over."""
        if self._early is not None:
            self._early[1].cancel()
            self._early = None

    async def transcript_of(self, item_id: str, clip: Clip) -> Transcript:
        """What was said in a turn that is over; its text is None if that is not known."""
        started_s = self._clock.monotonic_s()
        early, self._early = self._early, None
        if early is not None and early[0] == item_id:
            self._work[1].due()
            found = await early[1]
        else:
            if early is not None:
                early[1].cancel()
            found = await self._transcriber.of_clip(clip) if clip.audio else NOT_KNOWN
        self._observer.turn_stage("stt", self._clock.monotonic_s() - started_s)
        return found

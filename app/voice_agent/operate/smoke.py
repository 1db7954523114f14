"""A real spoken call against one color, cut in the middle of a sentence to see it hear, answer and resume.

The call carries the header by which routers send it to its color, also at weight 0. Two
recorded turns are spoken; half way through the second the connection is dropped without a
word, and the call must go on where it was, on the same color, with nothing missing.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import voice_agent.client
from voice_agent.client.backoff import Backoff
from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.exchanges import Exchange, Report, SpokenTurn
from voice_agent.client.refusals import CallFailed
from voice_agent.client.scripted import ScriptedConversation
from voice_agent.client.wav import read_wav
from voice_agent.operate.ports import CutoverError
from voice_agent.runtime.ports import COLOR_HEADER, Clock
from voice_agent.settings import ROUTERS_KEY

COLOR_KEY = re.compile(r"[A-Za-z0-9_-]{16,100}\Z")
"""What may be a router's key: too long to be guessed, and nothing that a router takes for a pattern or a list."""
SAMPLES = Path(voice_agent.client.__file__).parent / "samples"
FIRST = SAMPLES / "caller-books.wav"
SECOND = SAMPLES / "caller-day.wav"
SAID_FIRST = "appointment next Tuesday at three"
"""Words of the first recording that the transcript must hold."""
CUT_AT = 0.5
"""Of the second recording, its silence included: in the middle of what is said."""
COME_BACK_FOR_S = 15.0


@dataclass(frozen=True, slots=True)
class SmokeOptions:
    """What to call, and what must be true of it."""

    url: str
    color: str | None = None
    """None: whatever color answers, but the same to the end."""
    color_key: str | None = None
    """Proof to the router that the caller may choose a color; None where it is asked from inside."""
    model: str | None = None
    """None: the server's own default."""
    api_key: str | None = None
    expect: str = SAID_FIRST
    """Words that the transcript of the first turn must hold; empty: none, and replies need no words either."""
    first_audio_s: float = 2.0
    """The longest that the caller may wait for the first sound of a reply."""
    reply_s: float = 30.0
    """A server that says nothing for so long has failed."""
    longest_s: float = 90.0
    """The whole call must be over by then."""


@dataclass(slots=True)
class SmokeReport:
    """What became of the call. `reason` is one line either way."""

    ok: bool = False
    reason: str = ""
    color: str = ""
    pod: str = ""
    call_id: str | None = None
    heard: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    first_audio_s: list[float | None] = field(default_factory=list)
    reply_audio_ms: int = 0
    resumes: int = 0
    resumed_in_s: float | None = None
    events: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


async def smoke_call(options: SmokeOptions, clock: Clock) -> SmokeReport:
    """Make the call. Never raises for what is wrong with the server: that is in the report."""
    report, talked, watcher = SmokeReport(), Report(), _Watcher()
    headers = {COLOR_HEADER: color_asked(options.color, options.color_key)} if options.color else {}
    call = RealtimeCall(
        options.url, model=options.model, api_key=options.api_key, headers=headers, backoff=Backoff(COME_BACK_FOR_S)
    )
    watcher.call = call
    began_s = clock.monotonic_s()
    turns = [SpokenTurn(path.name, read_wav(path)) for path in (FIRST, SECOND)]
    try:
        async with asyncio.timeout(options.longest_s), call:
            watcher.cut_in = turns[1].name
            _check_color(options, call)
            await ScriptedConversation(call, watcher, talked, reply_within_s=options.reply_s).run(turns)
        report.reason = _fault(options, call, talked, watcher)
    except TimeoutError:
        report.reason = f"the call was not over after {options.longest_s:g} s"
    except CallFailed as failure:
        report.reason = str(failure)
    report.ok = not report.reason
    report.color, report.pod, report.call_id = call.color, call.pod, call.call_id
    report.heard = [exchange.heard for exchange in talked.exchanges]
    report.answered = [exchange.answered for exchange in talked.exchanges]
    report.first_audio_s = [exchange.latency_s for exchange in talked.exchanges]
    report.reply_audio_ms = talked.reply_ms
    report.resumes, report.events = call.tally.resumes, call.tally.events
    report.resumed_in_s = watcher.resumes[0].break_s if watcher.resumes else None
    report.seconds = clock.monotonic_s() - began_s
    report.reason = report.reason or _praise(report)
    return report


def color_asked(color: str, key: str | None) -> str:
    """The header's value: ``green``, or ``green:<key>`` for a router that asks who wants to choose."""
    return color if key is None else f"{color}:{key}"


def _check_color(options: SmokeOptions, call: RealtimeCall) -> None:
    if options.color is not None and call.color != options.color:
        raise CallFailed(
            f"a {call.color or 'nameless'} pod answered instead of {options.color}: "
            f"does the router send {COLOR_HEADER} to its color, and was it given the router's key ({ROUTERS_KEY})?"
        )


def _fault(options: SmokeOptions, call: RealtimeCall, talked: Report, watcher: _Watcher) -> str:
    """The first thing that is wrong, or nothing."""
    first, second = talked.exchanges[0], talked.exchanges[-1]
    missing = [word for word in _words(options.expect) if word not in _words(first.heard)]
    colors = {call.color, *(exchange.color for exchange in talked.exchanges if exchange.color)}
    if missing:
        hint = "" if first.heard else " (an agent that transcribes nothing is tried with no words to expect)"
        return f"the transcript lacks {' '.join(missing)!r}: heard {first.heard!r}{hint}"
    if talked.failures:
        return f"a reply failed: {talked.failures[0]}"
    has_words = not options.expect or (first.answered and second.answered)
    if not has_words or not talked.reply_ms:
        return "a reply had no words or no sound"
    if not watcher.resumes:
        return "the call ended without the reconnect that was to be tried"
    if len(colors) > 1:
        return f"the call was resumed on another color: {', '.join(sorted(colors))}"
    if call.tally.gaps or call.tally.told_gaps or call.tally.repeats or call.tally.lost_ms:
        lost = call.tally.gaps + call.tally.told_gaps
        return f"after the reconnect {lost} events were missing, {call.tally.repeats} came twice"
    for exchange in talked.exchanges:
        if exchange.latency_s is None:
            return "no sound came after a turn"
        if exchange.latency_s > options.first_audio_s:
            return f"the first audio came after {exchange.latency_s:.2f} s (limit {options.first_audio_s:g} s)"
    if watcher.errors:
        return f"the server said: {watcher.errors[0]}"
    return ""


def _praise(report: SmokeReport) -> str:
    waits = [wait_s for wait_s in report.first_audio_s if wait_s is not None]
    return (
        f"{report.color} pod {report.pod} heard, answered (first audio {max(waits, default=0.0):.2f} s) "
        f"and resumed within {report.resumed_in_s or 0.0:.2f} s"
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


async def smoked(options: SmokeOptions, clock: Clock) -> str:
    """`smoke_call` for a cutover: one line when all is well. Raises `CutoverError` with the reason when it is not."""
    report = await smoke_call(options, clock)
    if not report.ok:
        raise CutoverError(f"the smoke call of {options.color} failed: {report.reason}")
    return report.reason


class _Watcher:
    """`client.exchanges.Listener` that drops the connection at the chosen moment."""

    def __init__(self) -> None:
        self.call: RealtimeCall | None = None
        self.cut_in = ""
        self.resumes: list[ResumedConnection] = []
        self.errors: list[str] = []

    def connected(self, call: RealtimeCall) -> None: ...
    def heard(self, exchange: Exchange) -> None: ...
    def answered(self, exchange: Exchange) -> None: ...
    def waiting(self, code: int, reason: str) -> None: ...
    def going_away(self, time_left_ms: int) -> None: ...

    def speaking(self, name: str, done_ms: int, total_ms: int) -> None:
        """Once, half way through the second recording."""
        if name == self.cut_in and done_ms >= CUT_AT * total_ms and self.call is not None:
            self.cut_in = ""
            self.call.lose_connection()

    def resumed(self, resumed: ResumedConnection) -> None:
        """Kept."""
        self.resumes.append(resumed)

    def failed(self, message: str) -> None:
        """Kept."""
        self.errors.append(message)

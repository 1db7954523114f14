"""A run of conversations: callers stream all the time and are answered in turn; see `load` for echoes of frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from loadtest.latencies import Latencies
from loadtest.peers.contenders import Peer
from loadtest.peers.environment import Server, Store
from loadtest.peers.load import Load, connect_all, measured, paced, percentile
from loadtest.peers.script import FRAMES, PERIOD_MS, script
from loadtest.peers.talker import PipecatTalker, Talker, TalkTally

WARMUP_S = PERIOD_MS / 1000
"""After a period each caller is where the script has it, and so many are answered as will be all the time."""


@dataclass(frozen=True)
class TalkLoad(Load):
    """`us_per_frame` and `store_us` are of a heard frame with all that is answered to it; `p99_s` is chunks' jitter."""

    store_bytes: float | None
    """Sent to the store by the server, a heard frame with all that is answered to it."""
    replies: int
    events: int
    """Numbered events that came, warm-up included."""
    lag: Latencies
    """How late the generator itself was."""
    jitter_p50_s: float
    first_audio_p50_s: float
    """Negative or 0 of servers that do not tell which audio ended a turn."""
    first_audio_p99_s: float


async def run_talk(server: Server, store: Store | None, calls: int, seconds: float) -> TalkLoad:
    """Connect, talk for a period, measure, hang up. Raises `TimeoutError`, `Refused`."""
    tally = TalkTally()
    is_ours = not isinstance(server.contender, Peer)
    said = script("realtime" if is_ours else "pipecat")
    kind = Talker if is_ours else PipecatTalker
    phases = [number * FRAMES // calls for number in range(calls)]
    makers = [partial(kind, script=said, tally=tally, phase=phase) for phase in phases]
    callers: list[Talker] = await connect_all(server, makers)
    async with paced(callers) as pace:
        used = await measured(pace, tally, server, store, WARMUP_S, seconds)
    lag = Latencies()
    for late_s in pace.lags_s:
        lag.add(late_s)
    return TalkLoad(
        calls=calls,
        seconds=seconds,
        us_per_frame=used.us_per_frame,
        core=used.core,
        store_us=used.store_us,
        store_bytes=used.store_bytes,
        p99_s=percentile(tally.jitters_s, 99),
        lag_p99_s=percentile(pace.lags_s, 99),
        wrong=tally.wrong,
        missing=tally.unanswered,
        lost=tally.lost,
        pss_kb=used.pss_kb,
        replies=tally.replies,
        events=tally.events,
        lag=lag,
        jitter_p50_s=percentile(tally.jitters_s, 50),
        first_audio_p50_s=percentile(tally.first_audio_s, 50),
        first_audio_p99_s=percentile(tally.first_audio_s, 99),
    )

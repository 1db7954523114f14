"""Conversations: what a pod costs that does what it is for."""

from __future__ import annotations

from time import perf_counter

from loadtest.fleet import pods
from loadtest.outcome import Check, Outcome
from loadtest.peers.script import PERIOD_MS
from loadtest.peers.talking import WARMUP_S, TalkLoad, run_talk
from loadtest.profiles import Tell, ms
from loadtest.resuming import Findings
from loadtest.timeline import watched

LEAST_SHARE = 0.9
"""Of the answers that are due in the time measured: one at its edge is in it or not."""


async def talk(tell: Tell, *, calls: int, seconds: float, outbox_bytes: int) -> Outcome:
    """Callers who stream all the time, speak three seconds, and are answered for three seconds, over and over.

    An answer that is not there when its caller speaks again counts as lost; an event out of order, or audio that is
    not the turn's own, as wrong.
    """
    began_s = perf_counter()
    async with pods("blue", outbox_bytes=outbox_bytes, agent="echo") as fleet, watched(fleet) as timeline:
        assert fleet.environment is not None
        tell(f"{calls} conversations for {WARMUP_S + seconds:g} s")
        seen = await run_talk(fleet.servers[0], fleet.environment.store, calls, seconds)
    findings = Findings(calls=calls, events=seen.events, frames=round(calls * seconds * 50), wrong=seen.wrong)
    findings.lost, findings.dropped = seen.missing, seen.lost
    least = round(LEAST_SHARE * calls * seconds * 1000 / PERIOD_MS, 1)
    checks = [Check("answers", seen.replies, least, least=True)]
    took_s = perf_counter() - began_s
    return Outcome("talk", calls, took_s, findings, checks, timeline, seen.lag, _facts(seen))


def _facts(seen: TalkLoad) -> dict[str, float]:
    assert seen.store_us is not None
    return {
        "server_us_per_heard_frame": round(seen.us_per_frame, 1),
        "store_us_per_heard_frame": round(seen.store_us, 1),
        "server_core": round(seen.core, 3),
        "chunk_jitter_p50_ms": ms(seen.jitter_p50_s),
        "chunk_jitter_p99_ms": ms(seen.p99_s),
        "first_audio_p50_ms": ms(seen.first_audio_p50_s),
        "first_audio_p99_ms": ms(seen.first_audio_p99_s),
    }

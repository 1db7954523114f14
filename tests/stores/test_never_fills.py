"""Calls by the thousand, said faster than real time, on a store that is small: it never fills, and none is lost."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import Any

import pytest

from tests.runtime.rig import ANSWER, Caller, Rig, ScriptedAgent, rig
from tests.servers import binaries, redis_server
from voice_agent.runtime.pod.pod import Pod
from voice_agent.stores.redis import RedisStore

MIB = 1024 * 1024
SECOND_BYTES = 48_000
MANUAL = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
SPEECH = {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(SECOND_BYTES)).decode()}
COMMIT = {"type": "input_audio_buffer.commit"}
AN_ENDED_CALL_BYTES = 40_000


@dataclass(frozen=True)
class Crowd:
    """So many calls, some at once, each with turns of some seconds that are answered as long, on so much memory."""

    calls: int
    at_once: int
    turns: int
    turn_s: int
    maxmemory: int


@pytest.mark.parametrize(
    "crowd",
    [
        Crowd(calls=40, at_once=10, turns=5, turn_s=6, maxmemory=12 * MIB),
        pytest.param(
            Crowd(calls=1000, at_once=50, turns=12, turn_s=15, maxmemory=64 * MIB),
            marks=[pytest.mark.soak, pytest.mark.timeout(1800)],
        ),
    ],
    ids=["few", "a thousand calls of three minutes"],
)
@pytest.mark.parametrize("server", sorted(binaries()))
async def test_a_small_store_never_fills(crowd: Crowd, server: str, record_property: Any) -> None:
    """Every turn is answered, no write is refused, and what has ended is small."""
    with redis_server(server) as running:
        store = RedisStore(running.url, ttl_s=1800)
        await store.open()
        await store._redis.config_set("maxmemory", crowd.maxmemory)
        async with rig(store, ScriptedAgent(chunks=10 * crowd.turn_s)) as its:
            pod = await its.pod(capacity=crowd.at_once)
            # Callers and pod share one event loop here, which is busy all the time.
            pod.admission.second_is_over = lambda **_: None  # type: ignore[method-assign]
            ended = await _talk(its, pod, crowd)
            counts: dict[tuple[str, Any], int] = pod.observer.counts  # type: ignore[attr-defined]
            info: Any = await store._redis.info("memory")
            record_property("used_memory_peak", info["used_memory_peak"])
            record_property("used_memory", info["used_memory"])
            print({key: round(info[key] / MIB, 1) for key in ("used_memory_peak", "used_memory")}, counts)
            assert ("limit_reached", "store_full") not in counts
            assert counts["limit_reached", "store_memory"] >= 1
            assert not pod.committer.write_back.is_behind
            assert len(ended) == crowd.calls
            sizes = [await _kept_bytes(store, call_id) for call_id in ended]
            assert max(sizes) <= AN_ENDED_CALL_BYTES
        await store.close()


async def _talk(its: Rig, pod: Pod, crowd: Crowd) -> list[str]:
    ended: list[str] = []
    places = asyncio.Semaphore(crowd.at_once)

    async def one() -> None:
        async with places:
            caller = await its.start(pod)
            for turn in range(1, crowd.turns + 1):
                await _turn(caller, turn, crowd.turn_s)
            await caller.gone(1000)
            ended.append(caller.call_id)

    await asyncio.gather(*(one() for _ in range(crowd.calls)))
    return ended


async def _turn(caller: Caller, turn: int, turn_s: int) -> None:
    if turn == 1:
        caller.transport.say(MANUAL)
    for _ in range(turn_s):
        caller.transport.say(SPEECH)
    caller.transport.say(COMMIT)
    caller.transport.say(ANSWER)
    done = await caller.transport.event("response.done", turn)
    assert done["response"]["status"] == "completed"
    # The test's own memory is not what is tried here.
    kept = [event for event in caller.transport.events if event["type"] in ("session.created", "response.done")]
    caller.transport.events[:] = kept


async def _kept_bytes(store: RedisStore, call_id: str) -> int:
    """What a server keeps of a call, with all that it needs for it."""
    client: Any = store._redis
    keys = [f"call:{{{call_id}}}{part}" for part in ("", ":items", ":out", ":in")]
    return sum([await client.memory_usage(key, samples=0) or 0 for key in keys])

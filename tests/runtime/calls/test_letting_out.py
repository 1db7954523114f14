"""`loopback` without an outbox: frames go straight back, and only their numbers are durable."""

from __future__ import annotations

from typing import Any

from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import CountingObserver, rig
from tests.waiting import until

FRAMES = [f"{number:04d}" * 240 for number in range(100)]
DELTA = "response.output_audio.delta"


def said(audio: str) -> dict[str, Any]:
    return {"type": "input_audio_buffer.append", "audio": audio}


async def test_frames_come_back_while_the_store_is_busy() -> None:
    """In order, numbered without gaps, and counted both ways."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(outbox_bytes=0)
        caller = await its.start(pod, "mirror", resumable=True)
        caller.transport.say(said(FRAMES[0]))
        await caller.transport.event(DELTA)
        live = pod.owned.by_id[caller.call_id]
        await until(lambda: live.call.reserved)
        store.gate.clear()
        for frame in FRAMES[1:]:
            caller.transport.say(said(frame))
        await caller.transport.event(DELTA, len(FRAMES))
        store.gate.set()
        events = [event for event in caller.transport.events if event["type"] == DELTA]
        assert [event["delta"] for event in events] == FRAMES
        ids = [int(event_id.removeprefix("evt_")) for event_id in caller.transport.ids]
        assert ids == list(range(1, len(ids) + 1))
        assert isinstance(pod.observer, CountingObserver)
        assert (pod.observer.frames.came, pod.observer.frames.went) == (len(FRAMES), len(FRAMES))


async def test_the_position_of_what_came_back_is_written_now_and_then() -> None:
    """Whoever takes the call up knows about where the caller was, though nothing waited for it."""
    async with rig() as its:
        blue, green = await its.pod("blue", outbox_bytes=0), await its.pod("green", outbox_bytes=0)
        caller = await its.start(blue, "mirror", resumable=True)
        for number, frame in enumerate(FRAMES + FRAMES, 1):
            caller.transport.say(said(frame))
            await caller.transport.event(DELTA, number)
        live = blue.owned.by_id[caller.call_id]
        await until(lambda: not blue.committer.has_pending(live.writer))
        again = await its.resume(green, caller.call_id, live.call.seq)
        known = (await again.greeting())["session"]["call"]["input_audio_ms"]
        assert live.call.heard_ms / 2 <= known <= live.call.heard_ms


async def test_audio_that_comes_when_the_caller_is_gone_is_no_fault() -> None:
    """A message that was read before the connection broke finds no connection."""
    async with rig() as its:
        pod = await its.pod(outbox_bytes=0)
        caller = await its.start(pod, "mirror", resumable=True)
        caller.transport.say(said(FRAMES[0]))
        await caller.transport.event(DELTA)
        live = pod.owned.by_id[caller.call_id]
        await until(lambda: live.call.reserved)
        live.connection = None
        live.receive('{"type":"input_audio_buffer.append","audio":"AAAAAAAA"}')
        assert live.call.seq == len(caller.transport.ids) + 1

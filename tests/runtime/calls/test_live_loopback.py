"""`loopback` on a pod: every frame comes back, and none before the store has it, with or without an outbox."""

from __future__ import annotations

import pytest

from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import Caller, CountingObserver, rig
from tests.waiting import until

FRAMES = [f"{number:04d}" * 240 for number in range(60)]
FRAME_BYTES = 720
DELTA = "response.output_audio.delta"
OUTBOXES = pytest.mark.parametrize("outbox_bytes", [0, 1 << 20], ids=["no outbox", "outbox"])


def say(caller: Caller, frames: list[str]) -> None:
    for frame in frames:
        caller.transport.say({"type": "input_audio_buffer.append", "audio": frame})


def echoed(caller: Caller) -> list[str]:
    return [event["delta"] for event in caller.transport.events if event["type"] == DELTA]


@OUTBOXES
async def test_no_frame_comes_back_before_the_store_has_answered(outbox_bytes: int) -> None:
    """Then all do, in order, numbered without gaps, and counted both ways."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(outbox_bytes=outbox_bytes)
        caller = await its.start(pod, "mirror", resumable=True)
        say(caller, FRAMES[:3])
        await caller.transport.event(DELTA, 3)
        live = pod.owned.by_id[caller.call_id]
        await until(lambda: not pod.committer.has_pending(live.writer))
        store.gate.clear()
        before, heard = len(caller.transport.events), live.call.outbox.seq + len(FRAMES) - 3
        say(caller, FRAMES[3:])
        await until(lambda: live.call.outbox.seq == heard)
        assert len(caller.transport.events) == before
        store.gate.set()
        await caller.transport.event(DELTA, len(FRAMES))
        assert echoed(caller) == FRAMES
        ids = [int(event_id.removeprefix("evt_")) for event_id in caller.transport.ids]
        assert ids == list(range(1, len(ids) + 1))
        assert isinstance(pod.observer, CountingObserver)
        assert (pod.observer.frames.came, pod.observer.frames.went) == (len(FRAMES), len(FRAMES))
        live.responder.deliver()  # As at a resume, and at the end: no agent is there to be told.
        assert live.responder.cancel() == []


@OUTBOXES
async def test_another_pod_goes_on_at_the_very_frame(outbox_bytes: int) -> None:
    """The first one's last frames reached no store: they have no numbers, and the caller is asked for them again."""
    store = FaultyStore()
    async with rig(store) as its:
        blue, green = [await its.pod(name, outbox_bytes=outbox_bytes) for name in ("blue", "green")]
        caller = await its.start(blue, "mirror", resumable=True)
        say(caller, FRAMES[:20])
        await caller.transport.event(DELTA, 20)
        live = blue.owned.by_id[caller.call_id]
        await until(lambda: not blue.committer.has_pending(live.writer))
        last_event = live.call.outbox.seq
        store.gate.clear()
        say(caller, FRAMES[20:40])
        await until(lambda: live.call.outbox.seq == last_event + 20)
        again = await its.resume(green, caller.call_id, last_event)
        told = (await again.greeting())["session"]["call"]
        assert (told["input_audio_bytes"], told["gap"]) == (20 * FRAME_BYTES, None)
        store.gate.set()
        say(again, FRAMES[20:])
        await again.transport.event(DELTA, 40)
        assert echoed(caller) + echoed(again) == FRAMES

"""Calls for tests, and short ways to make things happen to them."""

from __future__ import annotations

from typing import Any

import orjson

from voice_agent.call import inputs, machine
from voice_agent.call.changes import Snapshot
from voice_agent.call.codec import restore
from voice_agent.call.effects import Effect
from voice_agent.call.outbox import Outbox
from voice_agent.call.record import Call
from voice_agent.call.session_config import new_session
from voice_agent.call.writes import take_write

FRAME = b"\x01\x00" * 480
"""20 ms of PCM."""
FRAME_MS = 20


CALL_ID = "call_" + "a" * 26


def item_id(n: int) -> str:
    """Id of the n-th item that the call of a test makes itself."""
    return f"item_{CALL_ID[5:21]}_{n}"


def response_id(n: int) -> str:
    """Id of the n-th response of a test's call."""
    return f"resp_{CALL_ID[5:21]}_{n}"


def new_call(*, call_id: str = CALL_ID, mirror: bool = False, outbox_bytes: int = 1 << 20, **session: Any) -> Call:
    """A call just started, attached, with nothing unsaved."""
    call = Call(
        call_id=call_id,
        epoch=1,
        owner="pod-a",
        color="blue",
        model="test",
        session=new_session(call_id, "test", "alloy", expires_at_s=1),
        outbox=Outbox(outbox_bytes),
        created_at_ms=0,
        mirror=mirror,
    )
    machine.attach(call, 0, 0, resumable=False)
    if session:
        machine.step(call, inputs.UpdateSession({"type": "realtime", **session}), 0)
    call.write_whole = True
    take_write(call, 0)
    return call


def manual_call(**more: Any) -> Call:
    """A call without voice activity detection."""
    return new_call(audio={"input": {"turn_detection": None}}, **more)


def feed(call: Call, *event: inputs.Input, now_ms: int = 0) -> list[Effect]:
    """Several things, one after the other; all their effects."""
    return [effect for one in event for effect in machine.step(call, one, now_ms)]


def emitted(call: Call) -> list[dict[str, Any]]:
    """Events that wait for the store, as objects."""
    return [orjson.loads(entry.head) for entry in call.unsaved_events]


def types(call: Call) -> list[str]:
    """Types of the events that wait for the store."""
    return [event["type"] for event in emitted(call)]


def append(count: int = 1, *, audio: bytes = FRAME) -> list[inputs.Input]:
    """`count` frames of 20 ms."""
    return [inputs.AppendAudio(audio) for _ in range(count)]


def spoken_turn(call: Call, *, frames: int = 25, now_ms: int = 0) -> list[Effect]:
    """The caller speaks for `frames` frames, heard by voice activity detection."""
    start = call.input_audio.position
    end = start + frames * len(FRAME)
    first = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, start),))
    last = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(False, end),))
    return feed(call, first, *append(frames - 2), last, now_ms=now_ms)


def moved(call: Call) -> Call:
    """The call as another pod takes it over."""
    call.write_whole = True
    write = take_write(call, 0)
    return restore(
        Snapshot(write.fields, write.items, write.events, write.speech), epoch=2, outbox_bytes=1 << 20, checkpoint_ms=0
    )

"""Calls for tests, and short ways to make things happen to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import orjson

from voice_agent.call import inputs, machine
from voice_agent.call.agent_ledger import AgentLedger
from voice_agent.call.changes import OutboxEntry, Snapshot
from voice_agent.call.effects import Attached, Effect, SpeechStarted, SpeechStopped
from voice_agent.call.ids import IdSequence
from voice_agent.call.outbox import Outbox
from voice_agent.call.ownership import Owner
from voice_agent.call.record import CallRecord, Identity
from voice_agent.call.restoring import restore
from voice_agent.call.session_config import SessionConfig, new_session
from voice_agent.call.speech_log import SpeechLog
from voice_agent.call.writes import take_write
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

FRAME = b"\x01\x00" * 480
"""20 ms of PCM."""
FRAME_MS = 20


CALL_ID = "call_" + "a" * 26

Happening = inputs.Input | Callable[[CallRecord], Iterator[inputs.Input]]
"""An input, or inputs that depend on how the call stands when they come, such as those of `tests.call.engine`."""


def item_id(n: int) -> str:
    """Id of the n-th item that the call of a test makes itself."""
    return f"item_{CALL_ID[5:21]}_{n}"


def response_id(n: int) -> str:
    """Id of the n-th response of a test's call."""
    return f"resp_{CALL_ID[5:21]}_{n}"


def new_call(
    *, call_id: str = CALL_ID, mirror: bool = False, outbox_bytes: int = 1 << 20, **session: Any
) -> CallRecord:
    """A call just started, attached, with nothing unsaved; its agent waits for what happens."""
    call = CallRecord(
        call_id=call_id,
        identity=Identity(model="test", created_at_ms=0, mirror=mirror),
        owner=Owner(1, "pod-a", "blue"),
        ids=IdSequence.of(call_id),
        speech=SpeechLog(),
        session=SessionConfig(new_session(call_id, "test", "alloy", expires_at_s=1)),
        outbox=Outbox(outbox_bytes),
        agent=None if mirror else AgentLedger(made=1),
    )
    attach(call, 0, 0, resumable=False)
    if session:
        machine.step(call, inputs.UpdateSession({"type": "realtime", **session}), 0)
    call.record.write_whole = True
    take_write(call, 0)
    return call


def manual_call(**more: Any) -> CallRecord:
    """A call without voice activity detection."""
    return new_call(audio={"input": {"turn_detection": None}}, **more)


def feed(call: CallRecord, *given: Happening, now_ms: int = 0) -> list[Effect]:
    """Several things, one after the other; all their effects."""
    events = (event for one in given for event in (one(call) if callable(one) else (one,)))
    return [effect for event in events for effect in machine.step(call, event, now_ms)]


def emitted(call: CallRecord) -> list[dict[str, Any]]:
    """Events that wait for the store, as objects."""
    return [orjson.loads(entry.head) for entry in call.outbox.unsaved]


def types(call: CallRecord) -> list[str]:
    """Types of the events that wait for the store."""
    return [event["type"] for event in emitted(call)]


def attach(call: CallRecord, last_event: int | None, now_ms: int, *, resumable: bool) -> Attached:
    """A client connects."""
    [attached] = machine.step(call, inputs.ConnectionMade(last_event, resumable), now_ms)
    assert isinstance(attached, Attached)
    return attached


def release(call: CallRecord, events: list[OutboxEntry]) -> None:
    """A write of these events is durable."""
    if events:
        machine.step(call, inputs.EventsReleased(events[-1].n), 0)


def append(count: int = 1, *, audio: bytes = FRAME) -> list[inputs.Input]:
    """`count` frames of 20 ms."""
    return [inputs.AppendAudio(audio) for _ in range(count)]


def spoken_turn(call: CallRecord, *, frames: int = 25, now_ms: int = 0) -> list[Effect]:
    """The caller speaks for `frames` frames, heard by voice activity detection."""
    start = call.input_audio.position
    end = start + frames * len(FRAME)
    first = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(True, start),))
    last = inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(False, end),))
    return feed(call, first, *append(frames - 2), last, now_ms=now_ms)


def beside_speech(effects: list[Effect]) -> list[Effect]:
    """Without those that only tell where speech starts and stops."""
    return [effect for effect in effects if not isinstance(effect, SpeechStarted | SpeechStopped)]


def speech_in(effects: list[Effect]) -> list[Effect]:
    """Only those."""
    return [effect for effect in effects if isinstance(effect, SpeechStarted | SpeechStopped)]


def moved(call: CallRecord) -> CallRecord:
    """The call as another pod takes it over."""
    call.record.write_whole = True
    write = take_write(call, 0)
    return restore(
        Snapshot(write.fields, write.items, write.events, write.speech), epoch=2, outbox_bytes=1 << 20, checkpoint_ms=0
    )


PARTS = ("identity", "owner", "lifecycle", "ids", "dialogue", "clips", "record", "speech")
NOT_STORED = frozenset("cut_off pending missing_told_at trimmed_to unsaved_acts".split())
"""What belongs to the connection, or to the pod: the next owner begins anew with it."""


def _fields(part: Any) -> dict[str, Any]:
    return {one.name: getattr(part, one.name) for one in fields(part) if one.name not in NOT_STORED}


def remembered(call: CallRecord) -> dict[str, Any]:
    """All that a call is, field by field, without what was said and done since and is not durable yet."""
    waiting = {event_id for event_id, _, _ in call.client_events.unsaved}
    heard = call.input_audio
    known = {event_id: at for event_id, at in call.client_events.seen.items() if event_id not in waiting}
    return {
        "call_id": call.call_id,
        "response": call.response,
        "agent": _fields(call.agent) if call.agent is not None else None,
        "usage": replace(call.usage, stored={}) if call.usage is not None else None,
        **{name: _fields(getattr(call, name)) for name in PARTS},
        "session": (call.session.fields, call.session.voice_locked),
        "outbox": (call.outbox.seq, call.outbox.after(0)),
        "conversation": [(each["id"], call.conversation.get(each["id"])) for each in call.conversation.items()],
        "input_audio": replace(heard, audio=heard.audio[: heard.saved], position=heard.durable_position),
        "client_events": (list(known.items()), max((number for number, _ in known.values()), default=0)),
    }


def stored(call: CallRecord) -> Snapshot:
    """What a store holds after one write of everything and one of the rest."""
    store = MemoryStore(ttl_s=60)
    run_now(store.commit([take_write(call, 0)]))
    held = run_now(store.load(call.call_id))
    assert held is not None
    return held

"""A call that went through the store is the call that was written."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.call import inputs, machine
from app.call.changes import Snapshot
from app.call.codec import KNOWN_FIELDS, restore, skip_write, take_write
from app.call.record import Call
from app.stores.memory import MemoryStore
from tests.call.calls import FRAME, append, happen, new_call

TEXT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
STEP_NAMES = """speak silence stop append named commit clear item drop vad manual create plan text audio function finish
fail cancel heard lost write skip whole""".split()
STEPS = st.lists(st.sampled_from(STEP_NAMES), max_size=60)


def act(call: Call, step: str, number: int) -> None:
    """Let one of the named things happen."""
    reply = call.reply.response_id if call.reply else "resp_0"
    at = call.hearing.position
    turn_detection = {"type": "server_vad"} if step == "vad" else None
    choices: dict[str, list[inputs.Input]] = {
        "speak": [inputs.AppendAudio(FRAME * 12, None, (inputs.VoiceBoundary(True, at),))],
        "stop": [inputs.AppendAudio(FRAME * 3, None, (inputs.VoiceBoundary(False, at + 960),))],
        "append": append(7),
        "silence": append(40),
        "named": [inputs.AppendAudio(FRAME, f"event_{number}")],
        "commit": [inputs.CommitAudio()],
        "clear": [inputs.ClearAudio()],
        "item": [inputs.CreateItem(dict(TEXT), event_id=f"event_{number}")],
        "drop": [inputs.DeleteItem(call.conversation.last_id or "none")],
        "vad": [inputs.UpdateSession({"audio": {"input": {"turn_detection": turn_detection}}})],
        "manual": [inputs.UpdateSession({"audio": {"input": {"turn_detection": None}}})],
        "create": [inputs.CreateResponse({"metadata": {"n": str(number)}})],
        "plan": [inputs.ReplyPlanned(reply, {"n": number}, {"state": number})],
        "text": [inputs.ReplyText(reply, f"word {number} ")],
        "audio": [inputs.ReplyAudio(reply, FRAME)],
        "function": [inputs.ReplyFunctionCall(reply, "look", "{}")],
        "finish": [inputs.ReplyFinished(reply)],
        "fail": [inputs.ReplyFailed(reply, "broke")],
        "cancel": [inputs.CancelResponse()],
        "heard": [inputs.Transcribed(item_id, "said") for item_id in list(call.untranscribed)],
        "lost": [inputs.ConnectionLost(hung_up=False)],
    }
    happen(call, *choices[step], now_ms=number * 10)


def picture(call: Call) -> dict[str, Any]:
    """All that a call is, as one write of everything."""
    unsaved = list(call.unsaved_seen)
    call.write_whole = True
    write = take_write(call, 0)
    call.unsaved_seen = unsaved
    speech: dict[str, bytes] = {}
    for piece in write.speech:
        speech[piece.item_id] = speech.get(piece.item_id, b"") + piece.audio
    return {"fields": write.fields, "items": write.items, "events": write.events, "speech": speech}


@settings(max_examples=400)
@given(STEPS, st.booleans())
@example(["create", "text", "text"], True)
@example(["create", "text", "audio", "text", "audio"], True)
def test_a_crash_after_any_write_loses_nothing_that_was_written(steps: list[str], at_once: bool) -> None:
    """Written in pieces at any moments, then read by another pod: the same call, field by field."""
    call = new_call()
    store = MemoryStore(ttl_s=60)
    call.write_whole = True
    asyncio.run(store.commit([take_write(call, 0)]))
    for number, step in enumerate(steps):
        if step == "skip":
            skip_write(call)  # The store is away.
        elif step in ("write", "whole"):
            call.write_whole = call.write_whole or step == "whole"
            asyncio.run(store.commit([take_write(call, 0)]))
        else:
            act(call, step, number)
            if at_once:
                asyncio.run(store.commit([take_write(call, 0)]))
    asyncio.run(store.commit([take_write(call, 0)]))
    held = asyncio.run(store.load(call.call_id))
    assert held is not None
    again = restore(held, epoch=call.epoch, outbox_bytes=1 << 20, checkpoint_ms=200)
    assert audio_of(again) == audio_of(call)
    assert picture(again) == picture(call)
    assert again.heard_ms == call.heard_ms


def audio_of(call: Call) -> dict[str, bytes]:
    """What the caller said, by item."""
    clips = {clip.item_id: clip.audio for clip in (*call.untranscribed.values(), call.clip, call.answered) if clip}
    return clips | {"buffer": bytes(call.hearing.audio[: call.hearing.saved])}


def stored(call: Call) -> Snapshot:
    """What a store holds after one write of everything and one of the rest."""
    store = MemoryStore(ttl_s=60)
    asyncio.run(store.commit([take_write(call, 0)]))
    held = asyncio.run(store.load(call.call_id))
    assert held is not None
    return held


def test_an_append_is_remembered_no_sooner_than_its_audio() -> None:
    """After a crash a client sends its last appends again: those whose audio is lost must not be ignored."""
    call = new_call()
    call.write_whole = True
    store = MemoryStore(ttl_s=60)
    asyncio.run(store.commit([take_write(call, 0)]))
    for number in range(30):
        happen(call, inputs.AppendAudio(FRAME, f"frame_{number}"))
    happen(call, inputs.CreateItem(dict(TEXT), event_id="typed"))
    asyncio.run(store.commit([take_write(call, 0)]))
    held = asyncio.run(store.load(call.call_id))
    assert held is not None
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert again.heard_ms == 300
    remembered = [number for number in range(30) if f"frame_{number}" in again.seen]
    assert remembered == list(range(15))
    assert "typed" in again.seen


def test_fields_of_a_newer_version_survive() -> None:
    """What an older pod does not know it keeps, also when it writes all of the call back."""
    call = new_call()
    call.write_whole = True
    held = stored(call)
    held.fields["invented_later"] = b"\x00kept"
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    machine.attach(again, again.seq, 0, resumable=False)
    again.write_whole = True
    assert take_write(again, 0).fields["invented_later"] == b"\x00kept"


def test_every_field_that_is_written_is_known() -> None:
    """A field that `restore` does not know would be kept twice, as an unknown one."""
    call = new_call()
    call.write_whole = True
    names = {name for name in take_write(call, 0).fields if not name.startswith("seen:")}
    assert names <= KNOWN_FIELDS


def test_a_new_owner_writes_under_the_name_of_its_claim() -> None:
    """The store notes it with the claim, and refuses another owner of the same epoch."""
    call = new_call()
    call.write_whole = True
    held = stored(call)
    held.fields["claim"] = b"a name"
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert (again.epoch, again.claim) == (2, "a name")
    write = take_write(again, 0)
    assert (write.epoch, write.claim) == (2, "a name")


def test_the_newest_client_event_is_known_in_whatever_order_fields_come() -> None:
    """A hash has none, and the ring of remembered ids begins anywhere."""
    call = new_call()
    happen(call, *(inputs.CreateItem(dict(TEXT), event_id=f"event_{n}") for n in range(20)))
    call.write_whole = True
    held = stored(call)
    turned = Snapshot(dict(reversed(held.fields.items())), held.items, held.outbox, held.speech)
    for snapshot in (held, turned):
        again = restore(snapshot, epoch=2, outbox_bytes=0, checkpoint_ms=200)
        assert again.last_client_event_id == "event_19"
        assert list(again.seen) == [f"event_{n}" for n in range(20)]
        assert again.seen_made == call.seen_made

"""A call that went through the store is the call that was written: `codec` and `restoring` agree."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.call.calls import (
    CALL_ID,
    FRAME,
    Happening,
    append,
    attach,
    feed,
    item_id,
    manual_call,
    moved,
    new_call,
    remembered,
    response_id,
    stored,
)
from tests.call.engine import call_tool, done, engine_call, fail, finish
from tests.call.records import recorded
from voice_agent.call import inputs
from voice_agent.call.apology import Apology
from voice_agent.call.changes import Snapshot
from voice_agent.call.codec import is_known
from voice_agent.call.input_buffer import InputAudioBuffer
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import epoch_of, keeps_what_was_said, restore
from voice_agent.call.schema import SCHEMA
from voice_agent.call.session_config import new_session
from voice_agent.call.status import Status
from voice_agent.call.writes import skip_write, take_write
from voice_agent.errors import MAX_SCHEMA_CHARS, RecordUnreadable
from voice_agent.stores.memory import MemoryStore
from voice_agent.testing.virtual_loop import run_now

TEXT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
STEP_NAMES = """speak silence stop append named commit clear item drop vad manual create text audio function finish
fail cancel heard lost write skip whole begin end once result tool send timer due done broken dtmf outside output
cut""".split()
STEPS = st.lists(st.sampled_from(STEP_NAMES), max_size=60)


def act(call: CallRecord, step: str, number: int) -> None:
    """Let one of the named things happen."""
    response = call.response.response_id if call.response else "resp_0"
    at = call.input_audio.position
    handled = call.agent.first.number if call.agent is not None and call.agent.first is not None else 0
    turn_detection = {"type": "server_vad"} if step == "vad" else None
    choices: dict[str, list[Happening]] = {
        "speak": [inputs.AppendAudio(FRAME * 12, None, (inputs.VoiceBoundary(True, at),))],
        "stop": [inputs.AppendAudio(FRAME * 3, None, (inputs.VoiceBoundary(False, at + 960),))],
        "append": [*append(7)],
        "silence": [*append(40)],
        "named": [inputs.AppendAudio(FRAME, f"event_{number}")],
        "commit": [inputs.CommitAudio()],
        "clear": [inputs.ClearAudio()],
        "item": [inputs.CreateItem(dict(TEXT), event_id=f"event_{number}")],
        "drop": [inputs.DeleteItem(call.conversation.last_id or "none")],
        "vad": [inputs.UpdateSession({"audio": {"input": {"turn_detection": turn_detection}}})],
        "manual": [inputs.UpdateSession({"audio": {"input": {"turn_detection": None}}})],
        "create": [inputs.CreateResponse({"metadata": {"n": str(number)}})],
        "text": [inputs.ResponseText(response, f"word {number} ")],
        "audio": [inputs.ResponseAudio(response, FRAME)],
        "function": [call_tool("look", "{}")],
        "finish": [finish],
        "fail": [fail("broke")],
        "cancel": [inputs.CancelResponse()],
        "heard": [inputs.Transcribed(item_id, "said") for item_id in list(call.clips.untranscribed)],
        "lost": [inputs.ConnectionLost(hung_up=False)],
        "begin": [inputs.SpeechBegun(handled, f"speech_{number}")],
        "end": [inputs.SpeechEnded(handled, speech_of(call))],
        "once": [inputs.OnceBegun(handled, "once")],
        "result": [inputs.OnceDone(handled, "once", {"n": number})],
        "tool": [inputs.ToolAsked(handled, f"tool_{number}", "look", "{}")],
        "send": [inputs.AgentEventSent(handled, f"send_{number}", {"type": "agent.x"})],
        "timer": [inputs.TimerSet(handled, f"timer_{number}", f"t{number % 3}", number * 10 + 50)],
        "due": [inputs.TimersDue()],
        "done": [inputs.EventDone(handled, {"state": number})],
        "broken": [inputs.EventFailed(handled, "broke", Apology("Sorry.", FRAME))],
        "dtmf": [inputs.DtmfPressed("1")],
        "outside": [inputs.CreateResponse({"conversation": "none"})],
        "output": [inputs.CreateItem({"type": "function_call_output", "call_id": "fc_1", "output": "4"})],
        "cut": [inputs.TruncateItem(call.conversation.last_id or "none", 0, 0)],
    }
    feed(call, *choices[step], now_ms=number * 10)


def speech_of(call: CallRecord) -> str:
    """The key of the speech under way."""
    speech = call.agent.speech if call.agent is not None else None
    return speech.key if speech is not None else ""


def check(call: CallRecord, steps: list[str], *, at_once: bool) -> None:
    """Written in pieces at any moments, then read by another pod: the same call, field by field."""
    store = MemoryStore(ttl_s=60)
    call.record.write_whole = True
    run_now(store.commit([take_write(call, 0)]))
    for number, step in enumerate(steps):
        if step == "skip":
            skip_write(call)  # The store is away.
        elif step in ("write", "whole"):
            call.record.write_whole = call.record.write_whole or step == "whole"
            run_now(store.commit([take_write(call, 0)]))
        else:
            act(call, step, number)
            if at_once:
                run_now(store.commit([take_write(call, 0)]))
    run_now(store.commit([take_write(call, 0)]))
    held = run_now(store.load(call.call_id))
    assert held is not None
    again = restore(held, epoch=call.owner.epoch, outbox_bytes=1 << 20, checkpoint_ms=200)
    assert remembered(again) == remembered(call)
    assert again.heard_ms == call.heard_ms


@settings(max_examples=400)
@given(STEPS, st.booleans())
@example(["create", "text", "text"], True)
@example(["create", "text", "audio", "text", "audio"], True)
@example(["begin", "text", "audio", "text", "end", "begin", "text", "done", "begin"], True)
@example(["create", "outside", "once", "begin", "text", "cancel", "result", "begin", "text", "broken"], True)
def test_a_crash_after_any_write_loses_nothing_that_was_written(steps: list[str], at_once: bool) -> None:
    """Whatever happened."""
    check(engine_call(started=False), steps, at_once=at_once)


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "steps",
    [
        "item speak append named stop text audio function text append",
        "manual append named append commit append whole create text audio heard finish append",
        "manual append commit create text audio fail item item write drop",
        "speak append stop text audio finish lost",
        "item create text skip audio write text audio",
    ],
)
def test_a_call_of_any_kind_is_read_as_it_was_written(steps: str, at_once: bool) -> None:
    """Some that the test above makes, too; and whoever the agent is."""
    check(new_call(), steps.split(), at_once=at_once)
    check(new_call(mirror=True), ["append", "item", "append", "write", "append"], at_once=at_once)


def test_fields_of_a_newer_version_survive() -> None:
    """What an older pod does not know it keeps, also when it writes all of the call back."""
    call = new_call()
    call.record.write_whole = True
    held = stored(call)
    held.fields["invented_later"] = b"\x00kept"
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    attach(again, again.outbox.seq, 0, resumable=False)
    again.record.write_whole = True
    assert take_write(again, 0).fields["invented_later"] == b"\x00kept"


def test_every_field_that_is_written_is_known() -> None:
    """One that `restore` does not know would be kept twice, as an unknown one, and put back when it is long stale."""
    call = new_call()
    feed(call, inputs.CreateItem(dict(TEXT), event_id="typed"), inputs.CreateResponse({}))
    feed(call, inputs.ResponseText(response_id(1), "Yes."), inputs.ResponseAudio(response_id(1), FRAME))
    call.record.write_whole = True
    held = stored(call)
    assert {"seen:1", "text:0", "response_audio", "kept"} < held.fields.keys()
    assert [name for name in held.fields if not is_known(name)] == []
    assert restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200).record.unknown_fields == {}
    assert not is_known("mood")


def test_the_newest_client_event_is_known_in_whatever_order_fields_come() -> None:
    """A hash has none, and the ring of remembered ids begins anywhere."""
    call = new_call()
    feed(call, *(inputs.CreateItem(dict(TEXT), event_id=f"event_{n}") for n in range(20)))
    call.record.write_whole = True
    held = stored(call)
    turned = Snapshot(dict(reversed(held.fields.items())), held.items, held.outbox, held.speech)
    for snapshot in (held, turned):
        again = restore(snapshot, epoch=2, outbox_bytes=0, checkpoint_ms=200)
        assert again.client_events.last_id == "event_19"
        assert list(again.client_events.seen) == [f"event_{n}" for n in range(20)]
        assert again.client_events.made == call.client_events.made


@pytest.mark.parametrize("whole", [False, True])
def test_an_id_that_a_client_gives_again_has_the_newer_audio(whole: bool) -> None:
    """The turn that had it before is not answered by what the other one says."""
    item = {"id": "mine", "type": "message", "role": "user", "content": [{"type": "input_audio", "transcript": None}]}
    call = manual_call()
    call.record.write_whole = True
    store = MemoryStore(ttl_s=60)
    feed(call, inputs.CreateItem(dict(item), FRAME * 5), inputs.CreateResponse({}))
    run_now(store.commit([take_write(call, 0)]))
    feed(call, inputs.DeleteItem("mine"), inputs.CreateItem(dict(item), FRAME * 7))
    call.record.write_whole = whole
    run_now(store.commit([take_write(call, 0)]))
    held = run_now(store.load(CALL_ID))
    assert held is not None
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert again.response is not None
    assert (
        (again.clips.latest, again.clips.untranscribed)
        == (call.clips.latest, call.clips.untranscribed)
        == (call.clips.latest, {"mine": call.clips.latest})
    )
    assert again.clips.answered is None


def test_the_buffer_begins_anew_where_some_of_its_audio_is_lost() -> None:
    """At the position where it began; the item that it will become keeps its id."""
    call = manual_call()
    feed(call, *append(30), inputs.CommitAudio(), *append(20))
    call.record.write_whole = True
    held = stored(call)
    held.speech.pop()
    again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert again.input_audio == InputAudioBuffer(position=30 * len(FRAME), item_id=call.input_audio.item_id)


def test_an_id_that_came_twice_is_as_new_as_when_it_came_last() -> None:
    """Clients may use one again."""
    call = new_call()
    feed(call, *(inputs.CreateItem(dict(TEXT), event_id=event_id) for event_id in ("a", "b", "a")))
    again = moved(call)
    assert list(again.client_events.seen.items()) == [("b", (2, 0)), ("a", (3, 0))]
    assert again.client_events.last_id == "a"


def test_appends_in_an_earlier_format_are_remembered_whatever_is_lost() -> None:
    """Their positions are counted anew in another format, and their audio was dealt with when that began."""
    ulaw = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    for new_appends in (0, 30):
        call = manual_call()
        feed(call, *(inputs.AppendAudio(FRAME, f"old_{number}") for number in range(30)), inputs.CommitAudio())
        take_write(call, 0)
        feed(call, inputs.UpdateSession(ulaw))
        feed(call, *(inputs.AppendAudio(bytes(160), f"new_{number}") for number in range(new_appends)))
        call.record.write_whole = True
        held = stored(call)
        held.speech.clear()
        again = restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
        assert again.record.missing.speech
        assert again.heard_ms == 600
        assert list(again.client_events.seen) == [f"old_{number}" for number in range(30)]


def test_what_is_still_being_played_is_known_to_the_next_owner() -> None:
    """Also once the reply is over, or has gone on to another item: what comes next is heard after it."""
    spoken = new_call()
    feed(spoken, inputs.CreateItem(dict(TEXT)), inputs.CreateResponse({}))
    feed(spoken, inputs.ResponseText(response_id(1), "Yes."), inputs.ResponseAudio(response_id(1), FRAME * 50))
    over, goes_on, is_called = moved(spoken), moved(spoken), moved(spoken)
    feed(over, finish)
    feed(is_called, call_tool("look", "{}"), inputs.ResponseText(response_id(1), "So"))
    for call in (over, goes_on, is_called):
        assert call.dialogue.playback is not None
        assert call.dialogue.playback.sent_ms == 1000
        assert moved(call).dialogue.playback == call.dialogue.playback
    again = moved(over)
    feed(again, inputs.CreateResponse({}), now_ms=100)
    feed(again, inputs.ResponseAudio(response_id(2), FRAME * 50), now_ms=100)
    assert again.dialogue.playback is not None
    assert again.dialogue.playback.started_at_ms == 1000


def test_a_call_that_has_ended_tells_what_was_said_while_that_is_kept() -> None:
    """Its session and its agent's state stand among the items, and go with them; the record tells nothing of it."""
    for whole in (False, True):
        call = new_call(instructions="Be brief.")
        feed(call, inputs.CreateItem(dict(TEXT)), inputs.CreateResponse({}))
        done(call, state={"state": 1})
        written = take_write(call, 0).items
        feed(call, inputs.CreateItem(dict(TEXT)), inputs.ConnectionLost(hung_up=True), now_ms=7)
        assert keeps_what_was_said(Snapshot({"session": b"{}"}, {}, [], []))
        call.record.write_whole = whole
        write = take_write(call, 8)
        assert not call.has_changes
        assert (write.ends, write.whole, write.events, write.speech) == (True, whole, [], [])
        assert "session" not in write.fields
        assert len(write.items) == (3 if whole else 2)
        held = Snapshot(write.fields, written | write.items, [], [])
        assert keeps_what_was_said(held)
        again = restore(held, epoch=1, outbox_bytes=0, checkpoint_ms=0)
        assert (again.lifecycle.status, again.lifecycle.outcome, again.lifecycle.ended_at_ms) == (
            Status.ENDED,
            "hangup",
            7,
        )
        assert (again.session.fields, again.dialogue.agent_state) == (call.session.fields, {"state": 1})
        assert [item["id"] for item in again.conversation.items()] == [item_id(1), item_id(2)]
        held.items.clear()
        assert not keeps_what_was_said(held)
        bare = restore(held, epoch=1, outbox_bytes=0, checkpoint_ms=0)
        assert (bare.session.fields, bare.dialogue.agent_state) == (
            new_session(CALL_ID, "test", "", expires_at_s=0),
            {},
        )


@pytest.mark.parametrize(
    ("schema", "is_read"),
    [
        (b"%d" % SCHEMA, True),
        (b"%d" % (SCHEMA + 1), False),
        (b"%d" % (SCHEMA - 1), False),
        ((b"%d" % SCHEMA).zfill(MAX_SCHEMA_CHARS), True),
        ((b"%d" % SCHEMA).zfill(MAX_SCHEMA_CHARS + 1), False),
        (b"9" * 5000, False),
        (b"soon", False),
        (b"", False),
    ],
)
def test_only_records_of_a_known_schema_are_read(schema: bytes, is_read: bool) -> None:
    """Whatever else it says it is, nothing of it is looked at."""
    held = recorded("schema-2")
    held.fields["schema"] = schema
    if is_read:
        assert restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200).call_id
        return
    held.fields = {"schema": schema}
    with pytest.raises(RecordUnreadable) as refused:
        restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert (refused.value.schema, refused.value.damage) == (schema[:MAX_SCHEMA_CHARS].decode(), "")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq", b"-1"),
        ("seq", b"9007199254740993"),
        ("updated_at_ms", b"late"),
        ("agent_state", b"[]"),
        ("session", b"[]"),
        ("status", b"lively"),
        ("counts", b"1 2"),
    ],
)
def test_a_field_that_is_something_else_than_its_kind_is_damage(name: str, value: bytes) -> None:
    """The refusal tells the log what was wrong."""
    held = recorded("schema-2")
    held.fields[name] = value
    with pytest.raises(RecordUnreadable) as refused:
        restore(held, epoch=2, outbox_bytes=0, checkpoint_ms=200)
    assert refused.value.damage


def test_an_epoch_is_a_number() -> None:
    """Without one nobody can own the call."""
    held = recorded("schema-2")
    assert epoch_of(held) == 2
    held.fields["epoch"] = b"newest"
    with pytest.raises(RecordUnreadable, match="schema 2"):
        epoch_of(held)

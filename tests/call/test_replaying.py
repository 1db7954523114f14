"""A recording replays to the same events, and whatever differs is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.call.calls import FRAME
from tests.call.test_recording import MADE
from voice_agent.call import events, inputs, machine
from voice_agent.call.beginnings import begin
from voice_agent.call.inputs import Input
from voice_agent.call.recording import InputText, emitted_after, opening
from voice_agent.call.replaying import MAX_DIFFERENCES, replay

CONVERSATION: list[Input] = [
    inputs.ConnectionMade(0, resumable=True),
    inputs.AppendAudio(FRAME * 10, None, (inputs.VoiceBoundary(True, 0),)),
    inputs.TakeWrite(),
    inputs.AppendAudio(FRAME, None, (inputs.VoiceBoundary(False, 10 * len(FRAME)),)),
    inputs.ClearAudio(),
    inputs.EventsReleased(1),
    inputs.ConnectionLost(hung_up=False),
]


def recording() -> bytes:
    """Of that conversation."""
    call, entries = begin(MADE), [opening(MADE, version="0.9", pod="pod-a")]
    for now_ms, event in enumerate(CONVERSATION):
        text, before = InputText(event, now_ms), call.outbox.seq
        machine.step(call, event, now_ms)
        entries.append(text.entry(emitted_after(call, before)))
    return b"".join(entries)


def test_the_same_rules_give_the_same_events() -> None:
    """Every one, byte for byte."""
    found = replay(recording())
    assert found.is_identical
    assert (found.call_id, found.version, found.pod) == (MADE.call_id, "0.9", "pod-a")
    assert (found.inputs, found.events) == (len(CONVERSATION), begin_to_end())


def begin_to_end() -> int:
    """How many events the conversation has."""
    call = begin(MADE)
    for now_ms, event in enumerate(CONVERSATION):
        machine.step(call, event, now_ms)
    return call.outbox.seq


def test_what_an_agent_does_in_events_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the same beginning, with the same inputs, and on the pod that takes the call over."""
    reply = f"resp_{MADE.call_id[5:21]}_1"
    call, entries = begin(MADE), [opening(MADE, version="0.9", pod="pod-a")]
    given: list[Input] = [
        inputs.ConnectionMade(0, resumable=True),
        inputs.SpeechBegun(1, "greeting", interruptible=False),
        inputs.ResponseText(reply, "Hello. ", voiced=True),
        inputs.ResponseAudio(reply, FRAME),
        inputs.SpeechEnded(1, "greeting"),
        inputs.AgentEventSent(1, "card", {"type": "agent.card"}),
        inputs.TimerSet(1, "at", "remind", 3),
        inputs.EventDone(1, {"n": 1}),
        inputs.TimersDue(),
        inputs.TransferAsked(2, "person", "+49"),
    ]
    for now_ms, event in enumerate(given):
        text, before = InputText(event, now_ms), call.outbox.seq
        machine.step(call, event, now_ms)
        entries.append(text.entry(emitted_after(call, before)))
    found = replay(b"".join(entries))
    assert found.is_identical
    assert found.events == call.outbox.seq
    monkeypatch.setattr(events, "transfer", lambda target: {"type": "call.moved", "target": target})
    [difference] = replay(b"".join(entries)).differences
    assert difference.kind == "TransferAsked"


def test_other_rules_give_other_events_and_these_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the input that gave them, the event that was and the one that is."""
    kept = recording()
    monkeypatch.setattr(events, "input_audio_cleared", lambda: {"type": "input_audio_buffer.emptied"})
    [difference] = replay(kept).differences
    assert (difference.number, difference.kind) == (5, "ClearAudio")
    assert "input_audio_buffer.cleared" in difference.recorded
    assert "input_audio_buffer.emptied" in difference.now


def test_of_a_recording_that_differs_everywhere_so_much_is_compared_as_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs once makes most of what follows differ."""
    call, kept = begin(MADE), [opening(MADE, version="0.9", pod="pod-a")]
    for now_ms in range(MAX_DIFFERENCES + 5):
        text, before = InputText(inputs.ClearAudio(), now_ms), call.outbox.seq
        machine.step(call, inputs.ClearAudio(), now_ms)
        kept.append(text.entry(emitted_after(call, before)))
    monkeypatch.setattr(events, "input_audio_cleared", lambda: {"type": "input_audio_buffer.emptied"})
    found = replay(b"".join(kept))
    assert (found.inputs, len(found.differences)) == (MAX_DIFFERENCES, MAX_DIFFERENCES)


def test_audio_that_differs_is_told_by_its_digest() -> None:
    """The events beside it are alike; one without audio has none."""
    call, text = begin(MADE), InputText(inputs.ClearAudio(), 3)
    machine.step(call, inputs.ClearAudio(), 3)
    [cleared] = emitted_after(call, 0)
    kept = opening(MADE, version="0.9", pod="pod-a") + text.entry([cleared._replace(audio_digest="0123")])
    [difference] = replay(kept).differences
    assert difference.recorded.endswith("} audio 0123")
    assert difference.now == difference.recorded.removesuffix(" audio 0123")


def test_an_event_more_and_one_less_is_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither side may have one that the other has not."""
    kept = recording()
    step = machine.step

    def more(call: Any, event: Input, now_ms: int) -> Any:
        effects = step(call, event, now_ms)
        if isinstance(event, inputs.ConnectionLost):
            call.outbox.emit({"type": "more"})
        return effects

    monkeypatch.setattr("voice_agent.call.replaying.step", more)
    [difference] = replay(kept).differences
    assert (difference.recorded, "more" in difference.now) == ("", True)
    monkeypatch.setattr("voice_agent.call.replaying.step", lambda *_: [])
    assert all(not one.now for one in replay(kept).differences)


def test_rules_that_fail_at_an_input_are_told_and_the_rest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty differences are enough to see."""
    kept = recording()

    def failing(*_: object) -> Any:
        raise KeyError("nothing")

    monkeypatch.setattr("voice_agent.call.replaying.step", failing)
    found = replay(kept)
    assert found.differences[0].now == "raised: KeyError('nothing')"
    assert len(found.differences) <= MAX_DIFFERENCES + begin_to_end()
    monkeypatch.undo()
    unknown = replay(kept.replace(b"ClearAudio", b"ClearAudix"))
    assert "ClearAudix" in unknown.differences[0].now

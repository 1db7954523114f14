"""Callers whose audio stops in the middle of a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.call.calls import new_call
from tests.runtime.alone import alone
from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import Caller, rig
from voice_agent.call.inputs import AppendAudio, VoiceBoundary
from voice_agent.call.record import CallRecord
from voice_agent.runtime.calls.muted import MUTED_S, notice_silence
from voice_agent.runtime.durability.call_writer import MAX_UNSAVED_BYTES
from voice_agent.runtime.pod.pod import Pod

FRAME = bytes(960)


async def speaking(pod: Pod, caller: Caller) -> None:
    """The caller is in the middle of a sentence."""
    pod.owned.by_id[caller.call_id].feed(AppendAudio(FRAME * 30, None, (VoiceBoundary(True, 0),)))
    await caller.transport.event("input_audio_buffer.speech_started")


async def test_a_caller_who_is_muted_in_a_sentence_is_answered() -> None:
    """No silence will come that would end the turn."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod)
        await speaking(pod, caller)
        clock.leap(MUTED_S + 0.1)
        await caller.transport.event("response.created")


async def test_a_short_gap_in_a_sentence_ends_nothing() -> None:
    """A network swallows a second now and then."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod)
        await speaking(pod, caller)
        live = pod.owned.by_id[caller.call_id]
        notice_silence(live, MUTED_S - 0.1)
        caller.transport.say({"type": "conversation.item.retrieve", "item_id": "none"})
        await caller.transport.event("error")
        assert live.call.input_audio.speaking
        notice_silence(live, MUTED_S)
        await caller.transport.event("response.created")


async def test_a_network_that_stands_still_ends_no_sentence() -> None:
    """A caller who gives no sign of life may be speaking; what was said meanwhile comes before the sign."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod)
        caller.transport.answers_probes = False
        await speaking(pod, caller)
        live = pod.owned.by_id[caller.call_id]
        notice_silence(live, 60)
        caller.transport.answers_probes = True
        notice_silence(live, 60)
        live.activity.has_sent = True  # A frame that came in front of the answer.
        caller.transport.say({"type": "input_audio_buffer.append", "audio": ""})
        caller.transport.say({"type": "conversation.item.retrieve", "item_id": "none"})
        await caller.transport.event("error")
        assert live.call.input_audio.speaking


async def test_nobody_is_taken_for_muted_who_is_not_listened_to() -> None:
    """While nothing is read from the caller, or nobody is there, no audio is no silence."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await speaking(pod, caller)
        live = pod.owned.by_id[caller.call_id]
        assert live.connection is not None
        live.connection.pause_reading()
        notice_silence(live, 60)
        assert live.call.input_audio.speaking
        live.connection.resume_reading()
        await caller.gone()
        notice_silence(live, 60)
        assert live.call.input_audio.speaking


def in_utterance() -> CallRecord:
    """A call in the middle of an utterance."""
    call = new_call()
    call.input_audio.speaking, call.input_audio.item_id = True, "item"
    return call


@pytest.mark.parametrize(
    ("silent_s", "change", "is_asked"),
    [
        (MUTED_S, {}, True),
        (MUTED_S - 0.01, {}, False),
        (60, {"speaking": False}, False),
        (60, {"reading_paused": True}, False),
        (60, {"unsaved_bytes": MAX_UNSAVED_BYTES + 1}, False),
        (60, {"connected": False}, False),
    ],
    ids=str,
)
async def test_who_is_asked_for_a_sign_of_life(silent_s: float, change: dict[str, Any], *, is_asked: bool) -> None:
    """Who has been silent for so long in the middle of an utterance, and whose messages are taken."""
    async with alone(in_utterance()) as its:
        connection = its.attach()
        its.call.input_audio.speaking = change.get("speaking", True)
        its.call.outbox.unsaved_bytes = change.get("unsaved_bytes", 0)
        (connection.pause_reading if change.get("reading_paused") else connection.resume_reading)()
        if not change.get("connected", True):
            its.live.connection = None
        notice_silence(its.live, silent_s)
        assert bool(connection.asked) is is_asked


@pytest.mark.parametrize("change", ["", "heard", "was heard", "another connection", "closing"])
async def test_a_sign_of_life_after_silence_ends_the_utterance(change: str) -> None:
    """Unless something came in front of it, or its connection is no longer the call's."""
    async with alone(in_utterance()) as its:
        connection = its.attach()
        notice_silence(its.live, MUTED_S)
        if change == "heard":
            its.live.activity.has_sent = True
        elif change == "was heard":
            its.live.activity.heard_at_s += 1
        elif change == "another connection":
            its.live.connection = type(connection)()
        elif change == "closing":
            connection.close(1012)
        connection.asked[0]()
        assert its.call.input_audio.speaking is bool(change)

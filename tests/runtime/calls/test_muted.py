"""Callers whose audio stops in the middle of a sentence."""

from __future__ import annotations

from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import Caller, rig
from voice_agent.call.inputs import AppendAudio, VoiceBoundary
from voice_agent.runtime.calls.live_call import MUTED_S
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
        live.notice_silence(MUTED_S - 0.1)
        caller.transport.say({"type": "conversation.item.retrieve", "item_id": "none"})
        await caller.transport.event("error")
        assert live.call.input_audio.speaking
        live.notice_silence(MUTED_S)
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
        live.notice_silence(60)
        caller.transport.answers_probes = True
        live.notice_silence(60)
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
        live.notice_silence(60)
        assert live.call.input_audio.speaking
        live.connection.resume_reading()
        await caller.gone()
        live.notice_silence(60)
        assert live.call.input_audio.speaking

"""`loopback`: no agent, but a rule of the call. Each appended frame comes back at once, inside one open response.

A frame goes in and out in one step, and so in one write: the input position and the response's audio grow together, and
a resume is exact.
"""

from __future__ import annotations

from voice_agent.call.effects import Effect
from voice_agent.call.inputs import ResponseAudio
from voice_agent.call.record import CallRecord
from voice_agent.call.response_output import audio
from voice_agent.call.responses import start_response


def mirror_frame(call: CallRecord, frame: bytes, now_ms: int) -> list[Effect]:
    """`loopback`: what came in goes out, inside one open response."""
    call.input_audio.position += len(frame)
    if call.response is None:
        start_response(call, {}, now_ms)
        assert call.response is not None
    return audio(call, ResponseAudio(call.response.response_id, frame), now_ms)

"""`loopback`: no agent, but a rule of the call. Each appended frame comes back at once, inside one open response.

A frame goes in and out in one step: the input position and the response's audio grow together, so a resume is exact.
Where no event is kept for replay (`Call.lets_out`) the frame need not be durable, only its number: each write takes
`NUMBERS_AHEAD` numbers in advance, and frames with these numbers are sent before they are written. `let_out` is the
shortcut of the frame path for a frame in the middle of an item; `mirror_frame` is the long way, and does the same.
"""

from __future__ import annotations

from voice_agent.call.changes import OutboxEntry
from voice_agent.call.effects import Effect, LetOut
from voice_agent.call.inputs import ResponseAudio
from voice_agent.call.record import NUMBERS_AHEAD, Call
from voice_agent.call.response_output import audio
from voice_agent.call.responses import start_response

MIRROR_NUMBERS_LEFT = NUMBERS_AHEAD - 100
"""How far the stored positions may lag behind where mirrored audio is let out unsaved: a hundred frames."""


def mirror_frame(call: Call, frame: bytes, now_ms: int) -> list[Effect]:
    """`loopback`: what came in goes out, inside one open response."""
    buffer = call.input_audio
    buffer.position += len(frame)
    if call.response is None:
        start_response(call, {}, now_ms)
        assert call.response is not None
    audio(call, ResponseAudio(call.response.response_id, frame), now_ms)
    if call.visible_seq + 1 == call.seq <= call.reserved:
        # Every event before this one was let out, and the store counts its number as used.
        [event] = call.pop_unsaved_events(1)
        call.visible_seq = event.n
        _save_in_time(call)
        return [LetOut(event)]
    return []


def let_out(call: Call, frame: bytes) -> OutboxEntry | None:
    """`mirror_frame` in the middle of an item; see `machine.let_out`."""
    response, playback, head = call.response, call.playback, call.delta_head
    size = len(frame)
    if (
        response is None
        or playback is None
        or response.item_id != head[0]
        or not size
        or size % call.input_format.sample_bytes
    ):
        return None
    call.input_audio.position += size
    response.audio_bytes += size
    playback.audio_bytes += size
    n = call.seq = call.visible_seq = call.seq + 1
    if call.reserving - n <= MIRROR_NUMBERS_LEFT:
        _save_in_time(call)
    return OutboxEntry(n, head[1], frame)


def _save_in_time(call: Call) -> None:
    """Have the positions written now and then, and new numbers taken long before they run out."""
    if call.reserving - call.seq <= MIRROR_NUMBERS_LEFT:
        call.mark("counts")

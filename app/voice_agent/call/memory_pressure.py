"""What a call stores less of while its store is short of memory.

It keeps there what the conversation needs, and less of what a crash would need. Two levels (`StoreMemoryWatch` finds
them). While memory is *scarce*, its outbox is a quarter as large, so a client that comes back late finds a gap; what
the caller says is not checkpointed, and the audio of a turn is dropped once that is transcribed and answered. If the
pod dies, the client is told an earlier `input_audio_ms` and sends again from there. A planned handoff takes the
utterance along.

In a store that is *nearly full* no audio of turns is kept at all: if the pod dies, or hands the call off in the middle
of a response, a turn that was not answered yet is answered without its audio.
"""

from __future__ import annotations

from voice_agent.call.input_audio import release_unsaved_speech
from voice_agent.call.record import CallRecord


def apply_memory_pressure(call: CallRecord, *, is_scarce: bool, is_nearly_full: bool) -> None:
    """Apply the store's state to what the next write carries; to be called before each write."""
    if call.clips.pending is not None and not call.speech.keeps_turns and not is_nearly_full:
        call.record.write_whole = (
            True  # What had come of the item's audio was dropped: without it the rest is no audio of the item.
        )
    call.speech.under_memory_pressure = is_scarce
    call.speech.keeps_turns = not is_nearly_full
    call.outbox.reduce(on=is_scarce)
    if is_scarce and not call.lifecycle.handed_off:
        release_unsaved_speech(call.input_audio, call.speech)

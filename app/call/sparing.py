"""A call whose store is short of memory keeps there what the conversation needs, and less of what a crash would need.

While it is spared, its outbox is a quarter as large, so a client that comes back late finds a gap; what the caller
says is not checkpointed, and the audio of turns is not kept for a next owner. If the pod dies, the client is told an
earlier `input_audio_ms` and sends again from there, and a turn that was not answered yet is answered without its
audio. A planned handoff still takes the unfinished utterance along.
"""

from __future__ import annotations

from app.call.hearing import take_back_unsaved
from app.call.record import Call


def spare(call: Call, *, is_scarce: bool) -> None:
    """To be called before each write."""
    call.is_spared = is_scarce
    call.outbox.spare(on=is_scarce)
    if is_scarce and not call.handed_off:
        take_back_unsaved(call)

"""What a call hands to the store, and what it does when that is not made.

The write itself is put together in `writes`. Whatever is not durable stands in the call again after `requeue_whole`,
so at every moment an event is in the store, in a write under way, or waiting here.
"""

from __future__ import annotations

from voice_agent.call.changes import OutboxEntry
from voice_agent.call.effects import Skipped, Write
from voice_agent.call.inputs import TakeWrite
from voice_agent.call.memory_pressure import apply_memory_pressure
from voice_agent.call.record import CallRecord
from voice_agent.call.writes import skip_write, take_write


def take(call: CallRecord, asked: TakeWrite, now_ms: int) -> Write:
    """All that changed, as far as a store so full should have it."""
    speech, record = call.speech, call.record
    if asked.is_scarce or asked.is_nearly_full or speech.under_memory_pressure or not speech.keeps_turns:
        apply_memory_pressure(call, is_scarce=asked.is_scarce, is_nearly_full=asked.is_nearly_full)
    if record.schema != asked.schema:
        record.schema, record.write_whole = asked.schema, True
    waiting, used = call.outbox.unsaved, None
    if call.usage is not None and ("usage" in record.dirty or record.write_whole):
        used = call.usage.settled()
    return Write(take_write(call, now_ms), waiting, used)


def skip(call: CallRecord) -> Skipped:
    """What waits for a write goes out without one."""
    return Skipped(skip_write(call))


def requeue_whole(call: CallRecord, waiting: list[OutboxEntry]) -> None:
    """A write was not made, or the store has lost something: all of the call is written next."""
    call.record.write_whole = True
    call.outbox.requeue(waiting)

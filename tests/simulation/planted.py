"""Bugs that the simulator must find, each planted where the code that prevents it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from tests.simulation.schedule import Schedule
from voice_agent.call import beginnings, input_audio, lifecycle
from voice_agent.call.changes import CallWrite, OutboxEntry, Snapshot
from voice_agent.call.item_order import Entry
from voice_agent.call.outbox import Outbox
from voice_agent.call.record import CallRecord
from voice_agent.call.restoring import restore
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.durability.writing import Batch
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.memory import MemoryStore

Planting = Callable[[], AbstractContextManager[Any]]


@contextmanager
def sent_before_durable() -> Iterator[None]:
    """Events leave when they are handed to the writer, not when it is done."""
    write = Committer._write

    async def hasty(self: Committer, batch: Batch) -> None:
        for call, _, waiting in batch:
            call.committed(waiting)
        await write(self, [(call, change, []) for call, change, _ in batch])

    with patch.object(Committer, "_write", hasty):
        yield


@contextmanager
def no_fencing() -> Iterator[None]:
    """The store takes writes of any epoch."""
    commit = MemoryStore._commit

    def lenient(self: MemoryStore, write: CallWrite) -> WriteOutcome:
        kept = self._calls.get(write.call_id)
        if kept is not None:
            held = int(kept.fields["epoch"])
            write = replace(write, epoch=max(held, write.epoch), claim=kept.fields.get("claim", b"").decode())
        return commit(self, write)

    with patch.object(MemoryStore, "_commit", lenient):
        yield


@contextmanager
def replay_off_by_one() -> Iterator[None]:
    """A resume begins with the event that the caller saw last."""
    after = Outbox.after

    def one_more(self: Outbox, n: int) -> list[OutboxEntry]:
        return after(self, n - 1)

    with patch.object(Outbox, "after", one_more):
        yield


@contextmanager
def number_left_out() -> Iterator[None]:
    """Whoever takes a call over numbers its events from one too high."""
    as_it_was = vars(beginnings)["restore"]

    def hasty(snapshot: Snapshot, **more: Any) -> CallRecord:
        call = as_it_was(snapshot, **more)
        call.outbox.seq += 1
        return call

    with patch.object(beginnings, "restore", hasty):
        yield


@contextmanager
def no_flush_at_handoff() -> Iterator[None]:
    """What was said since the last checkpoint stays in memory when the connection is handed off."""
    with patch.object(input_audio, "flush", lambda call: None):
        yield


@contextmanager
def acknowledged_too_far() -> Iterator[None]:
    """What a caller acknowledges takes the events behind it along."""

    def hasty(call: CallRecord, number: int) -> None:
        call.outbox.drop_to(min(number + 12, call.outbox.visible_seq))

    with patch.object(lifecycle, "acknowledge", hasty):
        yield


@contextmanager
def unknown_fields_dropped() -> Iterator[None]:
    """A release keeps of a record what it knows."""

    def forgetful(snapshot: Snapshot, **more: Any) -> CallRecord:
        call = restore(snapshot, **more)
        call.record.unknown_fields = {}
        return call

    with patch.object(beginnings, "restore", forgetful):
        yield


@contextmanager
def unknown_members_dropped() -> Iterator[None]:
    """A release keeps of an item's entry what it knows."""
    unpack = Entry.unpack

    def forgetful(packed: bytes) -> Entry:
        entry = unpack(packed)
        entry.extras = None
        return entry

    with patch.object(Entry, "unpack", forgetful):
        yield


@dataclass(frozen=True, slots=True)
class Planted:
    """A bug, the promise it breaks, and which schedules can show it (others need not be run)."""

    plant: Planting
    promise: str
    may_show_in: Callable[[Schedule], bool] = lambda schedule: True


def _hands_off_speech(schedule: Schedule) -> bool:
    is_spoken = any(line.command in ("speak", "talk") for lines in schedule.lines for line in lines)
    return is_spoken and any(fault.kind == "drain" for fault in schedule.faults)


def _is_mixed(schedule: Schedule) -> bool:
    return schedule.is_mixed


PLANTED = {
    "send before durable": Planted(sent_before_durable, "durable before visible"),
    "no fencing": Planted(no_fencing, "one owner"),
    "off-by-one replay": Planted(replay_off_by_one, "exactly once"),
    "number left out": Planted(number_left_out, "exactly once"),
    "no checkpoint flush": Planted(no_flush_at_handoff, "the caller's words", _hands_off_speech),
    "acknowledged too far": Planted(acknowledged_too_far, "exactly once"),
    "unknown fields dropped": Planted(unknown_fields_dropped, "an unknown field survives", _is_mixed),
    "unknown members dropped": Planted(unknown_members_dropped, "an unknown field survives", _is_mixed),
}

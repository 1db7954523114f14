"""What the workers of a host know of each other without asking: a few numbers in memory they share.

Each worker writes its own row every `LOOK_S`, the supervisor and whoever drains the host
the first one. A row that is being written may be read half old, half new: it is right at
the next look.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from voice_agent.call.drain import DrainMode
from voice_agent.runtime.pod.fleet import TAKES_CALLS
from voice_agent.stores.base import PodState

LOOK_S = 0.05
SILENT_S = 1.0
"""A worker that has not written for so long hangs, and others accept its connections."""

STATES = (None, *PodState)
"""By the byte of a row. None: there is no worker."""
MODES = (None, *DrainMode)
HOST = struct.Struct("=BBd")
ROW = struct.Struct("=Biiid")


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What one worker says of itself. `written_s` is monotonic, which all processes of a machine share."""

    status: PodState | None = None
    """None: there is no worker, or it has stopped accepting connections."""
    active_calls: int = 0
    parked_calls: int = 0
    capacity: int = 0
    written_s: float = 0.0

    def takes_calls(self, now_s: float) -> bool:
        """Whether a new call is welcome there."""
        return self.status in TAKES_CALLS and self.answers(now_s)

    def answers(self, now_s: float) -> bool:
        """Whether there is a worker, and its loop turns."""
        return self.status is not None and now_s - self.written_s < SILENT_S


@dataclass(frozen=True, slots=True)
class HostDrain:
    """The host is to drain: no worker of it takes calls, those that start later neither."""

    mode: DrainMode
    deadline_s: float


class WorkerTable:
    """Made by the supervisor before it forks; the same memory in every worker."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._memory = mmap.mmap(-1, HOST.size + workers * ROW.size)

    @property
    def is_leaving(self) -> bool:
        """Whether every worker has been told to exit."""
        return bool(HOST.unpack_from(self._memory)[0])

    @property
    def drain(self) -> HostDrain | None:
        """What the whole host was asked for, if it was."""
        _, said, deadline_s = HOST.unpack_from(self._memory)
        mode = MODES[said]
        return None if mode is None else HostDrain(mode, deadline_s)

    def set_drain(self, drain: HostDrain | None, *, leaving: bool = False) -> None:
        """Say what all workers are to do; None: to take calls, and to stay."""
        mode, deadline_s = (0, 0.0) if drain is None else (MODES.index(drain.mode), drain.deadline_s)
        HOST.pack_into(self._memory, 0, leaving, mode, deadline_s)

    def row(self, slot: int) -> WorkerState:
        """What a worker last said."""
        status, active, parked, capacity, written_s = ROW.unpack_from(self._memory, HOST.size + slot * ROW.size)
        return WorkerState(STATES[status], active, parked, capacity, written_s)

    def rows(self) -> list[WorkerState]:
        """What all workers last said, by slot."""
        return [self.row(slot) for slot in range(self.workers)]

    def write(self, slot: int, row: WorkerState) -> None:
        """Say it for a worker: its own, or one that is gone."""
        numbers = (row.active_calls, row.parked_calls, row.capacity)
        ROW.pack_into(self._memory, HOST.size + slot * ROW.size, STATES.index(row.status), *numbers, row.written_s)


def queues_of(slot: int, rows: Sequence[WorkerState], now_s: float) -> set[int]:
    """Whose listening sockets a worker accepts from.

    Its own while it takes calls, and those of the workers before it that do not. Where no
    worker takes calls, those that are left answer in the same way, with refusals: a queue
    whose worker has gone stays open in the others, and a health check in it would wait for ever.
    """
    count = len(rows)
    serving = [row.takes_calls(now_s) for row in rows]
    if not any(serving):
        serving = [row.answers(now_s) for row in rows]
    if not any(serving):
        return {slot}
    if not serving[slot]:
        return set()
    mine = {slot}
    before = (slot - 1) % count
    while not serving[before]:
        mine.add(before)
        before = (before - 1) % count
    return mine

"""How providers fail: to a plan."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["status", "timeout", "cut", "short", "stall", "slow", "garbage"]
Task = Literal["chat", "hear", "speak"]
FOR_EVER_S = 3600.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one request.

    ========  =======================================================================================
    status    it is answered with `status`, and with ``Retry-After`` where `retry_after_s` is given
    timeout   it is not answered; `seconds` later it is, if it is still wanted
    cut       its answer ends with the connection, behind `after_bytes` of the body
    short     its answer ends behind `after_bytes` as if that were all of it
    stall     behind `after_bytes` nothing comes for `seconds`, then the rest
    slow      `seconds` pass before each piece of the answer
    garbage   behind `after_bytes` the answer is made of other bytes
    ========  =======================================================================================
    """

    kind: Kind
    after_bytes: int = 0
    seconds: float = FOR_EVER_S
    status: int = 500
    retry_after_s: float | None = None


class FaultPlan:
    """Which requests fail how: those of a task, in the order in which they come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[Task, list[Fault | None]] = {"chat": [], "hear": [], "speak": []}
        self._always: dict[Task, Fault] = {}

    def add(self, task: Task, *faults: Fault | None) -> None:
        """What befalls the next requests of a task, one after the other; None: nothing."""
        with self._lock:
            self._due[task] += faults

    def always(self, task: Task, fault: Fault) -> None:
        """What befalls every request of a task for which nothing else is planned."""
        with self._lock:
            self._always[task] = fault

    def clear(self, tasks: Iterable[Task] = ("chat", "hear", "speak")) -> None:
        """No more faults."""
        with self._lock:
            for task in tasks:
                self._due[task].clear()
                self._always.pop(task, None)

    def next(self, task: Task) -> Fault | None:
        """What befalls the request that has just come."""
        with self._lock:
            return self._due[task].pop(0) if self._due[task] else self._always.get(task)

    def left(self, task: Task) -> int:
        """How many are planned and have not befallen any."""
        with self._lock:
            return len(self._due[task])

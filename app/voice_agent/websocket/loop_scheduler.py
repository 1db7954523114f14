"""The turns of the event loop (its iterations), shared out among the connections that have something to read.

However much one peer sends, and whatever the kinds of its frames, the others' frames come through
meanwhile: what has come is worked through in shares, and a connection with something left does not
read from its socket before it has had its next ones. ::

    data --time left in this turn--> a share of FIRST_S now --nothing left--> reading goes on
      |                                       |                                        ^
      | none left                             | something left                         | nothing left
      v                                       v                                        |
    new ones --next turn, FIRST_S each--> old ones --next turn, RUN_S in all--> a share of SHARE_S
                                              ^                                        |
                                              +------------- something left -----------+

New ones, who had no share yet, go before old ones; old ones go round. So a caller has `FIRST_S` and
`SHARE_S` a turn, 2 ms, all callers twice `WINDOW_S` and `RUN_S`, 18 ms, and what a single message
costs more than that.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from typing import Protocol
from weakref import WeakKeyDictionary

FIRST_S = 0.0002
"""What a connection may use where its bytes come in: so little that many who flood leave the others time."""
SHARE_S = 0.0018
"""What a connection with something left may use in each later turn."""
WINDOW_S = 0.007
"""What all may use where bytes come in. A turn may begin near the end of one window, and ends with the next."""
RUN_S = 0.004
"""What all that have something left may use in a turn. An answer takes several, and short ones do as much."""
_CLOCK = time.monotonic  # noqa: TID251 - uvloop's own stands still within a turn


class Scheduled(Protocol):
    """A connection, as far as it is scheduled here."""

    is_waiting: bool
    """Whether it has something left and stands in the queue; `LoopScheduler` sets it."""

    def work(self, until_s: float) -> bool:
        """Work until then, by the scheduler's clock; whether something is left that can be done. Never raises."""


class LoopScheduler:
    """One event loop's; `of` gives the one that all its connections share."""

    def __init__(self, loop: AbstractEventLoop, clock: Callable[[], float] = _CLOCK) -> None:
        self.clock = clock
        self.ends_s = 0.0
        """When the window ends. Before that there is time, which the path of every frame looks at by itself."""
        self._loop = loop
        self._is_turn_of_window = False
        """Whether the turn in which the window began is not over."""
        self._is_scheduled = False
        self._new: deque[Scheduled] = deque()
        self._old: deque[Scheduled] = deque()

    @staticmethod
    def of(loop: AbstractEventLoop) -> LoopScheduler:
        """The loop's own, made when it is first asked for."""
        return _SCHEDULERS.get(loop) or _SCHEDULERS.setdefault(loop, LoopScheduler(loop))

    def has_time(self) -> bool:
        """Whether what comes in may still be worked on in this turn."""
        now_s = self.clock()
        if now_s < self.ends_s:
            return True
        if self._is_turn_of_window:
            return False
        self.ends_s = now_s + WINDOW_S
        self._is_turn_of_window = True
        self._loop.call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        self._is_turn_of_window = False

    def begin(self, connection: Scheduled) -> None:
        """Give a first share now, or put the connection off; nothing happens to one that waits already."""
        if connection.is_waiting:
            return
        if not self.has_time():
            self._put(connection, self._new)
        elif connection.work(min(self.clock() + FIRST_S, self.ends_s)):
            self._put(connection, self._old)

    def put_off(self, connection: Scheduled) -> None:
        """Have the connection wait for its share, behind those that had none yet."""
        if not connection.is_waiting:
            self._put(connection, self._old)

    def queue_new(self, connection: Scheduled) -> None:
        """Have the connection wait behind those that had no share yet, as one does that comes when no time is left."""
        if not connection.is_waiting:
            self._put(connection, self._new)

    def _put(self, connection: Scheduled, queue: deque[Scheduled]) -> None:
        connection.is_waiting = True
        queue.append(connection)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        """One turn: each at most once."""
        self._is_scheduled = False
        now_s = self.clock()
        end_s = now_s + RUN_S
        for _ in range(len(self._new) + len(self._old)):
            queue, share_s = (self._new, FIRST_S) if self._new else (self._old, SHARE_S)
            if now_s + share_s > end_s:
                break  # None is cut short: it might be the same one turn after turn.
            connection = queue.popleft()
            connection.is_waiting = False
            if connection.work(now_s + share_s):
                self._put(connection, self._old)
            now_s = self.clock()
        if (self._new or self._old) and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._run)


class NextShare:
    """Waits as long as a caller's message does that comes now, while others use up their shares."""

    def __init__(self, scheduler: LoopScheduler) -> None:
        self.is_waiting = False
        self._scheduler = scheduler
        self._come: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until it is this one's turn. At most one task may wait at a time."""
        self._come = asyncio.get_running_loop().create_future()
        self._scheduler.queue_new(self)
        await self._come

    def work(self, until_s: float) -> bool:
        """It is."""
        if self._come is not None and not self._come.done():
            self._come.set_result(None)
        return False


_SCHEDULERS: WeakKeyDictionary[AbstractEventLoop, LoopScheduler] = WeakKeyDictionary()

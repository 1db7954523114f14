"""A queue in which nobody waits behind all that another one wants.

Lanes go before each other: nothing is taken from one while something waits in a lane before it. Within a lane owners
take turns, one item each, however many each of them has waiting. ::

    lane 0   call A: a1 a2 a3   call B: b1      taken: a1 b1 a2 a3, then c1
    lane 1   call C: c1
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class QueueFull(Exception):
    """No more may wait: `of_owner` of this owner, else of all together."""

    def __init__(self, most: int, *, of_owner: bool) -> None:
        super().__init__(most, of_owner)
        self.most = most
        self.of_owner = of_owner


class FairQueue(Generic[T]):
    """At most `most` items wait in a lane, and of one owner at most `most_of_owner`; of the owner None any number."""

    def __init__(self, lanes: int, *, most: int, most_of_owner: int) -> None:
        self._lanes: list[OrderedDict[Hashable, deque[T]]] = [OrderedDict() for _ in range(lanes)]
        self._most = most
        self._most_of_owner = most_of_owner
        self._counts = [0] * lanes
        self._takers: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return sum(self._counts)

    def put(self, item: T, owner: Hashable, lane: int) -> None:
        """Let it wait. Raises `QueueFull`."""
        if self._counts[lane] >= self._most:
            raise QueueFull(self._most, of_owner=False)
        waiting = self._lanes[lane].setdefault(owner, deque())
        if owner is not None and len(waiting) >= self._most_of_owner:
            raise QueueFull(self._most_of_owner, of_owner=True)
        waiting.append(item)
        self._counts[lane] += 1
        self.wake()

    def remove(self, item: T, owner: Hashable, lane: int) -> bool:
        """It is not wanted any more. False: it was taken."""
        waiting = self._lanes[lane].get(owner)
        if waiting is None or item not in waiting:
            return False
        waiting.remove(item)
        self._counts[lane] -= 1
        if not waiting:
            del self._lanes[lane][owner]
        return True

    def pop(self, lanes: int) -> T | None:
        """The next of the first so many lanes; None: there is none."""
        for lane, owners in enumerate(self._lanes[:lanes]):
            if owners:
                owner, waiting = owners.popitem(last=False)
                item = waiting.popleft()
                self._counts[lane] -= 1
                if waiting:
                    owners[owner] = waiting
                return item
        return None

    async def get(self, lanes: Callable[[], int]) -> T:
        """Wait for the next of the first so many lanes. A cancellation takes nothing out."""
        while (item := self.pop(lanes())) is None:
            waiter = asyncio.get_running_loop().create_future()
            self._takers.add(waiter)
            try:
                await waiter
            finally:
                self._takers.discard(waiter)
        return item

    def wake(self) -> None:
        """Have those that wait look again: something came, or more lanes are open to them."""
        for waiter in self._takers:
            if not waiter.done():
                waiter.set_result(None)

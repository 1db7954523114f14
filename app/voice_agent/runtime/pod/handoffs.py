"""Handoffs under way, of one drain or one move: each call once at a time, and to which pod."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable

import structlog

from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.pod.pod_request import Destination

log = structlog.get_logger(__name__)


class Handoffs:
    """Of one drain or one move."""

    def __init__(self, destinations: Iterable[Destination] = ()) -> None:
        """`destinations`: where calls go, as many as are named; beyond them wherever the load balancer sends them."""
        self.made = 0
        """Connections that were closed."""
        self._left: Counter[str] = Counter()
        """How many are still to go to each address."""
        for each in destinations:
            self._left[each.address] += each.calls
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._tried: set[str] = set()

    @property
    def under_way(self) -> int:
        """Those that may close a connection yet."""
        return len(self._under_way)

    @property
    def named_places(self) -> int:
        """How many calls may yet go to a pod that is named."""
        return sum(calls for address, calls in self._left.items() if address and calls > 0)

    def keep_to(self, addresses: Collection[str]) -> None:
        """These are the pods that are there: what was to go to any other goes where the load balancer sends it."""
        for address in [address for address, calls in self._left.items() if calls > 0 and address not in addresses]:
            if address:
                calls = self._left.pop(address)
                self._left[""] += calls
                log.warning("calls do not go to the pod that was named: it is not there", to=address, calls=calls)

    def is_under_way(self, call_id: str) -> bool:
        """Whether a call is being handed off."""
        return call_id in self._under_way

    def was_tried(self, call_id: str) -> bool:
        """Whether a handoff of the call was begun, now or before."""
        return call_id in self._tried

    def begin(self, live: LiveCall, *, force: bool = False) -> None:
        """Hand a call off that is not under way. One that cannot be now, for the store lacks some of it, stays."""
        call_id = live.call.call_id
        self._tried.add(call_id)
        self._under_way[call_id] = asyncio.create_task(self._hand_off(live, force=force), name="handoff")

    async def _hand_off(self, live: LiveCall, *, force: bool) -> None:
        call_id = live.call.call_id
        connection = live.connection
        to = ""
        if connection is not None and connection.client.directed:
            # Nobody else learns an address of the inside, or takes a place that is kept for who can go there.
            to = max(self._left, key=self._left.__getitem__, default="")
            to = to if self._left[to] > 0 else ""
        self._left[to] -= 1
        is_made = False
        try:
            is_made = await live.hand_off(force=force, to=to)
        except Exception:
            # The root of a handoff: the call stays, and is tried again.
            log.exception("a call cannot be handed off", call_id=call_id)
        finally:
            del self._under_way[call_id]
            self.made += is_made
            self._left[to] += not is_made

    def cancel(self) -> None:
        """Begin nothing more; what is under way is given up."""
        for task in list(self._under_way.values()):
            task.cancel()

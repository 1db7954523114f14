"""Moves some calls to other pods, and goes on with the rest: for an operator who evens out the load of a fleet.

Which calls may move at which moment is `to_move` in `call.drain`. Nothing is moved by force: what cannot move until the
deadline stays. A drain takes the place of a move. As in a drain, nothing moves while the store is silent or lacks
something; and where no other pod takes calls, none but an edge's, which goes to the pod that is named. To one that is
named and gone nothing is sent: those calls go where the load balancer sends them.
"""

from __future__ import annotations

import asyncio

import structlog

from voice_agent.call.drain import HANDOFFS_PER_S, to_move
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.pod.admission import Admission
from voice_agent.runtime.pod.drainer import (
    ASK_FLEET_S,
    LOOK_S,
    NOT_KNOWN,
    STORE_IS_SILENT,
    Drainer,
    draining_call,
)
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.handoffs import Handoffs
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.pod.pod_request import PodRequest

MOVES_AT_ONCE = round(HANDOFFS_PER_S * LOOK_S)
"""Begun at one look: so many that the pods that take them over keep up."""

log = structlog.get_logger(__name__)


class Mover:
    """At most one request at a time."""

    def __init__(self, ports: PodPorts, admission: Admission, owned: OwnedCalls, drainer: Drainer) -> None:
        self.left = 0
        """How many calls are still to be moved, or were when the deadline came."""
        self._clock = ports.clock
        self._observer = ports.observer
        self._admission = admission
        self._owned = owned
        self._drainer = drainer
        self._task: asyncio.Task[None] | None = None

    def start(self, request: PodRequest) -> None:
        """Move as many calls as are asked for, in place of what is left of an earlier request."""
        self.stop()
        self.left = request.calls
        log.info("moving calls", calls=request.calls, deadline_s=request.deadline_s)
        self._task = asyncio.create_task(self._run(request), name="move")
        self._task.add_done_callback(_report_crash)

    def stop(self) -> None:
        """Move none any more; those whose connection is closed already are gone."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, request: PodRequest) -> None:
        handoffs = Handoffs(request.destinations)
        deadline_s = self._clock.monotonic_s() + request.deadline_s
        ready, asked_s = STORE_IS_SILENT, float("-inf")
        try:
            while self.left and not self._admission.draining and self._clock.monotonic_s() < deadline_s:
                if self._clock.monotonic_s() - asked_s >= ASK_FLEET_S:
                    ready = await self._drainer.ready_pods()
                    asked_s = self._clock.monotonic_s()
                    if ready not in NOT_KNOWN:
                        handoffs.keep_to(ready.addresses)
                for live in self._next(handoffs, ready, min(MOVES_AT_ONCE, self.left - handoffs.under_way)):
                    handoffs.begin(live)
                await self._clock.sleep(LOOK_S)
                self.left = request.calls - handoffs.made
        finally:
            # A handoff that is under way has decided nothing yet, so that no call more is moved than was asked for.
            handoffs.cancel()
            self._observer.calls_moved(handoffs.made, request.calls - handoffs.made)
        log.info("moved calls", calls=handoffs.made, left=self.left)

    def _next(self, handoffs: Handoffs, ready: ReadyPods, limit: int) -> list[LiveCall]:
        """Who goes first: a client that can be told where to, then one that may go at any moment."""
        if ready in NOT_KNOWN:
            return []
        if not ready.pods:
            limit = min(limit, handoffs.named_places)  # Nobody else takes a call.
        there = [
            (live, live.connection)
            for live in self._owned.attached()
            if live.connection is not None
            and live.connection.closing is None
            and not handoffs.is_under_way(live.call.call_id)
            and (ready.pods or live.connection.client.directed)
        ]
        there.sort(key=lambda pair: (not pair[1].client.directed, not pair[1].client.resumable_now))
        return [self._owned.by_id[call_id] for call_id in to_move((draining_call(live) for live, _ in there), limit)]


def _report_crash(task: asyncio.Task[None]) -> None:
    """The root of a move: without it the pod stays as it is."""
    if not task.cancelled() and task.exception() is not None:
        log.error("moving calls failed", exc_info=task.exception())

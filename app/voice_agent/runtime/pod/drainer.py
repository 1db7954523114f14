"""Carries out a drain: asks the plan which calls to hand off, until none is left.

How a drain decides is not here. Which calls go at which moment is `Drain.to_hand_off` in `call.drain`, a pure function;
whether there is another pod to take them is `ready_pods` in `runtime.pod.fleet`, pure as well; that this one is not
asked while the store is silent or lacks something is `Drainer.ready_pods` below. `Drainer._run` gathers the facts for
them every `LOOK_S`, and does as they say.
"""

from __future__ import annotations

import asyncio
import hashlib

import structlog

from voice_agent.call.closing import CloseCode
from voice_agent.call.drain import Drain, DrainingCall, DrainMode
from voice_agent.call.machine import is_quiet
from voice_agent.call.status import Status
from voice_agent.errors import StoreError
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.admission import Admission
from voice_agent.runtime.pod.facts import PodFacts
from voice_agent.runtime.pod.fleet import ReadyPods, ready_pods, routed_colors, some
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.other_pods import OtherPods
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.pod.signs_of_life import SignsOfLife
from voice_agent.stores.base import DrainRequest

LOOK_S = 0.05
ASK_FLEET_S = 1.0
FLEET_ANSWER_S = 0.5
STORE_IS_SILENT = ReadyPods((), "the store does not say which other pods there are")
NO_OTHER_COLOR = ReadyPods((), "there is no pod of another color")
UNSAVED = ReadyPods((), "not every call is written to the store yet")

log = structlog.get_logger(__name__)


class Drainer:
    """At most one drain at a time; `done` is set once the last attached call is gone."""

    def __init__(
        self,
        ports: PodPorts,
        admission: Admission,
        committer: Committer,
        owned: OwnedCalls,
        others: OtherPods,
        facts: PodFacts,
    ) -> None:
        self._ports = ports
        self._admission = admission
        self._committer = committer
        self._owned = owned
        self._others = others
        self._facts = facts
        self.done = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_requested = False
        """Whether the drain under way was requested of the pod's color, and ends with that request."""
        self.waits = ""
        """Why nobody is handed off, though that was asked for; empty if all goes as it was asked for."""

    def start(self, drain: Drain, *, is_requested: bool = False) -> None:
        """Begin, or go on with another mode and deadline counted from now.

        What is requested of a color gives way to what was asked of this very pod.
        """
        if is_requested and self._admission.draining and not self.is_requested:
            return
        self.is_requested = is_requested
        self._stop_task()
        self.done.clear()
        self._admission.draining = True
        log.info("drain started", mode=drain.mode.value, deadline_s=drain.deadline_s, calls=self._admission.active)
        self._task = asyncio.create_task(self._run(drain), name="drain")
        self._task.add_done_callback(self._report_crash)

    def apply(self, request: DrainRequest | None) -> None:
        """Drain as an operator asks of the pod's color, or end such a drain; a drain of this pod alone stays."""
        if request is not None:
            known = request.mode in DrainMode.__members__.values()
            mode = DrainMode(request.mode) if known else DrainMode.HANDOFF  # A newer version may know more modes.
            self.start(Drain(mode, request.deadline_s), is_requested=True)
        elif self.is_requested:
            self.cancel()

    def cancel(self) -> bool:
        """Take calls again, False if no drain was under way; those handed off stay where they went."""
        if not self._admission.draining:
            return False
        self._stop_task()
        self.done.clear()
        self.is_requested = False
        self._admission.draining = False
        log.info("drain cancelled")
        return True

    def _stop_task(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self.waits = ""

    def _report_crash(self, task: asyncio.Task[None]) -> None:
        """The root of the drain: without it nobody would ever leave."""
        if not task.cancelled() and task.exception() is not None:
            log.error("drain failed; calls are cut off", exc_info=task.exception())
            self.done.set()

    async def _run(self, drain: Drain) -> None:
        clock = self._ports.clock
        started_s = clock.monotonic_s()
        handing_off: dict[str, asyncio.Task[None]] = {}
        warned: set[str] = set()
        signs_of_life = SignsOfLife(clock)
        others_take_calls = False
        asked_s = float("-inf")
        while self._admission.active > 0:
            elapsed_s = clock.monotonic_s() - started_s
            if clock.monotonic_s() - asked_s >= ASK_FLEET_S:
                found = await self.ready_pods()
                self._tell(drain, found)
                others_take_calls = bool(found.pods)
                asked_s = clock.monotonic_s()
            attached = self._owned.attached()
            signs_of_life.look(attached)
            if others_take_calls or drain.left_s(elapsed_s) <= 0:
                self._warn(attached, warned, drain, elapsed_s)
            ids = drain.to_hand_off(map(_draining, attached), elapsed_s=elapsed_s, others_take_calls=others_take_calls)
            for call_id in ids:
                self._hand_off(self._owned.by_id[call_id], handing_off, is_last=drain.left_s(elapsed_s) <= 0)
            await clock.sleep(LOOK_S)
        self.waits = ""
        self._ports.observer.drain_finished(clock.monotonic_s() - started_s)
        log.info(
            "drained", seconds=round(clock.monotonic_s() - started_s, 3), closed_with=int(CloseCode.SERVICE_RESTART)
        )
        self.done.set()

    def _hand_off(self, live: LiveCall, handing_off: dict[str, asyncio.Task[None]], *, is_last: bool) -> None:
        call_id = live.call.call_id
        if call_id in handing_off and not handing_off[call_id].done():
            return
        # Before the deadline the plan names no call that cannot be resumed.
        if not live.call.lifecycle.resumable and call_id not in handing_off:
            self._ports.observer.call_dropped("drain")
        handing_off[call_id] = asyncio.create_task(live.hand_off(force=is_last))

    def _warn(self, attached: list[LiveCall], warned: set[str], drain: Drain, elapsed_s: float) -> None:
        for live in attached:
            if live.call.call_id not in warned:
                warned.add(live.call.call_id)
                live.warn_of_drain(int(drain.left_s(elapsed_s) * 1000))

    def _tell(self, drain: Drain, found: ReadyPods) -> None:
        """Keep why nobody is handed off, and log it when that changes."""
        waits = found.why_none if drain.mode is DrainMode.HANDOFF else ""
        if waits == self.waits:
            return
        self.waits = waits
        if waits:
            log.warning("handoff waits: calls are left to finish until the deadline", reason=waits)
        else:
            log.info("handoff goes on", to=some(found.pods))

    async def ready_pods(self) -> ReadyPods:
        """Who would take up this pod's calls, as the fleet's heartbeats and what was told of the router say."""
        try:
            async with asyncio.timeout(FLEET_ANSWER_S):
                pods = await self._ports.store.pods()
                told = await self._ports.store.weights()
        except (StoreError, TimeoutError):
            return STORE_IS_SILENT
        if self._committer.degraded:
            return UNSAVED
        own = self._facts.now()
        others = [pod for pod in pods if pod.name != own.name]
        routed = routed_colors([*others, own], told)
        if self.is_requested:
            # Those of its color are to drain as well, and for some seconds their heartbeats do not say so yet.
            if others and all(pod.color == own.color for pod in others):
                return NO_OTHER_COLOR
            others = [pod for pod in others if pod.color != own.color]
        return ready_pods([pod for pod in others if not self._others.is_leaving(pod.name)], routed)


def _draining(live: LiveCall) -> DrainingCall:
    call = live.call
    spread = int.from_bytes(hashlib.sha256(call.call_id.encode()).digest()[:4], "big") / 2**32
    may_move = is_quiet(call) or (live.connection is not None and live.connection.client.resumable_now)
    lifecycle = call.lifecycle
    return DrainingCall(call.call_id, lifecycle.resumable, may_move and lifecycle.status is Status.ATTACHED, spread)

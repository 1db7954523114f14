"""Carries out a drain: asks the plan which calls to hand off, until none is left.

How a drain decides is not here. Which calls go at which moment is `Drain.to_hand_off` in `call.drain`, a pure function;
whether there is another pod to take them is `ready_pods` in `runtime.pod.fleet`, pure as well; that this one is not
asked while the store is silent or lacks something is `Drainer.ready_pods` below. `Drainer._run` gathers the facts for
them every `LOOK_S`, and does as they say.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace

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
from voice_agent.runtime.pod.handoffs import Handoffs
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.other_pods import OtherPods
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.pod.pod_request import Destination
from voice_agent.runtime.pod.signs_of_life import SignsOfLife

LOOK_S = 0.05
ASK_FLEET_S = 1.0
FLEET_ANSWER_S = 0.5
STORE_IS_SILENT = ReadyPods((), "the store does not say which other pods there are")
NO_OTHER_COLOR = ReadyPods((), "there is no pod of another color")
UNSAVED = ReadyPods((), "not every call is written to the store yet")
NOT_KNOWN = frozenset({STORE_IS_SILENT, UNSAVED})
"""Answers by which nothing is known of other pods."""

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
        """Whether the drain under way was requested by way of the store, and ends with that request."""
        self._with_color = False
        """Whether all pods of the color drain."""
        self._along: Collection[str] = ()
        """Pods that drain as well, though their heartbeats may not say so yet."""
        self.waits = ""
        """Why nobody is handed off, though that was asked for; empty if all goes as it was asked for."""

    def start(self, drain: Drain) -> None:
        """Begin as this very pod was asked, or go on with another mode and deadline counted from now."""
        self.is_requested, self._with_color, self._along = False, False, ()
        self._begin(drain, Handoffs())

    def start_requested(
        self,
        drain: Drain,
        *,
        with_color: bool = False,
        along: Collection[str] = (),
        destinations: Iterable[Destination] = (),
    ) -> bool:
        """As `start`, where that was requested by way of the store; False: it gave way to what this very pod was asked.

        `with_color`: all pods of its color drain. `along`: these do. `destinations`: where calls go, as far as is said.
        """
        if self._admission.draining and not self.is_requested:
            return False
        self.is_requested, self._with_color, self._along = True, with_color, along
        self._begin(drain, Handoffs(destinations))
        return True

    def end_requested(self) -> None:
        """What was requested by way of the store is no longer; a drain of this pod alone stays."""
        if self.is_requested:
            self.cancel()

    def _begin(self, drain: Drain, handoffs: Handoffs) -> None:
        self._stop_task()
        self.done.clear()
        self._admission.draining = True
        log.info("drain started", mode=drain.mode.value, deadline_s=drain.deadline_s, calls=self._admission.active)
        running = self._run(replace(drain, calls=self._admission.active), handoffs)
        self._task = asyncio.create_task(running, name="drain")
        self._task.add_done_callback(self._report_crash)

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

    async def _run(self, drain: Drain, handoffs: Handoffs) -> None:
        clock = self._ports.clock
        started_s = clock.monotonic_s()
        warned: set[str] = set()
        signs_of_life = SignsOfLife(clock)
        others_take_calls = False
        asked_s = float("-inf")
        while self._admission.active > 0:
            elapsed_s = clock.monotonic_s() - started_s
            if clock.monotonic_s() - asked_s >= ASK_FLEET_S:
                found = await self.ready_pods()
                self._tell(drain, found)
                if found not in NOT_KNOWN:
                    handoffs.keep_to(found.addresses)
                others_take_calls = bool(found.pods)
                asked_s = clock.monotonic_s()
            attached = self._owned.attached()
            signs_of_life.look(attached)
            if others_take_calls or drain.is_over(elapsed_s):
                self._warn(attached, warned, drain, elapsed_s)
            calls = map(draining_call, attached)
            for call_id in drain.to_hand_off(calls, elapsed_s=elapsed_s, others_take_calls=others_take_calls):
                self._hand_off(self._owned.by_id[call_id], handoffs, is_last=drain.is_over(elapsed_s))
            await clock.sleep(LOOK_S)
        self.waits = ""
        self._ports.observer.drain_finished(clock.monotonic_s() - started_s)
        log.info(
            "drained", seconds=round(clock.monotonic_s() - started_s, 3), closed_with=int(CloseCode.SERVICE_RESTART)
        )
        self.done.set()

    def _hand_off(self, live: LiveCall, handoffs: Handoffs, *, is_last: bool) -> None:
        call_id = live.call.call_id
        if handoffs.is_under_way(call_id):
            return
        # Before the deadline the plan names no call that cannot be resumed.
        if not live.call.lifecycle.resumable and not handoffs.was_tried(call_id):
            self._ports.observer.call_dropped("drain")
        handoffs.begin(live, force=is_last)

    def _warn(self, attached: list[LiveCall], warned: set[str], drain: Drain, elapsed_s: float) -> None:
        for live in attached:
            if live.call.call_id not in warned and (drain.closes_rest or live.call.lifecycle.resumable):
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
        others = [pod for pod in others if pod.name not in self._along]
        if self._with_color:
            # Those of its color are to drain as well, and for some seconds their heartbeats do not say so yet.
            if others and all(pod.color == own.color for pod in others):
                return NO_OTHER_COLOR
            others = [pod for pod in others if pod.color != own.color]
        return ready_pods([pod for pod in others if not self._others.is_leaving(pod.name)], routed)


def draining_call(live: LiveCall) -> DrainingCall:
    """What a plan needs to know of a call."""
    call = live.call
    spread = int.from_bytes(hashlib.sha256(call.call_id.encode()).digest()[:4], "big") / 2**32
    may_move = is_quiet(call) or (live.connection is not None and live.connection.client.resumable_now)
    lifecycle = call.lifecycle
    return DrainingCall(call.call_id, lifecycle.resumable, may_move and lifecycle.status is Status.ATTACHED, spread)

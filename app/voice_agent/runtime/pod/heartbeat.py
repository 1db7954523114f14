"""What a pod does every so often: say that it lives, apply its color's request, look after silent calls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from voice_agent.call.codec import SCHEMA
from voice_agent.call.upkeep import Limits, ending
from voice_agent.errors import StoreError
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.write_back import NO_ANSWER
from voice_agent.runtime.durability.writing import state_of
from voice_agent.runtime.pod.fleet import TAKES_CALLS
from voice_agent.runtime.pod.overload import SAMPLE_S, OverloadDetector
from voice_agent.runtime.pod.parking import Parking
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import DrainRequest, PodHeartbeat, PodState

if TYPE_CHECKING:
    from voice_agent.runtime.pod.pod import Pod

HEARTBEAT_S = 2.0
HEARTBEAT_TTL_S = 7
"""Three beats may be missed before a pod is taken for dead."""
LEFT_TTL_S = 5
"""Whoever looks once a second sees it, though an answer be late."""
ANSWER_S = 2.0
UPKEEP_S = 0.5
ASK_EPOCH_S = 1.25
"""How long a call may go without a write before it is asked for whether it is still ours.

With `UPKEEP_S` and the round trip less than 2 s: so soon a call that is erased elsewhere, or was, is closed here.
"""

log = structlog.get_logger(__name__)


class Heartbeat:
    """Four loops, of which none waits for another.

    `run` talks to the store, `upkeep` looks at this pod's own calls, `bound_parking` at what calls without a caller
    keep, `watch_loop` at the event loop.
    """

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self.store_state = StoreState.OK
        """How the last heartbeat went."""
        self.failure: Exception | None = None
        """Why, if it did not go well."""
        self._taking: frozenset[str] = frozenset()
        """Pods of this color that took calls after this one had said that it is overloaded; empty: not known."""
        self._learned_at_s = float("-inf")
        self._applied: DrainRequest | None = None
        settings = pod.settings
        self._parking = Parking(pod)
        self._limits = Limits(settings.resume_window_s, settings.max_call_s, settings.idle_timeout_s)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self._pod.clock.sleep(HEARTBEAT_S)
            await self.heartbeat()

    def facts(self) -> PodHeartbeat:
        """What there is to say of the pod right now."""
        pod = self._pod
        status = pod.status()
        return PodHeartbeat(
            name=pod.name,
            color=pod.color,
            version=pod.version,
            status=pod.state,
            active_calls=status.active_calls,
            parked_calls=status.parked_calls,
            capacity=status.capacity,
            started_at_ms=pod.started_at_ms,
            heartbeat_at_ms=pod.clock.wall_ms(),
            schema=SCHEMA,
            counters=pod.counters(),
            keys=pod.admission.quota.told(),
            calls_not_resumable=pod.calls_not_resumable(),
            oldest_call_at_ms=pod.oldest_call_at_ms(),
            took_call_at_ms=pod.took_call_at_ms(),
            forwarded_call_at_ms=pod.forwarded_call_at_ms(),
            store=pod.store_state.value,
        )

    async def heartbeat(self) -> None:
        """One heartbeat; learns the color's drain request, what other pods say, and how full the store is.

        What the store refuses of it keeps nothing else from being asked.
        """
        pod = self._pod
        pod.admission.quota.expire(pod.clock.wall_ms())
        heartbeat = self.facts()
        if heartbeat.status != PodState.OVERLOADED:
            # From now on others may think that this pod takes calls, and send theirs here.
            self._taking = frozenset()
        failures: list[Exception] = []
        try:
            async with asyncio.timeout(ANSWER_S):
                for question in (self._say, self._agree, self._look):
                    try:
                        await question(heartbeat)
                    except StoreError as error:
                        failures.append(error)
                        if state_of(error) is StoreState.UNREACHABLE:
                            break
        except Exception as error:
            # The root of the heartbeat: it must not end while the pod lives.
            if not isinstance(error, TimeoutError):
                log.exception("the store failed in a way of its own")
            failures.append(error)
        if failures:
            pod.observer.store_failed("beat")
            self._forget_others()
        # Also where the rest was refused: a clock that is wrong must not wait for a store that is well.
        if (now_ms := pod.store.wall_ms()) is not None:
            pod.clock.follow(now_ms, leaps=not pod.ownership.calls)
        self._tell(failures)

    def _tell(self, failures: Sequence[Exception]) -> None:
        """One line when the state of the store becomes another one, unless whoever writes calls has told it."""
        before, self.failure = self.store_state, failures[0] if failures else None
        self.store_state = StoreState.OK if self.failure is None else state_of(self.failure)
        if self.store_state is before or self._pod.committer.degraded:
            return
        if self.failure is None:
            log.info("the store takes heartbeats again")
            return
        state, error = self.store_state.value, str(self.failure) or NO_ANSWER
        log.warning("the store does not do what a heartbeat asks", store=self._pod.store.kind, state=state, error=error)

    async def _say(self, heartbeat: PodHeartbeat) -> None:
        """That this pod lives; learn the color's drain request, and what the others say."""
        store = self._pod.store
        try:
            request = await store.heartbeat(heartbeat, ttl_s=HEARTBEAT_TTL_S)
        except StoreError as error:
            if state_of(error) is not StoreState.UNREACHABLE:
                self._apply(await store.drain_request(heartbeat.color))
            raise
        self._apply(request)
        await self._learn(heartbeat)

    async def _agree(self, _: PodHeartbeat) -> None:
        """A store that came back empty is told again what was agreed."""
        for name, value in self._pod.agreed.items():
            await self._pod.store.get_or_set(name, value)

    async def _look(self, _: PodHeartbeat) -> None:
        """How full the store is, and whether it is as calls need it."""
        if self.store_state is not StoreState.OK:
            self._pod.fitness.is_another()
        await self._pod.committer.memory.look()
        await self._pod.fitness.look_again()

    async def _learn(self, said: PodHeartbeat) -> None:
        """What the others say, if it matters; asked for after this pod's own beat is in the store.

        So of two pods that are overloaded, the one that asked last knows of the other: never do all send callers away.
        """
        quota = self._pod.admission.quota
        if said.status != PodState.OVERLOADED and not quota.limit:
            return
        others = [heartbeat for heartbeat in await self._pod.store.pods() if heartbeat.name != said.name]
        quota.learn(others)
        self._learned_at_s = self._pod.clock.monotonic_s()
        if said.status == PodState.OVERLOADED:
            taking = (
                heartbeat for heartbeat in others if heartbeat.color == said.color and heartbeat.status in TAKES_CALLS
            )
            self._taking = frozenset(heartbeat.name for heartbeat in taking)

    def _forget_others(self) -> None:
        """The store is silent: what was learned is worth as much as a heartbeat."""
        self._taking = frozenset()
        if self._pod.clock.monotonic_s() - self._learned_at_s > HEARTBEAT_TTL_S:
            self._pod.admission.quota.learn([])

    @property
    def others_take_calls(self) -> bool:
        """Whether another pod of this color is known to take calls, and knows that this one does not."""
        return any(not self._pod.is_leaving(name) for name in self._taking)

    def _apply(self, request: DrainRequest | None) -> None:
        if request == self._applied:
            return
        self._applied = request
        if request is None:
            log.info("drain request removed", color=self._pod.color)
        else:
            log.info("draining as requested", color=self._pod.color, mode=request.mode, deadline_s=request.deadline_s)
        self._pod.apply(request)

    async def leave(self) -> None:
        """Say for the last time what there is to say, so that a pod that left is known from a dead one.

        It stays readable for `LEFT_TTL_S`; the counts per key are those of other pods by now.
        """
        last = replace(self.facts(), status=PodState.LEFT, keys={})
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._pod.store.heartbeat(last, ttl_s=LEFT_TTL_S)
        except (StoreError, TimeoutError):
            log.warning("could not leave the fleet; the heartbeat will run out", pod=self._pod.name)

    async def upkeep(self) -> None:
        """Look after every call until cancelled; never waits for the store."""
        while True:
            await self._pod.clock.sleep(UPKEEP_S)
            self._look_after_all()

    async def bound_parking(self) -> None:
        """Keep no more of parked and ended calls than may be, in memory and in the store, until cancelled."""
        while True:
            await self._pod.clock.sleep(UPKEEP_S)
            await self._unload_surplus()

    async def look_after_calls(self) -> None:
        """Once, both."""
        self._look_after_all()
        await self._unload_surplus()

    def _look_after_all(self) -> None:
        for live in list(self._pod.ownership.calls.values()):
            self._look_after(live)

    async def watch_loop(self) -> None:
        """Measure how late the event loop is until cancelled; what is too late for new calls stops them.

        Late is also what a message of a caller would wait for its turn: where the work of each turn is bounded, a timer
        alone is on time however much is left undone.
        """
        pod, clock = self._pod, self._pod.clock
        detector = OverloadDetector(clock.monotonic_s(), enter_s=pod.overload_lag_s)
        while True:
            due_s = clock.monotonic_s() + SAMPLE_S
            await clock.sleep(SAMPLE_S)
            await pod.next_turn()
            now_s = clock.monotonic_s()
            lag_s = max(0.0, now_s - due_s)
            pod.observer.loop_lag(lag_s)
            if detector.sample(now_s, lag_s):
                if detector.overloaded and not pod.admission.overloaded:
                    pod.observer.limit_reached("overload")
                    log.warning("overloaded: no new calls", active_calls=pod.admission.active)
                elif pod.admission.overloaded and not detector.overloaded:
                    log.info("no longer overloaded", active_calls=pod.admission.active)
                pod.admission.second_is_over(late=detector.late, overloaded=detector.overloaded)

    async def _unload_surplus(self) -> None:
        await self._parking.enforce()

    def _look_after(self, live: LiveCall) -> None:
        pod, settings = self._pod, self._pod.settings
        now_s = pod.clock.monotonic_s()
        now_ms = pod.clock.wall_ms()
        call = live.call
        live.weigh_again()
        if live.was_heard:
            live.was_heard, live.heard_from_at_s = False, now_s
        if call.call_key_hash and now_s - live.key_kept_at_s >= settings.ttl_s / 3:
            pod.ownership.keep_key(live)
        silent_s = now_s - live.heard_from_at_s
        live.notice_silence(silent_s)
        live.notice_silent_agent()
        over = ending(call, self._limits, now_ms=now_ms, silent_s=silent_s)
        if over is not None and not live.writes_paused:
            if over.was_dropped:
                pod.observer.call_dropped("handoff")
            live.finish(over.outcome, reason=over.reason)
        elif now_s - live.committed_at_s >= min(ASK_EPOCH_S, settings.ttl_s / 3):
            pod.committer.mark(live)

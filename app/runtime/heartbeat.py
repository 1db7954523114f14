"""What a pod does every so often: say that it lives, obey its color's wish, look after silent calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from app.call.codec import SCHEMA
from app.call.record import Status
from app.call.upkeep import Limits, ending
from app.errors import StoreError
from app.runtime.live_call import LiveCall
from app.stores.base import DrainWish, PodBeat

if TYPE_CHECKING:
    from app.runtime.pod import Pod

BEAT_S = 2.0
BEAT_TTL_S = 7
"""Three beats may be missed before a pod is taken for dead."""
ANSWER_S = 2.0
UPKEEP_S = 1.0
ASK_EPOCH_S = 2.0
"""How long a call may go without a write before it is asked for whether it is still ours."""

log = structlog.get_logger(__name__)


class Heartbeat:
    """Two loops: `run` talks to the store, `upkeep` looks at this pod's own calls."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self.store_is_silent = False
        self._obeyed: DrainWish | None = None
        settings = pod.settings
        self._limits = Limits(settings.resume_window_s, settings.max_call_s, settings.idle_timeout_s)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self._pod.clock.sleep(BEAT_S)
            await self.beat()

    async def beat(self) -> None:
        """One heartbeat; learns the color's wish."""
        pod = self._pod
        status = pod.status()
        beat = PodBeat(
            name=pod.name,
            color=pod.color,
            version=pod.version,
            status=status.status,
            active_calls=status.active_calls,
            parked_calls=status.parked_calls,
            capacity=status.capacity,
            started_at_ms=pod.started_at_ms,
            beat_at_ms=pod.clock.wall_ms(),
            schema=SCHEMA,
            tallies=pod.tallies(),
        )
        try:
            async with asyncio.timeout(ANSWER_S):
                wish = await pod.store.beat(beat, ttl_s=BEAT_TTL_S)
                for name, value in pod.agreed.items():
                    await pod.store.agree(name, value)
        except Exception as error:
            # The root of the heartbeat: it must not end while the pod lives.
            if not isinstance(error, StoreError | TimeoutError):
                log.exception("the store failed in a way of its own")
            pod.observer.store_failed("beat")
            self.store_is_silent = True
            return
        self.store_is_silent = False
        self._obey(wish)

    def _obey(self, wish: DrainWish | None) -> None:
        if wish == self._obeyed:
            return
        self._obeyed = wish
        if wish is None:
            log.info("drain wish taken back", color=self._pod.color)
        else:
            log.info("draining as wished", color=self._pod.color, mode=wish.mode, deadline_s=wish.deadline_s)
        self._pod.obey(wish)

    async def retire(self) -> None:
        """Leave the fleet at once instead of when the beat runs out."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._pod.store.retire(self._pod.name)
        except (StoreError, TimeoutError):
            log.warning("could not leave the fleet; the heartbeat will run out", pod=self._pod.name)

    async def upkeep(self) -> None:
        """Look after every call until cancelled; also measures how late the event loop is."""
        clock = self._pod.clock
        while True:
            due_s = clock.monotonic_s() + UPKEEP_S
            await clock.sleep(UPKEEP_S)
            self._pod.observer.loop_lag(max(0.0, clock.monotonic_s() - due_s))
            for live in list(self._pod.ownership.calls.values()):
                self._look_after(live)
            await self._unload_surplus()

    async def _unload_surplus(self) -> None:
        """Keep no more parked calls in memory than there are places, so that connect-and-drop loops cannot fill it.

        An unloaded call stays in the store and can be resumed from there until its TTL ends.
        """
        parked = [live for live in self._pod.ownership.calls.values() if live.call.status is Status.PARKED]
        surplus = len(parked) - self._pod.admission.capacity
        for live in sorted(parked, key=lambda live: live.call.left_at_ms)[: max(0, surplus)]:
            await self._pod.ownership.unload(live)

    def _look_after(self, live: LiveCall) -> None:
        pod, settings = self._pod, self._pod.settings
        now_s = pod.clock.monotonic_s()
        now_ms = pod.clock.wall_ms()
        call = live.call
        if live.was_heard:
            live.was_heard, live.heard_from_at_s = False, now_s
        if call.call_key_hash and now_s - live.key_kept_at_s >= settings.ttl_s / 3:
            pod.ownership.keep_key(live)
        over = ending(call, self._limits, now_ms=now_ms, silent_s=now_s - live.heard_from_at_s)
        if over is not None and not live.is_held:
            if over.was_dropped:
                pod.observer.call_dropped("handoff")
            live.finish(over.outcome, reason=over.reason)
        elif now_s - live.committed_at_s >= min(ASK_EPOCH_S, settings.ttl_s / 3):
            pod.committer.mark(live)

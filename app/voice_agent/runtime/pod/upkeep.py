"""Looks after a pod's calls: what their silence means, when they end, and how much those without a caller keep."""

from __future__ import annotations

from voice_agent.call.upkeep import Limits, ending
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.calls.muted import notice_silence
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.pod.options import CallSettings, PodPorts
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.pod.parking import Parking

UPKEEP_S = 0.5
ASK_EPOCH_S = 1.25
"""How long a call may go without a write before it is asked for whether it is still ours.

With `UPKEEP_S` and the round trip less than 2 s: so soon a call that is erased elsewhere, or was, is closed here.
"""


class Upkeep:
    """One pod's two loops, of which none waits for the other: `run` never waits for the store, `bound_parking` may."""

    def __init__(
        self, ports: PodPorts, owned: OwnedCalls, committer: Committer, parking: Parking, settings: CallSettings
    ) -> None:
        self.parking = parking
        self._ports = ports
        self._owned = owned
        self._committer = committer
        self._settings = settings
        self._limits = Limits(settings.resume_window_s, settings.max_call_s, settings.idle_timeout_s)

    async def run(self) -> None:
        """Look after every call until cancelled."""
        while True:
            await self._ports.clock.sleep(UPKEEP_S)
            self.look_after_all()

    async def bound_parking(self) -> None:
        """Keep no more of parked and ended calls than may be, in memory and in the store, until cancelled."""
        while True:
            await self._ports.clock.sleep(UPKEEP_S)
            await self.parking.enforce()

    async def look_after_calls(self) -> None:
        """Once, both."""
        self.look_after_all()
        await self.parking.enforce()

    def look_after_all(self) -> None:
        """Look after every call, once."""
        for live in self._owned:
            self._look_after(live)

    def _look_after(self, live: LiveCall) -> None:
        settings = self._settings
        now_s = self._ports.clock.monotonic_s()
        now_ms = self._ports.clock.wall_ms()
        call = live.call
        live.memory.update()
        if call.identity.call_key_hash and now_s - live.writer.key_kept_at_s >= settings.ttl_s / 3:
            self._owned.keep_key(live)
        silent_s = live.activity.update()
        notice_silence(live, silent_s)
        live.responder.stop_silent()
        over = ending(call, self._limits, now_ms=now_ms, silent_s=silent_s)
        if over is not None and not live.writer.writes_paused:
            if over.was_dropped:
                self._ports.observer.call_dropped("handoff")
            live.finish(over.outcome, reason=over.reason)
        elif now_s - live.writer.committed_at_s >= min(ASK_EPOCH_S, settings.ttl_s / 3):
            self._committer.mark(live.writer)

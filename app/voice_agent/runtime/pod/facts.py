"""What a pod says of itself to the others, with each heartbeat."""

from __future__ import annotations

from collections.abc import Callable

from voice_agent.runtime.pod.arrivals import Arrivals
from voice_agent.runtime.pod.options import CallSettings, PodPorts
from voice_agent.runtime.pod.quota import KeyQuota
from voice_agent.runtime.pod.view import PodView
from voice_agent.stores.base import PodHeartbeat


class PodFacts:
    """One pod's."""

    def __init__(
        self,
        settings: CallSettings,
        ports: PodPorts,
        view: PodView,
        arrivals: Arrivals,
        quota: KeyQuota,
        taken_up: Callable[[], tuple[str, int]],
    ) -> None:
        """`taken_up`: which request to this pod was last, and how many calls it has still to move for it."""
        self.started_at_ms = ports.clock.wall_ms()
        self._ports = ports
        self._view = view
        self._arrivals = arrivals
        self._quota = quota
        self._settings = settings
        self._taken_up = taken_up

    def now(self) -> PodHeartbeat:
        """What there is to say right now."""
        applied, left = self._taken_up()
        view, status = self._view, self._view.status()
        return PodHeartbeat(
            name=status.pod,
            color=status.color,
            version=status.version,
            status=view.state,
            active_calls=status.active_calls,
            parked_calls=status.parked_calls,
            capacity=status.capacity,
            started_at_ms=self.started_at_ms,
            heartbeat_at_ms=self._ports.clock.wall_ms(),
            reads_schemas=self._settings.reads_schemas,
            counters=self._ports.counters(),
            keys=self._quota.told(),
            calls_not_resumable=view.calls_not_resumable(),
            oldest_call_at_ms=view.oldest_call_at_ms(),
            took_call_at_ms=self._arrivals.took_call_at_ms(),
            forwarded_call_at_ms=self._arrivals.forwarded_call_at_ms(),
            store=status.store_state,
            calls_resumable_now=view.calls_resumable_now(),
            loop_lag_ms=view.loop_lag_ms,
            address=self._settings.address,
            node=self._settings.node,
            applied_request=applied,
            moves_left=left,
        )

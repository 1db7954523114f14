"""What operators see of a pod: its health as one word, its numbers, its calls."""

from __future__ import annotations

from collections.abc import Callable

from voice_agent.runtime.pod.admission import Admission
from voice_agent.runtime.pod.options import CallSettings
from voice_agent.runtime.pod.other_pods import OtherPods
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.pod.store_health import StoreHealth
from voice_agent.runtime.ports import CallSummary, PodStatus, StoreState
from voice_agent.stores.base import PodState


class PodView:
    """One pod's; it only looks."""

    def __init__(
        self,
        settings: CallSettings,
        version: str,
        admission: Admission,
        owned: OwnedCalls,
        others: OtherPods,
        store_health: StoreHealth,
        *,
        drain_waits: Callable[[], str],
        is_failing: Callable[[], bool],
    ) -> None:
        """`drain_waits`: why a drain hands nobody off. `is_failing`: whether a part of the pod has crashed."""
        self._settings = settings
        self._version = version
        self._admission = admission
        self._owned = owned
        self._others = others
        self._store_health = store_health
        self._drain_waits = drain_waits
        self._is_failing = is_failing

    @property
    def state(self) -> PodState:
        """What the pod says of itself to other pods, as one word."""
        if self._admission.draining:
            return PodState.DRAINING
        if self._is_failing():
            return PodState.FAILING
        if self._admission.is_full or self._admission.overloaded:
            return PodState.OVERLOADED
        return PodState.OK if self._store_health.state is StoreState.OK else PodState.DEGRADED

    def status(self) -> PodStatus:
        """Health as one word, and the numbers beside it.

        A pod that is overloaded says so only while another pod of its color takes calls, as their heartbeats say;
        until then it is `degraded`: a load balancer must not lose its last target, through which calls come back.
        """
        state = self.state
        if state is PodState.OVERLOADED and not self._others.take_calls:
            state = PodState.DEGRADED
        return PodStatus(
            status=state,
            pod=self._settings.pod,
            color=self._settings.color,
            version=self._version,
            active_calls=self._admission.active,
            parked_calls=self.parked_calls,
            capacity=self._admission.capacity,
            store=self._store_health.describe(),
            drain_waits=self._drain_waits(),
        )

    @property
    def parked_calls(self) -> int:
        """Calls whose connection broke and whose resume window runs."""
        return len(self._owned.parked())

    def calls_not_resumable(self) -> int:
        """Attached calls whose client never said that it can come back: a drain waits for them."""
        return sum(not live.call.lifecycle.resumable for live in self._owned.attached())

    @property
    def loop_lag_ms(self) -> int:
        """How late the event loop is."""
        return round(self._admission.loop_lag_s * 1000)

    def calls_resumable_now(self) -> int:
        """Attached calls that may be handed off at any moment."""
        attached = (live.connection for live in self._owned.attached())
        return sum(connection.client.resumable_now for connection in attached if connection is not None)

    def oldest_call_at_ms(self) -> int:
        """When the oldest attached call began; 0: there is none."""
        return min((live.call.identity.created_at_ms for live in self._owned.attached()), default=0)

    def calls(self) -> list[CallSummary]:
        """The calls this pod owns."""
        return [
            CallSummary(
                call_id=live.call.call_id,
                model=live.call.identity.model,
                status=live.call.lifecycle.status.value,
                epoch=live.call.owner.epoch,
                started_at_ms=live.call.identity.created_at_ms,
                events=live.call.outbox.seq,
                turns=live.call.dialogue.turns,
                resumable=live.call.lifecycle.resumable,
            )
            for live in self._owned
        ]

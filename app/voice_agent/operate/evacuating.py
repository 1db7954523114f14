"""Evacuating pods: they take nothing new, and hand off every call that can move, each at once or at its quiet moment.

Like a drain of each, but from afar, of single pods, and nobody is closed who cannot come back unless that is asked for.
What has not been seen is never called evacuated: a pod counts once a heartbeat names the request and no call::

    asked --heartbeat names the request--> leaving --no calls--> empty
      |                                       |
      |--no heartbeat for `GONE_S`, or one of another process of that name--> gone
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from voice_agent.errors import StoreUnavailable
from voice_agent.operate.drain import GONE_S, LOOK_S
from voice_agent.operate.fleet import Fleet, FleetError
from voice_agent.operate.pod_requests import EVACUATED_FOR_S, TAKEN_UP_S, ask, check_version, new_id
from voice_agent.runtime.pod.fleet import LEAVING, ReadyPods, count, ready_pods, routed_colors, some
from voice_agent.runtime.pod.pod_request import Destination, PodRequest
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import PodHeartbeat, RouterWeights, Store

EXTRA_WAIT_S = 10.0
"""How much longer than the deadline a wait takes: pods act late, and say so late."""


@dataclass(frozen=True, slots=True)
class EvacuationOptions:
    """How pods are to be evacuated."""

    deadline_s: int
    closes_rest: bool = False
    """Whether calls that cannot resume are closed at the deadline."""
    destinations: Mapping[str, Sequence[Destination]] = field(default_factory=dict)
    """Where the calls of a pod go; without, wherever the load balancer sends them."""
    wait: bool = True
    """Whether to wait until the pods are empty."""


@dataclass(frozen=True, slots=True)
class Evacuation:
    """How an evacuation went, or goes; `str()` is for people."""

    pods: tuple[str, ...]
    evacuated: bool
    """Every pod is known to have no call left, or to be gone."""
    active_calls: int
    """Those left, as far as is known."""
    calls_not_resumable: int
    """Of them: those that cannot move."""
    gone: tuple[str, ...] = ()
    ready_pods: tuple[str, ...] = ()
    """Pods that were expected to take calls over."""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)

    def __str__(self) -> str:
        who = some(self.pods)
        if self.evacuated:
            gone = f"; gone meanwhile: {some(self.gone)}" if self.gone else ""
            return f"{who}: no call left{gone}. {'It takes' if len(self.pods) == 1 else 'They take'} no new ones."
        stuck = f", of which {self.calls_not_resumable} cannot resume" if self.calls_not_resumable else ""
        return f"{who}: {count(self.active_calls, 'call')} left{stuck}"


@dataclass(slots=True)
class _LeavingPod:
    """What is known of one pod."""

    asked: PodHeartbeat
    """As it was when it was asked."""
    seen: PodHeartbeat
    taken_up: bool = False
    away_since_s: float | None = None
    gone: bool = False

    @property
    def is_empty(self) -> bool:
        return self.gone or (self.taken_up and self.seen.status in LEAVING and not self.seen.active_calls)


class EvacuationWatch:
    """One look at the fleet after the other. Pure: the looks come from outside."""

    def __init__(self, pods: Sequence[PodHeartbeat], request_id: str) -> None:
        self.pods = {pod.name: _LeavingPod(pod, pod) for pod in pods}
        self._request_id = request_id

    @property
    def evacuated(self) -> bool:
        """Whether every pod is known to be empty or gone."""
        return all(pod.is_empty for pod in self.pods.values())

    @property
    def not_taken_up(self) -> list[str]:
        """Pods that have not said yet that they know."""
        return [name for name, pod in self.pods.items() if not (pod.taken_up or pod.gone)]

    @property
    def gone(self) -> list[str]:
        """Pods that have left the fleet."""
        return [name for name, pod in self.pods.items() if pod.gone]

    @property
    def active_calls(self) -> int:
        """As far as is known."""
        return sum(pod.seen.active_calls for pod in self.pods.values() if not pod.gone)

    @property
    def calls_not_resumable(self) -> int:
        """Of them: those that cannot move."""
        return sum(pod.seen.calls_not_resumable for pod in self.pods.values() if not pod.gone)

    def look(self, fleet: Fleet, now_s: float) -> None:
        """Take in what the fleet looks like. Raises `FleetError` for a pod that is asked for something else by now."""
        there = {pod.name: pod for pod in fleet.pods}
        for name, pod in self.pods.items():
            found = there.get(name)
            if found is None:
                pod.away_since_s = now_s if pod.away_since_s is None else pod.away_since_s
                pod.gone = pod.gone or now_s - pod.away_since_s >= GONE_S
            elif found.started_at_ms != pod.asked.started_at_ms:
                pod.gone = True
            else:
                pod.away_since_s, pod.seen = None, found
                self._see(name, pod)

    def _see(self, name: str, pod: _LeavingPod) -> None:
        if pod.seen.applied_request == self._request_id:
            pod.taken_up = True
            if pod.seen.status not in LEAVING:
                raise FleetError(f"{name} takes calls again: that was cancelled, or the store was emptied.")
        elif pod.taken_up:
            raise FleetError(f"{name} was asked for something else meanwhile.")

    def look_failed(self) -> None:
        """The store did not answer: what it will show next may be all that it still knows."""
        for pod in self.pods.values():
            pod.away_since_s = None


def who_takes_over(fleet: Fleet, told: RouterWeights | None, leaving: Sequence[PodHeartbeat]) -> ReadyPods:
    """Pods that are expected to take up the calls of those that leave."""
    names = {pod.name for pod in leaving}
    others = [pod for pod in fleet.pods if pod.name not in names]
    return ready_pods(others, routed_colors(fleet.pods, told))


async def evacuate(
    store: Store,
    pods: Sequence[PodHeartbeat],
    options: EvacuationOptions,
    clock: Clock,
    *,
    ready: ReadyPods,
    looked: Callable[[EvacuationWatch], None] = lambda watch: None,
) -> Evacuation:
    """Ask pods to leave, and wait until they are empty, or the deadline is over; what they are asked for stays.

    `looked` is told after each look. Raises `FleetError` for pods that cannot be asked, before any is, and for those
    that do not do it; and `StoreError`.
    """
    check_version(pods)
    request_id = new_id()
    names = [pod.name for pod in pods]
    for pod in pods:
        request = PodRequest(
            request_id=request_id,
            started_at_ms=pod.started_at_ms,
            deadline_s=options.deadline_s,
            evacuates=True,
            closes_rest=options.closes_rest,
            along=[name for name in names if name != pod.name],
            destinations=options.destinations.get(pod.name, ()),
        )
        await ask(store, pod.name, partial(_instead, request), EVACUATED_FOR_S + options.deadline_s)
    watch = EvacuationWatch(pods, request_id)
    if options.wait:
        await _watch(store, watch, options.deadline_s + EXTRA_WAIT_S, clock, looked)
    return Evacuation(
        pods=tuple(names),
        evacuated=options.wait and watch.evacuated,
        active_calls=watch.active_calls,
        calls_not_resumable=watch.calls_not_resumable,
        gone=tuple(watch.gone),
        ready_pods=ready.pods,
    )


def _instead(request: PodRequest, standing: PodRequest | None) -> PodRequest:
    """Whatever the pod was asked for before."""
    return request


async def _watch(
    store: Store, watch: EvacuationWatch, timeout_s: float, clock: Clock, looked: Callable[[EvacuationWatch], None]
) -> None:
    began_s = clock.monotonic_s()
    silent_s = 0.0
    while not watch.evacuated and (passed_s := clock.monotonic_s() - began_s) < timeout_s:
        try:
            watch.look(Fleet(await store.pods()), clock.monotonic_s())
        except StoreUnavailable:
            watch.look_failed()
            silent_s = passed_s
        else:
            looked(watch)
            if (late := watch.not_taken_up) and passed_s - silent_s >= TAKEN_UP_S:
                raise FleetError(f"{some(late)} did not take up what was asked within {TAKEN_UP_S:g} s.")
        if not watch.evacuated:
            await clock.sleep(LOOK_S)

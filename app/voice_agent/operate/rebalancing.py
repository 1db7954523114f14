"""Moving some calls between pods, as a plan of `operate.balancing` says, by way of the store.

Each pod hands off exactly as many as it is asked to, unless fewer can move until the deadline.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from voice_agent.errors import StoreError, StoreUnavailable
from voice_agent.operate.balancing import PlannedMove
from voice_agent.operate.drain import GONE_S, LOOK_S
from voice_agent.operate.fleet import Fleet, FleetError
from voice_agent.operate.pod_requests import TAKEN_UP_S, ask, check_version, new_id, withdraw
from voice_agent.runtime.pod.fleet import count, some
from voice_agent.runtime.pod.pod_request import Destination, PodRequest
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import PodHeartbeat, Store

EXTRA_WAIT_S = 10.0
"""How much longer than the deadline a wait takes: pods act late, and say so late."""


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """What became of a plan; `str()` is for people."""

    moves: tuple[PlannedMove, ...]
    planned: int
    moved: int
    gone: tuple[str, ...] = ()
    """Pods that left the fleet, or were asked for something else, before they had moved all."""

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)

    def __str__(self) -> str:
        gone = f"; gone meanwhile: {some(self.gone)}" if self.gone else ""
        of_all = f" of {self.planned}" if self.moved != self.planned else ""
        return f"moved {count(self.planned, 'call') if not of_all else f'{self.moved}{of_all} calls'}{gone}."


def destinations(moves: Sequence[PlannedMove], fleet: Fleet) -> dict[str, list[Destination]]:
    """By the pod that gives: where its calls are to go."""
    address = {pod.name: pod.address for pod in fleet.pods}
    found: defaultdict[str, list[Destination]] = defaultdict(list)
    for move in moves:
        found[move.source].append(Destination(address.get(move.target, ""), move.calls))
    return dict(found)


class MoveWatch:
    """One look at the fleet after the other. Pure: the looks come from outside."""

    def __init__(self, sources: Sequence[PodHeartbeat], request_id: str, calls: dict[str, int]) -> None:
        """`calls`: how many each is to move."""
        self.left = dict(calls)
        """By pod: how many it has not moved yet, as far as is known."""
        self.gone: set[str] = set()
        self.taken_up: set[str] = set()
        self._started = {pod.name: pod.started_at_ms for pod in sources}
        self._seen_s: dict[str, float] = {}
        """When each was in the fleet last."""
        self._request_id = request_id

    @property
    def moved(self) -> bool:
        """Whether nothing is left to wait for."""
        return all(name in self.gone or not left for name, left in self.left.items())

    @property
    def not_taken_up(self) -> list[str]:
        """Pods that have not said yet that they know."""
        return [name for name in self.left if name not in self.taken_up | self.gone]

    def look(self, fleet: Fleet, now_s: float) -> None:
        """Take in what the fleet looks like."""
        there = {pod.name: pod for pod in fleet.pods}
        for name in self.left:
            pod = there.get(name)
            if pod is None:
                if now_s - self._seen_s.setdefault(name, now_s) >= GONE_S:
                    self.gone.add(name)
                continue
            self._seen_s[name] = now_s
            if pod.started_at_ms != self._started[name]:
                self.gone.add(name)
            elif pod.applied_request == self._request_id:
                self.taken_up.add(name)
                self.left[name] = pod.moves_left
            elif name in self.taken_up:
                self.gone.add(name)

    def look_failed(self) -> None:
        """The store did not answer: what it will show next may be all that it still knows."""
        self._seen_s.clear()


async def rebalance(
    store: Store,
    fleet: Fleet,
    moves: Sequence[PlannedMove],
    deadline_s: int,
    clock: Clock,
    *,
    looked: Callable[[MoveWatch], None] = lambda watch: None,
) -> Rebalanced:
    """Have calls moved, and wait until they are, or the deadline is over; what is not moved by then stays.

    Raises `FleetError` for pods that cannot be asked, or do not take it up, and `StoreError`. However it is cut short,
    by cancellation too, what was asked is taken back: calls that were not moved by then stay.
    """
    going = destinations(moves, fleet)
    sources = [pod for pod in fleet.pods if pod.name in going]
    check_version(sources)
    request_id = new_id()
    calls = {name: sum(each.calls for each in to) for name, to in going.items()}
    watch = MoveWatch(sources, request_id, calls)
    try:
        for pod in sources:
            started_at_ms, to = pod.started_at_ms, going[pod.name]
            request = PodRequest(request_id, started_at_ms, deadline_s, evacuates=False, destinations=to)
            await _ask(store, pod, request)
        await _watch(store, watch, deadline_s + EXTRA_WAIT_S, clock, looked)
    except BaseException:
        await _take_back(store, sources, request_id)
        raise
    planned = sum(calls.values())
    return Rebalanced(
        moves=tuple(moves),
        planned=planned,
        moved=planned - sum(watch.left.values()),
        gone=tuple(sorted(watch.gone)),
    )


async def _ask(store: Store, pod: PodHeartbeat, request: PodRequest) -> None:
    def make(standing: PodRequest | None) -> PodRequest:
        if standing is not None and standing.evacuates and standing.started_at_ms == pod.started_at_ms:
            raise FleetError(f"{pod.name} is being evacuated.")
        return request

    await ask(store, pod.name, make, request.deadline_s + round(TAKEN_UP_S))


async def _take_back(store: Store, pods: Sequence[PodHeartbeat], request_id: str) -> None:
    for pod in pods:
        # What cannot be taken back is over by itself at its deadline.
        with suppress(StoreError, FleetError):
            await withdraw(store, pod.name, request_id=request_id)


async def _watch(
    store: Store, watch: MoveWatch, timeout_s: float, clock: Clock, looked: Callable[[MoveWatch], None]
) -> None:
    began_s = clock.monotonic_s()
    silent_s = 0.0
    while not watch.moved and (passed_s := clock.monotonic_s() - began_s) < timeout_s:
        try:
            fleet = Fleet(await store.pods())
        except StoreUnavailable:
            watch.look_failed()
            silent_s = passed_s
        else:
            watch.look(fleet, clock.monotonic_s())
            looked(watch)
            if (late := watch.not_taken_up) and passed_s - silent_s >= TAKEN_UP_S:
                raise FleetError(f"{some(late)} did not take up what was asked within {TAKEN_UP_S:g} s.")
        if not watch.moved:
            await clock.sleep(LOOK_S)

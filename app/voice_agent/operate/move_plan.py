"""What `voice-agent rebalance` is asked for, and the plan that comes of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from voice_agent.errors import SettingsError
from voice_agent.operate.balancing import PlannedMove, PodLoad, balance, loads, pack, shift
from voice_agent.operate.fleet import Fleet
from voice_agent.operate.pod_requests import named
from voice_agent.runtime.pod.fleet import LEAVING, count, routed_colors, some
from voice_agent.stores.base import RouterWeights


@dataclass(frozen=True, slots=True)
class MovePlan:
    """Which calls are to move, and what there is to say of it."""

    moves: tuple[PlannedMove, ...]
    emptied: tuple[str, ...] = ()
    """Pods that are to be empty afterwards, and may be removed then."""
    remarks: tuple[str, ...] = ()

    @property
    def calls(self) -> int:
        """How many move."""
        return sum(move.calls for move in self.moves)

    @property
    def is_work(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.moves or self.emptied)

    def change(self, pod: str) -> int:
        """How many calls a pod gains; below 0: loses."""
        return sum(move.calls * ((move.target == pod) - (move.source == pod)) for move in self.moves)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MoveRequest:
    """Options that were checked against each other. Raises `SettingsError`."""

    sources: Sequence[str] | None
    """Names of pods and nodes; None: any."""
    targets: Sequence[str] | None
    calls: int | None = None
    """How many to move; None: as the load says."""
    percent: int | None = None
    """The same, of what the sources have."""
    packs: bool = False
    fill: float = 1.0
    """How full pods may get when others are emptied."""

    def __post_init__(self) -> None:
        if self.calls is not None and self.percent is not None:
            raise SettingsError("--count and --share both say how many: give one of them")
        if self.packs and (self.sources or self.targets or self.calls or self.percent):
            raise SettingsError("--pack chooses pods and numbers by itself: give no --from, --to, --count, --share")
        if self.percent is not None and not self.sources:
            raise SettingsError("--share: of which pods? Give --from")
        if self.calls is not None and not (self.sources or self.targets):
            raise SettingsError("--count: from or to which pods? Give --from or --to")

    def plan(self, fleet: Fleet, told: RouterWeights | None = None) -> MovePlan:
        """`told`: how callers are split over colors, as far as is known.

        Raises `FleetError` for a name that stands for no pod, and `SettingsError` for a pod that gives and takes.
        """
        pods = loads(fleet.pods)
        sources, targets = self._names(fleet, self.sources), self._names(fleet, self.targets)
        if both := (sources or frozenset()) & (targets or frozenset()):
            raise SettingsError(f"{some(sorted(both))}: both in --from and in --to")
        if self.packs:
            serving = _serving_colors(fleet, told)
            packing = pack([pod for pod in pods if pod.color in serving], self.fill)
            moves, emptied = tuple(packing.moves), tuple(sorted(packing.emptied))
        else:
            moves, emptied = tuple(self._moves(pods, sources, targets)), ()
        return MovePlan(moves, emptied, tuple(self._remarks(fleet, moves, emptied)))

    @staticmethod
    def _names(fleet: Fleet, given: Sequence[str] | None) -> frozenset[str] | None:
        return frozenset(pod.name for pod in named(fleet, given)) if given else None

    def _moves(
        self, pods: Sequence[PodLoad], sources: frozenset[str] | None, targets: frozenset[str] | None
    ) -> list[PlannedMove]:
        calls = self.calls
        if self.percent is not None:
            calls = ceil(sum(pod.calls for pod in pods if pod.name in (sources or ())) * self.percent / 100)
        return balance(pods, sources, targets) if calls is None else shift(pods, calls, sources, targets)

    def _remarks(self, fleet: Fleet, moves: Sequence[PlannedMove], emptied: Sequence[str]) -> list[str]:
        planned = sum(move.calls for move in moves)
        remarks = []
        if emptied:
            remarks.append(f"can be removed once they are empty: {', '.join(emptied)}")
        elif not moves:
            remarks.append("no pod can be emptied" if self.packs else "nothing to move")
        if self.calls is not None and planned < self.calls:
            remarks.append(f"{count(planned, 'call')} of {self.calls}: the rest cannot move, or has no room")
        if older := [pod.name for pod in fleet.pods if pod.applied_request is None and pod.status not in LEAVING]:
            remarks.append(f"of a version that cannot be asked: {some(older)}")
        takers = {move.target for move in moves}
        if silent := [pod.name for pod in fleet.pods if pod.name in takers and not pod.address]:
            remarks.append(
                f"without an address (VOICE_ADVERTISE_ADDRESS), so that a load balancer chooses: {some(silent)}"
            )
        return remarks


def _serving_colors(fleet: Fleet, told: RouterWeights | None) -> frozenset[str]:
    """Colors whose empty pods are too many; those of a color without callers wait for its cutover.

    Where no router is known to send it callers, a color serves if it is the only one, or has calls.
    """
    colors = fleet.colors
    if told is None:
        return frozenset(color for color, found in colors.items() if found.active_calls or len(colors) == 1)
    return routed_colors(fleet.pods, told) or frozenset()

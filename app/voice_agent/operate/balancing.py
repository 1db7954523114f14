"""Which pod gives how many calls to which: to even out their load, as an operator says, or to empty some. Pure.

A pod's *load* is its calls by its capacity, its *share* what it would have if all pods of its color had the same load.
`balance` moves calls from pods that have more than their share and `SLACK` to those that have less. A pod whose event
loop lags gives what is more than its share without slack, and takes none. None gives below its share, none takes beyond
it: so a call that has moved lies in no pod's surplus, and calls do not swing between pods that lag in turns. No plan
fills a pod beyond its capacity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor

from voice_agent.runtime.pod.fleet import LEAVING, TAKES_CALLS
from voice_agent.stores.base import PodHeartbeat

LAG_MS = 25
"""More than a frame late: callers begin to hear it. As `VOICE_OVERLOAD_LAG_MS`."""
SLACK = 0.1
"""Calls move for no less: that a pod has a few more than its share is nothing that a caller hears."""
SLACK_CALLS = 2
"""Beside `SLACK`: pods with few calls are never even."""


@dataclass(frozen=True, slots=True)
class PodLoad:
    """A pod as far as a plan needs to know it."""

    name: str
    color: str
    calls: int
    movable: int
    """Of the calls: those that can resume."""
    capacity: int
    lags: bool = False
    takes_calls: bool = True
    can_be_asked: bool = True
    """False of an older release, which never learns that it is asked."""

    @property
    def load(self) -> float:
        """Calls by capacity."""
        return self.calls / self.capacity if self.capacity else 1.0


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """Some calls of one pod are to go on at another."""

    source: str
    target: str
    calls: int


@dataclass(frozen=True, slots=True)
class Packing:
    """What empties pods before a scale-in."""

    moves: Sequence[PlannedMove]
    emptied: Sequence[str]
    """They have no call behind the moves, and may be removed."""


def loads(pods: Iterable[PodHeartbeat]) -> list[PodLoad]:
    """Of pods that do not leave, by name."""
    return [
        PodLoad(
            name=pod.name,
            color=pod.color,
            calls=pod.active_calls,
            movable=max(0, pod.active_calls - pod.calls_not_resumable) if pod.applied_request is not None else 0,
            capacity=pod.capacity,
            lags=pod.loop_lag_ms > LAG_MS,
            takes_calls=pod.status in TAKES_CALLS,
            can_be_asked=pod.applied_request is not None,
        )
        for pod in sorted(pods, key=lambda pod: pod.name)
        if pod.status not in LEAVING
    ]


def balance(
    pods: Sequence[PodLoad], sources: frozenset[str] | None = None, targets: frozenset[str] | None = None
) -> list[PlannedMove]:
    """Even out each color. Only `sources` give and only `targets` take, where they are named."""
    moves: list[PlannedMove] = []
    for of_color in _by_color(pods):
        total, places = sum(pod.calls for pod in of_color), sum(pod.capacity for pod in of_color)
        gives: Counter[str] = Counter()
        takes: Counter[str] = Counter()
        for pod in of_color:
            share = total * pod.capacity / places if places else 0.0
            surplus = pod.calls - ceil(share)
            is_hot = pod.lags or pod.calls > share * (1 + SLACK) + SLACK_CALLS
            if surplus > 0 and is_hot and (sources is None or pod.name in sources):
                gives[pod.name] = min(surplus, pod.movable)
            elif not pod.lags and pod.takes_calls and (targets is None or pod.name in targets):
                takes[pod.name] = max(0, min(ceil(share), pod.capacity) - pod.calls)
        moves += _paired(of_color, gives, takes, _emptiest)
    return moves


def shift(
    pods: Sequence[PodLoad], calls: int, sources: frozenset[str] | None, targets: frozenset[str] | None
) -> list[PlannedMove]:
    """Move `calls` as an operator says, or as many as can move and have room.

    Where no sources are named they are the other pods of the targets' colors, and the other way round.
    """
    named = (sources or frozenset()) | (targets or frozenset())
    colors = {pod.color for pod in pods if pod.name in named}
    gives: Counter[str] = Counter()
    takes: Counter[str] = Counter()
    for pod in pods:
        gives_away = pod.color in colors and pod.name not in named if sources is None else pod.name in sources
        may_take = pod.color in colors and pod.name not in named if targets is None else pod.name in targets
        if gives_away:
            gives[pod.name] = pod.movable
        elif may_take and pod.takes_calls:
            takes[pod.name] = max(0, pod.capacity - pod.calls)
    return _paired(pods, gives, takes, _emptiest, limit=calls)


def pack(pods: Sequence[PodLoad], fill: float) -> Packing:
    """Empty the pods with the fewest calls, as long as the rest of their color has room up to `fill` of its capacity.

    A pod that cannot be asked, or with calls that cannot move, is not emptied, and one pod of each color stays.
    """
    moves: list[PlannedMove] = []
    emptied: list[str] = []
    for of_color in _by_color(pods):
        rest = {pod.name: pod for pod in of_color}
        room = {
            pod.name: max(0, floor(pod.capacity * fill) - pod.calls)
            for pod in of_color
            if pod.takes_calls and not pod.lags
        }
        received: set[str] = set()
        for pod in sorted(of_color, key=lambda pod: (pod.calls, pod.name)):
            takes = Counter({name: places for name, places in room.items() if name != pod.name})
            is_last = not any(other.takes_calls for name, other in rest.items() if name != pod.name)
            stays = pod.name in received or not pod.can_be_asked or pod.movable < pod.calls
            if stays or takes.total() < pod.calls or is_last:
                continue
            found = _paired(list(rest.values()), Counter({pod.name: pod.calls}), takes, _fullest)
            for move in found:
                room[move.target] -= move.calls
                received.add(move.target)
            rest.pop(pod.name)
            room.pop(pod.name, None)
            moves += found
            emptied.append(pod.name)
    return Packing(moves, emptied)


Choice = Callable[[Mapping[str, float]], str]


def _emptiest(load: Mapping[str, float]) -> str:
    return min(load, key=lambda name: (load[name], name))


def _fullest(load: Mapping[str, float]) -> str:
    return max(load, key=lambda name: (load[name], name))


def _paired(
    pods: Sequence[PodLoad],
    gives: Counter[str],
    takes: Counter[str],
    choose: Choice,
    *,
    limit: int | None = None,
) -> list[PlannedMove]:
    """Call by call from the fullest that gives to the one that takes, as `choose` says by their loads."""
    calls = {pod.name: pod.calls for pod in pods}
    capacity = {pod.name: max(1, pod.capacity) for pod in pods}
    moves: Counter[tuple[str, str]] = Counter()
    for _ in range(min(gives.total(), takes.total(), gives.total() if limit is None else limit)):
        source = _fullest({name: calls[name] / capacity[name] for name in +gives})
        target = choose({name: calls[name] / capacity[name] for name in +takes})
        for name, counts, change in ((source, gives, -1), (target, takes, 1)):
            counts[name] -= 1
            calls[name] += change
        moves[source, target] += 1
    return [PlannedMove(source, target, number) for (source, target), number in sorted(moves.items())]


def _by_color(pods: Sequence[PodLoad]) -> list[list[PodLoad]]:
    return [[pod for pod in pods if pod.color == color] for color in sorted({pod.color for pod in pods})]

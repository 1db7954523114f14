"""What must be true before callers are moved. Pure: facts in, problems out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voice_agent.operate.fleet import Fleet
from voice_agent.runtime.pod.fleet import TAKES_CALLS, count
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import PodHeartbeat, PodState

STORE_STATES = {
    StoreState.FULL: "cannot write to the store, which is full",
    StoreState.REFUSED: "cannot write to the store, which refuses it (their log says why)",
    StoreState.UNREACHABLE: "cannot reach the store",
    StoreState.DEGRADED: "cannot reach the store well",
}
"""What of a pod's store keeps callers from being moved."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a cutover should not begin."""

    text: str
    of_old: bool = False
    """It lies in the color that is to be left, and is perhaps why."""


def problems(fleet: Fleet, old: str, new: str, healthy_targets: int | None) -> list[Problem]:
    """Everything that speaks against this cutover; empty if nothing does."""
    there = [pod for pod in fleet.pods if pod.status != PodState.LEFT]
    pods = {color: [pod for pod in there if pod.color == color] for color in (old, new)}
    found = [*_away(old, pods[old], of_old=True), *_away(new, pods[new], of_old=False)]
    if healthy_targets == 0:
        found.append(Problem(f"the router's health checks pass no target of {new}"))
    found += _degraded(pods[old], of_old=True) + _degraded(pods[new], of_old=False)
    found += _versions(pods[new]) + _schemas(pods[old], pods[new])
    left = sum(pod.capacity - pod.active_calls for pod in ready_pods(pods[new]))
    needed = sum(pod.active_calls for pod in pods[old])
    if left < needed:
        found.append(Problem(f"{new} has room for {count(left, 'call')}, and {old} has {needed}: scale {new} up"))
    return found


def _away(color: str, pods: Sequence[PodHeartbeat], *, of_old: bool) -> list[Problem]:
    if not pods:
        return [Problem(f"there is no {color} pod: deploy it, or name another color", of_old)]
    if not ready_pods(pods):
        states = ", ".join(f"{pod.name} is {pod.status}" for pod in pods)
        return [Problem(f"no {color} pod takes calls ({states})", of_old)]
    return []


def ready_pods(pods: Sequence[PodHeartbeat]) -> list[PodHeartbeat]:
    """Pods that take new calls."""
    return [pod for pod in pods if pod.status in TAKES_CALLS]


def _degraded(pods: Sequence[PodHeartbeat], *, of_old: bool) -> list[Problem]:
    found = []
    for state, why in STORE_STATES.items():
        names = ", ".join(pod.name for pod in pods if _store_state(pod) == state)
        if names:
            found.append(Problem(f"{names} {why}: mend that first", of_old))
    return found


def _store_state(pod: PodHeartbeat) -> str:
    if pod.store in STORE_STATES:
        return pod.store
    return StoreState.DEGRADED if pod.status == PodState.DEGRADED else StoreState.OK


def _versions(pods: Sequence[PodHeartbeat]) -> list[Problem]:
    versions = sorted({pod.version for pod in pods})
    if len(versions) <= 1:
        return []
    return [Problem(f"pods of {pods[0].color} run different versions ({', '.join(versions)}): wait for its rollout")]


def _schemas(old: Sequence[PodHeartbeat], new: Sequence[PodHeartbeat]) -> list[Problem]:
    """Each must read what the others may write: all have a schema in common then, and write that."""
    of_old, of_new = ([_read_by(pod) for pod in pods] for pods in (old, new))
    if all(ours[0] <= theirs[1] and theirs[0] <= ours[1] for ours in of_old for theirs in of_new):
        return []
    return [
        Problem(
            f"{new[0].color} reads records of schema {_told(of_new)} and {old[0].color} of {_told(of_old)}: "
            "they cannot take over each other's calls; deploy a version in between first"
        )
    ]


def _read_by(pod: PodHeartbeat) -> tuple[int, int]:
    """A version that does not say reads the first schema, and no other."""
    return pod.reads_schemas if any(pod.reads_schemas) else (1, 1)


def _told(schemas: Sequence[tuple[int, int]]) -> str:
    oldest, newest = min(schemas)[0], max(schemas, key=lambda found: found[1])[1]
    return f"{oldest}" if oldest == newest else f"{oldest} to {newest}"

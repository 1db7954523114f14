"""Asking single pods by way of the store (`runtime.pod.pod_request`), from anywhere that reaches it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from secrets import token_hex

from voice_agent.operate.fleet import Fleet, FleetError
from voice_agent.runtime.pod.fleet import some
from voice_agent.runtime.pod.pod_request import PodRequest, request_of, value_name
from voice_agent.stores.base import PodHeartbeat, Store

EVACUATED_FOR_S = 24 * 3600
"""After so long an evacuation is forgotten, and a pod that is still there takes calls again."""
TAKEN_UP_S = 10.0
"""How long a pod may take: a heartbeat to read what it is asked, the next to say so, and as many that are missed."""
TRIES = 5
"""So often somebody else may write at the same moment."""


def new_id() -> str:
    """Of a request."""
    return token_hex(8)


def named(fleet: Fleet, names: Collection[str]) -> list[PodHeartbeat]:
    """The pods that `names` stand for, by name: themselves, or all pods of a node.

    Raises `FleetError` for a name that stands for none.
    """
    found: dict[str, PodHeartbeat] = {}
    for name in names:
        pods = [pod for pod in fleet.pods if name in (pod.name, pod.node)]
        if not pods:
            there = some(pod.name for pod in fleet.pods) or "no pod at all"
            raise FleetError(f"there is no pod and no node {name}; there is: {there}.")
        found.update({pod.name: pod for pod in pods})
    return [found[name] for name in sorted(found)]


def check_version(pods: Collection[PodHeartbeat]) -> None:
    """Raise `FleetError` for pods whose version would never learn that they are asked."""
    older = [pod.name for pod in pods if pod.applied_request is None]
    if older:
        are = "is" if len(older) == 1 else "are"
        raise FleetError(
            f"{some(older)} {are} of a version that cannot be asked through the store: "
            "drain it at its own address (voice-agent drain --url)."
        )


async def ask(store: Store, pod: str, make: Callable[[PodRequest | None], PodRequest], ttl_s: int) -> None:
    """Put a request in place of the one that stands; `make` gets that, and what it raises ends it there.

    Raises `FleetError`, and `StoreError`. Cancelled, it is asked or it is not.
    """
    for _ in range(TRIES):
        old = await store.get(value_name(pod))
        if await store.compare_and_set(value_name(pod), old, make(request_of(old)).packed(), ttl_s=ttl_s):
            return
    raise FleetError(f"{pod} is being asked for something by somebody else.")


async def withdraw(store: Store, pod: str, *, request_id: str | None = None) -> bool:
    """Take back what a pod is asked for, be it unreadable; whether that was anything. Raises as `ask`.

    `request_id`: of the only request that is meant; what somebody else has asked for since stands.
    """
    for _ in range(TRIES):
        old = await store.get(value_name(pod))
        found = request_of(old)
        if old is None or (request_id is not None and (found is None or found.request_id != request_id)):
            return False
        if await store.compare_and_set(value_name(pod), old, None, ttl_s=1):
            return True
    raise FleetError(f"{pod} is being asked for something by somebody else.")

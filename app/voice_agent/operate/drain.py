"""Draining: one pod through its admin door, or every pod of a color through the store.

What has not been seen is never called drained. A pod of a color counts as drained once a
heartbeat from after the request says so; one that has left the fleet, once it stayed away
longer than a store that lost its memory needs to hear from everybody again::

    asked --heartbeat: draining, calls left--> draining --heartbeat: no calls left--> drained
      \\------------ no heartbeat for `GONE_S` ---------------------------------------> gone
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from voice_agent.call.drain import DrainMode
from voice_agent.errors import StoreUnavailable
from voice_agent.operate.fleet import Fleet, FleetError, PodSilent, RemotePod
from voice_agent.operate.outlook import Outlook, outlook
from voice_agent.runtime.pod.fleet import LEAVING, count
from voice_agent.runtime.ports import Clock
from voice_agent.stores.base import DrainRequest, PodState, Store

APPLIED_WITHIN_S = 2
"""A pod learns the request for its color with its next heartbeat."""
EXTRA_WAIT_S = 10
"""How much longer than the deadline a wait takes: pods act late, and say so late."""
GONE_S = 5.0
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class ColorDrain:
    """What is known of a drain that was asked for; `str()` is for people."""

    what: str
    mode: str
    deadline_s: float
    draining: bool
    """Every pod is known to have begun."""
    drained: bool
    """Every pod is known to have no call left, or to be gone."""
    active_calls: int
    asked: tuple[str, ...] = ()
    """The pods of a color."""
    gone: tuple[str, ...] = ()
    """Those that have left the fleet meanwhile, or the one pod if it left while it had calls."""
    ready_pods: tuple[str, ...] = ()
    """Pods that are expected to take calls over."""
    waits: str = ""
    """Why no call is handed off, as far as was known when the drain was asked for."""
    calls_not_resumable: int | None = None
    """Of the calls that there were then; None: not known."""
    oldest_call_s: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)

    def __str__(self) -> str:
        options = f"{self.mode}, at most {self.deadline_s:g} s"
        if self.drained:
            return f"{self.what} is drained" + (f"; gone meanwhile: {', '.join(self.gone)}." if self.gone else ".")
        if self.draining:
            waits = f" Handoff waits: {self.waits}." if self.waits and self.active_calls else ""
            return f"{self.what} is draining: {options}; {count(self.active_calls, 'call')} left.{waits}"
        asked = f"asked {count(len(self.asked), f'{self.what} pod')} to drain: {options}"
        return f"{asked}; pods act within {APPLIED_WITHIN_S} s (--wait waits until they are empty)."


async def drain_pod(
    pod: RemotePod, mode: DrainMode | None, deadline_s: float | None, clock: Clock, *, wait: bool = False
) -> ColorDrain:
    """Let one pod's calls go, and `wait` for the last. Raises `FleetError`, also when somebody cancels it."""
    begun = await pod.drain(mode, deadline_s)
    active_calls = int(begun["active_calls"])
    gone: list[str] = []

    async def is_empty() -> bool:
        nonlocal active_calls
        try:
            health = await pod.health()
        except PodSilent:
            return False
        if health is not None and health["status"] != PodState.DRAINING:
            raise FleetError(f"{pod.url} is {health['status']}: the drain was cancelled.")
        if health is None and active_calls:
            gone.append(pod.url)
        active_calls = 0 if health is None else int(health["active_calls"])
        return active_calls == 0

    if wait:
        await until(is_empty, pod.url, begun["deadline_s"] + EXTRA_WAIT_S, clock)
    return ColorDrain(
        what=pod.url,
        mode=begun["mode"],
        deadline_s=begun["deadline_s"],
        draining=True,
        drained=active_calls == 0,
        active_calls=active_calls,
        gone=tuple(gone),
        ready_pods=tuple(begun.get("ready_pods", ())),
        waits=begun.get("waits", ""),
    )


async def drain_color(
    store: Store,
    color: str,
    mode: DrainMode,
    deadline_s: int,
    clock: Clock,
    *,
    wait: bool = False,
    approve: Callable[[Outlook], None] = lambda expected: None,
) -> ColorDrain:
    """Ask every pod of a color to drain, and `wait` until none has a call left.

    `approve` is told before what is to be expected; what it raises ends it there, and nothing is asked of any pod.
    Raises `FleetError` when there is no such pod: nothing is requested then, or it would surprise the next that starts.
    """
    fleet = Fleet(await store.pods())
    if color not in fleet.colors:
        there = ", ".join(f"{other} ({count(total.pods, 'pod')})" for other, total in fleet.colors.items())
        raise FleetError(f"there is no {color} pod to drain; there is: {there or 'no pod at all'}.")
    expected = outlook(fleet, await store.weights(), color, deadline_s)
    approve(expected)
    watch = DrainWatch(color, fleet)
    request = DrainRequest(mode=mode, deadline_s=deadline_s, requested_at_ms=clock.wall_ms())
    await store.request_drain(color, request)

    async def is_drained() -> bool:
        try:
            if await store.drain_request(color) is None:
                raise FleetError(f"{color} is no longer asked to drain: that was cancelled, or the store was emptied.")
            watch.look(Fleet(await store.pods()), clock.monotonic_s())
        except StoreUnavailable:
            watch.look_failed()
            return False
        return watch.drained

    if wait:
        await until(is_drained, color, deadline_s + EXTRA_WAIT_S, clock)
    return ColorDrain(
        what=color,
        mode=mode,
        deadline_s=deadline_s,
        draining=wait,
        drained=wait,
        active_calls=watch.active_calls,
        asked=tuple(sorted(watch.pods)),
        gone=tuple(sorted(watch.gone)),
        ready_pods=expected.ready_pods.pods,
        waits=expected.ready_pods.why_none if mode is DrainMode.HANDOFF else "",
        calls_not_resumable=expected.calls_not_resumable,
        oldest_call_s=expected.oldest_call_s,
    )


@dataclass(slots=True)
class _Pod:
    """What is known of one pod of a color under drain."""

    heartbeat_at_ms: int
    """Of the heartbeat from before the request: it says nothing about its effect."""
    active_calls: int
    empty: bool = False
    away_since_s: float | None = None
    gone: bool = False


@dataclass
class DrainWatch:
    """One look at the fleet after the other at a color under drain. Pure: the looks come from outside."""

    color: str
    fleet: Fleet
    pods: dict[str, _Pod] = field(init=False)

    def __post_init__(self) -> None:
        of_color = [heartbeat for heartbeat in self.fleet.pods if heartbeat.color == self.color]
        self.pods = {heartbeat.name: _Pod(heartbeat.heartbeat_at_ms, heartbeat.active_calls) for heartbeat in of_color}

    @property
    def drained(self) -> bool:
        """Whether every pod that was seen is empty or gone."""
        return all(pod.empty or pod.gone for pod in self.pods.values())

    @property
    def gone(self) -> list[str]:
        """Pods that have left the fleet."""
        return [name for name, pod in self.pods.items() if pod.gone]

    @property
    def active_calls(self) -> int:
        """As far as is known."""
        return sum(pod.active_calls for pod in self.pods.values() if not pod.gone)

    def look(self, fleet: Fleet, now_s: float) -> None:
        """Take in what the fleet looks like; a pod of the color that has come since is watched, too."""
        heartbeats = {heartbeat.name: heartbeat for heartbeat in fleet.pods if heartbeat.color == self.color}
        for name, heartbeat in heartbeats.items():
            # A newcomer's first heartbeat may be from before it knew of the request.
            pod = self.pods.setdefault(name, _Pod(heartbeat.heartbeat_at_ms, heartbeat.active_calls))
            pod.away_since_s, pod.gone = None, False
            pod.active_calls = heartbeat.active_calls
            news = heartbeat.heartbeat_at_ms != pod.heartbeat_at_ms
            pod.empty = news and heartbeat.status in LEAVING and heartbeat.active_calls == 0
        for pod in (pod for name, pod in self.pods.items() if name not in heartbeats):
            pod.away_since_s = now_s if pod.away_since_s is None else pod.away_since_s
            pod.gone = now_s - pod.away_since_s >= GONE_S

    def look_failed(self) -> None:
        """The store did not answer: what it will show next may be all that it still knows."""
        for pod in self.pods.values():
            pod.away_since_s = None


async def until(is_done: Callable[[], Awaitable[bool]], what: str, timeout_s: float, clock: Clock) -> None:
    """Look again and again; raises `FleetError` when `timeout_s` is over first."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await is_done():
                await clock.sleep(LOOK_S)
    except TimeoutError:
        raise FleetError(f"{what} is not drained after {timeout_s:g} s.") from None

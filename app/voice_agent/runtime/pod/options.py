"""What a pod is made with: what its calls have in common, how much it takes, and the world around it."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from voice_agent.call.schema import READS_SCHEMAS
from voice_agent.kit.agent import Agent
from voice_agent.runtime.pod.overload import ENTER_S
from voice_agent.runtime.ports import FleetClock, Observer
from voice_agent.runtime.recordings import NoRecordings, Recordings
from voice_agent.stores.base import PodCounters, Store


class Agents(Protocol):
    """Where agents come from."""

    def agent(self, model: str) -> Agent:
        """The agent that answers to `model`; raises `ConnectionRefused` (400) for an unknown one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """What a pod's calls have in common."""

    pod: str
    color: str
    voice: str = "alloy"
    ttl_s: int = 1800
    resume_window_s: int = 120
    max_call_s: int = 3600
    idle_timeout_s: float = 0
    checkpoint_ms: int = 200
    outbox_bytes: int = 1024 * 1024
    max_audio_bytes: int = 15 * 1024 * 1024
    reads_schemas: tuple[int, int] = READS_SCHEMAS
    """See `voice_agent.call.schema`."""
    address: str = ""
    """Where edges reach this very pod; "" is not known."""
    node: str = ""
    """The machine that it runs on; "" is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodLimits:
    """How much a pod takes."""

    capacity: int
    """Places for new calls."""
    caller_bytes: int
    """What all callers may make the pod hold."""
    key_bytes: int = 0
    """The same for those of one API key; 0: as much."""
    calls_per_key: int = 0
    """The most calls of one API key in the fleet; 0: no limit."""
    overload_lag_s: float = ENTER_S
    """With a later event loop no new calls are taken; 0: however late it is."""


async def _at_once() -> None:
    """Messages are taken as they come."""


def _nothing_counted() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPorts:
    """The world around a pod."""

    store: Store
    agents: Agents
    clock: FleetClock
    observer: Observer
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    counters: Callable[[], PodCounters | None] = _nothing_counted
    """What the observer has counted, for the heartbeat."""
    recordings: Recordings = field(default_factory=NoRecordings)
    """Where calls' inputs are recorded."""
    next_turn: Callable[[], Awaitable[None]] = _at_once
    """Waits as long as a caller's message does that comes now, where work is shared out over turns of the loop."""

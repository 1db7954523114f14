"""What pods and operators keep together, in this process's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from voice_agent.stores.base import DrainRequest, FleetStore, PodHeartbeat, RouterWeights


class MemoryFleet(FleetStore):
    """The fleet's part of `MemoryStore`."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._pods: dict[str, tuple[PodHeartbeat, float]] = {}
        self._requests: dict[str, DrainRequest] = {}
        self._weights: RouterWeights | None = None
        self._settled: dict[str, bytes] = {}
        self._values: dict[str, tuple[bytes, float]] = {}
        """And when each expires."""

    async def heartbeat(self, heartbeat: PodHeartbeat, *, ttl_s: int) -> DrainRequest | None:
        now_s = self._now_s()
        self._pods = {name: kept for name, kept in self._pods.items() if kept[1] > now_s}
        self._pods[heartbeat.name] = (heartbeat, now_s + ttl_s)
        return self._requests.get(heartbeat.color)

    async def pods(self) -> list[PodHeartbeat]:
        return sorted(
            (heartbeat for heartbeat, expires_s in self._pods.values() if expires_s > self._now_s()),
            key=lambda heartbeat: heartbeat.name,
        )

    async def request_drain(self, color: str, request: DrainRequest | None) -> None:
        if request is None:
            self._requests.pop(color, None)
        else:
            self._requests[color] = request

    async def drain_request(self, color: str) -> DrainRequest | None:
        return self._requests.get(color)

    async def tell_weights(self, weights: Mapping[str, int], now_ms: int) -> None:
        self._weights = RouterWeights(dict(weights), now_ms)

    async def weights(self) -> RouterWeights | None:
        return self._weights

    async def get_or_set(self, name: str, proposal: bytes) -> bytes:
        return self._settled.setdefault(name, proposal)

    async def get(self, name: str) -> bytes | None:
        found = self._values.get(name)
        return found[0] if found is not None and found[1] > self._now_s() else None

    async def compare_and_set(self, name: str, old: bytes | None, new: bytes | None, *, ttl_s: int) -> bool:
        if await self.get(name) not in (old, new):
            return False
        if new is None:
            self._values.pop(name, None)
        else:
            self._values[name] = (new, self._now_s() + ttl_s)
        return True

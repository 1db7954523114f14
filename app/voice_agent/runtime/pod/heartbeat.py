"""Says every so often that the pod lives, and learns what it is asked to do and what the other pods say.

What a request leads to is decided by `OperatorRequests`; here it is only handed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import structlog

from voice_agent.errors import StoreError
from voice_agent.runtime.durability.writing import state_of
from voice_agent.runtime.pod.facts import PodFacts
from voice_agent.runtime.pod.operator_requests import OperatorRequests
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.other_pods import HEARTBEAT_TTL_S, OtherPods
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.pod.store_health import StoreHealth
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import PodHeartbeat, PodState

HEARTBEAT_S = 2.0
LEFT_TTL_S = 5
"""Whoever looks once a second sees it, though an answer be late."""
ANSWER_S = 2.0

log = structlog.get_logger(__name__)


class Heartbeat:
    """One pod's; `run` is a task for as long as the pod lives, and `leave` its end."""

    def __init__(
        self,
        ports: PodPorts,
        facts: PodFacts,
        owned: OwnedCalls,
        others: OtherPods,
        store_health: StoreHealth,
        *,
        agreed: Mapping[str, bytes],
        requests: OperatorRequests,
    ) -> None:
        """`agreed`: what the pods of the store agreed on, told again to a store that comes back empty."""
        self.agreed = dict(agreed)
        self._ports = ports
        self.facts = facts
        self._owned = owned
        self.others = others
        self._store_health = store_health
        self.requests = requests

    async def run(self) -> None:
        """One after the other until cancelled."""
        while True:
            await self._ports.clock.sleep(HEARTBEAT_S)
            await self.heartbeat()

    async def heartbeat(self) -> None:
        """One heartbeat; learns what the pod is asked to do, what other pods say, and how full the store is.

        What the store refuses of it keeps nothing else from being asked.
        """
        ports = self._ports
        self.others.quota.expire(ports.clock.wall_ms())
        heartbeat = self.facts.now()
        self.others.about_to_say(heartbeat)
        failures: list[Exception] = []
        try:
            async with asyncio.timeout(ANSWER_S):
                for question in (self._say, self.requests.look, self._restore_agreed, self._look):
                    try:
                        await question(heartbeat)
                    except StoreError as error:
                        failures.append(error)
                        if state_of(error) is StoreState.UNREACHABLE:
                            break
        except Exception as error:
            # The root of the heartbeat: it must not end while the pod lives.
            if not isinstance(error, TimeoutError):
                log.exception("the store failed in a way of its own")
            failures.append(error)
        if failures:
            ports.observer.store_failed("heartbeat")
            self.others.forget()
        # Also where the rest was refused: a clock that is wrong must not wait for a store that is well.
        if (now_ms := ports.store.wall_ms()) is not None:
            ports.clock.follow(now_ms, leaps=not self._owned.by_id)
        self._store_health.heartbeat_went(failures)

    async def _say(self, heartbeat: PodHeartbeat) -> None:
        """That this pod lives; learn what its color is asked to do, and what the others say."""
        store = self._ports.store
        try:
            request = await store.heartbeat(heartbeat, ttl_s=HEARTBEAT_TTL_S)
        except StoreError as error:
            if state_of(error) is not StoreState.UNREACHABLE:
                self.requests.take_up_color(await store.drain_request(heartbeat.color))
            raise
        self.requests.take_up_color(request)
        if self.others.is_wanted(heartbeat):
            self.others.learn(heartbeat, await store.pods())

    async def _restore_agreed(self, _: PodHeartbeat) -> None:
        """A store that came back empty is told again what was agreed."""
        for name, value in self.agreed.items():
            await self._ports.store.get_or_set(name, value)

    async def _look(self, _: PodHeartbeat) -> None:
        await self._store_health.look()

    async def leave(self) -> None:
        """Say for the last time what there is to say, so that a pod that left is known from a dead one.

        It stays readable for `LEFT_TTL_S`; the counts per key are those of other pods by now.
        """
        last = replace(self.facts.now(), status=PodState.LEFT, keys={})
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._ports.store.heartbeat(last, ttl_s=LEFT_TTL_S)
        except (StoreError, TimeoutError):
            log.warning("could not leave the fleet; the heartbeat will run out", pod=last.name)

"""How it goes with the store: as whoever writes calls finds it, or else as the heartbeat does."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from voice_agent.errors import StoreError
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.durability.store_fitness import StoreFitness
from voice_agent.runtime.durability.write_back import NO_ANSWER
from voice_agent.runtime.durability.writing import state_of
from voice_agent.runtime.ports import StoreState

log = structlog.get_logger(__name__)


class StoreHealth:
    """One pod's. `kind` names the store in the log and in health checks."""

    def __init__(self, kind: str, committer: Committer, fitness: StoreFitness) -> None:
        self.heartbeat_state = StoreState.OK
        """How the last heartbeat went."""
        self.heartbeat_failure: Exception | None = None
        """Why, if it did not go well."""
        self._kind = kind
        self._committer = committer
        self._fitness = fitness

    async def begin(self) -> None:
        """See `StoreFitness.begin`."""
        await self._fitness.begin()

    @property
    def state(self) -> StoreState:
        """As the committer knows it while the store is given up, or else the heartbeat."""
        is_told = self._committer.degraded or self.heartbeat_state is StoreState.OK
        return self._committer.write_back.state if is_told else self.heartbeat_state

    def describe(self) -> str:
        """``<kind>:<state>``, and where the store refuses, why, in its own words."""
        reason = ""
        if self.state is StoreState.REFUSED:
            failure = self._committer.write_back.failure if self._committer.degraded else self.heartbeat_failure
            reason = f" ({failure.reason})" if isinstance(failure, StoreError) else ""
        return f"{self._kind}:{self.state}{reason}"

    @property
    def is_nearly_full(self) -> bool:
        """Whether new calls would fill it. One that cannot be reached is not asked about; calls go on from memory."""
        return self._committer.memory.is_nearly_full and self.state is not StoreState.UNREACHABLE

    async def look(self) -> None:
        """Ask how full the store is, and whether it is as calls need it. Raises `StoreError`."""
        if self.heartbeat_state is not StoreState.OK:
            self._fitness.is_another()
        await self._committer.memory.look()
        await self._fitness.look_again()

    def heartbeat_went(self, failures: Sequence[Exception]) -> None:
        """One line when the state of the store becomes another one, unless whoever writes calls has told it."""
        before, self.heartbeat_failure = self.heartbeat_state, failures[0] if failures else None
        self.heartbeat_state = StoreState.OK if self.heartbeat_failure is None else state_of(self.heartbeat_failure)
        if self.heartbeat_state is before or self._committer.degraded:
            return
        if self.heartbeat_failure is None:
            log.info("the store takes heartbeats again")
            return
        state, error = self.heartbeat_state.value, str(self.heartbeat_failure) or NO_ANSWER
        log.warning("the store does not do what a heartbeat asks", store=self._kind, state=state, error=error)

"""One edge: the calls it holds, whether it takes more, and how it leaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Protocol

import structlog

from voice_agent.call.closing import CloseCode
from voice_agent.call.drain import DrainMode
from voice_agent.edge.edge_admission import EdgeAdmission
from voice_agent.edge.edge_call import CallObserver, EdgeCall
from voice_agent.edge.upstreams import Upstreams
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.budget import Budget
from voice_agent.runtime.ports import PodStatus
from voice_agent.stores.base import PodState
from voice_agent.web.ports import RefusalObserver

COLOR = "edge"
LOOK_S = 1.0
"""How often each call is looked after."""
LOOK_SHARES = 20
"""In so many parts, so that no turn of the loop looks after all calls."""
LEAVE_SPREAD_S = 2.0
"""Callers who come back by themselves are sent away spread over this long."""

log = structlog.get_logger(__name__)


class EdgeObserver(RefusalObserver, CallObserver, Protocol):
    """Told what happens."""


class Edge:
    """`web.ports.LeavingPod`, and where calls are counted. `look_after` is to be a task for as long as it lives."""

    def __init__(
        self,
        name: str,
        upstreams: Upstreams,
        observer: EdgeObserver,
        *,
        version: str,
        capacity: int,
        patience_s: float,
        caller_bytes: int,
    ) -> None:
        """`caller_bytes`: what incomplete messages of all callers may take; those of one address half."""
        self.name = name
        self.color = COLOR
        self.upstreams = upstreams
        self.patience_s = patience_s
        self.budget = Budget(caller_bytes, caller_bytes // 2)
        self._observer = observer
        self._version = version
        self.admission = EdgeAdmission(capacity)
        self.spread: Callable[[float, float], float] = random.uniform
        """Of callers who are sent away; it gives a number between two."""
        self._calls: dict[EdgeCall, bool] = {}
        """Each with whether its caller comes back by itself."""
        self._drained = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    # --- calls --------------------------------------------------------------------

    def give_back(self) -> None:
        """A connection is over."""
        self.admission.give_back()
        if self.admission.active == 0 and self.draining:
            self._drained.set()

    def hold(self, call: EdgeCall, *, comes_back: bool) -> None:
        """A call is held from now on."""
        self._calls[call] = comes_back

    def remove(self, call: EdgeCall) -> None:
        """It is over."""
        self._calls.pop(call, None)

    @property
    def away(self) -> int:
        """Calls that no pod serves right now."""
        return sum(call.is_away for call in self._calls)

    @property
    def kept_bytes(self) -> int:
        """What callers sent that no store is known to have."""
        return sum(call.kept_bytes for call in self._calls)

    async def look_after(self) -> None:
        """Look after each call once a second, until cancelled."""
        while True:
            calls = list(self._calls)
            for share in range(LOOK_SHARES):
                for call in calls[share::LOOK_SHARES]:
                    try:
                        call.look()
                    except Exception:
                        # The root for all calls: what is wrong with one must not keep the others from being seen.
                        log.exception("a call cannot be looked after", call_id=call.call_id)
                await asyncio.sleep(LOOK_S / LOOK_SHARES)

    # --- `web.ports.LeavingPod` ---------------------------------------------------

    @property
    def observer(self) -> EdgeObserver:
        """Told of refusals and of limits that were reached."""
        return self._observer

    def status(self) -> PodStatus:
        """For the health check."""
        admission = self.admission
        if self.draining:
            state = PodState.DRAINING
        elif admission.refusal() is not None:
            state = PodState.OVERLOADED
        else:
            state = PodState.OK if self.upstreams.take_calls else PodState.FAILING
        return PodStatus(
            status=state,
            pod=self.name,
            color=self.color,
            version=self._version,
            active_calls=admission.active,
            parked_calls=self.away,
            capacity=admission.capacity,
            store=f"upstream:{'ok' if self.upstreams.take_calls else 'unreachable'}",
        )

    @property
    def serves(self) -> bool:
        """Whether callers are to be sent here: an overload refuses the new ones, but those who come back are taken."""
        return self.admission.refusal(may_resume=True) is None and self.upstreams.take_calls

    @property
    def draining(self) -> bool:
        """Whether it takes nothing new."""
        return self._draining is not None

    @property
    def drains_as_requested(self) -> bool:
        """An edge has no color that could be drained."""
        return False

    def refusal_of_new_calls(self) -> ConnectionRefused | None:
        """What any new caller would be refused with right now."""
        return self.admission.refusal()

    def drain(self, mode: DrainMode, deadline_s: float) -> None:
        """Take nothing new. Callers who come back are sent away, the others may end until the deadline."""
        if self._draining is None:
            self.admission.draining = True
            log.info("edge leaves", calls=self.admission.active, deadline_s=deadline_s)
            self._draining = asyncio.create_task(self._leave(mode, deadline_s), name="leave")
            if not self.admission.active:
                self._drained.set()

    async def wait_drained(self) -> None:
        """Wait until the last connection is over."""
        await self._drained.wait()

    async def _leave(self, mode: DrainMode, deadline_s: float) -> None:
        deadline_s += asyncio.get_running_loop().time()
        if mode is DrainMode.HANDOFF:
            going = [call for call, comes_back in self._calls.items() if comes_back]
            await asyncio.gather(*(self._send_away(call) for call in going))
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._drained.wait()
        except TimeoutError:
            left = list(self._calls)
            for _ in left:
                self._observer.lost("drain")
            await asyncio.gather(*(call.close(CloseCode.SERVICE_RESTART) for call in left))

    async def _send_away(self, call: EdgeCall) -> None:
        await asyncio.sleep(self.spread(0, LEAVE_SPREAD_S))
        await call.close(CloseCode.SERVICE_RESTART)

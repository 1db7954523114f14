"""A pod: puts together everything one server process knows of its calls, and the work that goes on beside them.

What happens when is elsewhere: who is let in (`admission`), how a call is taken (`connector`, `ownership`), what is
looked after (`upkeep`), what the fleet is told (`heartbeat`), and how a pod leaves (`drainer`; how a drain decides:
`call.drain`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from voice_agent.call.drain import Drain, DrainMode
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.budget import Budget
from voice_agent.runtime.calls.live_call import LiveCall
from voice_agent.runtime.durability.committer import Committer
from voice_agent.runtime.durability.store_fitness import StoreFitness
from voice_agent.runtime.pod.admission import Admission
from voice_agent.runtime.pod.arrivals import Arrivals
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.pod.connector import Connector
from voice_agent.runtime.pod.drainer import Drainer
from voice_agent.runtime.pod.facts import PodFacts
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.pod.greeting import Greeter
from voice_agent.runtime.pod.heartbeat import Heartbeat
from voice_agent.runtime.pod.loop_watch import LoopWatch
from voice_agent.runtime.pod.mover import Mover
from voice_agent.runtime.pod.operator_requests import OperatorRequests
from voice_agent.runtime.pod.options import CallSettings, PodLimits, PodPorts
from voice_agent.runtime.pod.other_pods import OtherPods
from voice_agent.runtime.pod.owned_calls import OwnedCalls
from voice_agent.runtime.pod.ownership import Ownership
from voice_agent.runtime.pod.parking import Parking
from voice_agent.runtime.pod.quota import KeyQuota
from voice_agent.runtime.pod.records import CallRecords
from voice_agent.runtime.pod.store_health import StoreHealth
from voice_agent.runtime.pod.tasks import PodTasks
from voice_agent.runtime.pod.upkeep import Upkeep
from voice_agent.runtime.pod.view import PodView
from voice_agent.runtime.ports import CallSummary, PodStatus, ResumeCall, StartCall
from voice_agent.stores.base import PodHeartbeat


class Pod:
    """Made once per process by the composition root; `open` before the first call, `close` after the last."""

    def __init__(
        self,
        *,
        settings: CallSettings,
        limits: PodLimits,
        ports: PodPorts,
        version: str,
        secret: bytes,
        revoked: frozenset[str] = frozenset(),
        agreed: Mapping[str, bytes] | None = None,
    ) -> None:
        """`secret` signs resume tokens. `revoked`: hashes of API keys. `agreed`: see `Heartbeat`."""
        store, clock = ports.store, ports.clock
        quota = KeyQuota(limits.calls_per_key)
        calls: dict[str, LiveCall] = {}
        self.name = settings.pod
        self.color = settings.color
        self.ports = ports
        self.observer = ports.observer
        self.admission = Admission(limits.capacity, quota)
        self.committer = Committer(store, clock, ports.observer, lambda: [live.writer for live in calls.values()])
        self.store_health = StoreHealth(store.kind, self.committer, StoreFitness(store, clock, limits.capacity))
        self.admission.store_is_nearly_full = lambda: self.store_health.is_nearly_full

        budget = Budget(limits.caller_bytes, limits.key_bytes or limits.caller_bytes)
        self.owned = OwnedCalls(calls, ports, self.committer, budget, quota, settings)
        ownership = Ownership(ports, self.owned, self.committer, self.admission, settings, revoked)
        arrivals = Arrivals(store, clock)
        greeter = Greeter(secret, settings)
        self.connector = Connector(ports, self.admission, ownership, self.committer, budget, greeter, arrivals)

        others = OtherPods(clock, quota, reads_schemas=settings.reads_schemas, use_schema=self.committer.use_schema)
        self.view = PodView(
            settings,
            version,
            self.admission,
            self.owned,
            others,
            self.store_health,
            drain_waits=lambda: self.drainer.waits,
            is_failing=lambda: self._tasks.has_failed,
        )
        facts = PodFacts(settings, ports, self.view, arrivals, quota, taken_up=lambda: requests.taken_up)
        self.drainer = Drainer(ports, self.admission, self.committer, self.owned, others, facts)
        requests = OperatorRequests(ports, self.drainer, Mover(ports, self.admission, self.owned, self.drainer))
        self.heartbeat = Heartbeat(
            ports, facts, self.owned, others, self.store_health, agreed=agreed or {}, requests=requests
        )
        parking = Parking(ports, self.owned, self.committer, budget, self.admission, ttl_s=settings.ttl_s)
        self.upkeep = Upkeep(ports, self.owned, self.committer, parking, settings)
        self._records = CallRecords(store, clock, self.owned, self.committer, ports.recordings)
        self._tasks = PodTasks(
            {
                "committer": self.committer.run,
                "write back": self.committer.write_back.run,
                "upkeep": self.upkeep.run,
                "parking": self.upkeep.bound_parking,
                "overload": _loop_watch(ports, self.admission, limits.overload_lag_s).run,
                "heartbeat": self.heartbeat.run,
            }
        )

    # --- life ---------------------------------------------------------------

    async def open(self) -> None:
        """Start the work beside the calls and show up in the fleet. Raises `StoreUnfit`."""
        await self.store_health.begin()
        self._tasks.start("committer", "write back", "upkeep", "parking", "overload")
        await self.heartbeat.heartbeat()
        # By the store's clock, which the first heartbeat has told: others compare it with what happened to them.
        self.heartbeat.facts.started_at_ms = self.ports.clock.wall_ms()
        # At once, for this tells it from an earlier process: whoever asks something of that one takes it for gone.
        await self.heartbeat.heartbeat()
        self._tasks.start("heartbeat")

    async def close(self) -> None:
        """Make the last changes durable and leave the fleet. Parked calls stay in the store for other pods."""
        self.heartbeat.requests.mover.stop()
        for live in self.owned:
            await live.stop_work()
            await self.committer.flush(live.writer)
        await self._tasks.stop()
        await self.heartbeat.leave()

    # --- connections ----------------------------------------------------------

    def refusal_of_new_calls(self) -> ConnectionRefused | None:
        """What any caller of a new call would be refused with right now, or None; to be asked before the handshake."""
        return self.admission.refusal_of_new_calls()

    async def start(self, request: StartCall) -> Attachment:
        """See `Connector.start`."""
        return await self.connector.start(request)

    async def resume(self, request: ResumeCall) -> Attachment:
        """See `Connector.resume`."""
        return await self.connector.resume(request)

    # --- what operators see, and do -------------------------------------------

    @property
    def started_at_ms(self) -> int:
        """When the pod was opened, by the store's clock."""
        return self.heartbeat.facts.started_at_ms

    def status(self) -> PodStatus:
        """See `PodView.status`."""
        return self.view.status()

    async def all_calls(self) -> list[CallSummary]:
        """For the web layer: the calls of all workers, of which a pod by itself is the only one."""
        return self.view.calls()

    async def call_record(self, call_id: str) -> dict[str, Any] | None:
        """See `CallRecords.read`."""
        return await self._records.read(call_id)

    async def erase(self, call_id: str) -> bool:
        """See `CallRecords.erase`."""
        return await self._records.erase(call_id)

    async def fleet(self) -> list[PodHeartbeat]:
        """Every pod that is alive. Raises `StoreError`."""
        return await self.ports.store.pods()

    # --- drain ------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether the pod takes nothing new."""
        return self.admission.draining

    @property
    def drains_as_requested(self) -> bool:
        """Whether the drain under way was requested by way of the store."""
        return self.draining and self.drainer.is_requested

    def drain(self, mode: DrainMode, deadline_s: float) -> None:
        """Take nothing new from now on and let attached calls go. A second call changes mode and deadline."""
        self.drainer.start(Drain(mode, deadline_s))

    async def begin_drain(self, mode: DrainMode, deadline_s: float, *, only: str | None = None) -> bool:
        """Drain as an administrator requests; False if `only` is another pod's name."""
        if only not in {None, self.name}:
            return False
        self.drain(mode, deadline_s)
        return True

    async def ready_pods(self) -> ReadyPods:
        """Who would take up the calls that this pod hands off."""
        return await self.drainer.ready_pods()

    async def end_drain(self, *, only: str | None = None) -> bool | None:
        """Take calls again, False if no drain was under way; None if `only` is another pod's name."""
        return self.drainer.cancel() if only in {None, self.name} else None

    async def wait_drained(self) -> None:
        """Wait until a drain has let the last attached call go."""
        await self.drainer.done.wait()


def _loop_watch(ports: PodPorts, admission: Admission, overload_lag_s: float) -> LoopWatch:
    return LoopWatch(ports.clock, ports.observer, admission, next_turn=ports.next_turn, overload_lag_s=overload_lag_s)

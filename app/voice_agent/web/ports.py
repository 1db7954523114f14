"""What the web layer asks of a pod; `runtime.pod.Pod` is one."""

from __future__ import annotations

from typing import Any, Protocol

from voice_agent.call.drain import DrainMode
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.pod.fleet import ReadyPods
from voice_agent.runtime.ports import CallSummary, Observer, PodStatus, ResumeCall, StartCall, Transport
from voice_agent.settings import TlsFiles
from voice_agent.stores.base import PodHeartbeat


class AttachedCall(Protocol):
    """A place taken on the pod. Exactly one of `serve` and `abandon` must be called."""

    @property
    def call_id(self) -> str:
        """The call, for the response headers."""

    async def serve(self, transport: Transport) -> None:
        """Carry messages until the connection is over."""

    async def abandon(self) -> None:
        """The upgrade failed."""


class CallPod(Protocol):
    """A pod as the web layer sees it."""

    name: str
    color: str

    @property
    def started_at_ms(self) -> int:
        """When it was opened."""

    @property
    def observer(self) -> Observer:
        """Told of refusals and of limits that were reached."""

    async def start(self, request: StartCall) -> AttachedCall:
        """A new call, or the one of its key. Raises `ConnectionRefused`."""

    async def resume(self, request: ResumeCall) -> AttachedCall:
        """A call again. Raises `ConnectionRefused`."""

    def status(self) -> PodStatus:
        """For the health check."""

    async def all_calls(self) -> list[CallSummary]:
        """The calls of every worker behind this port."""

    async def call_record(self, call_id: str) -> dict[str, Any] | None:
        """One call's record and transcript. Raises `StoreError`."""

    async def erase(self, call_id: str) -> bool:
        """End a call, on whichever pod, and erase what was said; False if there is none. Raises `StoreError`."""

    async def fleet(self) -> list[PodHeartbeat]:
        """Every living pod. Raises `StoreError`."""

    async def begin_drain(self, mode: DrainMode, deadline_s: float, *, only: str | None = None) -> bool:
        """Let the calls of every worker behind this port go, or of the pod called `only`; False: it is not here."""

    async def ready_pods(self) -> ReadyPods:
        """Who would take up the calls that are handed off from behind this port."""

    async def end_drain(self, *, only: str | None = None) -> bool | None:
        """Take calls again; False if no drain was under way, None if the pod called `only` is not here."""


class RefusalObserver(Protocol):
    """Told of what happens before a call; a part of `runtime.ports.Observer`."""

    def refused(self, status: int, reason: str) -> None:
        """A connection was refused before its upgrade. `reason`: the code in the answer's body."""

    def limit_reached(self, limit: str) -> None:
        """A bound cut something short. `limit`: its name in docs/limits.md, never a caller's words."""

    def certificate_read(self, outcome: str) -> None:
        """The files of the server's certificate changed: ``taken``, or the old one is ``kept``."""


class LeavingPod(Protocol):
    """What the server asks of its pod before a handshake, and when the process is told to leave."""

    name: str
    color: str

    @property
    def observer(self) -> RefusalObserver:
        """Told of refusals and of limits that were reached."""

    def status(self) -> PodStatus:
        """For the log."""

    @property
    def drains_as_requested(self) -> bool:
        """Whether the drain under way was requested by way of the store."""

    @property
    def draining(self) -> bool:
        """Whether the pod takes nothing new."""

    def drain(self, mode: DrainMode, deadline_s: float) -> None:
        """Let calls go from now on."""

    def refusal_of_new_calls(self) -> ConnectionRefused | None:
        """What any caller of a new call would be refused with right now; None while calls are taken. Cheap."""

    async def wait_drained(self) -> None:
        """Wait until a drain let the last attached call go."""


class ServerSettings(Protocol):
    """What a server of callers needs of its settings, a pod's or an edge's."""

    @property
    def host(self) -> str:
        """Address to listen on."""

    @property
    def port(self) -> int:
        """Port to listen on."""

    @property
    def tls(self) -> TlsFiles | None:
        """What to speak TLS with, if it is spoken."""

    @property
    def max_calls(self) -> int:
        """Calls at once."""

    @property
    def max_message_bytes(self) -> int:
        """Of a caller's message."""

    @property
    def trusted_proxies(self) -> tuple[str, ...]:
        """Addresses and networks that are believed."""

    @property
    def connects_per_minute(self) -> int:
        """Of one address; 0 is by `max_calls`."""

    @property
    def drain_mode(self) -> DrainMode:
        """What a drain does."""

    @property
    def drain_deadline(self) -> int:
        """In seconds."""


class MetricsPage(Protocol):
    """Where `/metrics` comes from."""

    async def read(self) -> bytes:
        """Prometheus text."""

"""What operators ask of a pod by way of the store: of its color, and of itself alone; each is taken up once.

| asked of the pod itself | asked of its color | then the pod                                        |
| ----------------------- | ------------------ | --------------------------------------------------- |
| to be evacuated         | anything           | is evacuated                                        |
| nothing, or some moves  | to drain           | drains with its color                               |
| some moves              | nothing            | moves them, and takes calls                         |
| nothing                 | nothing            | takes calls, unless it drains at its own door's word |
"""

from __future__ import annotations

import structlog

from voice_agent.call.drain import Drain, DrainMode
from voice_agent.runtime.pod.drainer import Drainer
from voice_agent.runtime.pod.mover import Mover
from voice_agent.runtime.pod.options import PodPorts
from voice_agent.runtime.pod.pod_request import PodRequest, request_of, value_name
from voice_agent.stores.base import DrainRequest, PodHeartbeat

log = structlog.get_logger(__name__)


class OperatorRequests:
    """One pod's. What an earlier process of its name was asked for counts for nothing."""

    def __init__(self, ports: PodPorts, drainer: Drainer, mover: Mover) -> None:
        self._applied = ""
        self._store = ports.store
        self._drainer = drainer
        self.mover = mover
        self._of_color: DrainRequest | None = None
        self._of_pod: PodRequest | None = None
        self._drain: DrainRequest | PodRequest | None = None
        """The request by which the pod drains."""
        self._is_unreadable = False
        """Whether what was read last is no request: it is logged once."""

    @property
    def taken_up(self) -> tuple[str, int]:
        """The id of the pod's own request that was taken up last, and how many calls are still to be moved for it."""
        return self._applied, self.mover.left

    def take_up_color(self, request: DrainRequest | None) -> None:
        """What the pod's color is asked to do; None: nothing, or nothing any more."""
        self._of_color = request
        self._take_up()

    async def look(self, heartbeat: PodHeartbeat) -> None:
        """Learn what this very pod is asked for, and take it up. Raises `StoreError`.

        What cannot be read, of a newer version for one, takes nothing back: the request before it stands.
        """
        value = await self._store.get(value_name(heartbeat.name))
        request = request_of(value)
        was_unreadable, self._is_unreadable = self._is_unreadable, value is not None and request is None
        if self._is_unreadable:
            if not was_unreadable:
                log.warning("what this pod is asked for cannot be read")
            return
        if request is not None and request.started_at_ms != heartbeat.started_at_ms:
            request = None
        news = request is not None and request.request_id != self._applied
        self._of_pod = request
        self._take_up()
        if request is None:
            self.mover.stop()  # Another request takes its place, be it a drain.
        if request is not None and news:
            self._applied = request.request_id
            if not request.evacuates:
                self.mover.start(request)

    def _take_up(self) -> None:
        own = self._of_pod if self._of_pod is not None and self._of_pod.evacuates else None
        asked = own or self._of_color
        if asked == self._drain:
            return
        if asked is None:
            self._drain = None
            log.info("drain request removed")
            self._drainer.end_requested()
        elif self._start(asked):
            self._drain = asked

    def _start(self, asked: DrainRequest | PodRequest) -> bool:
        """False while the pod drains at its own door's word; then it is asked again with the next heartbeat."""
        if isinstance(asked, PodRequest):
            drain = Drain(DrainMode.HANDOFF, asked.deadline_s, closes_rest=asked.closes_rest)
            begun = self._drainer.start_requested(drain, along=asked.along, destinations=asked.destinations)
        else:
            known = asked.mode in DrainMode.__members__.values()
            mode = DrainMode(asked.mode) if known else DrainMode.HANDOFF  # A newer version may know more modes.
            begun = self._drainer.start_requested(Drain(mode, asked.deadline_s), with_color=True)
        if begun:
            log.info("draining as requested", by_itself=isinstance(asked, PodRequest), deadline_s=asked.deadline_s)
        return begun

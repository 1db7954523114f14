"""What all connections of a server share before they are calls: the queues in which they wait for their peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from voice_agent.web.connects import ConnectRules
from voice_agent.web.refusals import names_of
from voice_agent.web.waiting import Waiting

if TYPE_CHECKING:
    from voice_agent.web.certificates import Certificates
    from voice_agent.web.ports import LeavingPod
    from voice_agent.web.served_socket import MakeSocket

REQUEST_S = 10
"""From connecting, or the first byte of a later request, to a whole request. Stops sockets that say nothing."""
ANSWER_S = 60
"""From a whole request to an answer that the peer has taken. Stops peers that ask and do not read."""
ANSWERING = 256
"""Answers under way at once, upgrades not counted."""
LINGER_S = 5
"""How long a refused peer has to read why."""
LINGERING = 64
"""Refused connections that linger at once."""
IDLE_S = 4100
"""How long a connection may be idle between two requests: longer than balancers keep theirs (Google's 600 s, Envoy an
hour, an ALB up to 4 000 s), or they would send a request into a connection that is being closed. It is their number
that is bounded."""
IDLE = 256
"""Idle connections. Stops peers that ask one thing each and then keep the socket; balancers need a few dozen."""
WAITING_BESIDE_CALLS = 64
QUIET_S = 60
"""Connections that went for others are logged once in so many seconds."""

log = structlog.get_logger(__name__)


def waiting_limit(capacity: int) -> int:
    """How many connections may wait without ever having sent a whole request."""
    return 2 * capacity + WAITING_BESIDE_CALLS


@dataclass(frozen=True, slots=True)
class HandshakeLimits:
    """See docs/limits.md."""

    waiting: int
    request_s: float = REQUEST_S
    answering: int = ANSWERING
    answer_s: float = ANSWER_S
    idle: int = IDLE
    idle_s: float = IDLE_S
    lingering: int = LINGERING
    linger_s: float = LINGER_S

    @property
    def connections(self) -> int:
        """How many connections there may be that are no calls."""
        return self.waiting + self.answering + self.idle + self.lingering


class WaitingConnection(Protocol):
    """What is asked of a connection that has to go."""

    def time_out(self) -> None:
        """No whole request came in time."""

    def close(self) -> None:
        """Close."""

    def abort(self) -> None:
        """Cut the connection."""


class Handshakes:
    """What all connections of a server share before they are calls. `expire` is to be called ten times a second."""

    def __init__(
        self,
        pod: LeavingPod,
        rules: ConnectRules,
        limits: HandshakeLimits,
        now_s: Callable[[], float],
        make_socket: MakeSocket,
        certificates: Certificates | None = None,
    ) -> None:
        """`make_socket`: what a connection is after its upgrade. `certificates`: TLS is spoken."""
        self.names = names_of(pod.name, pod.color)
        self.observer = pod.observer
        self.rules = rules
        self.limits = limits
        self.make_socket = make_socket
        self.certificates = certificates
        self.waiting: Waiting[WaitingConnection] = Waiting(limits.waiting, limits.request_s, now_s)
        self.answering: Waiting[WaitingConnection] = Waiting(limits.answering, limits.answer_s, now_s)
        self.idle: Waiting[WaitingConnection] = Waiting(limits.idle, limits.idle_s, now_s)
        self.lingering: Waiting[WaitingConnection] = Waiting(limits.lingering, limits.linger_s, now_s)
        self._now_s = now_s
        self._log_again_at: dict[str, float] = {}

    def expire(self) -> None:
        """Let go of connections that have waited too long."""
        while (late := self.waiting.pop_overdue()) is not None:
            self.observer.limit_reached("request_seconds")
            late.time_out()
        while (unread := self.answering.pop_overdue()) is not None:
            self.observer.limit_reached("answer_seconds")
            unread.abort()
        while (idle := self.idle.pop_overdue()) is not None:
            idle.close()
        while (lingering := self.lingering.pop_overdue()) is not None:
            lingering.abort()

    def waits(self, connection: WaitingConnection) -> None:
        """A connection waits for its peer to send a whole request."""
        if (oldest := self.waiting.add(connection)) is not None:
            self.reached("waiting_sockets", self.limits.waiting)
            oldest.abort()

    def answers(self, connection: WaitingConnection) -> None:
        """A whole request came."""
        self.leaves(connection)
        if (oldest := self.answering.add(connection)) is not None:
            self.reached("answering_sockets", self.limits.answering)
            oldest.abort()

    def idles(self, connection: WaitingConnection) -> None:
        """A connection has had its answer."""
        self.leaves(connection)
        if (oldest := self.idle.add(connection)) is not None:
            self.reached("idle_sockets", self.limits.idle)
            oldest.close()

    def lingers(self, connection: WaitingConnection) -> None:
        """A connection was refused."""
        self.leaves(connection)
        if (oldest := self.lingering.add(connection)) is not None:
            oldest.abort()

    def leaves(self, connection: WaitingConnection) -> None:
        """A connection waits for nothing."""
        self.waiting.discard(connection)
        self.answering.discard(connection)
        self.idle.discard(connection)
        self.lingering.discard(connection)

    def reached(self, limit: str, size: int, **more: object) -> None:
        """Count what a limit cut short, and log it unless that was done just now: an attacker sets the pace."""
        self.observer.limit_reached(limit)
        if self._now_s() >= self._log_again_at.get(limit, 0.0):
            self._log_again_at[limit] = self._now_s() + QUIET_S
            log.warning("limit reached", limit=limit, size=size, **more)

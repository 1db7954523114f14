"""One caller's call, as the edge holds it: one connection to the caller, one pod after the other behind it.

::

    ATTACHED --pod gone: 1012, 1001, 1011, 1013, 1006--> AWAY --another pod goes on--> ATTACHED
       |                    (4409, and the caller is there)
       |--the same, and who can come back was not read any more: 1012 to the caller------------> over
       |                                                  |--nobody within the patience: 1013--> over
       |--any other close of the pod, told to the caller---------------------------------------> over
       |--caller gone: 1000 or 1001 told to the pod---------------------------------------------> over

Every event of a pod goes to the caller once, for the edge comes back with the number of the newest that it passed on;
everything of the caller goes to the pods once, for `ClientLine` keeps it until a store has it. What is passed on is
decided by `ProxiedCall`; here is what takes time.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import Protocol

import structlog

from voice_agent.call.closing import CloseCode, address_in
from voice_agent.client.refusals import CallRefused
from voice_agent.client.session_events import call_info
from voice_agent.edge.caller_messages import CallerMessages
from voice_agent.edge.caller_socket import CallerListener
from voice_agent.edge.dialing import PodRefused
from voice_agent.edge.pod_events import event_in
from voice_agent.edge.pod_socket import PodSocket
from voice_agent.edge.proxied_call import COME_BACK, CallerWriter, ProxiedCall
from voice_agent.edge.resuming import Resuming

CATCH_UP_S = 2.0
"""How long a pod has to take what a caller said who has hung up meanwhile."""
ANSWER_S = 3.0
"""How long a caller has to answer whether it is there."""
CATCH_UP_TRIES = 3
"""So many pods may be lost at that."""
ENDED = frozenset({CloseCode.NORMAL_CLOSURE, CloseCode.CALL_ENDED, CloseCode.CALL_TIMED_OUT})
"""Closes with which a call has come to its end."""
RESUMED = "call goes on"
"""What the log says of a call that another pod serves: by which one, after which close, and how long none did."""

log = structlog.get_logger(__name__)


class CallObserver(Protocol):
    """Told what happens to calls."""

    def resumed(self, code: int, gap_s: float) -> None:
        """A call goes on over another connection to a pod, after one that ended with `code`."""

    def lost(self, cause: str) -> None:
        """A caller was closed although neither side hung up: ``patience``, ``gap``, ``refused``, ``closed``."""

    def limit_reached(self, limit: str) -> None:
        """A bound cut something short."""


class CallerConnection(CallerWriter, Protocol):
    """The caller's: `CallerSocket`."""

    async def deliver(self, listener: CallerListener) -> int:
        """Give the listener what the caller sends until the connection is over; returns the close code."""

    def newest_acknowledged(self) -> int:
        """Number of the newest event of which the caller has every byte; 0 if none is new since the last time."""

    async def close(self, code: int, reason: str) -> None:
        """Close with a code; safe to call twice."""


class EdgeCall:
    """`run` is the whole call. `CallerListener`, `PodListener` and `ProxiedCallListener`."""

    def __init__(
        self,
        caller: CallerConnection,
        pod: PodSocket,
        messages: CallerMessages,
        resuming: Resuming,
        observer: CallObserver,
        *,
        acknowledges: bool,
    ) -> None:
        """`pod`: its greeting has come, if it is one that greets. `acknowledges`: no event is ever asked for again."""
        self._caller = caller
        self._pod = pod
        self._resuming = resuming
        self._comes_back = not acknowledges
        self._observer = observer
        self._gone: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._proxied = proxied = ProxiedCall(
            caller,
            messages,
            self,
            acknowledges=acknowledges,
        )
        # Every frame goes there: a method in between would be one call more for each.
        self.take_audio = proxied.take_audio
        self.take = proxied.take
        self.caller_is_slow = proxied.caller_is_slow
        self.frames_came = proxied.frames_came
        self.limit_reached = observer.limit_reached

    @property
    def call_id(self) -> str:
        """Empty until it is known."""
        return self._proxied.call_id

    @property
    def is_away(self) -> bool:
        """Whether no pod serves the call, or the one that does has not replayed what it had."""
        return self._proxied.is_away

    @property
    def kept_bytes(self) -> int:
        """What the caller sent that no store is known to have."""
        return self._proxied.kept_bytes

    async def run(self) -> None:
        """Carry messages both ways until the caller is gone, or was closed."""
        self._proxied.begin(self._pod, self._pod.greeting.result() if self._pod.has_greeted else None)
        reading = asyncio.ensure_future(self._caller.deliver(self))
        self._pod.begin(self)
        try:
            while True:
                await asyncio.wait((reading, self._gone), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    await self._caller_left(reading.result())
                    return
                code, reason = self._gone.result()
                if code == CloseCode.ATTACHED_ELSEWHERE and self._resuming.may_be_ours():
                    overtaken = await self._caller_is_there(reading)
                    if reading.done():
                        continue
                else:
                    overtaken = False
                if not overtaken and (told := self._proxied.close_after(code)) is not None:
                    if code not in ENDED:
                        log.warning(
                            "a caller is closed as its pod closed", call_id=self.call_id, code=code, reason=reason
                        )
                        self._observer.lost("closed")
                    await self._caller.close(told, reason)
                    return
                if self._comes_back and self._proxied.holds_message:
                    await self._caller.close(CloseCode.SERVICE_RESTART, COME_BACK)
                    return
                if not await self._come_back(code, reason, reading):
                    return
        finally:
            reading.cancel()
            self._pod.close(CloseCode.GOING_AWAY)

    def look(self) -> None:
        """Acknowledge what the caller has, and see whether the pod is there; to be called once a second."""
        self._pod.look()
        if not self._proxied.is_away:
            self._proxied.acknowledge(self._caller.newest_acknowledged())

    async def close(self, code: int, reason: str = "") -> None:
        """Close the caller's connection: the edge leaves."""
        await self._caller.close(code, reason)

    async def ready(self) -> None:
        """See `CallerListener`."""
        while not self._proxied.takes():
            self._room.clear()
            await self._room.wait()

    def pod_gone(self, code: int, reason: str) -> None:
        """See `PodListener`: another one is to be found."""
        if not self._gone.done():
            self._proxied.pod_lost()
            self._gone.set_result((code, reason))
            self._room.set()

    def pod_keeps_up(self) -> None:
        """See `PodListener`: the caller may be read again."""
        self._room.set()

    def caller_has_room(self) -> None:
        """See `ProxiedCallListener`."""
        self._room.set()

    def pod_asks(self) -> None:
        """See `PodListener`. Who is cut off in the middle of a sentence is not to be taken for one who is silent."""
        if self._proxied.is_away:
            self._pod.answer()  # The caller's answer could come before what it said is sent.
            return
        self._caller.probe(self._pod.answer)

    # --- inside -----------------------------------------------------------------

    async def _next_pod(self, named: str = "") -> PodSocket | None:
        proxied = self._proxied
        return await self._resuming.next_pod(proxied.call_id, proxied.token, proxied.newest, named)

    async def _caller_is_there(self, reading: asyncio.Future[int]) -> bool:
        """Whether the caller answers: one who went on elsewhere does not, though nothing else may tell of it."""
        if not self._comes_back or self._proxied.holds_message:
            return True  # It has nowhere to go; or it cannot be asked, and is sent away.
        heard = asyncio.Event()
        self._caller.probe(heard.set)
        hearing = asyncio.ensure_future(heard.wait())
        try:
            await asyncio.wait((reading, hearing), timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hearing.cancel()
        return heard.is_set()

    async def _caller_left(self, code: int) -> None:
        """A hang-up is one; whatever else ends the connection leaves the call to whoever may come back."""
        hung_up = code == CloseCode.NORMAL_CLOSURE
        if hung_up or not self._comes_back:
            # A pod has to be told, or the call would wait for its caller for as long as it may, and count as one that a
            # handoff lost. Who may be back by now over another edge is left alone: the call would be taken from it.
            self._proxied.caller_is_there()
            await self._catch_up()
        self._pod.close(CloseCode.NORMAL_CLOSURE if hung_up else CloseCode.GOING_AWAY)

    async def _catch_up(self) -> None:
        """Have a pod that got all the caller said; as far as there is one."""
        proxied = self._proxied
        for _ in range(CATCH_UP_TRIES):
            if not (proxied.is_away and proxied.token):
                return
            if self._pod.closed is not None:
                try:
                    pod = await self._next_pod()
                except PodRefused:
                    return
                if pod is None or not self._take_on(pod):
                    return
            with suppress(TimeoutError):
                async with asyncio.timeout(CATCH_UP_S):
                    while self.is_away and not self._gone.done():
                        self._room.clear()
                        await self._room.wait()

    async def _come_back(self, code: int, reason: str, reading: asyncio.Future[int]) -> bool:
        """Have another pod go on, which `reason` may name; False if the call is over."""
        lost_s = self._pod.lost_s
        named = address_in(reason) if code == CloseCode.SERVICE_RESTART else ""
        finding = asyncio.ensure_future(self._next_pod(named))
        try:
            await asyncio.wait((reading, finding), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            _give_up(finding)
            raise
        if not finding.done():
            _give_up(finding)
            return True  # The caller left; `run` sees it.
        try:
            pod = finding.result()
        except PodRefused as refusal:
            await self._refused(CallRefused(refusal.response.status_code, bytes(refusal.response.body or b""), None))
            return False
        if pod is None:
            self._observer.lost("patience")
            told = f"no pod within {self._resuming.patience_s:g} s"
            await self._caller.close(CloseCode.TRY_AGAIN_LATER, told)
            return False
        gap_s = asyncio.get_running_loop().time() - lost_s
        goes_on = self._take_on(pod)
        self._observer.resumed(code, gap_s)
        _tell(self.call_id, pod, code, reason, gap_s)
        if not goes_on:
            self._observer.lost("gap")
            await self._caller.close(CloseCode.INTERNAL_ERROR, "events of this call are lost")
        return goes_on

    async def _refused(self, refusal: CallRefused) -> None:
        """No pod goes on with the call. Whom the caller is to call next it is told, as if the pod had lived."""
        if self._proxied.ended_with(refusal.last_event):
            await self._caller.close(CloseCode.NORMAL_CLOSURE, "transferred")
            return
        self._observer.lost("refused")
        ended = refusal.status == HTTPStatus.GONE
        await self._caller.close(CloseCode.CALL_ENDED if ended else CloseCode.INTERNAL_ERROR, "the call is lost")

    def _take_on(self, pod: PodSocket) -> bool:
        """Take what the next pod replays; False if it lacks events that the caller has not seen."""
        self._pod = pod
        self._gone = asyncio.get_running_loop().create_future()
        goes_on = self._proxied.go_on(pod, pod.greeting.result())
        if goes_on:
            pod.begin(self)
            pod.pause(paused=self._proxied.is_slow)
        return goes_on


def _give_up(finding: asyncio.Future[PodSocket | None]) -> None:
    """Nobody waits for another pod any more; one that is found all the same, at that very moment, is told so."""
    finding.add_done_callback(_close_found)
    finding.cancel()


def _close_found(finding: asyncio.Future[PodSocket | None]) -> None:
    if not finding.cancelled() and finding.exception() is None and (pod := finding.result()) is not None:
        pod.close(CloseCode.GOING_AWAY)


def _tell(call_id: str, pod: PodSocket, code: int, reason: str, gap_s: float) -> None:
    by = call_info(event_in(pod.greeting.result()) or {})
    log.info(
        RESUMED,
        call_id=call_id,
        by={"pod": by.get("pod"), "color": by.get("color")},
        after=code,
        reason=reason,
        gap_ms=round(gap_s * 1000, 1),
    )

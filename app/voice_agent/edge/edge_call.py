"""One caller's call, as the edge holds it: one connection to the caller, one pod after the other behind it.

::

    ATTACHED --pod gone: 1012, 1001, 1011, 1013, 1006--> AWAY --another pod goes on--> ATTACHED
       |                                                  |--nobody within the patience: 1013--> over
       |--any other close of the pod, told to the caller---------------------------------------> over
       |--caller gone: 1000 or 1001 told to the pod---------------------------------------------> over

Every event of a pod goes to the caller once, for the edge comes back with the number of the newest that it passed on;
everything of the caller goes to the pods once, for `ClientLine` keeps it until a store has it.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

import structlog

from voice_agent.call.closing import MAY_RESUME, CloseCode
from voice_agent.call.event_ids import event_id
from voice_agent.edge.appends import client_frame, tail_of
from voice_agent.edge.caller_messages import CallerMessages, MessageKind
from voice_agent.edge.caller_socket import CallerSocket
from voice_agent.edge.client_line import ClientLine
from voice_agent.edge.dialing import PodRefused
from voice_agent.edge.pod_event_reader import PodEventReader, info
from voice_agent.edge.pod_events import event_in, event_number, number_of
from voice_agent.edge.pod_socket import PodSocket
from voice_agent.edge.resuming import Resuming

COME_BACK_AFTER = MAY_RESUME | {CloseCode.NO_STATUS_RCVD}
ENDED = frozenset({CloseCode.NORMAL_CLOSURE, CloseCode.CALL_ENDED, CloseCode.CALL_TIMED_OUT})
"""Closes with which a call has come to its end."""
MAX_KEPT_BYTES = 1024 * 1024
"""Of what a caller sent and no store has. Beyond it the oldest is forgotten while a pod has it in memory, and while
none has, the caller is not read."""

log = structlog.get_logger(__name__)


class CallObserver(Protocol):
    """Told what happens to calls."""

    def resumed(self, code: int, gap_s: float) -> None:
        """A call goes on over another connection to a pod, after one that ended with `code`."""

    def lost(self, cause: str) -> None:
        """A caller was closed although neither side hung up: ``patience``, ``gap``, ``refused``, ``closed``."""

    def limit_reached(self, limit: str) -> None:
        """A bound cut something short."""


class PendingRewind(NamedTuple):
    """Where the caller's own goes on, by a pod's greeting."""

    newest: int
    """Number of the newest event that the pod had when it greeted."""
    position: int
    number: int


class EdgeCall:
    """`run` is the whole call. `CallerListener` and `PodListener`."""

    def __init__(
        self,
        caller: CallerSocket,
        pod: PodSocket,
        messages: CallerMessages,
        resuming: Resuming,
        observer: CallObserver,
        *,
        acknowledges: bool,
    ) -> None:
        """`pod`: one whose greeting has come. `acknowledges`: the caller will never ask for an event again."""
        self.is_away = False
        """Whether no pod serves the call, or the one that does has not replayed what it had."""
        self.resuming = resuming
        self._caller = caller
        self._pod = pod
        self._messages = messages
        self._observer = observer
        self._acknowledges = acknowledges
        self._line = ClientLine(tail_of)
        self._reader = PodEventReader(self._line, messages)
        self._newest = 0
        """Number of the newest event that went to the caller."""
        self._gone: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._is_slow = False
        """Whether the caller does not read."""
        self._waits_for_pod = False
        """Whether a message waits that is said once, to a pod that is there."""
        self._rewinds: PendingRewind | None = None
        """What the next pod is to be sent, once it has replayed what it had."""

    @property
    def kept_bytes(self) -> int:
        """What the caller sent that no store is known to have."""
        return self._line.held_bytes

    async def run(self) -> None:
        """Carry messages both ways until the caller is gone, or was closed."""
        self._greet()
        reading = asyncio.ensure_future(self._caller.deliver(self))
        self._pod.begin(self)
        try:
            while True:
                await asyncio.wait((reading, self._gone), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    await self._caller_left(reading.result())
                    return
                code, reason = self._gone.result()
                if code not in COME_BACK_AFTER or not self.resuming.token:
                    if code not in ENDED:
                        self._observer.lost("closed")
                    await self._caller.close(_told(code), reason)
                    return
                if not await self._come_back(code, reading):
                    return
        finally:
            reading.cancel()
            self._pod.close(CloseCode.GOING_AWAY)

    def look(self) -> None:
        """Acknowledge what the caller has, and see whether the pod is there; to be called once a second."""
        if self.is_away:
            return
        self._pod.look()
        newest = self._caller.newest_acknowledged() if self._acknowledges else 0
        if newest and self.resuming.token:
            self._pod.write(client_frame(_ACKNOWLEDGE % event_id(newest).encode()))

    async def close(self, code: int, reason: str = "") -> None:
        """Close the caller's connection: the edge leaves."""
        await self._caller.close(code, reason)

    # --- the caller's side: `CallerListener` ------------------------------------

    def take_audio(self, frame: bytes, size: int) -> bool:
        """The path of every frame."""
        line, pod = self._line, self._pod
        if pod.is_congested or (line.held_bytes > MAX_KEPT_BYTES and not self._has_room()):
            return False
        line.add_audio(frame, size)
        if not self.is_away:
            pod.write(frame)
        return True

    def take(self, message: str | bytes) -> bool:
        """Anything else."""
        line, pod = self._line, self._pod
        if pod.is_congested or (line.held_bytes > MAX_KEPT_BYTES and not self._has_room()):
            return False
        read = self._messages.read(message)
        if read.kind is MessageKind.NOTHING and self.is_away:
            self._waits_for_pod = True
            return False
        if read.kind is MessageKind.AUDIO:
            line.add_audio(read.frame, read.audio_bytes, read.number)
        elif read.kind is MessageKind.EVENT:
            line.add_event(read.frame, read.number)
        if not self.is_away:
            pod.write(read.frame)
        return True

    async def ready(self) -> None:
        """Wait until there is room."""
        while self._pod.is_congested or not self._has_room() or (self._waits_for_pod and self.is_away):
            self._room.clear()
            await self._room.wait()
        self._waits_for_pod = False

    def caller_is_slow(self, *, slow: bool) -> None:
        """What the caller does not read is not read from the pod either."""
        self._is_slow = slow
        self._pod.pause(paused=slow)

    def limit_reached(self, limit: str) -> None:
        """Count it."""
        self._observer.limit_reached(limit)

    # --- the pod's side: `PodListener` ------------------------------------------

    def frame_came(self, frame: bytes) -> None:
        """The path of every event."""
        number = number_of(frame)
        if number is None:
            self._read(frame)
        elif number > self._newest or not self.resuming.token:
            self._newest = number
            self._caller.pass_on(frame, number, counts=self._acknowledges)
            if self._rewinds is not None:
                self._rewind()

    def pod_gone(self, code: int, reason: str) -> None:
        """Find another one."""
        if not self._gone.done():
            self.is_away, self._rewinds = True, None
            self._gone.set_result((code, reason))

    def pod_keeps_up(self) -> None:
        """The caller may be read again."""
        self._room.set()

    # --- inside -----------------------------------------------------------------

    def _has_room(self) -> bool:
        """Whether more of the caller may be kept; what an attached pod has is forgotten for it, the oldest first."""
        if self._line.held_bytes <= MAX_KEPT_BYTES:
            return True
        self._observer.limit_reached("edge_kept_bytes")
        if self.is_away:
            return False
        self._line.forget(MAX_KEPT_BYTES)
        return True

    def _greet(self) -> None:
        frame = self._pod.greeting.result()
        greeting = event_in(frame) or {}
        if told := info(greeting):
            self.resuming.call_id, self.resuming.token = told.get("id", ""), told.get("resume_token", "")
            self._newest = event_number(greeting) or 0
            frame = self._reader.greeting(greeting, frame)
        self._caller.pass_on(frame, self._newest, counts=False)

    def _read(self, frame: bytes) -> None:
        """An event of the session, an error, or what has no number."""
        event = event_in(frame)
        if event is None or not self.resuming.token:
            self._caller.pass_on(frame, self._newest, counts=False)
            return
        kind, number = event.get("type"), event_number(event)
        if kind == "call.received":
            if (told := self._reader.received(event)) is not None:
                self._caller.pass_on(told, self._newest, counts=False)
            self._room.set()
        elif number is not None and number > self._newest:
            self._newest = number
            if kind == "error":
                frame = self._reader.error(event)
            elif kind == "session.updated":
                self._reader.session_updated(event)
            self._caller.pass_on(frame, number, counts=self._acknowledges)
            if self._rewinds is not None:
                self._rewind()

    async def _caller_left(self, code: int) -> None:
        """A hang-up is one; whatever else ends the connection leaves the call to whoever may come back."""
        hung_up = code == CloseCode.NORMAL_CLOSURE
        if hung_up and self.is_away and self.resuming.token:
            # A pod has to be told, or the call would wait for its caller for as long as it may.
            try:
                self._pod = await self.resuming.next_pod(self._newest) or self._pod
            except PodRefused:
                return
        self._pod.close(CloseCode.NORMAL_CLOSURE if hung_up else CloseCode.GOING_AWAY)

    async def _come_back(self, code: int, reading: asyncio.Future[int]) -> bool:
        """Have another pod go on; False if the call is over."""
        loop = asyncio.get_running_loop()
        lost_s = loop.time()
        finding = asyncio.ensure_future(self.resuming.next_pod(self._newest))
        await asyncio.wait((reading, finding), return_when=asyncio.FIRST_COMPLETED)
        if not finding.done():
            finding.cancel()
            return True  # The caller left; `run` sees it.
        try:
            pod = finding.result()
        except PodRefused as refusal:
            self._observer.lost("refused")
            ended = refusal.response.status_code == 410
            await self._caller.close(CloseCode.CALL_ENDED if ended else CloseCode.INTERNAL_ERROR, "the call is lost")
            return False
        if pod is None:
            self._observer.lost("patience")
            reason = f"no pod within {self.resuming.patience_s:g} s"
            await self._caller.close(CloseCode.TRY_AGAIN_LATER, reason)
            return False
        self._observer.resumed(code, loop.time() - lost_s)
        return await self._go_on(pod)

    async def _go_on(self, pod: PodSocket) -> bool:
        """Take what the next pod replays; False if it lacks events that the caller has not seen."""
        greeting = event_in(pod.greeting.result()) or {}
        told = info(greeting)
        self._pod = pod
        gap = told.get("gap") or {}
        if (event_number({"event_id": gap.get("to")}) or 0) > self._newest or event_number(greeting) != self._newest:
            self._observer.lost("gap")
            log.warning("events of a call are lost", call_id=self.resuming.call_id, gap=gap)
            await self._caller.close(CloseCode.INTERNAL_ERROR, "events of this call are lost")
            return False
        self._gone = asyncio.get_running_loop().create_future()
        newest = event_number({"event_id": told.get("newest_event_id")}) or self._newest
        last = self._messages.ids.number(told.get("last_client_event_id"))
        self._rewinds = PendingRewind(newest, told.get("input_audio_bytes", 0), last)
        self._rewind()
        pod.begin(self)
        pod.pause(paused=self._is_slow)
        return True

    def _rewind(self) -> None:
        """Send the pod what it lacks, once all has come that it had: among it may be what changes how bytes count."""
        pending = self._rewinds
        if pending is None or self._newest < pending.newest:
            return
        self._rewinds = None
        rewound = self._line.rewind(pending.position, pending.number)
        if rewound.lost_bytes:
            log.warning("audio of a caller is lost", call_id=self.resuming.call_id, lost_bytes=rewound.lost_bytes)
            self._observer.limit_reached("edge_lost_audio")
        for frame in rewound.frames:
            self._pod.write(frame)
        self.is_away = False
        self._room.set()


_ACKNOWLEDGE = b'{"type":"call.acknowledge","event_id":"%b"}'


def _told(code: int) -> int:
    """What may stand in a close frame."""
    return CloseCode.INTERNAL_ERROR if code in (CloseCode.ABNORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD) else code

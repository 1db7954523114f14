"""What goes on between one caller and the pods that it has one after the other, and where the next one goes on.

::

    --begin--> SERVED --pod_lost--> AWAY --go_on--> REPLAYED TO --its newest event has come--> SERVED
                                                              (and the caller answered a ping)

Synchronous, without a clock, and without a socket of its own: frames come in as calls, and go out to the two
connections at once. `EdgeCall` does what has to be waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import orjson
import structlog

from voice_agent.call.closing import MAY_RESUME, CloseCode
from voice_agent.call.event_ids import event_id
from voice_agent.client.client_line import ClientLine
from voice_agent.client.session_events import call_info
from voice_agent.edge.appends import Append, client_frame, tail_of
from voice_agent.edge.caller_messages import CallerMessages, MessageKind, TooMuchJson, unchanged
from voice_agent.edge.pod_event_reader import PodEventReader
from voice_agent.edge.pod_events import event_in, event_number, newest_if_new, number_of
from voice_agent.websocket.frames import text_frame

COME_BACK_AFTER = MAY_RESUME | {CloseCode.NO_STATUS_RCVD}
MAX_KEPT_BYTES = 1024 * 1024
"""Of what a caller sent and no store has. Beyond it the oldest is forgotten while a pod has it in memory, and while
none has, the caller is not read."""
COME_BACK = "no pod takes what you say: come back"
_ACKNOWLEDGE = b'{"type":"call.acknowledge","event_id":"%b"}'

log = structlog.get_logger(__name__)


class CallerWriter(Protocol):
    """Where events of pods go: `CallerSocket`."""

    def pass_on(self, data: bytes, number: int, *, counts: bool) -> None:
        """Send an event in the frame in which it came, or several, of which `number` is the newest.

        `counts`: it is to be known when the caller has it.
        """

    def fail(self, code: int, reason: str) -> None:
        """Close with this, and read no more of the caller."""

    def probe(self, answered: Callable[[], None]) -> None:
        """Ask whether the caller is there: `answered` is called if it was, after this."""


class PodWriter(Protocol):
    """Where messages of the caller go: `PodSocket`."""

    is_congested: bool
    """Whether it takes no more than it has been sent."""

    def write(self, frame: bytes) -> None:
        """Send a frame, masked as a client's is."""

    def pause(self, *, paused: bool) -> None:
        """Leave what the pod sends to the kernel, or read it again."""


class ProxiedCallListener(Protocol):
    """Who waits for what goes on in a call."""

    def caller_has_room(self) -> None:
        """What was not taken of the caller may be taken now."""

    def limit_reached(self, limit: str) -> None:
        """A bound cut something short."""


class PendingRewind(NamedTuple):
    """Where the caller's own goes on, by a pod's greeting."""

    newest: int
    """Number of the newest event that the pod had when it greeted."""
    position: int
    number: int
    must_answer: bool
    """Whether nothing of it is sent before the caller has answered, for it may have gone on over another connection."""


class ProxiedCall:
    """`take_audio`, `take` and `caller_is_slow` are the caller's side, `frames_came` is the pod's."""

    def __init__(
        self,
        caller: CallerWriter,
        messages: CallerMessages,
        listener: ProxiedCallListener,
        *,
        acknowledges: bool,
    ) -> None:
        """`acknowledges`: the caller will never ask for an event again, and has no other connection."""
        self.call_id = ""
        self.token = ""
        """By which a pod goes on with the call; "" of a server that cannot resume."""
        self.newest = 0
        """Number of the newest event that went to the caller."""
        self.is_away = False
        """Whether no pod serves the call, or the one that does has not replayed what it had."""
        self.is_slow = False
        """Whether the caller does not read."""
        self._caller = caller
        self._pod: PodWriter
        self._messages = messages
        self._acknowledges = acknowledges
        self._listener = listener
        self._line = ClientLine(tail_of)
        self._reader = PodEventReader(self._line, messages)
        self._waits_for_pod = False
        """Whether a message waits that is said once, to a pod that is there."""
        self._rewinds: PendingRewind | None = None
        """What the pod is to be sent, once it has replayed what it had."""

    @property
    def kept_bytes(self) -> int:
        """What the caller sent that no store is known to have."""
        return self._line.held_bytes

    @property
    def holds_message(self) -> bool:
        """Whether the caller is not read until another pod serves it: nothing else can be heard of it before."""
        return self._waits_for_pod or self._pod.is_congested or self._line.held_bytes > MAX_KEPT_BYTES

    # --- pods come and go ---------------------------------------------------------

    def begin(self, pod: PodWriter, greeting: bytes | None) -> None:
        """The first pod has greeted, in this frame: the caller gets it. None: it waits for the caller to speak."""
        self._pod = pod
        if greeting is None:
            return
        event = event_in(greeting) or {}
        if told := call_info(event):
            self.call_id, self.token = told.get("id", ""), told.get("resume_token", "")
            self.newest = event_number(event) or 0
            greeting = self._reader.greeting(event)
        self._caller.pass_on(greeting, self.newest, counts=False)

    def pod_lost(self) -> None:
        """Until another one goes on, all is kept."""
        self.is_away, self._rewinds = True, None

    def close_after(self, code: int) -> int | None:
        """What the caller is closed with after its pod closed with `code`; None: another pod is to go on."""
        if code in COME_BACK_AFTER and self.token:
            return None
        return CloseCode.INTERNAL_ERROR if code in (CloseCode.ABNORMAL_CLOSURE, CloseCode.NO_STATUS_RCVD) else code

    def go_on(self, pod: PodWriter, greeting: bytes) -> bool:
        """Another pod has greeted; False if it lacks events that the caller has not seen, and the call is over."""
        event = event_in(greeting) or {}
        told = call_info(event)
        gap = told.get("gap") or {}
        if (event_number({"event_id": gap.get("to")}) or 0) > self.newest or event_number(event) != self.newest:
            log.warning("events of a call are lost", call_id=self.call_id, gap=gap)
            return False
        self._pod = pod
        newest = event_number({"event_id": told.get("newest_event_id")}) or self.newest
        last = self._messages.ids.number(told.get("last_client_event_id"))
        must_answer = not self._acknowledges
        self._rewinds = PendingRewind(newest, told.get("input_audio_bytes", 0), last, must_answer)
        if must_answer:
            # A caller who comes back by itself may have, over another edge, while nobody noticed that this connection
            # is dead: there it says again what is kept here. What still comes over this one was said before. From here
            # on no other edge has the call unless it is taken from this pod, which then makes nothing durable.
            self._caller.probe(partial(self.caller_is_there, pod))
        self._rewind_if_replayed()
        return True

    def caller_is_there(self, asked_for: PodWriter | None = None) -> None:
        """What is kept is this connection's to say; to that pod and no later one, if one is given."""
        if self._rewinds is not None and asked_for in (None, self._pod):
            self._rewinds = self._rewinds._replace(must_answer=False)
            self._rewind_if_replayed()

    def ended_with(self, event: dict[str, Any] | None) -> bool:
        """The call is over with this event, of which the caller gets what it has not seen. False: it is none."""
        if event is None or (number := event_number(event)) is None:
            return False
        if number > self.newest:
            self.newest = number
            self._caller.pass_on(text_frame(orjson.dumps(event)), number, counts=False)
        return True

    def acknowledge(self, newest: int) -> None:
        """The caller has all events up to this one."""
        if newest and self.token and self._acknowledges:
            self._pod.write(client_frame(_ACKNOWLEDGE % event_id(newest).encode()))

    # --- the caller's side ----------------------------------------------------------

    def take_audio(self, data: bytes, appends: Sequence[Append]) -> bool:
        """The path of every frame: see `CallerListener`."""
        line, pod = self._line, self._pod
        if pod.is_congested or (line.held_bytes > MAX_KEPT_BYTES and not self._has_room()):
            return self._sent_away()
        if self.token:
            for frame, size in appends:
                line.add_audio(frame, size)
        if not self.is_away:
            pod.write(data)
        return True

    def take(self, message: str | bytes) -> bool:
        """Anything else."""
        line, pod = self._line, self._pod
        if pod.is_congested or (line.held_bytes > MAX_KEPT_BYTES and not self._has_room()):
            return self._sent_away()
        if not self.token:
            pod.write(unchanged(message))  # No other pod will go on, and what it says of an event is not looked at.
            return True
        try:
            read = self._messages.read(message)
        except TooMuchJson as error:
            self._listener.limit_reached("edge_json_bytes")
            self._caller.fail(CloseCode.MESSAGE_TOO_BIG, str(error))
            return True
        if read.kind is MessageKind.NOTHING and self.is_away:
            self._waits_for_pod = True
            return self._sent_away()
        if read.kind is MessageKind.AUDIO:
            line.add_audio(read.frame, read.audio_bytes, read.number)
        elif read.kind is MessageKind.EVENT:
            line.add_event(read.frame, read.number)
        if not self.is_away:
            pod.write(read.frame)
        return True

    def takes(self) -> bool:
        """Whether what was not taken may be offered again."""
        if self._pod.is_congested or not self._has_room() or (self._waits_for_pod and self.is_away):
            return False
        self._waits_for_pod = False
        return True

    def caller_is_slow(self, *, slow: bool) -> None:
        """What the caller does not read is not read from the pod either."""
        self.is_slow = slow
        self._pod.pause(paused=slow)

    # --- the pod's side -------------------------------------------------------------

    def frames_came(self, frames: list[bytes]) -> None:
        """The path of every event. Several come together when the edge is late: in one piece they cost less each."""
        if len(frames) > 1 and self._rewinds is None and (newest := newest_if_new(frames, self.newest)):
            self.newest = newest
            self._caller.pass_on(b"".join(frames), newest, counts=self._acknowledges)
            return
        for frame in frames:
            number = number_of(frame)
            if number is None:
                self._read(frame)
            elif number > self.newest or not self.token:
                self.newest = number
                self._caller.pass_on(frame, number, counts=self._acknowledges)
                if self._rewinds is not None:
                    self._rewind_if_replayed()

    # --- inside -----------------------------------------------------------------------

    def _sent_away(self) -> bool:
        """What came waits for a pod. Behind it an answer would not be read, so who has to answer comes back instead."""
        if not self.is_away or self._acknowledges or not self.token:
            return False
        self._caller.fail(CloseCode.SERVICE_RESTART, COME_BACK)
        return True

    def _has_room(self) -> bool:
        """Whether more of the caller may be kept; what an attached pod has is forgotten for it, the oldest first."""
        if self._line.held_bytes <= MAX_KEPT_BYTES:
            return True
        self._listener.limit_reached("edge_kept_bytes")
        if self.is_away:
            return False
        self._line.forget(MAX_KEPT_BYTES)
        return True

    def _read(self, frame: bytes) -> None:
        """An event of the session, an error, or what has no number."""
        event = event_in(frame)
        if event is None or not self.token:
            self._caller.pass_on(frame, self.newest, counts=False)
            return
        kind, number = event.get("type"), event_number(event)
        if kind == "call.received":
            self._received(event)
        elif number is not None and number > self.newest:
            self.newest = number
            if kind == "error":
                frame = self._reader.error(event)
            elif kind == "session.updated":
                self._reader.session_updated(event)
            self._caller.pass_on(frame, number, counts=self._acknowledges)
            if self._rewinds is not None:
                self._rewind_if_replayed()

    def _received(self, event: dict[str, Any]) -> None:
        if (told := self._reader.received(event)) is not None:
            self._caller.pass_on(told, self.newest, counts=False)
        self._listener.caller_has_room()

    def _rewind_if_replayed(self) -> None:
        """Send the pod what it lacks, once all has come that it had: among it may be what changes how bytes count."""
        pending = self._rewinds
        if pending is None or pending.must_answer or self.newest < pending.newest:
            return
        self._rewinds = None
        rewound = self._line.rewind(pending.position, pending.number)
        if rewound.lost_bytes:
            log.warning("audio of a caller is lost", call_id=self.call_id, lost_bytes=rewound.lost_bytes)
            self._listener.limit_reached("edge_lost_audio")
        for frame in rewound.frames:
            self._pod.write(frame)
        self.is_away = False
        self._listener.caller_has_room()

"""An edge between simulated callers and pods: the product's `EdgeCall` and `PodSocket` on simulated connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from random import Random
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson
from websockets.datastructures import Headers
from websockets.frames import CloseCode
from websockets.http11 import Response
from websockets.speedups import apply_mask

from tests.simulation.caller import Refusal
from tests.simulation.network import Connection, Lane
from tests.simulation.weather import Weather
from tests.simulation.witness import Witness
from voice_agent.call.closing import address_in
from voice_agent.call.drain import DrainMode
from voice_agent.edge.appends import client_frame, plain_audio_bytes
from voice_agent.edge.caller_messages import CallerMessages
from voice_agent.edge.caller_socket import CallerListener
from voice_agent.edge.dialing import DIAL_S, PodRefused, PodUnreachable
from voice_agent.edge.edge import Edge
from voice_agent.edge.edge_call import EdgeCall
from voice_agent.edge.event_ids import EventIds
from voice_agent.edge.pod_events import number_of
from voice_agent.edge.pod_frames import PodFrames
from voice_agent.edge.pod_socket import PodSocket
from voice_agent.edge.resuming import POD_HEADER, Resuming
from voice_agent.errors import ConnectionRefused
from voice_agent.testing.virtual_loop import Process, VirtualLoop
from voice_agent.websocket.frames import (
    CLOSE,
    MASK_BYTES,
    OPCODE,
    PING,
    PONG,
    TEXT,
    close_frame,
    control_frame,
    payload_start,
    text_frame,
)
from voice_agent.websocket.keepalive import PROBE, Probe

LOOK_S = 1.0
PATIENCE_S = 60.0
"""Longer than all faults of a schedule together: who is closed for want of a pod was given up too soon."""
FOR_EVER_S = 10_000.0
MOST_UNREAD = 20
"""Events that wait for a caller before its pod is no longer read."""
CLOSE_S = 0.5
CAPACITY = 10
CONGESTED_SHARE = 0.01
LATE_SHARE, MOST_LATE_S = 0.05, 0.1
"""Of what pods send, so much is read late, together with what came meanwhile."""
ALONE_SHARE = 0.7
"""Of the messages, so many come in a read of their own."""


class Pods(Protocol):
    """How an edge reaches pods: through a load balancer."""

    def pick(self) -> str:
        """A pod, as the load balancer would choose it."""

    async def connect(self, pod: str, query: dict[str, Any], *, is_chosen: bool) -> Connection:
        """Raises `Refusal`, or `ConnectionError` if nobody is there."""


class PodTransport(asyncio.Transport):
    """Under a `PodSocket`: what it writes goes to a simulated connection, what comes there goes to it."""

    def __init__(
        self,
        loop: VirtualLoop,
        connection: Connection,
        random: Random,
        *,
        wrote: Callable[[str], None],
        closed: Callable[[str], None],
    ) -> None:
        """Told: `wrote` of texts that go out, `closed` of the reason of a close frame that has come."""
        super().__init__()
        self.connection = connection
        self._loop = loop
        self._random = random
        self._wrote = wrote
        self._closed = closed
        self._protocol: asyncio.Protocol
        self._reads = asyncio.Event()
        self._reads.set()
        self._is_lost = False
        self._is_congested = False
        self._pump: asyncio.Task[None] | None = None
        self._answered: Callable[[], None] = lambda: None
        connection.pings = self._ping

    def _ping(self, answered: Callable[[], None]) -> None:
        self._answered = answered
        self.connection.down.put(control_frame(PING, PROBE))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol
        self._pump = self._loop.create_task(self._read())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self._is_lost

    def is_reading(self) -> bool:
        return self._reads.is_set()

    def pause_reading(self) -> None:
        self._reads.clear()

    def resume_reading(self) -> None:
        self._reads.set()

    def write(self, data: Any) -> None:
        """One frame, as `PodSocket` gives them."""
        frame = bytes(data)
        kind, start = frame[0] & OPCODE, payload_start(frame)
        payload = apply_mask(frame[start:], frame[start - MASK_BYTES : start])
        if self._is_lost:
            return
        if self.connection.up.closed:
            self._lose()  # The kernel has learnt from a reset that nobody is there.
        elif kind == CLOSE:
            code = int.from_bytes(payload[:2], "big")
            self.connection.leave(code)
        elif kind == PING:
            self.connection.up.put(lambda: self.connection.down.put(control_frame(PONG, payload)))
        elif kind == PONG:
            self.connection.up.put(self._answered)
        else:
            if kind == TEXT:
                self._wrote(payload.decode())
            self.connection.tell(payload.decode() if kind == TEXT else payload)
            if not self._is_congested and self._random.random() < CONGESTED_SHARE:
                self._is_congested = True
                self._protocol.pause_writing()
                self._loop.call_later(0.2 * self._random.random(), self._drained)

    def abort(self) -> None:
        if not self._is_lost:
            if not self.connection.caller_left:
                self.connection.leave(CloseCode.ABNORMAL_CLOSURE)
            self._lose()

    def close(self) -> None:
        self.abort()

    def _drained(self) -> None:
        self._is_congested = False
        if not self._is_lost:
            self._protocol.resume_writing()

    def _lose(self) -> None:
        self._is_lost = True
        self._loop.call_soon(self._protocol.connection_lost, None)

    async def _read(self) -> None:
        down = self.connection.down
        while not self._is_lost:
            message = await down.get()
            await self._reads.wait()
            if self._is_lost:
                return
            if message == CloseCode.ABNORMAL_CLOSURE:
                self._lose()
            elif isinstance(message, int):
                self._closed(self.connection.reason)
                self._protocol.data_received(close_frame(message, self.connection.reason))
            else:
                if self._random.random() < LATE_SHARE:
                    await asyncio.sleep(MOST_LATE_S * self._random.random())
                together = [message, *down.get_more(lambda one: isinstance(one, str | bytes))]
                if not self._is_lost:
                    self._protocol.data_received(b"".join(map(_framed, together)))


def _framed(message: str | bytes) -> bytes:
    """What a pod sent, as frames: control frames are."""
    return message if isinstance(message, bytes) else text_frame(message.encode())


class _Arriving(Lane):
    """To a caller: what has arrived is known, and a ping is answered."""

    arrived = 0
    """Number of the newest event that the caller's kernel has."""

    def _deliver(self, message: Any) -> None:
        if callable(message):
            message()
            return
        if isinstance(message, tuple):
            self.arrived = max(self.arrived, message[0])
        super()._deliver(message)


class CallerLink:
    """A caller's connection to the edge; the edge's side is `edge_call.CallerConnection`."""

    def __init__(
        self,
        loop: VirtualLoop,
        weather: Weather,
        process: Process,
        witness: Witness,
        random: Random,
        *,
        comes_back: bool,
    ) -> None:
        self._random = random
        self.comes_back = comes_back
        """Whether the caller resumes by itself."""
        self.up = Lane(loop, weather)
        self.down = _Arriving(loop, weather)
        self.process = process
        """The edge's."""
        self.call_id = ""
        self.connection: Connection | None = None
        """To the pod that serves the call now."""
        self.reads = True
        """Whether the caller reads."""
        self.sent_to = ""
        """The pod that the last one named, until the edge looks for another one."""
        self.on_resumed: Callable[[], None] = lambda: None
        self._loop = loop
        self._witness = witness
        self._listener: CallerListener | None = None
        self._probe = Probe(lambda: self.down.put(lambda: self.up.put(self._probe.answer)))
        self._told = 0
        self._unread = 0
        self._is_slow = False

    # --- the caller's side

    def tell(self, message: str | bytes) -> None:
        """The caller sends."""
        self.up.put(message)

    async def next(self) -> str | int:
        """The next event, or the close code."""
        message = await self.down.get()
        if isinstance(message, int):
            return message
        self._unread -= 1
        if self._is_slow and not self._unread:
            self._loop.call_soon(self._look_whether_slow, context=self.process.context)
        text: str = message[1]
        return text

    # --- the edge's side

    async def deliver(self, listener: CallerListener) -> int:
        """See `CallerSocket`."""
        self._listener = listener
        while not isinstance(message := await self.up.get(), int):
            if callable(message):
                message()
                continue
            while not self._take(listener, message):
                await listener.ready()
        return message

    def _take(self, listener: CallerListener, message: str | bytes) -> bool:
        """As `CallerSocket`; what came together with something else is taken as any message."""
        text = message.encode() if isinstance(message, str) and self._random.random() < ALONE_SHARE else b""
        if (size := plain_audio_bytes(text)) is None:
            return listener.take(message)
        frame = client_frame(text)
        return listener.take_audio(frame, [(frame, size)])

    def pass_on(self, data: bytes, number: int, *, counts: bool) -> None:
        """See `CallerSocket`."""
        self._witness.heard(self.call_id, number)
        for frame in PodFrames().feed(data):
            self._unread += 1
            self.down.put((number_of(frame) or number, frame[payload_start(frame) :].decode()))
        self._look_whether_slow()

    def fail(self, code: int, reason: str) -> None:
        """See `CallerSocket`."""
        self.down.put(code, last=True)

    def probe(self, answered: Callable[[], None]) -> None:
        """See `Keepalive`: a ping, and the pong behind what the caller has sent by then."""
        self._probe.ask(answered)

    def newest_acknowledged(self) -> int:
        """See `CallerSocket`."""
        newest = self.down.arrived
        is_new, self._told = newest > self._told, newest
        return newest if is_new else 0

    async def close(self, code: int, reason: str) -> None:
        """See `CallerSocket`. Whoever does not answer is not waited for."""
        self.down.put(code, last=True)
        self._loop.call_later(CLOSE_S, self.up.cut, code, 0.0)

    def _look_whether_slow(self) -> None:
        slow = self._unread > (0 if self._is_slow else MOST_UNREAD)
        if slow is not self._is_slow and self._listener is not None:
            self._is_slow = slow
            self._listener.caller_is_slow(slow=slow)


class _Taking:
    """`upstreams.Upstreams` behind which there is always a pod."""

    take_calls = True


class SimEdge:
    """One edge process, which never dies: it is drained, and holds on to those who cannot come back."""

    def __init__(
        self, name: str, loop: VirtualLoop, weather: Weather, witness: Witness, random: Random, pods: Pods
    ) -> None:
        self.name = name
        self.process = loop.process(name)
        upstreams: Any = _Taking()
        nobody: Any = None  # What it tells of itself is of no interest, until its deadline.
        self.edge = Edge(
            name, upstreams, nobody, version="1", capacity=CAPACITY, patience_s=PATIENCE_S, caller_bytes=2**30
        )
        self.edge.spread = random.uniform
        self._loop = loop
        self._weather = weather
        self._witness = witness
        self._random = random
        self._pods = pods
        self.holding: list[asyncio.Task[None]] = []
        """Each ends with its call."""
        self._calls: list[EdgeCall] = []
        self._looking: asyncio.Task[None] | None = None

    def drain(self) -> None:
        """Have it leave: those who come back go, the others stay for as long as they like."""
        self.process.context.run(self.edge.drain, DrainMode.HANDOFF, FOR_EVER_S)

    async def accept(self, name: str, query: dict[str, Any], *, comes_back: bool) -> CallerLink:
        """Take a caller whom a pod takes. Raises as `Pods.connect`. `name` is for the trace."""
        try:
            self.edge.admission.take(may_resume=comes_back)
        except ConnectionRefused as refused:
            raise Refusal(refused.status) from None
        # Chances of its own, so that what goes wrong and when does not hang on them.
        random = Random(f"{name} {query.get('model')}")
        link = CallerLink(self._loop, self._weather, self.process, self._witness, random, comes_back=comes_back)
        held: asyncio.Future[None] = self._loop.create_future()
        self.holding.append(self._loop.spawn(self.process, self._serve(link, name, query, held)))
        await held
        return link

    async def _serve(self, link: CallerLink, name: str, query: dict[str, Any], held: asyncio.Future[None]) -> None:
        try:
            await self._hold(link, name, query, held)
        finally:
            self.edge.give_back()

    async def _hold(self, link: CallerLink, name: str, query: dict[str, Any], held: asyncio.Future[None]) -> None:
        if self._looking is None:
            self._looking = self._loop.create_task(self._look())
        try:
            pod = await self._dial(link, name, query)
        except (Refusal, PodRefused, PodUnreachable) as error:
            if not held.done():  # The caller waits still.
                held.set_exception(error if isinstance(error, Refusal) else ConnectionError(str(error)))
            return
        if held.done():
            pod.close(CloseCode.GOING_AWAY)  # The caller waits no longer.
            return

        async def resume(call_id: str, token: str, last_event: int, address: str) -> PodSocket:
            query = {"call_id": call_id, "token": token, "last_event": f"evt_{last_event}"}
            return await self._dial(link, name, query, urlsplit(address).hostname or "")

        messages = CallerMessages(EventIds(self._random.randbytes(4).hex()), wants_received=link.comes_back)
        resuming = Resuming(resume, PATIENCE_S, spread=self._random.uniform)
        told = _Told(link, self._witness)
        call = EdgeCall(link, pod, messages, resuming, told, acknowledges=not link.comes_back)
        self._calls.append(call)
        self.edge.hold(call, comes_back=link.comes_back)
        held.set_result(None)
        await call.run()
        self.edge.remove(call)
        self._calls.remove(call)

    async def _dial(self, link: CallerLink, name: str, query: dict[str, Any], named: str = "") -> PodSocket:
        """As `Dialer`. Of a caller who comes back, also raises the `Refusal` of what itself asked for."""
        pod = named or self._pods.pick()
        self._goes_to(link, pod)
        connection: Connection | None = None

        def wrote(text: str) -> None:
            if text.startswith('{"type":"call.acknowledge"'):
                self._acknowledges(link, orjson.loads(text)["event_id"])

        def closed(reason: str) -> None:
            link.sent_to = urlsplit(address_in(reason)).hostname or ""

        try:
            async with asyncio.timeout(DIAL_S):
                more = {"received": True, "resumable_now": True, "directed": True}
                connection = await self._pods.connect(pod, query | more, is_chosen=True)
                transport = PodTransport(self._loop, connection, self._random, wrote=wrote, closed=closed)
                socket = PodSocket(transport, b"")
                greeting = await socket.greeting
        except BaseException as error:
            if connection is not None:
                connection.leave(CloseCode.ABNORMAL_CLOSURE)
            if isinstance(error, Refusal):
                raise (error if link.comes_back and not link.call_id else self._refused(link, error)) from None
            if isinstance(error, OSError):
                raise PodUnreachable(str(error)) from error
            raise
        self._greeted(link, name, connection, orjson.loads(greeting[payload_start(greeting) :]))
        return socket

    def _goes_to(self, link: CallerLink, pod: str) -> None:
        """A caller who has left meanwhile goes nowhere."""
        sent_to, link.sent_to = link.sent_to, ""
        if sent_to:
            self._witness.counts["named pods"] += 1
        if sent_to not in ("", pod) and not link.up.closed:
            self._witness.broken(f"a call goes where it is sent: to {pod} instead of {sent_to}")

    def _refused(self, link: CallerLink, refusal: Refusal) -> PodRefused:
        known = self._witness.known(link.call_id)
        if refusal.status == HTTPStatus.NOT_FOUND:
            self._witness.not_found(link.call_id)
        if refusal.status != HTTPStatus.SERVICE_UNAVAILABLE and not (known.forgotten or link.comes_back):
            self._witness.broken(f"a call outlives its pod: the edge was refused with {refusal.status}")
        return PodRefused(Response(refusal.status, "", Headers({POD_HEADER: "pod"})))

    def _greeted(self, link: CallerLink, name: str, connection: Connection, greeting: dict[str, Any]) -> None:
        info = greeting["session"]["call"]
        link.call_id = connection.call_id = info["id"]
        link.connection = connection
        connection.is_passed_on = lambda: not link.down.closed
        self._witness.known(link.call_id).is_behind_edge = True
        self._witness.note(
            f"{name}: {link.call_id[5:9]} over the edge on {connection.pod}, epoch {info['epoch']}, "
            f"from {greeting['event_id']} to {info.get('newest_event_id')}, gap {info['gap']}, "
            f"audio {info['input_audio_bytes']} bytes, last {info['last_client_event_id']}"
        )
        self._witness.greeted(link.call_id, info["input_audio_ms"])

    def _acknowledges(self, link: CallerLink, event_id: str) -> None:
        if int(event_id.removeprefix("evt_")) > link.down.arrived:
            self._witness.broken(
                f"only what the caller has is acknowledged: {event_id}, of which it has {link.down.arrived}"
            )

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for call in list(self._calls):
                call.look()


class _Told:
    """`edge_call.CallObserver` of one call."""

    def __init__(self, link: CallerLink, witness: Witness) -> None:
        self._link = link
        self._witness = witness

    def resumed(self, code: int, gap_s: float) -> None:
        self._witness.counts["edge resumes"] += 1
        self._link.on_resumed()

    def lost(self, cause: str) -> None:
        self._witness.note(f"the edge gives a caller up: {cause}")

    def limit_reached(self, limit: str) -> None:
        self._witness.note(f"the edge reaches a limit: {limit}")
        known = self._witness.known(self._link.call_id)
        if limit == "edge_lost_audio" and not (known.was_lost or known.forgotten):
            self._witness.broken("the caller's words: the edge does not keep what no store has")

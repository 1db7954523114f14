"""A caller who talks to the agent `loopback`, checks every event, and comes back when the connection is lost.

Numbers and audio are checked without a parser: the event's id is the first thing in each
message and must be the next one; the audio must be the echo of the frame that is due. That
is why he is not the one of `rehearse.caller`, who parses and hashes: hundreds share a core.
What the server has not made durable of a caller's audio he says again from
`input_audio_ms` on, as any client may (design, sections 3 and 4.2).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast
from urllib.parse import urlencode

import orjson

from loadtest.latencies import Latencies
from loadtest.peers.caller import FRAME_S
from loadtest.peers.dialects import DIFFERENT, dialect
from loadtest.peers.frames import CLOSE_OPCODE, PING_OPCODE, PONG, read_frames
from loadtest.peers.holding import CLOSE, upgrade_request
from voice_agent.call.closing import CloseCode
from voice_agent.call.event_ids import PREFIX, event_id
from voice_agent.retry import Delays

SPEECH = dialect("realtime")
FRAME_MS = round(FRAME_S * 1000)
ID_MARK = b'{"event_id":"' + PREFIX.encode()
GREETING = b'"type":"session.created"'
GREETING_S = 5.0
PAUSES = Delays(first_s=0.1, longest_s=1.0)


@dataclass
class Findings:
    """What all callers of a run saw."""

    calls: int = 0
    events: int = 0
    frames: int = 0
    """Frames of audio that came back."""
    lost: int = 0
    """Events whose number was left out."""
    repeated: int = 0
    """Events whose number had come before."""
    wrong: int = 0
    """Echoes that were not the audio that was due."""
    gaps: int = 0
    """Resumes to which the server said that events are gone."""
    dropped: int = 0
    """Calls that could not be taken up again."""
    resumes: int = 0
    codes: dict[int, int] = field(default_factory=dict)
    """How connections ended that the caller did not end."""
    echo: Latencies = field(default_factory=Latencies)
    """From when a frame was due to be said to when its echo came; frames said again after a resume are left out."""
    first_event: Latencies = field(default_factory=Latencies)
    """Of resumes: from the start of the connection that succeeded to the first event after the greeting."""
    greeting: Latencies = field(default_factory=Latencies)
    """Of resumes: to the greeting."""
    break_s: Latencies = field(default_factory=Latencies)
    """From the loss of a connection to the greeting of the next, pauses and failed tries included."""

    @property
    def faults(self) -> dict[str, int]:
        """What must not be, by name; empty if all is well."""
        names = ("dropped", "lost", "repeated", "wrong", "gaps")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


class CallerProtocol(asyncio.Protocol):
    """One connection of a caller; reads frames and hands whole messages over."""

    def __init__(self, caller: ResumingCaller, request: bytes) -> None:
        self._caller = caller
        self._request = request
        self._buffer = b""
        self._upgraded = False
        self.transport: asyncio.Transport | None = None
        self.began_s = perf_counter()
        self.replayed = False
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take what is whole; keep the rest."""
        data = self._buffer + data if self._buffer else data
        if not self._upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._buffer = head
                return
            self._upgraded = head.startswith(b"HTTP/1.1 101")
            if not self._upgraded:
                self._caller.refused(self, head.partition(b"\r\n")[0].decode(errors="replace"))
                return
        self._buffer = data[read_frames(data, self._take) :]

    def _take(self, first: int, data: bytes, start: int, end: int) -> None:
        if first == CLOSE_OPCODE:
            code = int.from_bytes(data[start : start + 2]) if end - start >= 2 else CloseCode.NO_STATUS_RCVD
            self.lost(code)
        elif first == PING_OPCODE:
            self.write(PONG)
        elif first < CLOSE_OPCODE:
            self._caller.hear(self, data[start:end])

    def write(self, data: bytes) -> None:
        """Send, if there is anybody to send to."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Without a close frame it is 1006."""
        self.lost(CloseCode.ABNORMAL_CLOSURE)

    def lost(self, code: int) -> None:
        """The connection is of no more use."""
        if not self.over:
            self.over = True
            if self.transport is not None:
                self.transport.close()
            self._caller.lost(self, code)

    def cut(self) -> None:
        """End it without a word and without telling the caller, who wanted it."""
        self.over = True
        if self.transport is not None:
            self.transport.abort()


class ResumingCaller:
    """One call. `addresses` are (host, port) of pods, tried in turn after a loss, the other one first."""

    def __init__(self, addresses: list[tuple[str, int]], headers: Mapping[str, str], findings: Findings) -> None:
        self.addresses = addresses
        self.at = 0
        """Which address serves the call."""
        self.replay = 0
        """How many events to pretend not to have seen at the next resume, so that there is something to replay."""
        self.gives_up_after_s = 30.0
        self.open = asyncio.Event()
        """Set while a greeting has come and the connection stands."""
        self.done = False
        self.refused_with: int | None = None
        """The status of the answer that was no upgrade."""
        self._headers = dict(headers)
        self._findings = findings
        self._protocol: CallerProtocol | None = None
        self._call: dict[str, Any] = {}
        self._seen = 0
        self._said = 0
        self._said_at_most = 0
        self._heard = 0
        self._due_s: list[float] = [0.0] * DIFFERENT
        self._lost_at_s = 0.0
        self._resuming: asyncio.Task[None] | None = None
        self._greeting: asyncio.Future[bool] | None = None
        """While a connection is tried: whether it became one."""

    # --- what a profile does with him -----------------------------------------------

    async def start(self) -> None:
        """Begin the call. Raises `OSError`, or `TimeoutError` when no greeting comes."""
        self._findings.calls += 1
        if not await self._connect("model=loopback&resumable=1", self._headers):
            raise OSError(f"the call was refused: {self._findings.codes}")

    def say(self, due_s: float) -> None:
        """Say the next frame, which was due at a time of `perf_counter`; silently nothing while cut off."""
        if self._protocol is None or not self.open.is_set():
            return
        self._due_s[self._said % DIFFERENT] = due_s if self._said >= self._said_at_most else 0.0
        self._protocol.write(SPEECH.frames[self._said % DIFFERENT])
        self._said += 1
        self._said_at_most = max(self._said, self._said_at_most)

    @property
    def has_pending(self) -> int:
        """Frames said whose echo has not come."""
        return self._said_at_most - self._heard

    def drop(self) -> None:
        """Lose the connection on purpose, and come back at the other address."""
        if self._protocol is not None and self.open.is_set():
            protocol = self._protocol
            protocol.cut()
            self.lost(protocol, CloseCode.ABNORMAL_CLOSURE)

    def hang_up(self) -> None:
        """End the call."""
        self.done = True
        if self._resuming is not None:
            self._resuming.cancel()
        if self._protocol is not None:
            self._protocol.over = True
            self._protocol.write(CLOSE)
            if self._protocol.transport is not None:
                self._protocol.transport.close()

    # --- what his connection tells him ----------------------------------------------

    def hear(self, protocol: CallerProtocol, message: bytes) -> None:
        """One message of the server's."""
        if protocol is not self._protocol:
            return
        if GREETING in message[:120]:
            self._greeted(protocol, message)
            return
        findings = self._findings
        number = int(message[len(ID_MARK) : message.index(b'"', len(ID_MARK))])
        if not protocol.replayed:
            protocol.replayed = True
            if self._lost_at_s:
                findings.first_event.add(perf_counter() - protocol.began_s)
        if number <= self._seen:
            findings.repeated += not self.replay
            return
        findings.lost += number - self._seen - 1
        self._seen = number
        findings.events += 1
        mark = message.find(SPEECH.mark)
        if mark >= 0:
            self._echo(message, mark + len(SPEECH.mark))

    def _echo(self, message: bytes, start: int) -> None:
        slot = self._heard % DIFFERENT
        wanted = SPEECH.echoes[slot]
        self._findings.wrong += message[start : start + len(wanted)] != wanted
        self._findings.frames += 1
        if self._due_s[slot]:
            self._findings.echo.add(perf_counter() - self._due_s[slot])
        self._heard += 1

    def _greeted(self, protocol: CallerProtocol, message: bytes) -> None:
        self._call = orjson.loads(message)["session"]["call"]
        now_s = perf_counter()
        if self._lost_at_s:
            self._findings.resumes += 1
            self._findings.gaps += self._call["gap"] is not None
            self._findings.greeting.add(now_s - protocol.began_s)
            self._findings.break_s.add(now_s - self._lost_at_s)
            self._due_s = [0.0] * DIFFERENT
            self._said = self._call["input_audio_ms"] // FRAME_MS
        self.open.set()
        self._tried(True)
        while self._said < self._said_at_most:
            self.say(0.0)

    def refused(self, protocol: CallerProtocol, status: str) -> None:
        """No upgrade: the try goes on elsewhere."""
        protocol.cut()
        code = self.refused_with = int(status.split()[1])
        self._findings.codes[code] = self._findings.codes.get(code, 0) + 1
        self._tried(False)

    def lost(self, protocol: CallerProtocol, code: int) -> None:
        """Come back, unless the call is over."""
        if protocol is not self._protocol or self.done:
            return
        self._findings.codes[code] = self._findings.codes.get(code, 0) + 1
        if not self.open.is_set():
            self._tried(False)
            return
        self.open.clear()
        self._lost_at_s = perf_counter()
        self._resuming = asyncio.create_task(self._resume())

    async def _resume(self) -> None:
        pause_s = 0.0
        while perf_counter() - self._lost_at_s < self.gives_up_after_s:
            await asyncio.sleep(pause_s)
            pause_s = PAUSES.after(pause_s)
            self.at = (self.at + 1) % len(self.addresses)
            last = max(0, self._seen - self.replay)
            query = urlencode({"call_id": self._call["id"], "last_event_id": event_id(last)})
            with contextlib.suppress(OSError, TimeoutError):
                if await self._connect(query, {"X-Resume-Token": self._call["resume_token"]}):
                    return
        self._findings.dropped += 1
        self.done = True

    def _tried(self, succeeded: bool) -> None:  # noqa: FBT001 - a future's result
        if self._greeting is not None and not self._greeting.done():
            self._greeting.set_result(succeeded)

    async def _connect(self, query: str, headers: Mapping[str, str]) -> bool:
        """Whether a greeting came. Raises `OSError`, or `TimeoutError` when none does."""
        host, port = self.addresses[self.at]
        request = upgrade_request(f"ws://{host}:{port}/v1/realtime?{query}", headers)
        loop = asyncio.get_running_loop()
        self._protocol = protocol = CallerProtocol(self, request)
        self._greeting = loop.create_future()
        async with asyncio.timeout(GREETING_S):
            await loop.create_connection(lambda: protocol, host, port)
            return await self._greeting

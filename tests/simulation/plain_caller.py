"""A caller who knows nothing of resuming: one connection, to an edge, over which it must get everything once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import orjson
import pybase64

from tests.simulation.agent import piece_audio
from tests.simulation.caller import FRAME_MS, Caller, Refusal, Response, Utterance
from tests.simulation.edge import CallerLink, SimEdge
from voice_agent.call.audio import PCM, PCMU, AudioFormat

PLAIN_COMMANDS = ("ulaw", "refused", "clear", "cut")
"""What a plain caller may say besides ``speak``: in another format (the next line is PCM again), with appends between
that are refused, behind audio that is cleared, and with a reply of which it heard half."""
SHARED_ID = "same"
BINARY_SHARE = 0.2
"""Of the events, so many are sent as binary messages."""
NOISE = b"\xff\x00"
NOISE_CODE = "invalid_json"
NOISE_SHARE = 0.2
SOON_S = 0.06
"""About as long as a message takes to a pod, into the store and back."""
REPLAY_S = 0.01
"""About as long as a pod takes to replay what it has."""
ODD_BYTES = 161
_FORMATS = {"ulaw": PCMU}


class PlainCaller(Caller):
    """`ids`: ``own`` for each event, ``none``, or the ``same`` for all."""

    def __init__(self, *arguments: Any, edges: Callable[[], SimEdge], ids: str) -> None:
        super().__init__(*arguments)
        self.link: CallerLink | None = None
        self._edges = edges
        self._ids = ids
        self._named = 0
        self._format: AudioFormat = PCM
        self._refusals: list[str | None] = []
        """Ids of the events that must be refused."""
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._truncated = 0
        self._manner = Random(f"{self.name} {self._lines}")
        """Chances of its own, so that what it says does not hang on how."""
        self._noises = 0
        """What it said that is no event, and may yet be refused."""
        self.cut_at_change = False
        """The connection behind the edge breaks soon after each thing said that changes how its audio is counted."""
        self.move_at_resume = False
        """The next connection behind the edge is lost soon after its greeting."""

    # --- what faults do ---------------------------------------------------------

    def move(self) -> None:
        """The way between the edge and the pod swallows everything, and neither learns of it."""
        if self.link is not None and self.link.connection is not None:
            self.link.connection.swallow()

    def cut(self, after_s: float) -> None:
        """The connection between the edge and the pod breaks."""
        if self.link is not None and self.link.connection is not None:
            self.link.connection.broke(after_s)

    def stop_reading(self) -> None:
        """What comes waits for `read_again`."""
        self._may_read.clear()

    def read_again(self) -> None:
        """Take what waits, and what comes."""
        self._may_read.set()

    # --- connections ----------------------------------------------------------------

    async def _connect_first(self) -> None:
        while self.link is None:
            try:
                link = await self._edges().accept(self.name, {"model": self.model}, comes_back=False)
            except (Refusal, ConnectionError, TimeoutError):
                await asyncio.sleep(self._random.uniform(0.05, 0.5))
            else:
                first = await link.next()
                if isinstance(first, int):
                    self._witness.broken(f"a caller is held: {self.name} was closed with {first} before its greeting")
                    return
                self._position.greeted(orjson.loads(first))
                self._position.go_on()
                link.on_resumed = self._resumed
                self.link = link

    async def _read(self) -> None:
        assert self.link is not None
        while True:
            message = await self.link.next()
            await self._may_read.wait()
            if isinstance(message, int):
                if not self._forgotten:
                    self._witness.broken(f"a caller is held: {self.name} was closed with {message}")
                self._witness.known(self.call_id).forgotten = True
                self._changed.set()
                return
            event = orjson.loads(message)
            if event["type"] == "session.created" and not self._forgotten:
                self._witness.broken(f"one greeting: {self.name} was greeted again")
            if "edge_" in message and not self._forgotten:
                self._witness.broken(f"the client's own ids: {self.name} got {message[:200]}")
            self._hear(event)

    def _resumed(self) -> None:
        self._changed.set()
        if self.move_at_resume:
            self.move_at_resume = False
            self._soon(self.move, REPLAY_S)

    def _press(self, digit: str) -> None:
        if self.link is not None and self.link.connection is not None:
            self.link.connection.press(digit)

    def _soon(self, fault: Callable[[], None], within_s: float) -> None:
        asyncio.get_running_loop().call_later(within_s * self._random.random(), fault)

    def _changes(self) -> None:
        if self.cut_at_change:
            self._soon(lambda: self.cut(0.0), SOON_S)

    def _leave(self) -> None:
        assert self.link is not None
        self.link.up.put(1000, last=True)

    # --- sending ------------------------------------------------------------------

    def _send(self, event: dict[str, Any]) -> None:
        self._tell(event, self._next_id())

    def _tell(self, event: dict[str, Any], event_id: str | None) -> None:
        assert self.link is not None
        named = event if event_id is None else {**event, "event_id": event_id}
        text = orjson.dumps(named)
        self.link.tell(text if self._manner.random() < BINARY_SHARE else text.decode())

    def _next_id(self) -> str | None:
        self._named += 1
        return {"own": f"{self.name}_{self._named}", "same": SHARED_ID}.get(self._ids)

    async def _append(self, audio: bytes) -> None:
        size = self._format.size(FRAME_MS)
        for at in range(0, len(audio), size):
            await asyncio.sleep(FRAME_MS / 1000)
            self._appended += audio[at : at + size]
            self._say_audio(audio[at : at + size], self._next_id() if self._random.random() < 0.2 else None)

    def _say_audio(self, audio: bytes, event_id: str | None) -> None:
        self._tell({"type": "input_audio_buffer.append", "audio": pybase64.b64encode(audio).decode()}, event_id)

    def _say_what_is_refused(self) -> None:
        event_id = self._next_id() if self._random.random() < 0.5 else None
        self._refusals.append(event_id)
        self._changes()
        self._say_audio(bytes(ODD_BYTES), event_id)

    # --- what it says -----------------------------------------------------------------

    async def _ask(self, line: Utterance, number: int, speech: bytes) -> None:
        if line.command == "talk" or (line.command not in (*PLAIN_COMMANDS, "speak")):
            await super()._ask(line, number, speech)
            return
        self._change_format(_FORMATS.get(line.command, PCM))
        if self._manner.random() < NOISE_SHARE:
            self._say_noise()
        if line.command == "clear":
            await self._append(piece_audio("cleared", number) * line.number)
            self._send({"type": "input_audio_buffer.clear"})
        if line.command == "refused":
            size = len(speech) // line.number
            for at in range(0, len(speech), size):
                self._say_what_is_refused()
                await self._append(speech[at : at + size])
            self._say_what_is_refused()
        else:
            await self._append(speech)
        self._send({"type": "input_audio_buffer.commit"})
        self._send({"type": "response.create"})

    def _say_noise(self) -> None:
        """What is no event at all: a pod refuses it, if it gets there."""
        assert self.link is not None
        self._noises += 1
        self.link.tell(NOISE)
        self._changes()

    def _change_format(self, wanted: AudioFormat) -> None:
        if wanted is self._format:
            return
        self._format = wanted
        self._changes()
        audio = {
            "input": {"format": wanted.as_json(), "turn_detection": None},
            "output": {"format": wanted.as_json()},
        }
        self._send({"type": "session.update", "session": {"type": "realtime", "audio": audio}})

    async def _after(self, line: Utterance, reply: Response) -> None:
        if line.command == "cut":
            expected = self._truncated + 1
            where = {"item_id": reply.item_id, "content_index": 0, "audio_end_ms": FRAME_MS // 2}
            self._send({"type": "conversation.item.truncate", **where})
            await self._until(lambda: self._truncated >= expected)

    # --- what it hears ----------------------------------------------------------------

    def _hear(self, event: dict[str, Any]) -> None:
        self._truncated += event["type"] == "conversation.item.truncated"
        super()._hear(event)

    def _note_heard(self, number: int) -> None:
        """It is the edge that must not be sent it again."""

    def _refused(self, event: dict[str, Any]) -> None:
        error = event["error"]
        if error["code"] == NOISE_CODE:
            self._noises -= 1
            if self._noises < 0 and not self._forgotten:
                self._witness.broken(f"what is no event is said once: {self.name} got {error} again")
            return
        if not self._refusals or error["code"] != "invalid_value":
            super()._refused(event)
            return
        expected = self._refusals.pop(0)
        if error["event_id"] != expected and not self._forgotten:
            self._witness.broken(f"the client's own ids: an error names {error['event_id']} instead of {expected}")
        if "input_audio_bytes" in error:
            self._witness.broken("what concerns the edge is the edge's: an error says at which byte an append stood")

    def _check_items(self) -> None:
        super()._check_items()
        if self._refusals:
            self._witness.broken(f"what the caller sent: {len(self._refusals)} appends were not refused")
        asked = sum(line.command == "cut" for line in self._lines)
        if self._truncated != asked and not self._listened_to:
            self._witness.broken(f"what the caller sent: {self._truncated} replies were cut instead of {asked}")

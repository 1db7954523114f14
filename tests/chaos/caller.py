"""A caller who counts every event, hashes every reply, and remembers what was said."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import pybase64

from app.call.audio import PCM
from app.client.connection import RealtimeCall, Resumed
from app.client.refusals import CallFailed, Refused, Unreachable
from app.client.sockets import Socket
from tests.chaos.fleet import Fleet

FRAME_MS = 40
COME_BACK_FOR_S = 90.0
ANSWERED_S = 120.0
FIRST_TRIES = 30
RECORDED_S = 3.0
"""Another pod shows what is stored, which may be a moment behind."""


@dataclass(slots=True)
class Found:
    """What is wrong with what one caller got. Empty is as it should be."""

    dropped: str = ""
    lost: int = 0
    """Event ids that never came, named as a gap or not."""
    repeated: int = 0
    wrong_audio: list[str] = field(default_factory=list)
    lost_words: int = 0
    extra_words: int = 0
    lost_speech_ms: int = 0

    @property
    def is_clean(self) -> bool:
        """Nothing is wrong."""
        return self == Found()


@dataclass(slots=True)
class Answer:
    """A reply as it arrives."""

    audio: bytearray = field(default_factory=bytearray)
    text: str = ""
    status: str = ""


class Caller:
    """Speaks and types in turn with the agent `echo`, which says back what it heard, sample for sample."""

    def __init__(self, name: str, fleet: Fleet, seed: int) -> None:
        self.name = name
        self.turns = 0
        self.resumes: list[Resumed] = []
        self.found = Found()
        self.call: RealtimeCall | None = None
        self.waits = ""
        """What it is doing, for whoever looks on."""
        self._fleet = fleet
        self._is_connected = False
        self._chance = random.Random(seed)
        self._noise = np.random.default_rng(seed)
        self._answers: dict[str, Answer] = {}
        self._said: list[str] = []
        self._items: list[str] = []
        self._changed = asyncio.Event()

    async def run(self, enough: asyncio.Event) -> None:
        """Talk until it is enough, then check the whole conversation and hang up."""
        try:
            async with self._new_call() as call:
                await self._talk(call, enough)
        except (CallFailed, TimeoutError) as failure:
            self.found.dropped = f"{str(failure) or 'no answer in time'} ({self.waits})"
        finally:
            self._settle()

    def _new_call(self) -> RealtimeCall:
        """A call, at the first pod that takes it: a load balancer's view of the pods is a moment old."""
        call = RealtimeCall(
            "ws://fleet/v1/realtime?resumable=1",
            model="echo",
            come_back_for_s=COME_BACK_FOR_S,
            open_socket=self._first_or_next,
        )
        call.on_resumed = self.resumes.append
        self.call = call
        return call

    async def _first_or_next(self, url: str, headers: Mapping[str, str]) -> Socket:
        if self._is_connected:
            return await self._fleet.open_socket(url, headers)
        for _ in range(FIRST_TRIES):
            with contextlib.suppress(Refused, Unreachable, OSError):
                socket = await self._fleet.open_socket(url, headers)
                self._is_connected = True
                return socket
            await asyncio.sleep(0.25)
        raise Unreachable("no pod took the call")

    async def _talk(self, call: RealtimeCall, enough: asyncio.Event) -> None:
        reading = asyncio.create_task(self._read(call))
        try:
            await call.send(_MANUAL)
            while not enough.is_set():
                await self._turn(call, reading)
                await asyncio.sleep(self._chance.uniform(0.0, 0.5))
            self.waits = "the conversation is read"
            await self._check_conversation(call)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _turn(self, call: RealtimeCall, reading: asyncio.Task[None]) -> None:
        self.turns += 1
        number = len(self._answers)
        if self._chance.random() < 0.25:
            text = f"{self.name} types {self.turns}"
            expected = (text, "")
            await call.send(_typed(text))
            self._said.append(text)
        else:
            speech = self._speech(self._chance.randint(5, 40))
            expected = ("", sha256(speech).hexdigest())
            size = PCM.size(FRAME_MS)
            for at in range(0, len(speech), size):
                await call.append_audio(speech[at : at + size])
                await asyncio.sleep(FRAME_MS / 1000)
            await call.send({"type": "input_audio_buffer.commit"})
            self._said.append("")
        await call.send({"type": "response.create"})
        self.waits = f"the answer to turn {self.turns}"
        async with asyncio.timeout(ANSWERED_S):
            while not any(answer.status for answer in list(self._answers.values())[number : number + 1]):
                if reading.done():
                    reading.result()
                self._changed.clear()
                await self._changed.wait()
        answer = list(self._answers.values())[number]
        got = (answer.text, sha256(answer.audio).hexdigest() if answer.audio else "")
        if got != expected or answer.status != "completed":
            self.found.wrong_audio.append(
                f"turn {self.turns}: {answer.status}, {len(answer.audio)} bytes and {answer.text!r} for {expected}"
            )

    def _speech(self, frames: int) -> bytes:
        """Noise that no other turn of anybody has."""
        samples = self._noise.integers(-8000, 8000, PCM.size(FRAME_MS) * frames // 2, dtype=np.int16)
        return samples.tobytes()

    async def _read(self, call: RealtimeCall) -> None:
        try:
            async for event in call.events():
                self._hear(event)
                self._changed.set()
        finally:
            self._changed.set()

    def _hear(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "error":
                self.found.wrong_audio.append(f"turn {self.turns}: {event['error']}")
            case "response.created":
                self._answers[event["response"]["id"]] = Answer()
            case "response.output_audio.delta":
                self._answers[event["response_id"]].audio += pybase64.b64decode(event["delta"])
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self._answers[event["response_id"]].text += event["delta"]
            case "response.done":
                self._answers[event["response"]["id"]].status = event["response"]["status"]

    async def _check_conversation(self, call: RealtimeCall) -> None:
        """Every turn is in the record once and in order, spoken ones without words and typed ones with theirs."""
        assert call.call_id is not None
        said: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECORDED_S):
                while said != self._said:
                    record = await self._fleet.record(call.call_id)
                    said = [line["text"] for line in record.get("transcript", []) if line.get("role") == "user"]
                    await asyncio.sleep(0.1)
        if said != self._said:
            lost, more = Counter(self._said) - Counter(said), Counter(said) - Counter(self._said)
            self.found.lost_words += lost.total() or 1
            self.found.extra_words += more.total()
        if len(self._answers) != self.turns:
            self.found.extra_words += abs(len(self._answers) - self.turns)

    def _settle(self) -> None:
        if self.call is not None:
            tally = self.call.tally
            self.found.lost += tally.gaps + tally.told_gaps
            self.found.repeated += tally.repeats
            self.found.lost_speech_ms += tally.lost_ms

    @property
    def events(self) -> int:
        """How many it got."""
        return self.call.tally.events if self.call is not None else 0

    def cut_off(self) -> None:
        """Lose the connection now."""
        if self.call is not None and self.call._socket is not None:
            self.call._socket.transport.abort()

    @property
    def at(self) -> str:
        """The pod it talks to."""
        return self.call.pod if self.call is not None else ""


_MANUAL = {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}


def _typed(text: str) -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}

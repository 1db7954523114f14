"""A caller: talks turn by turn with the agent `echo`, and checks every event, every reply and the record of the call.

Speech goes out at the pace of speech, and so do the replies of `echo`: a call is as long as its turns, and a server
that were a little too fast or too slow would be seen. Over a call that resumes, a connection that is lost in mid-turn
costs nothing: the call comes back by itself and sends again what the server lacks. Over one that does not
(`plain_call`), it is a dropped call. Every program that has callers talk and breaks what is behind them brings its
calls, its manners and its faults; only those whose callers have to cost next to nothing (`loadtest`), or live in
simulated time (`tests.simulation`), have callers of their own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from voice_agent.call.audio import PCM
from voice_agent.client.pacing import Metronome
from voice_agent.client.refusals import CallFailed
from voice_agent.client.sequence import Tally
from voice_agent.rehearse.conversation import MANUAL, Found, RehearsedConversation, said_by_caller
from voice_agent.runtime.ports import Clock

LOOK_S = 0.2

Record = Callable[[str], Awaitable[dict[str, Any]]]
"""A call's record by its id, from any pod; empty when nobody could say."""


@dataclass(frozen=True, slots=True)
class Manners:
    """How a caller talks, and how long it waits."""

    frame_ms: int = 100
    spoken_ms: tuple[int, int] = (500, 2500)
    """A spoken turn: at least the first, less than the second."""
    typed: float = 0.25
    """So large a share of turns is typed."""
    thinks_s: tuple[float, float] = (0.4, 2.0)
    turns: tuple[int, int] | None = None
    """After so many it hangs up, at least the first, less than the second; None: it talks until it is enough."""
    answered_s: float = 60.0
    recorded_s: float = 5.0
    """Another pod shows what is stored, which may be a moment behind."""


class ClientCall(Protocol):
    """A call as its client holds it; entered once, by which it connects (raises `CallFailed`)."""

    @property
    def call_id(self) -> str | None:
        """None until it is connected."""

    @property
    def tally(self) -> Tally:
        """What it has been through so far."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None:
        """Hang up."""

    def events(self) -> AsyncIterator[dict[str, Any]]:
        """Server events without greetings, each once. Ends after a hang-up; raises `CallFailed` if the call is lost."""

    async def send(self, event: dict[str, Any]) -> None:
        """Send a client event."""

    async def append_audio(self, audio: bytes) -> None:
        """Send audio."""


AnyCall = TypeVar("AnyCall", bound=ClientCall)


class RehearsedCaller(Generic[AnyCall]):
    """One call from the first connect to its end; `run` once, then read `found`."""

    def __init__(
        self, name: str, call: AnyCall, record: Record, clock: Clock, seed: int, manners: Manners | None = None
    ) -> None:
        self.name = name
        self.call = call
        self.talk = RehearsedConversation(name, seed)
        self.waits = ""
        """What it is doing, for whoever looks on."""
        self._record = record
        self._clock = clock
        self._manners = manners or Manners()
        self._chance = random.Random(seed)  # noqa: S311  # who talks when, not a secret
        self._changed = asyncio.Event()

    @property
    def found(self) -> Found:
        """What was wrong."""
        return self.talk.found

    async def run(self, is_enough: Callable[[], bool]) -> None:
        """Talk until it is enough, check the conversation, hang up."""
        reading: asyncio.Task[None] | None = None
        most = self._chance.randrange(*self._manners.turns) if self._manners.turns else None
        try:
            self.waits = "the first connect"
            async with self.call:
                reading = asyncio.create_task(self._read())
                await self.call.send(MANUAL)
                while not is_enough() and self.talk.turns != most:
                    await self._turn(reading)
                    await self._clock.sleep(self._chance.uniform(*self._manners.thinks_s))
                self.waits = "the record of the call"
                await self._check_record()
                _check_open(reading)
        except (CallFailed, TimeoutError) as failure:
            self.found.dropped = f"{str(failure) or 'no answer in time'} (waiting for {self.waits})"
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            self.found.count(self.call.tally)

    async def _turn(self, reading: asyncio.Task[None]) -> None:
        if self._chance.random() < self._manners.typed:
            await self.call.send(self.talk.typed())
        else:
            await self._speak()
            await self.call.send({"type": "input_audio_buffer.commit"})
        await self.call.send({"type": "response.create"})
        self.waits = f"the answer to turn {self.talk.turns}"
        async with asyncio.timeout(self._manners.answered_s):
            while not self.talk.is_answered:
                _check_open(reading)
                self._changed.clear()
                await self._changed.wait()
        self.talk.judge()

    async def _speak(self) -> None:
        frame_ms = self._manners.frame_ms
        speech, size = self.talk.spoken(self._chance.randrange(*self._manners.spoken_ms, frame_ms)), PCM.size(frame_ms)
        metronome = Metronome(frame_ms, now_s=self._clock.monotonic_s, sleep=self._clock.sleep)
        for at in range(0, len(speech), size):
            await metronome.tick()
            await self.call.append_audio(speech[at : at + size])

    async def _read(self) -> None:
        try:
            async for event in self.call.events():
                self.talk.hear(event)
                self._changed.set()
        finally:
            self._changed.set()

    async def _check_record(self) -> None:
        """Every turn is in the record once and in order, spoken ones without words and typed ones with theirs."""
        said: list[str] = []
        until_s = self._clock.monotonic_s() + self._manners.recorded_s
        while not self.talk.is_as(said) and self._clock.monotonic_s() < until_s:
            said = said_by_caller(await self._record(self.call.call_id or ""))
            if not self.talk.is_as(said):
                await self._clock.sleep(LOOK_S)
        self.talk.compare(said)


def _check_open(reading: asyncio.Task[None]) -> None:
    """Raises `CallFailed` if nothing is read any more: nobody but the caller may end the call."""
    if reading.done():
        reading.result()
        raise CallFailed("the server hung up")

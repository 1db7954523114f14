"""A caller who counts every event, hashes every reply, and remembers what was said."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping

from tests.chaos.fleet import Fleet
from voice_agent.call.audio import PCM
from voice_agent.client.backoff import Backoff
from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.refusals import CallFailed, CallRefused, Unreachable
from voice_agent.client.sockets import Socket
from voice_agent.rehearse.conversation import MANUAL, Found, RehearsedConversation, said_by_caller

FRAME_MS = 40
COME_BACK_FOR_S = 90.0
ANSWERED_S = 120.0
FIRST_TRIES = 30
RECORDED_S = 3.0
"""Another pod shows what is stored, which may be a moment behind."""


class Caller:
    """Speaks and types in turn with the agent `echo`, which says back what it heard, sample for sample."""

    def __init__(self, name: str, fleet: Fleet, seed: int) -> None:
        self.name = name
        self.resumes: list[ResumedConnection] = []
        self.talk = RehearsedConversation(name, seed)
        self.call: RealtimeCall | None = None
        self.waits = ""
        """What it is doing, for whoever looks on."""
        self._fleet = fleet
        self._is_connected = False
        self._chance = random.Random(seed)
        self._changed = asyncio.Event()

    @property
    def found(self) -> Found:
        """What was wrong."""
        return self.talk.found

    @property
    def turns(self) -> int:
        """How many it began."""
        return self.talk.turns

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
            backoff=Backoff(COME_BACK_FOR_S),
            open_socket=self._first_or_next,
        )
        call.on_resumed = self.resumes.append
        self.call = call
        return call

    async def _first_or_next(self, url: str, headers: Mapping[str, str]) -> Socket:
        if self._is_connected:
            return await self._fleet.open_socket(url, headers)
        for _ in range(FIRST_TRIES):
            with contextlib.suppress(CallRefused, Unreachable, OSError):
                socket = await self._fleet.open_socket(url, headers)
                self._is_connected = True
                return socket
            await asyncio.sleep(0.25)
        raise Unreachable("no pod took the call")

    async def _talk(self, call: RealtimeCall, enough: asyncio.Event) -> None:
        reading = asyncio.create_task(self._read(call))
        try:
            await call.send(MANUAL)
            while not enough.is_set():
                await self._turn(call, reading)
                await asyncio.sleep(self._chance.uniform(0.0, 0.5))
            self.waits = "the conversation is read"
            await self._check_conversation(call)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _turn(self, call: RealtimeCall, reading: asyncio.Task[None]) -> None:
        if self._chance.random() < 0.25:
            await call.send(self.talk.typed())
        else:
            speech = self.talk.spoken(FRAME_MS * self._chance.randint(5, 40))
            size = PCM.size(FRAME_MS)
            for at in range(0, len(speech), size):
                await call.append_audio(speech[at : at + size])
                await asyncio.sleep(FRAME_MS / 1000)
            await call.send({"type": "input_audio_buffer.commit"})
        await call.send({"type": "response.create"})
        self.waits = f"the answer to turn {self.turns}"
        async with asyncio.timeout(ANSWERED_S):
            while not self.talk.is_answered:
                if reading.done():
                    reading.result()
                self._changed.clear()
                await self._changed.wait()
        self.talk.judge()

    async def _read(self, call: RealtimeCall) -> None:
        try:
            async for event in call.events():
                self.talk.hear(event)
                self._changed.set()
        finally:
            self._changed.set()

    async def _check_conversation(self, call: RealtimeCall) -> None:
        """Every turn is in the record once and in order, spoken ones without words and typed ones with theirs."""
        assert call.call_id is not None
        said: list[str] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RECORDED_S):
                while not self.talk.is_as(said):
                    said = said_by_caller(await self._fleet.record(call.call_id))
                    await asyncio.sleep(0.1)
        self.talk.compare(said)

    def _settle(self) -> None:
        if self.call is not None:
            self.found.count(self.call.tally)

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

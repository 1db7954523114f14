"""A caller: talks turn by turn over a client, and checks every event, every reply and the record of the call.

Speech goes out in frames of 100 ms at the pace of speech, and so do the replies of `echo`:
a call is as long as its turns, and a server that were a little too fast or too slow would
be seen. A connection that is lost in mid-turn costs nothing: the caller waits until its
client is back, asks the greeting what the server has, and sends the rest again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from voice_agent.call.audio import PCM
from voice_agent.client.outgoing import Outgoing
from voice_agent.client.refusals import CallFailed
from voice_agent.client.sequence import SequenceChecker, Tally
from voice_agent.rehearse.clients import RehearsalClient
from voice_agent.rehearse.conversation import MANUAL, Found, RehearsedConversation, said_by_caller
from voice_agent.rehearse.timeline import CallLine
from voice_agent.runtime.ports import Clock

FRAME_MS = 100
SHORTEST_MS, LONGEST_MS = 500, 2500
TYPED = 0.25
"""So large a share of turns is typed."""
THINKS_S = (0.4, 2.0)
ANSWERED_S = 60.0
RECORDED_S = 5.0
"""Another pod shows what is stored, which may be a moment behind."""
LOOK_S = 0.2

Record = Callable[[str], Awaitable[dict[str, Any]]]
"""A call's record by its id, from any pod; empty when nobody could say."""


class Caller:
    """One call from the first connect to its end; `run` once, then read `found` and `line`."""

    def __init__(
        self,
        name: str,
        kind: str,
        client: RehearsalClient,
        record: Record,
        clock: Clock,
        seed: int,
        now_s: Callable[[], float],
    ) -> None:
        """`now_s`: the time for the line, in seconds since the rehearsal began."""
        self._now_s = now_s
        self.line = CallLine(name, kind)
        self.tally = Tally()
        self.waits = ""
        """What it is doing, for whoever looks on."""
        self.talk = RehearsedConversation(name, seed)
        self._client = client
        self._record = record
        self._clock = clock
        self._chance = random.Random(seed)  # noqa: S311  # who talks when, not a secret
        self._numbering = SequenceChecker(self.tally)
        self._outgoing = Outgoing(PCM)
        self._sending = asyncio.Lock()
        self._connected = False
        self._named = 0
        self._changed = asyncio.Event()
        client.on_lost = self._lost

    @property
    def found(self) -> Found:
        """What was wrong."""
        return self.talk.found

    async def run(self, is_enough: Callable[[], bool]) -> None:
        """Talk until it is enough, check the conversation, hang up."""
        reading: asyncio.Task[None] | None = None
        try:
            self.waits = "the first connect"
            await self._client.open()
            reading = asyncio.create_task(self._read())
            await self._send(MANUAL)
            while not is_enough():
                await self._turn(reading)
                await self._clock.sleep(self._chance.uniform(*THINKS_S))
            self.waits = "the record of the call"
            await self._check_record()
        except (CallFailed, TimeoutError) as failure:
            self.found.dropped = f"{str(failure) or 'no answer in time'} (waiting for {self.waits})"
        finally:
            self.line.end_leg(self._now_s())
            await self._client.hang_up()
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            self.found.count(self.tally)

    async def _turn(self, reading: asyncio.Task[None]) -> None:
        if self._chance.random() < TYPED:
            await self._send(self.talk.typed())
        else:
            speech = self.talk.spoken(self._chance.randrange(SHORTEST_MS, LONGEST_MS, FRAME_MS))
            for at in range(0, len(speech), PCM.size(FRAME_MS)):
                self._outgoing.append(speech[at : at + PCM.size(FRAME_MS)])
                await self._send_pending()
                await self._clock.sleep(FRAME_MS / 1000)
            await self._send({"type": "input_audio_buffer.commit"})
        await self._send({"type": "response.create"})
        self.waits = f"the answer to turn {self.talk.turns}"
        async with asyncio.timeout(ANSWERED_S):
            while not self.talk.is_answered:
                if reading.done():
                    reading.result()
                    raise CallFailed("the server hung up")
                self._changed.clear()
                await self._changed.wait()
        self.talk.judge()

    # --- sending ------------------------------------------------------------------------

    async def _send(self, event: dict[str, Any]) -> None:
        self._named += 1
        event_id = f"said_{self._named}"
        self._outgoing.add(event_id, orjson.dumps({**event, "event_id": event_id}).decode())
        await self._send_pending()

    async def _send_pending(self) -> None:
        """Send what is not sent, in order. Without a connection it waits for the next greeting."""
        async with self._sending:
            while self._connected and (text := self._outgoing.next_message()) is not None:
                await self._client.send(text)

    # --- hearing ------------------------------------------------------------------------

    async def _read(self) -> None:
        catching_up: asyncio.Task[None] | None = None
        try:
            async for event in self._client.events():
                if event["type"] == "session.created":
                    self._greeted(event)
                    # Beside reading, or both ends could wait for each other with full buffers.
                    catching_up = asyncio.create_task(self._send_pending())
                elif self._numbering.is_new(event):
                    self.talk.hear(event)
                self._changed.set()
        finally:
            if catching_up is not None:
                catching_up.cancel()
            self._connected = False
            self._changed.set()

    def _greeted(self, greeting: dict[str, Any]) -> None:
        info = greeting["session"]["call"]
        is_first = not self.line.legs
        if is_first:
            self.line.call_id = info["id"]
        elif info["id"] != self.line.call_id:
            raise CallFailed(f"came back to another call ({info['id']} instead of {self.line.call_id})")
        self._numbering.begin(greeting, info["gap"], first=is_first)
        rewound = self._outgoing.rewind(info["input_audio_ms"], info["last_client_event_id"])
        self.tally.resumes += not is_first
        self.tally.lost_ms += rewound.lost_ms
        self.line.begin_leg(info["color"], info["pod"], self._now_s())
        self._connected = True

    def _lost(self, code: int) -> None:
        self._connected = False
        self.line.end_leg(self._now_s(), code)

    async def _check_record(self) -> None:
        said: list[str] = []
        until_s = self._clock.monotonic_s() + RECORDED_S
        while not self.talk.is_as(said) and self._clock.monotonic_s() < until_s:
            said = said_by_caller(await self._record(self.line.call_id))
            if not self.talk.is_as(said):
                await self._clock.sleep(LOOK_S)
        self.talk.compare(said)

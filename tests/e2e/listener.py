"""A caller who writes down all that it gets, on a line that breaks when a pod dies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.waiting import until
from voice_agent.client.connection import RealtimeCall

CALLER, AGENT, CLIENT = "caller", "agent", "client"


@dataclass
class Listener:
    """One caller, and what it has heard so far."""

    call: RealtimeCall
    ids: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each of them came, as `time.monotonic` has it."""
    words: str = ""
    """All that was said to it, in the order in which it came."""
    audio: bytearray = field(default_factory=bytearray)
    """The sound of it."""
    breaks_at: list[int] = field(default_factory=list)
    """How many characters had come when it was resumed, each time."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    """The talk, as one would write it down: who, and what."""
    asked_at: list[float] = field(default_factory=list)
    """When it asked for replies, as `times`."""
    has_ended: bool = False

    def note(self, who: str, what: str) -> None:
        """What somebody said or did; what is said in pieces is one line."""
        if who == AGENT and self.lines and self.lines[-1][0] == AGENT:
            what = self.lines.pop()[1] + what
        self.lines.append((who, what))

    async def type(self, text: str) -> None:
        """Write something and ask for a reply."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self.note(CALLER, text)
        await self.call.send({"type": "conversation.item.create", "item": item})
        await self._ask()

    async def give(self, output: str) -> None:
        """Give what the function that was called last returned, and ask for a reply."""
        called = next(event for event in reversed(self.events) if "function_call_arguments.done" in event["type"])
        item = {"type": "function_call_output", "call_id": called["call_id"], "output": output}
        self.note(CLIENT, f"it gives {output!r}")
        await self.call.send({"type": "conversation.item.create", "item": item})
        await self._ask()

    async def speak(self, audio: bytes) -> None:
        """Say something, and ask for a reply; turn detection is off."""
        self.note(CALLER, "(speaks)")
        await self.call.append_audio(audio)
        await self.call.send({"type": "input_audio_buffer.commit"})
        await self._ask()

    async def _ask(self) -> None:
        self.asked_at.append(time.monotonic())
        await self.call.send({"type": "response.create"})

    def count(self, kind: str) -> int:
        """How many events of a type have come."""
        return sum(event["type"] == kind for event in self.events)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to have come."""
        await until(lambda: bool(condition()))

    async def hears(self, size_bytes: int) -> None:
        """Wait until so much audio has come, or a reply is over that was shorter."""
        await self.until(lambda: len(self.audio) >= size_bytes or self.statuses)

    async def replies(self, number: int) -> None:
        """Wait until so many replies are over."""
        await self.until(lambda: self.count("response.done") >= number)

    @property
    def statuses(self) -> list[str]:
        """How its replies ended."""
        return [event["response"]["status"] for event in self.events if event["type"] == "response.done"]

    def check_numbers(self) -> None:
        """Every event has come, once."""
        assert self.ids == [f"evt_{n}" for n in range(1, len(self.ids) + 1)]
        assert (self.call.tally.gaps, self.call.tally.repeats) == (0, 0)

    async def listen(self) -> None:
        """Until the call ends."""
        async for event in self.call.events():
            if event["type"] != "session.created":
                self.ids.append(event["event_id"])
            self.times.append(time.monotonic())
            self.events.append(event)
            if event["type"] in {"response.output_audio_transcript.delta", "response.output_text.delta"}:
                self.words += event["delta"]
                self.note(AGENT, event["delta"])
            elif event["type"] == "response.function_call_arguments.done":
                self.note(CLIENT, f"is asked to run {event['name']}({event['arguments']})")
            elif event["type"] == "call.transfer":
                self.note(CLIENT, f"is asked to call {event['target']}")
            elif event["type"] == "response.output_audio.delta":
                self.audio += base64.b64decode(event["delta"])
        self.has_ended = True


@asynccontextmanager
async def listening(
    url: str, *, model: str | None = None, session: dict[str, Any] | None = None
) -> AsyncIterator[Listener]:
    """A caller for the length of a block. `session`: of a ``session.update`` that comes first."""
    async with RealtimeCall(url, model=model) as call:
        listener = Listener(call)
        call.on_resumed = lambda resumed: listener.breaks_at.append(len(listener.words))
        if session is not None:
            await call.send({"type": "session.update", "session": {"type": "realtime", **session}})
        task = asyncio.create_task(listener.listen())
        try:
            yield listener
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

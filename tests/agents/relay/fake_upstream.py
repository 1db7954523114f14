"""An upstream that follows a script: it counts as `upstream_agent` does, and goes wrong as a test wants it to."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.agents.relay.upstream_agent import due
from tests.doubles.tones import sound_of

Event = dict[str, Any]


@dataclass
class FakeSession:
    """One connection."""

    number: int
    """Counts up from 0."""
    socket: ServerConnection
    upstream: FakeUpstream
    received: list[Event] = field(default_factory=list)
    items: list[Event] = field(default_factory=list)
    appended: bytearray = field(default_factory=bytearray)
    sent: int = 0
    """Events, the greeting among them."""

    async def send(self, event: Event) -> None:
        """Send an event, unless the script wants something else."""
        self.sent += 1
        await self.upstream.sending(self, event)

    def kinds(self) -> list[str]:
        """The types of what was received, without audio."""
        return [event["type"] for event in self.received if event["type"] != "input_audio_buffer.append"]

    def of(self, kind: str) -> list[Event]:
        """What was received of a type."""
        return [event for event in self.received if event["type"] == kind]


async def as_it_is(session: FakeSession, event: Event) -> None:
    """Send it."""
    await session.socket.send(orjson.dumps(event), text=True)


async def answer(session: FakeSession, event: Event) -> None:
    """Do what an upstream does with an event of its client."""
    ids = [item["id"] for item in session.items]
    match event["type"]:
        case "conversation.item.create":
            behind = event.get("previous_item_id")
            at = len(ids) if behind is None else 0 if behind == "root" else ids.index(behind) + 1
            session.items.insert(at, event["item"])
        case "conversation.item.delete":
            del session.items[ids.index(event["item_id"])]
        case "input_audio_buffer.append":
            session.appended += base64.b64decode(event["audio"])
        case "input_audio_buffer.clear":
            session.appended.clear()
        case "input_audio_buffer.commit":
            item_id = f"heard_{len(session.received)}"
            part = {"type": "input_audio", "audio": bytes(session.appended)}
            session.items.append({"id": item_id, "type": "message", "role": "user", "content": [part]})
            session.appended.clear()
            await session.send({"type": "input_audio_buffer.committed", "item_id": item_id})
        case "response.create":
            await session.upstream.responding(session, event)


async def count_words(session: FakeSession, event: Event) -> None:
    """Say the words that are due, each with its audio."""
    given = event["response"].get("input")
    await say(session, [(f"{word} ", sound_of(word)) for word in due(session.items if given is None else given)], event)


async def say(session: FakeSession, parts: list[tuple[str, bytes]], event: Event, **done: Any) -> None:
    """Say texts with their audio as one response, in the order of the protocol."""
    number = len(session.of("response.create"))
    response, item = f"resp_{session.number}_{number}", f"said_{session.number}_{number}"
    of = {"response_id": response, "item_id": item, "output_index": 0, "content_index": 0}
    await session.send({"type": "response.created", "response": {"id": response, "status": "in_progress"}})
    if parts:
        said = "".join(text for text, _ in parts)
        message: Event = {"id": item, "type": "message", "role": "assistant", "content": []}
        await session.send({"type": "response.output_item.added", "response_id": response, "item": message})
        for text, audio in parts:
            await session.send({"type": "response.output_audio_transcript.delta", "delta": text, **of})
            middle = len(audio) // 4 * 2
            for piece in (audio[:middle], audio[middle:]):
                if piece:
                    delta = base64.b64encode(piece).decode()
                    await session.send({"type": "response.output_audio.delta", "delta": delta, **of})
        await session.send({"type": "response.output_audio.done", **of})
        message["content"] = [{"type": "output_audio", "transcript": said}]
        if event["response"].get("conversation") != "none":
            session.items.append(message)
        await session.send({"type": "response.output_item.done", "response_id": response, "item": message})
    body = {"id": response, "status": "completed", "usage": None, **done}
    await session.send({"type": "response.done", "response": body})


@dataclass
class FakeUpstream:
    """A server. What it does is three functions of a test."""

    sending: Callable[[FakeSession, Event], Awaitable[None]] = as_it_is
    receiving: Callable[[FakeSession, Event], Awaitable[None]] = answer
    responding: Callable[[FakeSession, Event], Awaitable[None]] = count_words
    is_exact: bool = True
    """It says of itself that text comes right before its audio, as this server does."""
    sessions: list[FakeSession] = field(default_factory=list)
    open_sessions: int = 0
    port: int = 0
    _numbers: count[int] = field(default_factory=count)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime?model=fake"

    async def talk(self, socket: ServerConnection) -> None:
        """Serve a connection."""
        session = FakeSession(next(self._numbers), socket, self)
        self.sessions.append(session)
        self.open_sessions += 1
        greeting: Event = {"type": "realtime", "expires_at": None}
        if self.is_exact:
            greeting["call"] = {"id": "call_fake"}
        try:
            await session.send({"type": "session.created", "session": greeting})
            async for message in socket:
                event = orjson.loads(message)
                session.received.append(event)
                await self.receiving(session, event)
        except ConnectionClosed:
            pass  # The other end, or a script, has closed it.
        finally:
            self.open_sessions -= 1


@asynccontextmanager
async def fake_upstream(**script: Any) -> AsyncIterator[FakeUpstream]:
    """A server for the length of a block."""
    upstream = FakeUpstream(**script)
    async with serve(upstream.talk, "127.0.0.1", 0, compression=None, close_timeout=0.1) as server:
        upstream.port = next(iter(server.sockets)).getsockname()[1]
        yield upstream

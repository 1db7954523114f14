"""A caller who has an upstream count, and listens: which words came, how often, and what of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.agents.relay.upstream_agent import question, words
from tests.doubles.tones import CUT, words_in
from voice_agent.client.connection import RealtimeCall

NEARLY_ALL = 0.8
"""Of a word: whoever hears so much of it has heard it."""


@dataclass
class Heard:
    """One reply, as it came."""

    wanted: list[str]
    transcript: str = ""
    """Of the items, at the end."""
    deltas: str = ""
    audio: bytes = b""
    status: str = ""
    first_audio_s: float | None = None
    """Since the question."""

    @cached_property
    def _heard(self) -> list[str]:
        return words_in(self.audio)

    @property
    def spoken(self) -> list[str]:
        """The words in the audio that are whole, or nearly."""
        return [word for word in map(self._whole, self._heard) if word]

    @property
    def fragments(self) -> list[str]:
        """Words that were cut off, and said again."""
        return [word for word in self._heard if not self._whole(word)]

    @cached_property
    def faults(self) -> list[str]:
        """What is wrong with it."""
        found = []
        for name, got in (
            ("transcript", self.transcript.split()),
            ("deltas", self.deltas.split()),
            ("audio", self.spoken),
        ):
            if got != self.wanted:
                found.append(f"{name}: {' '.join(got)} instead of {' '.join(self.wanted)}")
        if self.status != "completed":
            found.append(f"the response is {self.status}")
        return found

    def _whole(self, word: str) -> str:
        """The word that this is, but for a little of its end; "" for a fragment."""
        if CUT not in word:
            return word
        left = word.strip(CUT)
        near = [one for one in self.wanted if one.startswith(left) and len(left) >= NEARLY_ALL * (len(one) + 2)]
        return near[0] if near and not word.startswith(CUT) else ""


@dataclass(slots=True)
class CountingCaller:
    """One call. What is heard of a reply that is asked for is in `heard`, newest last."""

    call: RealtimeCall
    heard: list[Heard] = field(default_factory=list)
    _events: AsyncIterator[dict[str, Any]] | None = None

    async def ask(self, first: int, count: int) -> Heard:
        """Ask for words, and listen until all of the reply has come."""
        loop = asyncio.get_running_loop()
        reply = Heard(words(first, count))
        self.heard.append(reply)
        await self.call.send({"type": "conversation.item.create", "item": question(first, count)})
        await self.call.send({"type": "response.create"})
        asked_s = loop.time()
        if self._events is None:
            self._events = self.call.events()
        async for event in self._events:
            match event["type"]:
                case "response.output_audio.delta":
                    reply.audio += base64.b64decode(event["delta"])
                    if reply.first_audio_s is None:
                        reply.first_audio_s = loop.time() - asked_s
                case "response.output_audio_transcript.delta":
                    reply.deltas += event["delta"]
                case "response.done":
                    response = event["response"]
                    reply.status = response["status"]
                    reply.transcript = " ".join(
                        item["content"][0]["transcript"] for item in response["output"] if item["type"] == "message"
                    )
                    return reply
        raise AssertionError("the call ended")

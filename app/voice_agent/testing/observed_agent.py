"""An agent in a simulation, and the call as it sees it: all is handed on, and told to an `AgentProbe`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, cast

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.call import Call, IdempotencyKey, SideEffect
from voice_agent.kit.ear import Ear
from voice_agent.kit.events import Event
from voice_agent.kit.speech import Speech
from voice_agent.kit.voice import Voice
from voice_agent.testing.agent_probe import AgentProbe, probed, task_probed
from voice_agent.testing.virtual_loop import OBSERVES_TASKS


class ObservedAgent(Agent):
    """An author's agent with the simulation's ear and voice."""

    def __init__(self, agent: Agent, probe: AgentProbe, ear: Ear, voice: Voice) -> None:
        self.name = agent.name
        self.ear = ear
        self.voice = voice
        self.lead_ms = agent.lead_ms
        self.language = agent.language
        self._agent = agent
        self._probe = probe

    async def open(self, kit: Kit) -> None:
        """See `Agent`. An agent that declares its settings gets them checked, as from a server."""
        declared = self._agent.Settings
        if declared is not None and not isinstance(kit.settings, declared):
            kit = kit.with_settings(declared.model_validate(dict(kit.settings)))
        await self._agent.open(kit)
        await self._agent.ready()
        self.language = self._agent.language  # It may be a setting of its own.

    async def close(self) -> None:
        """See `Agent`."""
        await self._agent.close()

    async def run(self, call: Call) -> None:
        """See `Agent`."""
        seen = cast("Call", ObservedCall(call, self._probe))
        # Also where a task of its own waits the pod may be struck.
        OBSERVES_TASKS.set(partial(task_probed, probe=self._probe))
        await probed(self._agent.run(seen), self._probe)


class ObservedCall:
    """`Call`, and what becomes of each act."""

    def __init__(self, call: Call, probe: AgentProbe) -> None:
        self._call = call
        self._probe = probe
        self._event = ""
        """What is being handled."""
        self._came_at_s = 0.0
        self._first_words_s = 0.0
        self._sentences = 0
        self._under_way: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def events(self) -> AsyncIterator[Event]:
        """See `Call`."""
        return _ObservedEvents(self, self._call.events())

    def next_is_asked(self) -> None:
        """The event that came last is acknowledged."""
        self._probe.conduct.unfinished += [f"{self._event}: {act}" for act in self._under_way]

    def came(self, event: Event) -> None:
        """It is handled from now on."""
        self._event = self._probe.came(event)
        self._came_at_s = asyncio.get_running_loop().time()

    def gave(self, sentences: str) -> None:
        """Something of a speech was given: whether the caller had to wait for its first words."""
        took = self._probe.conduct.first_words_s
        first_s = self._first_words_s = self._first_words_s or asyncio.get_running_loop().time() - self._came_at_s
        self._sentences += sentences.count(". ") + 1
        if self._sentences > 1:
            took.setdefault(self._event, first_s)

    def speak(self, key: str = "reply", *, interruptible: bool = True) -> AbstractAsyncContextManager[Speech]:
        """See `Call`."""
        return _ObservedSpeaking(self, key, self._call.speak(key, interruptible=interruptible))

    def begin(self, act: str) -> None:
        """An act is under way."""
        self._first_words_s, self._sentences = 0.0, 0
        self._under_way.append(act)

    def end(self, act: str) -> None:
        """It is over."""
        self._under_way.remove(act)

    async def once(self, key: str, run: SideEffect) -> Any:
        """See `Call`."""
        name = f"{self._event}: {key}"

        async def noted(idempotency_key: IdempotencyKey) -> Any:
            self._probe.did(name, idempotency_key)
            return await run(idempotency_key)

        self.begin(key)
        try:
            return await self._call.once(key, noted)
        finally:
            self.end(key)


class _ObservedEvents:
    """No generator: one that something is thrown into would be over."""

    def __init__(self, call: ObservedCall, events: AsyncIterator[Event]) -> None:
        self._call = call
        self._events = events

    def __aiter__(self) -> _ObservedEvents:
        return self

    async def __anext__(self) -> Event:
        self._call.next_is_asked()
        event = await anext(self._events)
        self._call.came(event)
        return event


class _ObservedSpeaking(AbstractAsyncContextManager[Speech]):
    def __init__(self, call: ObservedCall, key: str, speaking: AbstractAsyncContextManager[Speech]) -> None:
        self._call = call
        self._key = key
        self._speaking = speaking

    async def __aenter__(self) -> Speech:
        self._call.begin(self._key)
        return cast("Speech", _ObservedSpeech(self._call, await self._speaking.__aenter__()))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._speaking.__aexit__(kind, error, traceback)
        finally:
            self._call.end(self._key)


class _ObservedSpeech:
    """`Speech`, and when what of it is given."""

    def __init__(self, call: ObservedCall, speech: Speech) -> None:
        self._call = call
        self._speech = speech

    def __getattr__(self, name: str) -> Any:
        return getattr(self._speech, name)

    async def text(self, sentence: str) -> None:
        """See `Speech`."""
        self._call.gave(sentence)
        await self._speech.text(sentence)

    async def audio(self, pcm: bytes, audio_format: AudioFormat, **more: Any) -> None:
        """See `Speech`."""
        self._call.gave(more.get("text", ""))
        await self._speech.audio(pcm, audio_format, **more)

"""An agent that only says what to say: text in, text out. The server hears and speaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, cast

from voice_agent.kit.agent import Agent
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Asked, Event, Started, Timer
from voice_agent.kit.speech import NoSpeech, Speech, SpeechInterrupted, Spoken

Sentences = AsyncGenerator[str, None]
"""What is to be said, sentence by sentence, each with the blank that parts it from the next; "" says nothing."""

ACTS = frozenset({"at", "call_tool", "hang_up", "once", "send", "speak", "transfer"})
"""What an answer may do in place of saying something."""


@dataclass(slots=True)
class ScriptedTurn:
    """What there is to answer."""

    call: Call
    event: Asked | Started
    """All that is known of it: tools, instructions, limits."""
    _speech: Speech
    language: str = ""
    """What the caller speaks, as ISO 639-1: as the session says, else as the agent's `language` does; or ""."""

    @property
    def text(self) -> str:
        """All that the caller said and typed since the assistant spoke last; "" for nothing, and when a call begins."""
        return self.event.text if isinstance(self.event, Asked) else ""

    @property
    def unclear(self) -> bool:
        """Something of it was said but not understood."""
        return isinstance(self.event, Asked) and self.event.unclear

    @property
    def uncertain(self) -> bool:
        """The ear doubts something of it: to be asked back rather than acted on."""
        return isinstance(self.event, Asked) and self.event.uncertain

    @property
    def alternatives(self) -> Sequence[str]:
        """What else `text` may have been, likeliest first."""
        return self.event.alternatives if isinstance(self.event, Asked) else ()

    @property
    def clip(self) -> Clip | None:
        """The audio of what the caller said last, if it was spoken."""
        return self.event.clip if isinstance(self.event, Asked) else None

    @property
    def items(self) -> Sequence[Mapping[str, Any]]:
        """What is to be answered, as protocol items, oldest first."""
        return self.event.items if isinstance(self.event, Asked) else self.call.items

    @property
    def said(self) -> Sequence[Spoken]:
        """What of the answer is durable already: another pod has said it."""
        return self._speech.said

    def continues(self) -> None:
        """What is yielded from now on follows all that is in `said`, rather than beginning again at the start."""
        self._speech.continues()


class Scripted(Agent):
    """Yields sentences. Asked again by another pod, it may yield all of them again: what was said is passed over.

    One that is interrupted gets `SpeechInterrupted` where it waits or yields; what it yields after that is not said.
    """

    async def greet(self, turn: ScriptedTurn) -> Sentences:
        """What to say when a call begins, before anybody has asked; by default nothing."""
        for sentence in _NOTHING:
            yield sentence

    async def answer(self, turn: ScriptedTurn) -> Sentences:
        """What to say now that a reply is due.

        One that yields nothing and does nothing is a mistake, `NoSpeech`; to be silent on purpose, it yields "".
        """
        for sentence in _NOTHING:
            yield sentence

    async def on_timer(self, call: Call, name: str) -> Sentences:
        """What to say now that `Timer(name)` has come; by default nothing."""
        for sentence in _NOTHING:
            yield sentence

    async def run(self, call: Call) -> None:
        """See `Agent.run`. An event whose speech was interrupted is done."""
        async for event in call.events():
            with suppress(SpeechInterrupted):
                await self._handle(call, event)

    async def _handle(self, call: Call, event: Event) -> None:
        match event:
            case Asked():
                await self._answer(call, event)
            case Started(resumed=False) if type(self).greet is not Scripted.greet:
                await self._greet(call, event)
            case Timer(name=name):
                await self._tell(call, self._checked(self.on_timer(call, name), "on_timer"))
            case _:
                pass

    async def _answer(self, call: Call, event: Asked) -> None:
        watched = _ActsNoted(call)
        async with call.speak() as speech:
            turn = ScriptedTurn(cast("Call", watched), event, speech, self._spoken(call))
            yielded = await self._say(speech, self._checked(self.answer(turn), "answer"))
            if not (yielded or watched.has_acted or speech.said):
                raise NoSpeech(self.name, "yielded nothing in answer, and did nothing")

    async def _greet(self, call: Call, event: Started) -> None:
        async with call.speak() as speech:
            turn = ScriptedTurn(call, event, speech, self._spoken(call))
            await self._say(speech, self._checked(self.greet(turn), "greet"))

    def _spoken(self, call: Call) -> str:
        return call.session.language or self.language

    async def _tell(self, call: Call, sentences: Sentences) -> None:
        """Say them; without one, no response is opened."""
        async with aclosing(sentences):
            async for first in sentences:
                async with call.speak() as speech:
                    await self._give(speech, first, sentences)
                    await self._say(speech, sentences)

    async def _say(self, speech: Speech, sentences: Sentences) -> bool:
        """Say all of them; whether there was one."""
        yielded = False
        async with aclosing(sentences):
            async for sentence in sentences:
                yielded = True
                await self._give(speech, sentence, sentences)
        return yielded

    async def _give(self, speech: Speech, sentence: object, sentences: Sentences) -> None:
        if not isinstance(sentence, str):
            raise NoSpeech(self.name, f"yielded {type(sentence).__name__}, which is no sentence")
        try:
            if sentence:
                await speech.text(sentence)
        except SpeechInterrupted as interrupted:
            with suppress(StopAsyncIteration):
                await sentences.athrow(interrupted)
            raise

    def _checked(self, sentences: object, method: str) -> Sentences:
        if isinstance(sentences, AsyncGenerator):
            return sentences
        if isinstance(sentences, Coroutine):
            sentences.close()  # Nobody is going to await it.
        raise NoSpeech(self.name, f"has a method {method} that is no generator: it does not yield")


_NOTHING: tuple[str, ...] = ()


class _ActsNoted:
    """A call that knows whether an agent has done anything on it."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.has_acted = False

    def __getattr__(self, name: str) -> Any:
        self.has_acted = self.has_acted or name in ACTS
        return getattr(self._call, name)

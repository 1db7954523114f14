"""A call that tells an agent what the test says, and writes down what it does.

It has no durable store: what another pod would find is given to it (`said`, `results`). Keys are checked.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from voice_agent.call.audio import PCM, AudioFormat
from voice_agent.kit.call import Call, Caller, IdempotencyKey, IncompleteReason, Item, KeyReused, Session, SideEffect
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Asked, Event
from voice_agent.kit.hearing import Hearing
from voice_agent.kit.speech import Played, SpeechInterrupted, Spoken

AUDIO_SESSION = Session(
    instructions="",
    tools=(),
    tool_choice="auto",
    max_output_tokens=None,
    voice="alloy",
    speed=1.0,
    language="",
    wants_audio=True,
    input_format=PCM,
    output_format=PCM,
)


@dataclass
class RecordingSpeech:
    """What is said under one key."""

    said: Sequence[Spoken] = ()
    interrupted_after: int | None = None
    """So many pieces are taken; the next one raises `SpeechInterrupted`."""
    texts: list[str] = field(default_factory=list)
    audios: list[tuple[bytes, AudioFormat, str]] = field(default_factory=list)
    goes_on: bool = False
    prepared: list[str] = field(default_factory=list)

    def continues(self) -> None:
        self.goes_on = True

    def prepare(self, sentence: str) -> None:
        self.prepared.append(sentence)

    async def text(self, sentence: str) -> None:
        self._take()
        self.texts.append(sentence)

    async def audio(
        self,
        pcm: bytes,
        audio_format: AudioFormat,
        *,
        text: str = "",
        words: Sequence[Sequence[int]] = (),
        is_partial: bool = False,
    ) -> None:
        self._take()
        self.audios.append((pcm, audio_format, text))

    async def forget_unsaid(self) -> str:
        return "".join([*(piece.text for piece in self.said), *(text for _, _, text in self.audios)])

    async def heard(self) -> Played:
        return Played("".join(self.texts), 0, cut_off=False)

    def _take(self) -> None:
        if self.interrupted_after == len(self.texts) + len(self.audios):
            raise SpeechInterrupted


class RecordingCall(Call):
    """Tells of `events`, one after the other."""

    def __init__(
        self,
        *events: Event,
        session: Session = AUDIO_SESSION,
        state: Mapping[str, Any] | None = None,
        said: Sequence[Spoken] = (),
        results: Mapping[str, Any] | None = None,
        interrupted_after: int | None = None,
    ) -> None:
        """`said`, `results`: what the first event finds durable of its speech `reply` and of `once`, by key."""
        self._left = list(events)
        self._session = session
        self._state: dict[str, Any] = dict(state or {})
        self._said = said
        self._interrupted_after = interrupted_after
        self.results: dict[str, Any] = dict(results or {})
        self._keys: set[str] = set()
        self.speeches: list[RecordingSpeech] = []
        self.acts: list[tuple[Any, ...]] = []
        self.acknowledged: list[int] = []
        self.stored: dict[str, Any] = dict(self._state)
        """`state` as the last acknowledgement left it."""

    @property
    def texts(self) -> list[list[str]]:
        """What was said as text, by speech."""
        return [speech.texts for speech in self.speeches]

    @property
    def caller(self) -> Caller:
        return Caller("call_a", "agent")

    @property
    def session(self) -> Session:
        return self._session

    @property
    def items(self) -> Sequence[Item]:
        return ()

    @property
    def state(self) -> dict[str, Any]:
        return self._state

    async def events(self) -> AsyncIterator[Event]:
        while self._left:
            event = self._left.pop(0)
            yield event
            self.acknowledged.append(event.number)
            self.stored = json.loads(json.dumps(self._state))
            self._keys.clear()
            self.results.clear()
            self._said = ()

    async def frames(self) -> AsyncIterator[Clip]:
        nothing: tuple[Clip, ...] = ()
        for clip in nothing:
            yield clip

    async def hearing(self) -> AsyncIterator[Hearing]:
        nothing: tuple[Hearing, ...] = ()
        for hearing in nothing:
            yield hearing

    async def transcribed(self, item_id: str, text: str | None, *, certain: bool = True) -> None:
        self.acts.append(("transcribed", item_id, text))

    @asynccontextmanager
    async def speak(self, key: str = "reply", *, interruptible: bool = True) -> AsyncIterator[RecordingSpeech]:
        self._use(key)
        speech = RecordingSpeech(self._said if key == "reply" else (), self._interrupted_after)
        self.speeches.append(speech)
        yield speech

    async def once(self, key: str, run: SideEffect) -> Any:
        self._use(key)
        if key not in self.results:
            self.results[key] = json.loads(json.dumps(await run(IdempotencyKey(f"key of {key}"))))
        return self.results[key]

    def end_incomplete(self, reason: IncompleteReason) -> None:
        self.acts.append(("end_incomplete", reason))

    async def call_tool(self, key: str, name: str, arguments: str | Mapping[str, Any]) -> None:
        self._use(key)
        self.acts.append(("call_tool", name, arguments))

    async def at(self, name: str, when_ms: int) -> None:
        self.acts.append(("at", name, when_ms))

    async def send(self, event: Mapping[str, Any]) -> None:
        self.acts.append(("send", event))

    async def transfer(self, target: str) -> None:
        self.acts.append(("transfer", target))

    async def hang_up(self, reason: str = "") -> None:
        self.acts.append(("hang_up", reason))

    def _use(self, key: str) -> None:
        if key in self._keys:
            raise KeyReused(key)
        self._keys.add(key)


def asked(*items: Item, number: int = 1, at_ms: int = 0, **fields: Any) -> Asked:
    """An event that wants a reply."""
    return Asked(number=number, at_ms=at_ms, response_id="resp_a", items=items, **{"text": "", **fields})
